"""What is known of one system on one recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsq_audio import audio
from fsq_audio.errors import AudioError
from fsq_audio.evaluation.journal import Journal, Key
from fsq_audio.evaluation.metric import Measured
from fsq_audio.evaluation.recordings import Recording


@dataclass(frozen=True)
class Row:
    """One system on one recording.

    Attributes:
        system: its name.
        recording: the original.
        degraded: the audio file; None where there is none.
        duration: of the original in seconds; None where it cannot be read.
        values: by metric; NaN where there is none.
        totals: words or characters that a share of errors is of, by metric.
        failures: why, by metric; "audio" where nothing could be measured at all.
    """

    system: str
    recording: Recording
    degraded: Path | None
    duration: float | None
    values: dict[str, float]
    totals: dict[str, int]
    failures: dict[str, str]


def make_row(
    system: str,
    recording: Recording,
    journal: Journal,
    names: Sequence[str],
    duration: float | None,
) -> Row:
    """What a journal has about a system and a recording.

    Args:
        system: its name.
        recording: the original.
        journal: of the run, finished.
        names: of the metrics.
        duration: of the original in seconds.
    """
    key = Key(system, recording.id)
    if key in journal.failed:
        # Nothing could be measured: each metric counts this recording as failed.
        reason = journal.failed[key]
        values = dict.fromkeys(names, float("nan"))
        return Row(system, recording, None, duration, values, {}, {"audio": reason})
    found: dict[str, Measured] = {name: journal.measured[key][name] for name in names}
    produced = journal.produced.get(key)
    return Row(
        system,
        recording,
        None if produced is None else produced.degraded,
        duration,
        values={name: each.value for name, each in found.items() if each.skipped is None},
        totals={name: each.total for name, each in found.items() if each.total is not None},
        failures={name: each.failure for name, each in found.items() if each.failure is not None},
    )


def read_duration(recording: Recording) -> float | None:
    """Seconds of a recording; None where it cannot be read.

    Args:
        recording: the original.
    """
    try:
        info = audio.read_info(recording.path)
    except (AudioError, OSError):
        return None
    return info.num_samples / info.sample_rate
