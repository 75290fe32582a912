"""Arrays of codes and of units, checked: any integers in, int64 out."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsq_audio.errors import ConfigError, TokenError

Integers: TypeAlias = NDArray[np.int64]
MOST = 2**63 - 1  # units are int64


def check_integers(values: ArrayLike, *, what: str, dimensions: int) -> Integers:
    """Any array of integers as int64.

    Args:
        values: the array; an empty list counts as integers.
        what: its name in the message.
        dimensions: that it must have.

    Raises:
        TokenError: another number of dimensions, no integers, or integers beyond int64.
    """
    array = np.asarray(values)
    if array.size == 0 and array.dtype == np.float64:
        array = array.astype(np.int64)  # what NumPy makes of an empty list
    if array.ndim != dimensions or array.dtype.kind not in "iu":
        raise TokenError(
            f"{what} must be integers of {dimensions} dimension{'s' if dimensions > 1 else ''}, "
            f"got {array.dtype} {list(array.shape)}"
        )
    if array.dtype == np.uint64 and array.size and int(array.max()) > MOST:
        raise TokenError(f"{what} must fit int64, got {int(array.max())}")
    return array.astype(np.int64)


def check_codes(
    codes: ArrayLike, *, num_groups: int | None = None, codebook_size: int | None = None
) -> Integers:
    """Codes [G, T] as int64.

    Args:
        codes: the array; T may be 0.
        num_groups: G that is expected; None for any from 1.
        codebook_size: K; codes must lie in [0, K). None for any from 0.

    Raises:
        TokenError: another shape, no integers, or a code out of range; the message has the place.
    """
    array = check_integers(codes, what="codes [G, T]", dimensions=2)
    if num_groups is not None and len(array) != num_groups:
        raise TokenError(f"codes must be of {num_groups} groups, got {len(array)}")
    if len(array) == 0:
        raise TokenError("codes must be of one group or more, got none")
    wrong = array < 0
    if codebook_size is not None:
        wrong |= array >= codebook_size
    if wrong.any():
        group, frame = (int(index) for index in np.argwhere(wrong)[0])
        expected = f"in [0, {codebook_size})" if codebook_size is not None else "0 or more"
        raise TokenError(
            f"codes must be {expected}, got {array[group, frame]} in group {group}, frame {frame}"
        )
    return array


def check_range(values: ArrayLike, *, what: str, stop: int, first: int = 0) -> Integers:
    """Integers [L] in [first, stop) as int64.

    Raises:
        TokenError: another shape, no integers, or a value out of range; the message has the place.
    """
    array = check_integers(values, what=f"{what}s", dimensions=1)
    wrong = (array < first) | (array >= stop)
    if wrong.any():
        place = int(wrong.argmax())
        raise TokenError(
            f"{what}s must be in [{first}, {stop}), got {array[place]} at position {place}"
        )
    return array


def check_counts(*, num_groups: int, codebook_size: int) -> None:
    """Refuses G and K of which units would not fit int64.

    Raises:
        ConfigError: one of them is not a positive integer, or G K is too large.
    """
    for name, value in (("num_groups", num_groups), ("codebook_size", codebook_size)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} must be a positive integer, got {value!r}")
    if num_groups * codebook_size > MOST:
        raise ConfigError(
            f"{num_groups} groups of {codebook_size} codes are more units than int64 can number: "
            f"keep fewer groups"
        )
