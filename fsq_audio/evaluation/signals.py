"""Distances between waveforms and between spectra."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from fsq_audio.evaluation.align import CLEAR, correlate
from fsq_audio.evaluation.metric import SAMPLE_RATE, Metric, NotApplicableError, Pair, Samples
from fsq_audio.evaluation.metric import UnmeasurableError as Unmeasurable
from fsq_audio.filters import mel_filters

SCALES = ((320, 20), (512, 40), (1024, 80), (2048, 80))
"""Window in samples (the hop is a quarter of it) and mel bands of each scale."""

FLOOR = 1e-10
"""100 dB under the power of a full-scale sine: quieter is silence."""

MAX_DELAY = SAMPLE_RATE // 4
"""Samples either way in which a delay is looked for."""


def mel_distance(pair: Pair) -> float:
    """Mean absolute difference of log-mel magnitudes, mean over scales, in units of log10.

    The distance of Kumar et al. 2023, section 3.4, on four scales: a factor of ten is 1.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: shorter than the longest window, or silent.
    """
    return _spectral_distance(pair, in_bands=True)


def stft_distance(pair: Pair) -> float:
    """The same on the bins of the spectra instead of mel bands.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: shorter than the longest window, or silent.
    """
    return _spectral_distance(pair, in_bands=False)


def si_sdr(pair: Pair) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), means removed.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: one of them is silent.
        NotApplicableError: no distortion at all, where the ratio is infinite.
    """
    pair.check_audible()
    reference = pair.reference.samples.astype(np.float64)
    degraded = pair.degraded.samples.astype(np.float64)
    reference, degraded = reference - reference.mean(), degraded - degraded.mean()
    target = reference * (degraded @ reference) / (reference @ reference)
    error = float(np.sum((degraded - target) ** 2))
    # Under the rounding of float32 samples nothing can be said of a distortion.
    if error <= 1e-14 * float(degraded @ degraded):
        raise NotApplicableError("infinite: equal up to a gain")
    if not target.any():
        raise Unmeasurable("minus infinity: nothing of the reference is left")
    return 10 * math.log10(float(target @ target) / error)


def delay(pair: Pair) -> float:
    """Samples by which the degraded recording is late, by cross-correlation of the waveforms.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: one of them is silent, or the waveforms have too little in common, as
            those of a vocoder: the best of many weak correlations is no delay.
    """
    pair.check_audible()
    found = correlate(pair.reference.samples, pair.degraded.samples, max_delay=MAX_DELAY)
    if not found.is_clear:
        raise Unmeasurable(f"no delay can be told: at none do the waveforms correlate by {CLEAR}")
    return float(found.delay)


def _spectral_distance(pair: Pair, *, in_bands: bool) -> float:
    pair.check_audible()
    if len(pair.reference.samples) < max(length for length, _ in SCALES):
        raise Unmeasurable(f"shorter than {max(length for length, _ in SCALES)} samples")
    log_spectra = _log_bands if in_bands else _log_bins
    spectra = [voice.once(log_spectra, log_spectra) for voice in (pair.reference, pair.degraded)]
    differences: list[float] = [(a - b).abs().mean().item() for a, b in zip(*spectra, strict=True)]
    return sum(differences) / len(differences)


def _log_bins(samples: Samples) -> list[Tensor]:
    """Log magnitudes of each scale: `[frames, bins]`."""
    return [0.5 * torch.log10(_power(samples, length) + FLOOR) for length, _ in SCALES]


def _log_bands(samples: Samples) -> list[Tensor]:
    """Log magnitudes of each scale: `[frames, bands]`."""
    return [
        0.5 * torch.log10(_power(samples, length) @ _filters(length, num_bands) + FLOOR)
        for length, num_bands in SCALES
    ]


def _power(samples: Samples, length: int) -> Tensor:
    window = torch.hann_window(length)
    frames = torch.from_numpy(samples).unfold(-1, length, length // 4)
    power: Tensor = torch.fft.rfft(frames * (window * (2 / window.sum()))).abs().square()
    return power


@functools.cache
def _filters(length: int, num_bands: int) -> Tensor:
    return mel_filters(sample_rate=SAMPLE_RATE, window_length=length, bands=num_bands).T


METRICS = (
    Metric("mel_distance", mel_distance, False, "log10", "signal"),
    Metric("stft_distance", stft_distance, False, "log10", "signal"),
    Metric("si_sdr", si_sdr, True, "dB", "signal", versa="si_snr"),
    Metric("delay", delay, None, "samples", "signal"),
)
