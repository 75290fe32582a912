"""`fsq-audio evaluate`: systems beside each other on the same recordings."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fsq_audio.audio import AUDIO_EXTENSIONS, UNREADABLE_EXTENSIONS
from fsq_audio.cli.console import Console
from fsq_audio.cli.inputs import find_inputs
from fsq_audio.cli.parser import UsageError
from fsq_audio.cli.session import choose_device, load_model, make_console
from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.baselines import parse_baseline
from fsq_audio.evaluation.model import ModelSystem
from fsq_audio.evaluation.outcome import Evaluation, is_serious
from fsq_audio.evaluation.recordings import Recording, read_manifest, read_pairs
from fsq_audio.evaluation.registry import choose_metrics
from fsq_audio.evaluation.run import Settings, evaluate
from fsq_audio.evaluation.system import Degraded, System, degraded_files, degraded_folder
from fsq_audio.evaluation.tables import format_table
from fsq_audio.tokenizer import AudioTokenizer


def run(arguments: Namespace) -> bool:
    """Runs the verb; whether every metric had a value on every file."""
    console = make_console(arguments)
    try:
        metrics = choose_metrics([name for each in arguments.metrics for name in each])
    except ConfigError as error:
        raise UsageError(f"--metrics: {error}") from None
    recordings = find_recordings(arguments.references, leave_out=arguments.output)
    systems = find_systems(arguments, recordings)
    settings = Settings(
        metrics=metrics,
        recogniser=arguments.recogniser,
        num_workers=arguments.num_workers,
        robustness=arguments.robustness,
    )
    bars = _Bars(quiet=arguments.quiet)
    try:
        evaluation = evaluate(
            recordings,
            systems,
            output=arguments.output,
            settings=settings,
            reference=", ".join(arguments.references),
            progress=bars.move,
        )
    finally:
        bars.close()
    _tell(evaluation, console)
    return not evaluation.failed


def find_recordings(references: Sequence[str], *, leave_out: Path) -> list[Recording]:
    """The recordings of manifests (`.jsonl`), folders, patterns and files.

    Args:
        references: as typed.
        leave_out: a folder that is not walked.

    Raises:
        AudioError: nothing is there under a name.
        ConfigError: a manifest is damaged.
    """
    recordings = []
    for name in references:
        if Path(name).suffix == ".jsonl" and Path(name).is_file():
            recordings += read_manifest(Path(name))
            continue
        found = find_inputs(
            [name],
            filelist=None,
            root=None,
            extensions=AUDIO_EXTENSIONS,
            convertible=UNREADABLE_EXTENSIONS,
            leave_out=leave_out,
        )
        recordings += [
            Recording(file.relative.with_suffix("").as_posix(), file.path) for file in found.files
        ]
    return recordings


def find_systems(arguments: Namespace, recordings: Sequence[Recording]) -> list[System]:
    """The systems that the arguments name; without any, or with groups only, our own model.

    Args:
        arguments: of the verb.
        recordings: the originals.

    Raises:
        UsageError: a model has fewer groups than asked for, or a folder or file is not there.
        CheckpointError: there is no such model.
        ConfigError: there is no such baseline, or its program is missing.
    """
    if arguments.num_threads is not None:
        torch.set_num_threads(arguments.num_threads)
    baselines = [text for each in arguments.baseline for text in each]
    sources = arguments.model
    is_asked = arguments.num_groups is not None or not (arguments.degraded or baselines)
    if not sources and is_asked:
        sources = ["default"]
    systems: list[System] = []
    for source in sources:
        label, place = _label(source, is_alone=len(sources) == 1)
        model = load_model(place).to(choose_device(arguments.device))
        systems += [
            ModelSystem(model, num_groups, label)
            for num_groups in _groups(arguments.num_groups, model, source)
        ]
    systems += [_find_degraded(source, recordings) for source in arguments.degraded]
    return systems + [parse_baseline(text) for text in dict.fromkeys(baselines)]


def _find_degraded(source: str, recordings: Sequence[Recording]) -> Degraded:
    label, equals, rest = source.partition("=")
    place = Path(rest if equals else source)
    name = label if equals else place.resolve().stem
    if place.is_dir():
        return degraded_folder(place, label if equals else place.resolve().name)
    if not place.is_file():
        raise UsageError(f"--degraded {source}: no such folder or file")
    if place.suffix == ".jsonl":
        return degraded_files(read_pairs(place), name, place=place)
    if len(recordings) != 1:
        raise UsageError(f"--degraded {source}: one file, for {len(recordings)} originals")
    return degraded_files({recordings[0].id: place}, name, place=place)


def _label(source: str, *, is_alone: bool) -> tuple[str, str]:
    """A lone model is "ours"; of several, each has the name of its folder, unless it is given."""
    label, equals, place = source.partition("=")
    if equals:
        return label, place
    return "ours" if is_alone else Path(source).name, source


def _groups(asked: Sequence[int] | None, model: AudioTokenizer, source: str) -> list[int]:
    if asked is None:
        return [model.num_groups]
    # 0 stands for the model's own number, at the end of a range.
    numbers = [model.num_groups if number == 0 else number for number in asked]
    if 0 in asked and len(asked) == 2:
        numbers = list(range(asked[0], model.num_groups + 1))
    if not numbers or max(numbers) > model.num_groups:
        raise UsageError(f"--num-groups: the model {source} has {model.num_groups}")
    return sorted(set(numbers))


def _tell(evaluation: Evaluation, console: Console) -> None:
    for row in evaluation.failed:
        for name in filter(is_serious, row.failures):
            reason = row.failures[name]
            console.error(f"{row.recording.path}: {row.system}: {name}: {reason}")
    console.result(evaluation.summary)
    if not console.as_json:
        for line in format_table(evaluation.summary).splitlines():
            console.result({}, line)


class _Bars:
    """A progress bar for each stage, where a terminal is there to see it."""

    def __init__(self, *, quiet: bool) -> None:
        self._is_shown = not quiet and sys.stderr.isatty()
        self._stage = ""
        self._bar: Any = None

    def move(self, stage: str, done: int, total: int) -> None:
        if not self._is_shown:
            return
        if stage != self._stage:
            from tqdm import tqdm

            self.close()
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, file=sys.stderr, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
