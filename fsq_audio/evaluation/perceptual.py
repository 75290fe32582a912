"""Intelligibility and quality by published measures. A measure that fails is NaN, never a score."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from fsq_audio.errors import ConfigError


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
    try:
        import pystoi
    except ImportError:
        raise ConfigError("STOI needs pystoi: pip install 'fsq-audio[eval]'") from None
    _check_lengths(reference, degraded)
    with warnings.catch_warnings():
        # pystoi warns, and returns 1e-5, where it has too few frames: that is no score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, degraded, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError):
            return math.nan


def pesq_wideband(
    reference: NDArray[np.float32], degraded: NDArray[np.float32], *, sample_rate: int
) -> float:
    """Wide-band PESQ (ITU-T P.862.2).

    Args:
        reference: `[S]`.
        degraded: `[S]`.
        sample_rate: of both; it must be 16000.

    Returns:
        MOS-LQO, 1 to 4.64; NaN for silence or under a quarter of a second.

    Raises:
        ConfigError: pesq is not installed, another rate, or the lengths differ.
    """
    try:
        import pesq
    except ImportError:
        raise ConfigError("PESQ needs the package pesq: pip install 'fsq-audio[eval]'") from None
    _check_lengths(reference, degraded)
    if sample_rate != 16000:
        raise ConfigError(f"wide-band PESQ is defined at 16000 Hz, got {sample_rate}")
    try:
        return float(pesq.pesq(sample_rate, reference, degraded, "wb"))
    except (pesq.BufferTooShortError, pesq.NoUtterancesError):
        return math.nan


def _check_lengths(reference: NDArray[np.float32], degraded: NDArray[np.float32]) -> None:
    if reference.shape != degraded.shape:
        raise ConfigError(f"lengths differ: {reference.shape} and {degraded.shape}: align first")
