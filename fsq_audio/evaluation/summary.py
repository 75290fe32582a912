"""A measure over many recordings: its mean, how sure that is, and how often it failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """A measure over n recordings.

    Attributes:
        mean: over the recordings that have a value, with the weights if any; NaN if none has.
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


def summarize(
    values: Sequence[float], *, weights: Sequence[float] | None = None, seed: int = 0
) -> Summary:
    """Mean and percentile bootstrap interval (Efron 1979) of the values that are not NaN.

    Recordings are drawn, each with its weight: the mean of shares of errors, weighted by what they
    are shares of, is all errors divided by all words, in the set and in each draw.

    Args:
        values: one for each recording; NaN where the measure failed.
        weights: one for each value, not 0; None for equal ones.
        seed: of the resampling.

    Returns:
        The summary; with no values at all, its mean and interval are NaN.
    """
    every = np.array(values, dtype=np.float64)
    is_there = ~np.isnan(every)
    kept = every[is_there]
    num_failed = len(every) - len(kept)
    if len(kept) == 0:
        return Summary(math.nan, math.nan, math.nan, 0, num_failed)
    draws = np.random.default_rng(seed).integers(len(kept), size=(NUM_RESAMPLES, len(kept)))
    if weights is None:
        mean, means = kept.mean(), kept[draws].mean(axis=1)
    else:
        parts = np.array(weights, dtype=np.float64)[is_there]
        mean = np.average(kept, weights=parts)
        means = np.average(kept[draws], weights=parts[draws], axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Summary(float(mean), float(low), float(high), len(kept), num_failed)


def to_json(summary: Summary) -> dict[str, Any]:
    """A summary as it stands in `summary.json`; what is NaN is null.

    Args:
        summary: of any measure.
    """
    return {
        "mean": or_none(summary.mean),
        "low": or_none(summary.low),
        "high": or_none(summary.high),
        "n": summary.num_values,
        "n_failed": summary.num_failed,
    }


def or_none(value: float) -> float | None:
    """A number that JSON has; NaN is None."""
    return None if math.isnan(value) else value
