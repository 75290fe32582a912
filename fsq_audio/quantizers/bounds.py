"""The conventions of FSQ: how scalars are bounded to a grid of levels, and which are sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fsq_audio.errors import ConfigError

Bound = Literal["paper", "note", "symmetric", "ifsq"]

BOUNDS: tuple[str, ...] = get_args(Bound)
EPS = 1e-3  # of the paper's code: keeps the bound just inside the outermost half steps
MAX_LEVELS_PAPER = 1000  # beyond, EPS * (L - 1) >= 1 and the outermost codes are out of reach
MAX_LEVELS = 2**16  # beyond, float32 resolves tanh too coarsely for the levels near its ends


@dataclass(frozen=True)
class Grid:
    """One convention in numbers, each [D, 1]: bounded = tanh(slope z + shift) half - offset.

    Attributes:
        slope: factor before the tanh, one for all dimensions.
        shift: added before the tanh.
        half: steps between the middle and the ends of the bound.
        offset: subtracted, so that an even number of levels meets the integers.
        center: the digit, perhaps between two digits, whose value is 0; so it is also the steps
            between the value 0 and the lowest, -1.
        lift: from a bounded scalar to its digit: added before rounding down (symmetric) or after
            rounding to nearest (the others).
    """

    slope: float
    shift: Tensor
    half: Tensor
    offset: Tensor
    center: Tensor
    lift: Tensor


def effective_levels(levels: Sequence[int], bound: Bound) -> tuple[int, ...]:
    """How many values each dimension really takes: L, but 2 floor(L/2) + 1 under the note."""
    return tuple(2 * (num // 2) + 1 if bound == "note" else num for num in levels)


def make_grid(
    levels: Sequence[int], bound: Bound, *, device: torch.device, dtype: torch.dtype
) -> Grid:
    """Computes the grid in float64 and rounds it to `dtype`."""
    shrink = 1 - EPS if bound == "paper" else 1.0
    sizes = effective_levels(levels, bound)
    half = [(size - 1) * shrink / 2 for size in sizes]
    is_shifted = [bound == "paper" and size % 2 == 0 for size in sizes]
    offset = [0.5 if shifted else 0.0 for shifted in is_shifted]
    # tan and not atanh: the paper's code, and with it the published grids.
    shift = [math.tan(off / scale) for off, scale in zip(offset, half, strict=True)]
    symmetric = bound == "symmetric"
    middle = [(size - 1) / 2 if symmetric else float(size // 2) for size in sizes]
    lift = [size / 2 if symmetric else float(size // 2) for size in sizes]

    def column(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64).to(device, dtype)[:, None]

    return Grid(
        slope=0.8 if bound == "ifsq" else 1.0,
        shift=column(shift),
        half=column(half),
        offset=column(offset),
        center=column(middle),
        lift=column(lift),
    )


def check_options(levels: Sequence[int], bound: Bound, noise: float) -> None:
    """Refuses options that make no sound grid.

    Raises:
        ConfigError: naming every fault.
    """
    faults: list[str] = []
    if bound not in BOUNDS:
        faults.append(f"bound must be one of {list(BOUNDS)}, got {bound!r}")
    if not 0.0 <= noise <= 2 / 3:
        faults.append(f"noise must lie in [0, 2/3], got {noise}")
    if len(levels) == 0:
        faults.append("levels must name at least one dimension, got none")
    most = MAX_LEVELS_PAPER if bound == "paper" else MAX_LEVELS
    if any(type(num) is not int or not 2 <= num <= most for num in levels):
        faults.append(f"levels must be integers in [2, {most}] for {bound!r}, got {list(levels)}")
    elif bound == "paper" and 2 in levels:
        faults.append("2 levels leave the paper's bound one-sided: use bound 'symmetric'")
    elif bound == "ifsq" and any(num % 2 == 0 for num in levels):
        faults.append(f"bound 'ifsq' takes odd levels only, got {list(levels)}")
    else:
        size = math.prod(effective_levels(levels, bound))
        if size >= 2**63:
            faults.append(f"levels make {size} codes and int64 holds fewer than 2^63: use groups")
    if faults:
        raise ConfigError("FSQ cannot be built: " + "; ".join(faults))
