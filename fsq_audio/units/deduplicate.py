"""De-duplication: a run of equal frames becomes one frame and a duration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fsq_audio.errors import TokenError
from fsq_audio.units.arrays import Integers, check_codes, check_integers


@dataclass(frozen=True, eq=False)
class Deduplicated:
    """Frames without repetitions.

    Attributes:
        codes: [G, R] int64, R runs; neighbours differ in one group or more.
        durations: [R] int64, frames of each run, >= 1; their sum is the number of frames.
    """

    codes: Integers
    durations: Integers


def deduplicate(codes: ArrayLike) -> Deduplicated:
    """Joins neighbouring frames that are equal in all groups.

    Args:
        codes: [G, T] integers of 0 or more; T may be 0.

    Raises:
        TokenError: another shape, or a negative code.
    """
    codes = check_codes(codes)
    is_new = np.ones(codes.shape[1], dtype=bool)
    is_new[1:] = (codes[:, 1:] != codes[:, :-1]).any(axis=0)
    starts = np.flatnonzero(is_new)
    return Deduplicated(codes[:, starts], np.diff(starts, append=codes.shape[1]))


def duplicate(codes: ArrayLike, durations: ArrayLike) -> Integers:
    """Repeats frames; the exact inverse of `deduplicate`.

    Args:
        codes: [G, R] integers of 0 or more. Neighbours may be equal: a language model writes such.
        durations: [R], frames of each, >= 1.

    Returns:
        Codes [G, sum of durations] int64.

    Raises:
        TokenError: another shape, a negative code, or a duration below 1.
    """
    codes = check_codes(codes)
    durations = check_integers(durations, what="durations", dimensions=1)
    if len(durations) != codes.shape[1]:
        raise TokenError(f"{codes.shape[1]} frames need as many durations, got {len(durations)}")
    if (durations < 1).any():
        place = int((durations < 1).argmax())
        raise TokenError(f"durations must be >= 1, got {durations[place]} of frame {place}")
    return np.repeat(codes, durations, axis=1)
