"""Delays between two recordings: found, and taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fsq_audio.evaluation.metric import SAMPLE_RATE, Samples

SMOOTHING = SAMPLE_RATE // 100
"""Samples over which an envelope is averaged: 10 ms."""

CLEAR = 0.6
"""Correlation from which on a delay is one. Unrelated speech reached 0.57 at some delay in clips of
0.1 s, 0.23 in clips of 1 s, and vocoded speech 0.21; Opus at 6 kbit/s had 0.77 at least
(`tests/test_evaluation_metrics.py`). White noise of the recording's own power leaves 0.71."""

LONGEST_CODEC_DELAY = SAMPLE_RATE // 10
"""Samples in which a codec's delay is looked for: none here is later than 100 ms."""


@dataclass(frozen=True)
class Delay:
    """Where one recording fits another best.

    Attributes:
        delay: samples by which the degraded one is late; negative if it is early.
        correlation: there, from -1 to 1.
    """

    delay: int
    correlation: float

    @property
    def is_clear(self) -> bool:
        """Whether two recordings of one thing are seen, and not the best of chance."""
        return self.correlation >= CLEAR


def correlate(reference: Samples, degraded: Samples, *, max_delay: int) -> Delay:
    """The delay at which the cross-correlation is largest.

    Args:
        reference: `[S]`.
        degraded: `[S']`.
        max_delay: samples either way in which it is looked for.

    Returns:
        The delay; 0 with correlation 0 where one of the two is all zeros.
    """
    scale = float(np.sqrt(np.sum(reference**2, dtype=np.float64)))
    scale *= float(np.sqrt(np.sum(degraded**2, dtype=np.float64)))
    if scale == 0:
        return Delay(0, 0.0)
    size = 1 << (len(reference) + len(degraded)).bit_length()
    spectrum = np.conj(np.fft.rfft(reference, size)) * np.fft.rfft(degraded, size)
    products = np.fft.irfft(spectrum, size)
    reach = min(max_delay, size // 2 - 1)
    around = np.concatenate([products[-reach:] if reach else products[:0], products[: reach + 1]])
    best = int(np.argmax(around))
    return Delay(best - reach, float(around[best]) / scale)


def envelope(samples: Samples) -> Samples:
    """How loud it is around each sample, its mean removed: for codecs that keep no waveform.

    Args:
        samples: `[S]`.
    """
    loud = np.convolve(np.abs(samples), np.ones(SMOOTHING, np.float32) / SMOOTHING, mode="same")
    centred: Samples = (loud[: len(samples)] - loud.mean()).astype(np.float32)
    return centred


def take_out(samples: Samples, *, delay: int, length: int) -> Samples:
    """A recording moved to where it belongs, with zeros where nothing is known.

    Args:
        samples: `[S]`.
        delay: samples by which it is late.
        length: samples wanted.

    Returns:
        `[length]`.
    """
    moved = samples[delay:] if delay >= 0 else np.pad(samples, (-delay, 0))
    moved = moved[:length]
    return np.pad(moved, (0, length - len(moved))).astype(np.float32)
