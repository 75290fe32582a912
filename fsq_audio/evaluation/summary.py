"""A measure over many recordings: its mean, how sure that is, and how often it failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """A measure over n recordings.

    Attributes:
        mean: over the recordings that have a value; NaN if none has.
        low: lower end of the 95 % bootstrap interval of the mean.
        high: its upper end.
        num_values: recordings with a value.
        num_failed: recordings without, where the measure is NaN.
    """

    mean: float
    low: float
    high: float
    num_values: int
    num_failed: int

    def __str__(self) -> str:
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.num_values}{failed})"


def summarize(values: Sequence[float], *, seed: int = 0) -> Summary:
    """Mean and percentile bootstrap interval (Efron 1979) of the values that are not NaN.

    Args:
        values: one for each recording; NaN where the measure failed.
        seed: of the resampling.

    Returns:
        The summary; with no values at all, its mean and interval are NaN.
    """
    kept = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    num_failed = len(values) - len(kept)
    if len(kept) == 0:
        return Summary(math.nan, math.nan, math.nan, 0, num_failed)
    draws = np.random.default_rng(seed).integers(len(kept), size=(NUM_RESAMPLES, len(kept)))
    low, high = np.percentile(kept[draws].mean(axis=1), [2.5, 97.5])
    return Summary(float(kept.mean()), float(low), float(high), len(kept), num_failed)
