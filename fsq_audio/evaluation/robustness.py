"""Whether tokens stay what they are when the recording changes in ways that nobody hears."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import soundfile
import torch

from fsq_audio.evaluation.align import correlate, take_out
from fsq_audio.evaluation.metric import SAMPLE_RATE, Samples
from fsq_audio.tokenizer import AudioTokenizer

SHIFT = 5
"""Samples."""
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
"""Hz that it knows."""
NOISE_DB = -30.0
"""Of white noise, relative to the recording's power."""


def unit_edit_distance(
    model: AudioTokenizer, samples: Samples, change: Callable[[Samples], Samples]
) -> list[float]:
    """Edits between the codes before and after a change, divided by the codes before.

    The unit edit distance of Gat et al. 2023, for each group, without removing repetitions.

    Args:
        model: the tokenizer.
        samples: `[S]` at the model's sample rate.
        change: of the samples.

    Returns:
        One for each group, 0 or more.
    """
    from rapidfuzz.distance import Levenshtein

    codes = [
        model.encode(torch.from_numpy(np.ascontiguousarray(each))).codes[0].tolist()
        for each in (samples, change(samples))
    ]
    return [
        Levenshtein.distance(before, after) / len(before)
        for before, after in zip(*codes, strict=True)
    ]


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
    delay = correlate(samples, result, max_delay=SAMPLE_RATE // 5).delay
    return np.clip(take_out(result, delay=delay, length=len(samples)), -1, 1)


def mean_distances(model: AudioTokenizer, recordings: list[Samples]) -> dict[str, list[float]]:
    """Unit edit distance of each change and group, mean over recordings.

    Args:
        model: the tokenizer.
        recordings: `[S]` each, at the model's sample rate.
    """
    return {
        name: np.mean(
            [unit_edit_distance(model, samples, change) for samples in recordings], axis=0
        ).tolist()
        for name, change in changes(model.sample_rate).items()
    }
