"""An evaluation from recordings and systems to its summary: read this file first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsq_audio import audio
from fsq_audio.errors import FSQAudioError
from fsq_audio.evaluation import tables
from fsq_audio.evaluation.journal import Journal, Key
from fsq_audio.evaluation.metric import SAMPLE_RATE, Measured, Metric, is_installed
from fsq_audio.evaluation.model import ModelSystem
from fsq_audio.evaluation.outcome import Evaluation
from fsq_audio.evaluation.recordings import Recording, check_recordings
from fsq_audio.evaluation.robustness import (
    UnitEdits,
    measure_robustness,
    read_robustness,
    sum_up_robustness,
)
from fsq_audio.evaluation.rows import Row, make_row, read_duration
from fsq_audio.evaluation.scoring import Task, score_all
from fsq_audio.evaluation.system import Degraded, Produced, System, check_names
from fsq_audio.evaluation.totals import sum_up
from fsq_audio.evaluation.words import check_recogniser, describe_recogniser
from fsq_audio.locks import only_run


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        metrics: to compute.
        recogniser: folder of a CTranslate2 Whisper model; None for the packaged one.
        num_workers: processes that compute metrics.
        robustness: also measure unit edit distances of the models.
    """

    metrics: Sequence[Metric]
    recogniser: str | None = None
    num_workers: int = 1
    robustness: bool = False


Progress = Callable[[str, int, int], None]


def evaluate(
    recordings: Sequence[Recording],
    systems: Sequence[System],
    *,
    output: Path,
    settings: Settings,
    reference: str = "",
    progress: Progress = lambda stage, done, total: None,
) -> Evaluation:
    """Runs systems over recordings, compares, and writes everything into a folder.

    What an earlier run in the same folder did is not done again.

    Args:
        recordings: the originals.
        systems: to compare.
        output: the folder.
        settings: how.
        reference: what the recordings are called in the summary.
        progress: called with the stage and how far it is.

    Returns:
        The summary, and the rows it stands on.

    Raises:
        ConfigError: ids or names that clash, results of other settings in the folder, or another
            run is writing there.
        OSError: the folder cannot be written.
    """
    recordings, systems = check_recordings(recordings), check_names(list(systems))
    output.mkdir(parents=True, exist_ok=True)
    with only_run(output):
        return _evaluate(recordings, systems, output, settings, reference, progress)


def _evaluate(
    recordings: Sequence[Recording],
    systems: Sequence[System],
    output: Path,
    settings: Settings,
    reference: str,
    progress: Progress,
) -> Evaluation:
    journal = Journal(output / "journal.jsonl")
    missing = _find_missing(settings)
    metrics = [metric for metric in settings.metrics if metric.name not in missing]
    if not any(recording.text for recording in recordings):
        metrics = [metric for metric in metrics if metric.name not in {"wer", "cer"}]
    _settle(journal, recordings, systems, settings)
    _produce(recordings, systems, journal, output, progress)
    _score(recordings, systems, metrics, journal, settings, progress)
    with_robustness = settings.robustness and "robustness" not in missing
    if with_robustness:
        measure_robustness(systems, recordings, journal, progress)
    durations = {recording.id: read_duration(recording) for recording in recordings}
    names = [metric.name for metric in metrics]
    rows = [
        make_row(system.name, recording, journal, names, durations[recording.id])
        for system in systems
        for recording in recordings
    ]
    summary: dict[str, Any] = {
        "reference": reference,
        "recordings": len(recordings),
        "recogniser": describe_recogniser(settings.recogniser)
        if any(metric.reads_words for metric in metrics)
        else None,
        "settings": {
            "sample_rate": SAMPLE_RATE,
            "metrics": names,
            "interval": "95 % percentile bootstrap over recordings, of the mean or, where "
            "pooled_over says so, of all errors divided by all words or characters",
        },
        "missing": missing,
        "systems": {
            system.name: sum_up(system, rows, journal, output, metrics) for system in systems
        },
    }
    unit_edits: list[UnitEdits] = []
    for system in systems if with_robustness else ():
        if isinstance(system, ModelSystem):
            own = read_robustness(system, recordings, journal)
            summary["systems"][system.name]["robustness"] = sum_up_robustness(own)
            unit_edits += own
    _add_failures(rows, unit_edits)
    evaluation = Evaluation(summary, rows, unit_edits)
    tables.write(evaluation, systems, output)
    return evaluation


def _find_missing(settings: Settings) -> dict[str, str]:
    """How to install what is asked for and not there."""
    found = {metric.name: metric.missing for metric in settings.metrics}
    readers = [metric.name for metric in settings.metrics if metric.reads_words]
    lacking = check_recogniser(settings.recogniser) if readers else None
    found |= {name: found[name] or lacking for name in readers}
    if settings.robustness and not is_installed("rapidfuzz"):
        found["robustness"] = "needs rapidfuzz: pip install 'fsq-audio[eval]'"
    return {name: why for name, why in found.items() if why is not None}


def _settle(
    journal: Journal,
    recordings: Sequence[Recording],
    systems: Sequence[System],
    settings: Settings,
) -> None:
    """Before anything is written: the systems, the recogniser and the originals are the same."""
    journal.settle("run", {"sample_rate": SAMPLE_RATE, "recogniser": settings.recogniser})
    for system in systems:
        journal.settle(f"system {system.name}", system.identity)
    # Of a file that is not there nothing is noted, so that it may come.
    for recording in recordings:
        if recording.path.is_file():
            values = {"path": str(recording.path.resolve()), "digest": _digest(recording.path),
                      "text": recording.text, "language": recording.language}  # fmt: skip
            journal.settle(f"recording {recording.id}", values)
        for system in systems:
            found = system.find(recording.id) if isinstance(system, Degraded) else None
            if found is not None and found.is_file():
                name = f"{recording.id} of {system.name}"
                journal.settle(name, {"digest": _digest(found)})


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _produce(
    recordings: Sequence[Recording],
    systems: Sequence[System],
    journal: Journal,
    output: Path,
    progress: Progress,
) -> None:
    total = len(systems) * len(recordings)
    done = 0
    for system in systems:
        for recording in recordings:
            key = Key(system.name, recording.id)
            before = journal.produced.get(key)
            if before is None or not _is_whole(before, system, recording, output):
                try:
                    journal.add_produced(key, system.produce(recording, output=output))
                except MemoryError:
                    raise
                except (FSQAudioError, OSError, RuntimeError, ValueError) as error:
                    journal.add_failed(key, str(error))
            done += 1
            progress("resynthesis", done, total)


def _is_whole(before: Produced, system: System, recording: Recording, output: Path) -> bool:
    """Whether what an earlier run made is still there, and can be read."""
    try:
        audio.read_info(before.degraded)
        system.load_codes(recording, output=output)
    except (FSQAudioError, OSError):
        return False
    return True


def _score(
    recordings: Sequence[Recording],
    systems: Sequence[System],
    metrics: Sequence[Metric],
    journal: Journal,
    settings: Settings,
    progress: Progress,
) -> None:
    tasks = []
    for recording in recordings:
        degraded, lacking = {}, {}
        for system in systems:
            key = Key(system.name, recording.id)
            known = journal.measured.get(key, {})
            names = [metric.name for metric in metrics if not _is_measured(metric, known)]
            if key not in journal.failed and names:
                degraded[system.name] = journal.produced[key].degraded
                lacking[system.name] = names
        if degraded:
            tasks.append(Task(recording, degraded, lacking, settings.recogniser))
    for done, scores in enumerate(score_all(tasks, num_workers=settings.num_workers), start=1):
        for name, measured in scores.measured.items():
            journal.add_measured(Key(name, scores.recording.id), measured)
        for name, reason in scores.failed.items():
            journal.add_failed(Key(name, scores.recording.id), reason)
        progress("metrics", done, len(tasks))


def _is_measured(metric: Metric, known: Mapping[str, Measured]) -> bool:
    found = known.get(metric.name)
    if found is None:
        return False
    has_value = found.failure is None and found.skipped is None
    # Journals from before shares were pooled do not say what a share is of.
    return metric.pooled_over is None or not has_value or found.total is not None


def _add_failures(rows: Sequence[Row], unit_edits: Sequence[UnitEdits]) -> None:
    found = {(row.system, row.recording.id): row.failures for row in rows}
    for each in unit_edits:
        if each.failure is not None:
            found[each.system, each.id]["robustness"] = f"{each.change}: {each.failure}"
