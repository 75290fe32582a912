"""Patterns: how codes [G, T] become the sequence that a language model reads, and back, exactly.

With G groups of K codes and T frames:

    parallel      [G, T]      codes as they are; a model reads and predicts G at a step
    delay         [G, T + G]  group g comes g steps later, after a first step of fill (MusicGen)
    flatten       [T G]       frame after frame: position t G + g
    coarse_first  [G T]       group after group: position g T + t

The flat ones give units in [0, G K): code k of group g is unit g K + k. In `delay`, K itself fills
the steps at which a group has no code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.arrays import Integers, check_codes, check_counts, check_integers


@dataclass(frozen=True)
class Layout:
    """Where codes stand; G is the number of groups, T of frames, L of steps.

    Attributes:
        is_flat: one sequence of units, or G rows of codes.
        length: (T, G) -> L.
        num_frames: (L, G) -> T; what is no length of any T gives another length again.
        positions: (groups [G, 1], frames [1, T]) -> step [G, T] of each code.
    """

    is_flat: bool
    length: Callable[[int, int], int]
    num_frames: Callable[[int, int], int]
    positions: Callable[[Integers, Integers], Integers]


_REGISTRY: dict[str, Layout] = {}


def register_pattern(name: str, layout: Layout) -> None:
    """Makes a pattern known to `Pattern`.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _REGISTRY:
        raise ConfigError(f"pattern name {name!r} is taken: register it under another")
    _REGISTRY[name] = layout


def pattern_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_REGISTRY)


register_pattern(
    "parallel",
    Layout(
        is_flat=False,
        length=lambda frames, groups: frames,
        num_frames=lambda length, groups: length,
        positions=lambda groups, frames: frames + 0 * groups,
    ),
)
register_pattern(
    "delay",
    Layout(
        is_flat=False,
        length=lambda frames, groups: frames + groups,
        num_frames=lambda length, groups: max(length - groups, 0),
        positions=lambda groups, frames: 1 + frames + groups,
    ),
)
register_pattern(
    "flatten",
    Layout(
        is_flat=True,
        length=lambda frames, groups: frames * groups,
        num_frames=lambda length, groups: length // groups,
        positions=lambda groups, frames: frames * len(groups) + groups,
    ),
)
register_pattern(
    "coarse_first",
    Layout(
        is_flat=True,
        length=lambda frames, groups: frames * groups,
        num_frames=lambda length, groups: length // groups,
        positions=lambda groups, frames: groups * frames.size + frames,
    ),
)


@dataclass(frozen=True)
class Pattern:
    """A pattern for codes of G groups in [0, K).

    Attributes:
        name: out of `pattern_names()`.
        num_groups: G.
        codebook_size: K; G K must fit int64.
    """

    name: str
    num_groups: int
    codebook_size: int

    def __post_init__(self) -> None:
        if self.name not in _REGISTRY:
            raise ConfigError(f"unknown pattern {self.name!r}: choose from {pattern_names()}")
        check_counts(num_groups=self.num_groups, codebook_size=self.codebook_size)

    @property
    def is_flat(self) -> bool:
        """Whether it gives one sequence of units [L]; else G rows of codes [G, L]."""
        return self._layout.is_flat

    @property
    def vocabulary_size(self) -> int:
        """Values that a step can take: of the sequence, or of each row with its fill."""
        if self.is_flat:
            return self.num_groups * self.codebook_size
        return self.codebook_size + (self.length(0) > 0)

    @property
    def fill(self) -> int:
        """What stands in a row where it has no code: K."""
        return self.codebook_size

    def length(self, num_frames: int) -> int:
        """Steps L of a recording of T frames."""
        return self._layout.length(num_frames, self.num_groups)

    def num_frames(self, length: int) -> int:
        """Frames T of L steps.

        Raises:
            TokenError: no number of frames has L steps.
        """
        frames = self._layout.num_frames(length, self.num_groups)
        if self.length(frames) != length:
            raise TokenError(
                f"{length} steps are of no recording in the pattern {self.name!r} of "
                f"{self.num_groups} groups: {frames} frames have {self.length(frames)}, "
                f"{frames + 1} have {self.length(frames + 1)}"
            )
        return frames

    def positions(self, num_frames: int) -> Integers:
        """The step of each code, [G, T]; in rows, group g stands in row g."""
        groups = np.arange(self.num_groups, dtype=np.int64)[:, None]
        frames = np.arange(num_frames, dtype=np.int64)[None, :]
        return self._layout.positions(groups, frames)

    def frames(self, num_frames: int) -> Integers:
        """The frame of each step, [L] or [G, L]; -1 where a row has no code."""
        frames = np.arange(num_frames, dtype=np.int64)
        return self._place(np.broadcast_to(frames, (self.num_groups, num_frames)), empty=-1)

    def apply(self, codes: ArrayLike) -> Integers:
        """Arranges codes.

        Args:
            codes: [G, T] integers in [0, K); T may be 0.

        Returns:
            int64: units [L] in [0, G K) of a flat pattern; else rows [G, L] in [0, K].

        Raises:
            TokenError: another shape or number of groups, or a code out of range.
        """
        codes = check_codes(codes, num_groups=self.num_groups, codebook_size=self.codebook_size)
        return self._place(codes + self._offsets, empty=self.fill)

    def invert(self, units: ArrayLike) -> Integers:
        """Puts codes back in order; the exact inverse of `apply`.

        Args:
            units: [L] of a flat pattern, else rows [G, L].

        Returns:
            Codes [G, T] int64 in [0, K).

        Raises:
            TokenError: another shape, a length that no recording has, or something that cannot
                stand where it does; the message has the place.
        """
        what = f"what the pattern {self.name!r} gave"
        array = check_integers(units, what=what, dimensions=1 if self.is_flat else 2)
        if not self.is_flat and len(array) != self.num_groups:
            raise TokenError(f"{what} must have {self.num_groups} rows, got {len(array)}")
        positions = self.positions(self.num_frames(array.shape[-1]))
        found = array[positions] if self.is_flat else np.take_along_axis(array, positions, axis=1)
        codes = found - self._offsets
        wrong = (codes < 0) | (codes >= self.codebook_size)
        if wrong.any():
            group, frame = (int(index) for index in np.argwhere(wrong)[0])
            low = int(self._offsets[group, 0])
            raise TokenError(
                f"group {group} of frame {frame} must be in [{low}, {low + self.codebook_size}), "
                f"got {found[group, frame]} at step {positions[group, frame]}: the sequence is not "
                f"in the pattern {self.name!r}, or was cut"
            )
        wrong = self._place(codes + self._offsets, empty=self.fill) != array
        if wrong.any():
            row, step = (int(index) for index in np.argwhere(wrong)[0])
            raise TokenError(
                f"row {row} has no code at step {step}: {self.fill} must stand there, "
                f"got {array[row, step]}"
            )
        return codes

    @property
    def _layout(self) -> Layout:
        return _REGISTRY[self.name]

    @property
    def _offsets(self) -> Integers:
        """[G, 1], the unit of each group's code 0."""
        groups = np.arange(self.num_groups, dtype=np.int64)[:, None]
        return groups * self.codebook_size if self.is_flat else 0 * groups

    def _place(self, values: Integers, *, empty: int) -> Integers:
        """Values [G, T] where their codes stand: [L] or [G, L]."""
        num_frames = values.shape[1]
        rows = () if self.is_flat else (self.num_groups,)
        placed = np.full((*rows, self.length(num_frames)), empty, dtype=np.int64)
        positions = self.positions(num_frames)
        if self.is_flat:
            placed[positions] = values
        else:
            np.put_along_axis(placed, positions, values, axis=1)
        return placed
