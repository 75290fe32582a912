"""Whether tokens stay what they are when the recording changes, and its words do not."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import torch

from fsq_audio import audio
from fsq_audio.errors import FSQAudioError
from fsq_audio.evaluation.align import correlate, take_out
from fsq_audio.evaluation.journal import Journal, Key
from fsq_audio.evaluation.metric import SAMPLE_RATE, Measured, Samples, UnmeasurableError, Voice
from fsq_audio.evaluation.model import ModelSystem
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.summary import summarize, to_json
from fsq_audio.evaluation.system import System
from fsq_audio.tokenizer import AudioTokenizer

SHIFT = 5
"""Samples."""
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
"""Hz that it knows."""
NOISE_DB = -30.0
"""Of white noise, relative to the recording's power."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class UnitEdits:
    """How much of a token stream changed.

    Attributes:
        system: its name.
        id: of the recording.
        change: what the recording went through.
        group: whose codes.
        unit_edit_distance: as below; NaN where there is none.
        failure: why there is none.
    """

    system: str
    id: str
    change: str
    group: int
    unit_edit_distance: float
    failure: str | None


def measure_robustness(
    systems: Sequence[System],
    recordings: Sequence[Recording],
    journal: Journal,
    progress: Progress,
) -> None:
    """Notes the unit edit distances of every model on every recording, but for those noted already.

    A group's codes do not depend on how many are kept: each model is asked once.

    Args:
        systems: of the evaluation; those that are no models of ours are left out.
        recordings: the originals.
        journal: of the run.
        progress: called with the stage and how far it is.
    """
    found = [system for system in systems if isinstance(system, ModelSystem)]
    models = {id(system.model): system.model for system in found}
    done = 0
    for model in models.values():
        own = [system for system in found if system.model is model]
        for recording in recordings:
            lacking = [each for each in own if not _is_known(each, recording, journal)]
            if lacking:
                results = _ask(model, recording)
                for system in lacking:
                    journal.add_measured(
                        Key(system.name, recording.id),
                        {
                            _name(change, group): each
                            for change, groups in results.items()
                            for group, each in enumerate(groups[: system.num_groups])
                        },
                    )
            done += 1
            progress("robustness", done, len(models) * len(recordings))


def read_robustness(
    system: ModelSystem, recordings: Sequence[Recording], journal: Journal
) -> list[UnitEdits]:
    """Unit edit distances of a system, by change, group and recording.

    Args:
        system: a model.
        recordings: the originals.
        journal: in which they have been noted.
    """
    return [
        UnitEdits(system.name, recording.id, change, group, known.value, known.failure)
        for change in changes(system.model.sample_rate)
        for group in range(system.num_groups)
        for recording in recordings
        for known in (journal.measured[Key(system.name, recording.id)][_name(change, group)],)
    ]


def sum_up_robustness(rows: Sequence[UnitEdits]) -> dict[str, Any]:
    """Unit edit distances of a system over all recordings; JSON.

    Args:
        rows: of one system.

    Returns:
        `unit_edit_distance[change][group]` with mean, interval and counts.
    """
    values: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        values.setdefault(row.change, {}).setdefault(row.group, []).append(row.unit_edit_distance)
    distances = {
        change: [to_json(summarize(each)) for each in groups.values()]
        for change, groups in values.items()
    }
    return {"unit_edit_distance": distances}


def unit_edit_distances(
    model: AudioTokenizer, samples: Samples, changes: Mapping[str, Callable[[Samples], Samples]]
) -> dict[str, list[Measured]]:
    """Edits between the codes before and after a change, divided by the codes before.

    The unit edit distance of Gat et al. 2023, for each group, without removing repetitions.

    Args:
        model: the tokenizer.
        samples: `[S]` at the model's sample rate.
        changes: of the samples, by name.

    Returns:
        By name, one for each group: 0 or more, or why there is none.
    """
    from rapidfuzz.distance import Levenshtein

    before = _encode(model, samples)
    found = {}
    for name, change in changes.items():
        try:
            after = _encode(model, change(samples))
        except (FSQAudioError, OSError, RuntimeError, ValueError) as error:
            found[name] = [Measured(math.nan, failure=str(error))] * model.num_groups
            continue
        found[name] = [
            Measured(Levenshtein.distance(own, other) / len(own))
            for own, other in zip(before, after, strict=True)
        ]
    return found


def changes(sample_rate: int) -> dict[str, Callable[[Samples], Samples]]:
    """What a recording goes through, by name.

    Args:
        sample_rate: of the samples.
    """
    found: dict[str, Callable[[Samples], Samples]] = {
        "gain_-6dB": lambda samples: (samples * 10 ** (-6 / 20)).astype(np.float32),
        "noise_30dB": _add_noise,
        f"shift_{SHIFT}": lambda samples: np.concatenate([np.zeros(SHIFT, np.float32), samples]),
        "mp3": lambda samples: _round_trip(samples, sample_rate, "MP3", "MPEG_LAYER_III"),
    }
    if sample_rate in OPUS_RATES:
        found["opus"] = lambda samples: _round_trip(samples, sample_rate, "OGG", "OPUS")
    return found


def _add_noise(samples: Samples) -> Samples:
    level = math.sqrt(float(np.mean(samples.astype(np.float64) ** 2))) * 10 ** (NOISE_DB / 20)
    noise = np.random.default_rng(0).standard_normal(len(samples))
    return np.clip(samples + level * noise, -1, 1).astype(np.float32)


def _round_trip(samples: Samples, sample_rate: int, format: str, subtype: str) -> Samples:
    """Through libsndfile's codec at its usual quality, its delay taken out."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate, format=format, subtype=subtype)
    buffer.seek(0)
    result, _ = soundfile.read(buffer, dtype="float32")
    found = correlate(samples, result, max_delay=SAMPLE_RATE // 5)
    if not found.is_clear:
        raise UnmeasurableError(f"{subtype} came back too different to be aligned")
    return np.clip(take_out(result, delay=found.delay, length=len(samples)), -1, 1)


def _ask(model: AudioTokenizer, recording: Recording) -> dict[str, list[Measured]]:
    todo = changes(model.sample_rate)
    try:
        samples = audio.load(recording.path, sample_rate=model.sample_rate)[0].numpy()
        if Voice(samples).is_silent:
            raise UnmeasurableError("the recording is silent")
    except (FSQAudioError, OSError) as error:
        lost = [Measured(math.nan, failure=str(error))] * model.num_groups
        return dict.fromkeys(todo, lost)
    return unit_edit_distances(model, samples, todo)


def _encode(model: AudioTokenizer, samples: Samples) -> list[list[int]]:
    codes = model.encode(torch.from_numpy(np.ascontiguousarray(samples))).codes[0]
    return [group.tolist() for group in codes]


def _name(change: str, group: int) -> str:
    """Under which a distance stands in the journal."""
    return f"unit_edit_distance/{change}/{group}"


def _is_known(system: ModelSystem, recording: Recording, journal: Journal) -> bool:
    known = journal.measured.get(Key(system.name, recording.id), {})
    names = [
        _name(change, group)
        for change in changes(system.model.sample_rate)
        for group in range(system.num_groups)
    ]
    # What failed is tried again: a file may have come.
    return all(name in known and known[name].failure is None for name in names)
