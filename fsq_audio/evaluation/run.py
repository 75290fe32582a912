"""An evaluation from recordings and systems to its summary: read this file first."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsq_audio import audio
from fsq_audio.errors import AudioError, FSQAudioError
from fsq_audio.evaluation import tables
from fsq_audio.evaluation.journal import Journal, Key
from fsq_audio.evaluation.metric import SAMPLE_RATE, Measured, Metric, Voice, is_installed
from fsq_audio.evaluation.model import ModelSystem
from fsq_audio.evaluation.rates import Rate, count_usage
from fsq_audio.evaluation.recordings import Recording, check_recordings
from fsq_audio.evaluation.robustness import mean_distances
from fsq_audio.evaluation.scoring import Task, score_all
from fsq_audio.evaluation.summary import summarize
from fsq_audio.evaluation.system import System, check_names
from fsq_audio.evaluation.words import check_recogniser, describe_recogniser


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


@dataclass(frozen=True)
class Row:
    """One system on one recording.

    Attributes:
        system: its name.
        recording: the original.
        degraded: the audio file; None where there is none.
        duration: of the original in seconds; None where it cannot be read.
        values: by metric; NaN where there is none.
        failures: why, by metric; "audio" where nothing could be measured at all.
    """

    system: str
    recording: Recording
    degraded: Path | None
    duration: float | None
    values: dict[str, float]
    failures: dict[str, str]


@dataclass(frozen=True)
class Evaluation:
    """What came of it all.

    Attributes:
        summary: as in `summary.json`.
        rows: sorted by system, as given, and recording.
    """

    summary: dict[str, Any]
    rows: list[Row]

    @property
    def failed(self) -> list[Row]:
        """The rows in which something failed."""
        return [row for row in self.rows if row.failures]


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
        ConfigError: ids or names that clash, or results of other settings in the folder.
        OSError: the folder cannot be written.
    """
    recordings, systems = check_recordings(recordings), check_names(list(systems))
    output.mkdir(parents=True, exist_ok=True)
    journal = Journal(output / "journal.jsonl")
    missing = _find_missing(settings)
    metrics = [metric for metric in settings.metrics if metric.name not in missing]
    if not any(recording.text for recording in recordings):
        metrics = [metric for metric in metrics if metric.name not in {"wer", "cer"}]
    _settle(journal, recordings, systems, settings)
    _produce(recordings, systems, journal, output, progress)
    _score(recordings, systems, metrics, journal, settings, progress)
    durations = {recording.id: _duration(recording) for recording in recordings}
    names = [metric.name for metric in metrics]
    rows = [
        _row(system.name, recording, journal, names, durations[recording.id])
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
            "interval": "95 % percentile bootstrap of the mean over recordings",
        },
        "missing": missing,
        "systems": {
            system.name: _summarize(system, rows, journal, output, metrics) for system in systems
        },
    }
    if settings.robustness and "robustness" not in missing:
        _add_robustness(summary["systems"], systems, recordings)
    evaluation = Evaluation(summary, rows)
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
    for recording in recordings:
        # Of a file that is not there nothing is noted, so that it may come.
        if recording.path.is_file():
            size = recording.path.stat().st_size
            values = {"path": str(recording.path.resolve()), "num_bytes": size,
                      "text": recording.text, "language": recording.language}  # fmt: skip
            journal.settle(f"recording {recording.id}", values)


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
            if before is None or not before.degraded.is_file():
                try:
                    journal.add_produced(key, system.produce(recording, output=output))
                except MemoryError:
                    raise
                except (FSQAudioError, OSError, RuntimeError, ValueError) as error:
                    journal.add_failed(key, str(error))
            done += 1
            progress("resynthesis", done, total)


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
            names = [metric.name for metric in metrics if metric.name not in known]
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


def _row(
    system: str,
    recording: Recording,
    journal: Journal,
    names: Sequence[str],
    duration: float | None,
) -> Row:
    key = Key(system, recording.id)
    produced = journal.produced.get(key)
    if key in journal.failed:
        # Nothing could be measured: each metric counts this recording as failed.
        reason = journal.failed[key]
        lost = dict.fromkeys(names, Measured(float("nan"), failure=reason))
        return _make_row(system, recording, None, duration, lost, {"audio": reason})
    found = {name: journal.measured[key][name] for name in names}
    failures = {name: each.failure for name, each in found.items() if each.failure is not None}
    degraded = None if produced is None else produced.degraded
    return _make_row(system, recording, degraded, duration, found, failures)


def _make_row(
    system: str,
    recording: Recording,
    degraded: Path | None,
    duration: float | None,
    found: dict[str, Measured],
    failures: dict[str, str],
) -> Row:
    values = {name: each.value for name, each in found.items() if each.skipped is None}
    return Row(system, recording, degraded, duration, values, failures)


def _summarize(
    system: System,
    rows: Sequence[Row],
    journal: Journal,
    output: Path,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    own = [row for row in rows if row.system == system.name]
    # What does not apply to a recording is in no row's values, and counts neither way.
    summaries = {
        metric.name: summarize(
            [row.values[metric.name] for row in own if metric.name in row.values]
        )
        for metric in metrics
    }
    made = [row for row in own if Key(system.name, row.recording.id) in journal.produced]
    usage = None
    if system.codes is not None and made:
        codes = [system.load_codes(row.recording, output=output) for row in made]
        usage = count_usage([each for each in codes if each is not None], system.codes)
    produced = [journal.produced[Key(system.name, row.recording.id)] for row in made]
    seconds = sum(row.duration or 0.0 for row in made)
    sizes = [each.num_bytes for each in produced if each.num_bytes is not None]
    is_whole = bool(sizes) and len(sizes) == len(produced) and seconds > 0
    rate = Rate(
        written=8 * sum(sizes) / seconds if is_whole else None,
        nominal=system.nominal_rate,
        entropy=None if usage is None else usage.entropy,
    )
    result: dict[str, Any] = {
        "kind": system.kind,
        "metrics": {
            name: {
                "mean": tables.or_none(each.mean),
                "low": tables.or_none(each.low),
                "high": tables.or_none(each.high),
                "n": each.num_values,
                "n_failed": each.num_failed,
            }
            for name, each in summaries.items()
        },
        "rate": asdict(rate),
        "health": [] if usage is None else usage.groups,
        "cost": _cost(system, journal, made, seconds),
    }
    if usage is not None and usage.pairs:
        result["mutual_information"] = usage.pairs
    return result


def _cost(
    system: System, journal: Journal, made: Sequence[Row], seconds: float
) -> dict[str, float | None]:
    """Seconds of computing for a second of audio; peak memory is this process's, so far."""
    produced = [journal.produced[Key(system.name, row.recording.id)] for row in made]
    parts: dict[str, float | None] = {}
    for name, spent in (
        ("encode_rtf", [each.encode_seconds for each in produced]),
        ("decode_rtf", [each.decode_seconds for each in produced]),
    ):
        known = [value for value in spent if value is not None]
        parts[name] = sum(known) / seconds if known and seconds else None
    if system.kind != "degraded":
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        who = resource.RUSAGE_SELF if system.codes is not None else resource.RUSAGE_CHILDREN
        parts["peak_memory_bytes"] = float(resource.getrusage(who).ru_maxrss * unit)
    return {**parts, **system.cost()}


def _add_robustness(
    summaries: dict[str, Any], systems: Sequence[System], recordings: Sequence[Recording]
) -> None:
    """A group's codes do not depend on how many are kept: each model is asked once."""
    asked: dict[int, dict[str, Any]] = {}
    for system in systems:
        if isinstance(system, ModelSystem):
            if id(system.model) not in asked:
                asked[id(system.model)] = _robustness(system, recordings)
            found = asked[id(system.model)]
            distances = found["unit_edit_distance"]
            kept = {name: values[: system.num_groups] for name, values in distances.items()}
            summaries[system.name]["robustness"] = found | {"unit_edit_distance": kept}


def _robustness(system: ModelSystem, recordings: Sequence[Recording]) -> dict[str, Any]:
    waveforms = []
    for recording in recordings:
        try:
            waveform = audio.load(recording.path, sample_rate=system.model.sample_rate)[0].numpy()
        except (AudioError, OSError):
            continue
        if not Voice(waveform).is_silent:
            waveforms.append(waveform)
    distances = mean_distances(system.model, waveforms) if waveforms else {}
    left_out = len(recordings) - len(waveforms)
    return {"unit_edit_distance": distances, "n": len(waveforms), "n_failed": left_out}


def _duration(recording: Recording) -> float | None:
    try:
        info = audio.read_info(recording.path)
    except (AudioError, OSError):
        return None
    return info.num_samples / info.sample_rate
