"""Units and time: the samples that each unit is of, in integers, and the units at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.arrays import Integers, check_integers
from fsq_audio.units.patterns import Pattern


@dataclass(frozen=True, eq=False)
class Alignment:
    """The samples that units are of.

    Begin with `of_frames`, and go the way that the codes went: `merged(durations)` after
    de-duplication, `through(pattern)` after a pattern, `merged(counts)` after BPE.

    Attributes:
        starts: [L], or [G, L] of a pattern of rows, int64: the first sample of each unit; -1 where
            there is no code.
        stops: the same shape: the sample after its last; -1 where there is no code.
        sample_rate: samples per second.
    """

    starts: Integers
    stops: Integers
    sample_rate: int

    @classmethod
    def of_frames(cls, num_samples: int, *, hop_length: int, sample_rate: int) -> Alignment:
        """Frames of a recording: [T], T = ceil(num_samples / hop_length).

        Args:
            num_samples: of the recording at `sample_rate`; where the last frame ends.
            hop_length: samples per frame.
            sample_rate: samples per second.

        Raises:
            ConfigError: one of them is negative, or no integer, or a rate or hop of 0.
        """
        for name, value, lowest in (
            ("num_samples", num_samples, 0),
            ("hop_length", hop_length, 1),
            ("sample_rate", sample_rate, 1),
        ):
            if type(value) is not int or value < lowest:
                raise ConfigError(f"{name} must be an integer of {lowest} or more, got {value!r}")
        starts = np.arange(0, num_samples, hop_length, dtype=np.int64)
        return cls(starts, np.minimum(starts + hop_length, num_samples), sample_rate)

    def merged(self, counts: ArrayLike) -> Alignment:
        """Joins neighbours: `counts[i]` of them, one after the other, become unit i.

        Args:
            counts: [R] >= 1, in all as many as there are units: durations of a de-duplication, or
                units of each BPE token.

        Raises:
            TokenError: counts that do not fit, or units in rows.
        """
        counts = check_integers(counts, what="counts", dimensions=1)
        if self.starts.ndim != 1:
            raise TokenError("units in rows cannot be merged: merge frames before the pattern")
        if (counts < 1).any() or int(counts.sum()) != len(self.starts):
            raise TokenError(
                f"counts must be >= 1 and add up to {len(self.starts)} units, "
                f"got {int(counts.sum())}"
            )
        if len(counts) == 0:
            return self
        firsts = np.cumsum(counts) - counts
        starts = np.minimum.reduceat(self.starts, firsts)
        return Alignment(starts, np.maximum.reduceat(self.stops, firsts), self.sample_rate)

    def through(self, pattern: Pattern) -> Alignment:
        """The units that a pattern makes of these frames.

        Raises:
            TokenError: these are units in rows.
        """
        if self.starts.ndim != 1:
            raise TokenError("a pattern has been applied already")
        frames = pattern.frames(len(self.starts))
        is_code = frames >= 0
        starts, stops = np.full_like(frames, -1), np.full_like(frames, -1)
        starts[is_code] = self.starts[frames[is_code]]
        stops[is_code] = self.stops[frames[is_code]]
        return Alignment(starts, stops, self.sample_rate)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """[..., 2], start and stop of each unit; NaN where there is no code."""
        samples = np.stack([self.starts, self.stops], axis=-1)
        return np.where(samples < 0, np.nan, samples / self.sample_rate)

    def at_sample(self, sample: int) -> Integers:
        """The units that a sample belongs to, [N]; [N, 2] with their rows, of a pattern of rows."""
        is_in = (self.starts <= sample) & (sample < self.stops)
        places = np.argwhere(is_in).astype(np.int64)
        return places[:, 0] if self.starts.ndim == 1 else places

    def at_second(self, second: float) -> Integers:
        """The units at a time, as `at_sample` gives them; the nearest sample counts."""
        return self.at_sample(round(second * self.sample_rate))
