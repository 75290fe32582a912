"""Intelligibility and quality by published measures. A measure that fails is NaN, never a score."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.metric import SAMPLE_RATE, Metric, Pair, Samples, Voice
from fsq_audio.evaluation.metric import UnmeasurableError as Unmeasurable


def stoi(
    reference: NDArray[np.float32],
    degraded: NDArray[np.float32],
    *,
    sample_rate: int,
    extended: bool = False,
) -> float:
    """Short-time objective intelligibility (Taal et al. 2011; extended: Jensen and Taal 2016).

    Args:
        reference: `[S]`.
        degraded: `[S]`, aligned.
        sample_rate: of both.
        extended: ESTOI.

    Returns:
        A correlation, at most 1; NaN where there is too little speech (under 0.4 s).

    Raises:
        ConfigError: pystoi is not installed, or the lengths differ.
    """
    if reference.shape != degraded.shape:
        raise ConfigError(f"lengths differ: {reference.shape} and {degraded.shape}: align first")
    try:
        return _stoi(reference, degraded, sample_rate, extended)
    except ImportError:
        raise ConfigError("STOI needs pystoi: pip install 'fsq-audio[eval]'") from None
    except Unmeasurable:
        return math.nan


def _stoi(reference: Samples, degraded: Samples, sample_rate: int, extended: bool) -> float:
    import pystoi

    with warnings.catch_warnings():
        # pystoi warns, and returns 1e-5, where it has too few frames: that is no score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, degraded, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError):
            raise Unmeasurable("under 0.4 s of speech") from None


def _pesq(reference: Samples, degraded: Samples, sample_rate: int, mode: str) -> float:
    import pesq

    try:
        return float(pesq.pesq(sample_rate, reference, degraded, mode))
    except pesq.BufferTooShortError:
        raise Unmeasurable("under a quarter of a second") from None
    except pesq.NoUtterancesError:
        raise Unmeasurable("no utterance is found") from None


def _measure_pesq(pair: Pair, *, wide: bool) -> float:
    pair.check_audible()
    if wide:
        return _pesq(pair.reference.samples, pair.degraded.samples, SAMPLE_RATE, "wb")
    # Narrow band is what a telephone passes: 8 kHz.
    return _pesq(_at_8_khz(pair.reference), _at_8_khz(pair.degraded), 8000, "nb")


def _at_8_khz(voice: Voice) -> Samples:
    import soxr

    return voice.once("8 kHz", lambda samples: soxr.resample(samples, SAMPLE_RATE, 8000))


def _measure_stoi(pair: Pair, *, extended: bool) -> float:
    pair.check_audible()
    return _stoi(pair.reference.samples, pair.degraded.samples, SAMPLE_RATE, extended)


def visqol(pair: Pair) -> float:
    """ViSQOL v3 in speech mode (Chinen et al. 2020) with the lattice mapping, MOS-LQO 1 to 5.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: under half a second, silent, or hardly any speech.
    """
    pair.check_audible()
    if len(pair.reference.samples) < SAMPLE_RATE // 2:
        raise Unmeasurable("under half a second")
    try:
        result = _visqol().measure_from_arrays(
            pair.reference.samples.astype(np.float64),
            pair.degraded.samples.astype(np.float64),
            sample_rate=SAMPLE_RATE,
        )
    except IndexError:  # no patch of the reference passes its voice activity detector
        raise Unmeasurable("no stretch of speech that is long enough") from None
    return float(result.moslqo)


@functools.cache
def _visqol() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    # Without the lattice it would fall back to a mapping that is 1 to 2 MOS too high.
    api.create(mode="speech", use_lattice_model=True)
    return api


METRICS = (
    Metric("pesq_wb", functools.partial(_measure_pesq, wide=True), True, "MOS-LQO",
           "perceptual", ("pesq",), versa="pesq"),
    Metric("pesq_nb", functools.partial(_measure_pesq, wide=False), True, "MOS-LQO",
           "perceptual", ("pesq",)),
    Metric("stoi", functools.partial(_measure_stoi, extended=False), True, "",
           "perceptual", ("pystoi",), versa="stoi"),
    Metric("estoi", functools.partial(_measure_stoi, extended=True), True, "",
           "perceptual", ("pystoi",), versa="estoi"),
    Metric("visqol", visqol, True, "MOS-LQO",
           "perceptual", ("visqol", "ai_edge_litert"), versa="visqol"),
)  # fmt: skip
