"""One recording's codes and what is known of it; and the model that all codes of a store belong to.

Shapes: G groups, T frames, codes in [0, K) where K is the codebook size.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsq_audio.errors import TokenError
from fsq_audio.tokens import TokenFormat

INFO_VERSION = 1
_HIGHEST_CODEBOOK_SIZE = 2**31  # no format of units holds larger codes than int32


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitItem:
    """One recording's codes and what is known of it.

    Attributes:
        id: Its name, unlike that of any other item; "/" and dots may be in it.
        codes: [G, T] integer in [0, K). T may be 0.
        num_samples: Of the recording, at `sampling_rate`.
        sampling_rate: The model's, in Hz.
        audio_path: Where the audio is.
        text: The transcript.
        speaker_id: Who speaks.
        chapter_id: What the recording is a part of.
    """

    id: str
    codes: NDArray[Any]
    num_samples: int
    sampling_rate: int
    audio_path: str | None = None
    text: str | None = None
    speaker_id: str | None = None
    chapter_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("id", "audio_path", "text", "speaker_id", "chapter_id"):
            _check_text(name, getattr(self, name), needed=name == "id")
        codes = self.codes
        if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iu" or codes.ndim != 2:
            found = f"{codes.dtype} {list(codes.shape)}" if isinstance(codes, np.ndarray) else codes
            raise TokenError(f"{self.id!r}: codes must be an integer array [G, T], not {found}")
        if type(self.num_samples) is not int or self.num_samples < 0:
            raise TokenError(
                f"{self.id!r}: num_samples must be an integer >= 0, not {self.num_samples!r}"
            )

    @property
    def num_frames(self) -> int:
        """Frames T."""
        return int(self.codes.shape[1])

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sampling_rate

    def __eq__(self, other: object) -> bool:
        """Whether codes, whatever their integer type, and all else are the same."""
        return isinstance(other, UnitItem) and all(
            np.array_equal(self.codes, other.codes)
            if each.name == "codes"
            else getattr(self, each.name) == getattr(other, each.name)
            for each in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """The model that all items of a store belong to.

    Attributes:
        fingerprint: Name of exactly one configuration with exactly one set of weights.
        sample_rate: Samples per second of its waveforms.
        hop_length: Samples per frame.
        num_groups: Groups G that are kept of each frame.
        codebook_size: Values K that a code can take.
        quantizer: Its quantizer's description, as in `TokenFormat`.
    """

    fingerprint: str
    sample_rate: int
    hop_length: int
    num_groups: int
    codebook_size: int
    quantizer: dict[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        assert self.format  # which checks the values that both have
        if type(self.num_groups) is not int or self.num_groups < 1:
            raise TokenError(f"num_groups must be an integer >= 1, not {self.num_groups!r}")
        if self.codebook_size > _HIGHEST_CODEBOOK_SIZE:
            raise TokenError(
                f"units are kept as int32 at most: a codebook of {self.codebook_size} codes is "
                f"too large"
            )

    @classmethod
    def from_format(cls, tokens_format: TokenFormat, num_groups: int) -> StoreInfo:
        """The info of a store of a model's codes.

        Args:
            tokens_format: The model's.
            num_groups: Groups that are kept.
        """
        return cls(**asdict(tokens_format), num_groups=num_groups)

    @property
    def format(self) -> TokenFormat:
        """What decoding needs."""
        values = {each.name: getattr(self, each.name) for each in fields(TokenFormat)}
        return TokenFormat(**values)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def to_json(self) -> str:
        """One line of JSON; equal infos give equal text."""
        values = {"version": INFO_VERSION, **asdict(self)}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> StoreInfo:
        """Undoes `to_json`.

        Raises:
            TokenError: The text is something else, or of a later version.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or "version" not in values:
            raise TokenError("the description of the model that made the units cannot be read")
        version = values.pop("version")
        if version != INFO_VERSION:
            raise TokenError(
                f"the units are described in version {version}; this release reads version "
                f"{INFO_VERSION}: upgrade fsq_audio"
            )
        names = {each.name for each in fields(cls)}
        if set(values) != names:
            raise TokenError(
                f"the description of the model must have {', '.join(sorted(names))}, "
                f"not {', '.join(sorted(values))}"
            )
        return cls(**values)

    def check_item(self, item: UnitItem) -> None:
        """Makes sure that an item can be of this model.

        Args:
            item: The item.

        Raises:
            TokenError: Its groups, codes, sampling rate or length are not.
        """
        groups, num_frames = item.codes.shape
        expected = -(-item.num_samples // self.hop_length)
        if groups != self.num_groups:
            fault = f"{groups} groups of codes, not {self.num_groups}"
        elif item.sampling_rate != self.sample_rate:
            fault = (
                f"a sampling rate of {item.sampling_rate} Hz, not the model's {self.sample_rate}"
            )
        elif num_frames != expected:
            fault = f"{num_frames} frames, but {item.num_samples} samples make {expected}"
        elif num_frames and not (item.codes.min() >= 0 and item.codes.max() < self.codebook_size):
            fault = f"codes outside [0, {self.codebook_size})"
        else:
            return
        raise TokenError(f"{item.id!r} has {fault}")


def _check_text(name: str, value: object, *, needed: bool) -> None:
    if value is None and not needed:
        return
    if not isinstance(value, str) or (needed and not value):
        raise TokenError(f"an item's {name} must be text, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TokenError(f"an item's {name} is no valid Unicode: {value!r}") from None
