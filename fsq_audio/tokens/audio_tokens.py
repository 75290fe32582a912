"""Tokens in memory: codes, their lengths and what is needed to decode them."""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsq_audio.errors import TokenError
from fsq_audio.files import replacing
from fsq_audio.tokens.file import Content, from_file, naming, to_bytes
from fsq_audio.tokens.format import Source, TokenFormat

OUTSIDE = -1
"""What stands in `codes` beyond an item's own frames."""


@dataclass(frozen=True, eq=False)
class AudioTokens:
    """Codes with their lengths and what is needed to decode them.

    Attributes:
        codes: [B, G, T] int64 in [0, K); -1 beyond an item's own frames. Within them, -1 is a
            dropped group, which can be decoded but not saved.
        lengths: [B] int64, samples of each item at the model's rate, >= 1.
        format: The model that they belong to.
        source: The recording that they came from, if the items are its channels.
    """

    codes: Tensor
    lengths: Tensor
    format: TokenFormat
    source: Source | None = None

    def __post_init__(self) -> None:
        shape = list(self.codes.shape)
        if self.codes.dtype != torch.int64 or self.codes.ndim != 3 or 0 in shape:
            raise TokenError(
                f"codes must be int64 [B, G, T], none of them 0, not {self.codes.dtype} {shape}"
            )
        if self.lengths.dtype != torch.int64 or list(self.lengths.shape) != shape[:1]:
            raise TokenError(
                f"lengths must be int64 {shape[:1]}, one for each item of codes {shape}, "
                f"not {self.lengths.dtype} {list(self.lengths.shape)}"
            )
        if int(self.lengths.min()) < 1:
            raise TokenError(f"lengths must be >= 1 sample, not {int(self.lengths.min())}")
        longest = int(self.num_frames.max())
        if longest != shape[2]:
            raise TokenError(
                f"codes have {shape[2]} frames, but the longest item, {int(self.lengths.max())} "
                f"samples, has {longest} frames of {self.format.hop_length} samples"
            )
        self._check_values()
        if self.source is not None:
            expected = 1 if self.source.channels == "mix" else self.source.num_channels
            if shape[0] != expected:
                raise TokenError(
                    f"a source of {self.source.num_channels} channels, {self.source.channels}, "
                    f"gives {expected} items, not {shape[0]}"
                )

    def _check_values(self) -> None:
        lowest, highest = int(self.codes.min()), int(self.codes.max())
        if lowest < OUTSIDE or highest >= self.format.codebook_size:
            wrong = lowest if lowest < OUTSIDE else highest
            raise TokenError(
                f"codes must be in [0, {self.format.codebook_size}), or {OUTSIDE} for none, "
                f"not {wrong}"
            )
        frames = torch.arange(self.codes.shape[2], device=self.codes.device)
        beyond = frames[None, None] >= self.num_frames.to(self.codes.device)[:, None, None]
        if bool(((self.codes != OUTSIDE) & beyond).any()):
            raise TokenError(f"codes beyond an item's own frames must be {OUTSIDE}")

    @property
    def num_groups(self) -> int:
        """Groups G that these tokens keep of each frame."""
        return int(self.codes.shape[1])

    @property
    def num_frames(self) -> Tensor:
        """[B] int64, frames of each item: ceil(length / hop_length)."""
        return -(-self.lengths // self.format.hop_length)

    @property
    def duration(self) -> Tensor:
        """[B] float64, seconds of each item."""
        return self.lengths.double() / self.format.sample_rate

    @property
    def num_bits(self) -> float:
        """Information in all items together: frames x G x log2 K bits."""
        num_codes = int(self.num_frames.sum()) * self.num_groups
        return num_codes * math.log2(self.format.codebook_size)

    def __len__(self) -> int:
        """Number of items B."""
        return int(self.codes.shape[0])

    def __getitem__(self, index: int) -> AudioTokens:
        """One item, [1, G, its own frames]; a channel of a recording becomes a mono recording."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        frames = int(self.num_frames[index])
        source = self.source
        if source is not None and source.channels == "split":
            source = replace(source, num_channels=1)
        return replace(
            self,
            codes=self.codes[index : index + 1, :, :frames],
            lengths=self.lengths[index : index + 1],
            source=source,
        )

    def __iter__(self) -> Iterator[AudioTokens]:
        """The items one by one, as indexing gives them."""
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether codes, lengths, format and source are all the same."""
        return (
            isinstance(other, AudioTokens)
            and self.format == other.format
            and self.source == other.source
            and torch.equal(self.codes, other.codes)
            and torch.equal(self.lengths, other.lengths)
        )

    __hash__ = None  # type: ignore[assignment]

    def to(self, device: torch.device | str) -> AudioTokens:
        """The same tokens on another device."""
        return replace(self, codes=self.codes.to(device), lengths=self.lengths.to(device))

    def keep_groups(self, num_groups: int) -> AudioTokens:
        """The first groups only: the same recording at a lower bitrate.

        Args:
            num_groups: Groups to keep, from 1 to G.

        Returns:
            Tokens with codes [B, num_groups, T].

        Raises:
            TokenError: There are not that many groups.
        """
        if not 1 <= num_groups <= self.num_groups:
            raise TokenError(f"cannot keep {num_groups} of {self.num_groups} groups")
        return replace(self, codes=self.codes[:, :num_groups])

    def check_format(self, expected: TokenFormat) -> None:
        """Makes sure that a model can decode these tokens.

        Args:
            expected: The model's own format.

        Raises:
            TokenError: They belong to another model.
        """
        self.format.check(expected)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one recording to a token file (`.fsq`), whole or not at all.

        The same tokens always give the same bytes.

        Args:
            path: File to write; replaced if it exists.

        Raises:
            TokenError: The items differ in length, a group is dropped within a frame, or the
                file cannot be written.
        """
        self._check_one_recording("a token file")
        content = Content(self.codes, int(self.lengths[0]), self.format, self.source)
        _write(path, to_bytes(content))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AudioTokens:
        """Reads a token file; everything it says of itself is checked before it is believed.

        Args:
            path: A `.fsq` file.

        Returns:
            The tokens of one recording: B is the number of its channels.

        Raises:
            TokenError: The file is missing, is none of tokens, or is damaged, cut short, or of a
                later version.
        """
        with naming(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait
                raise TokenError("is a pipe or a device, not a file")
            with open(path, "rb") as file:
                content = from_file(file, os.fstat(file.fileno()).st_size)
            return cls.of_content(content)

    @classmethod
    def of_content(cls, content: Content) -> AudioTokens:
        """The tokens of a file's content.

        Raises:
            TokenError: They contradict each other.
        """
        return cls(
            codes=content.codes,
            lengths=torch.full(content.codes.shape[:1], content.num_samples),
            format=content.format,
            source=content.source,
        )

    def save_npy(self, path: str | os.PathLike[str]) -> None:
        """Writes plain codes of one recording for NumPy, whole or not at all.

        Args:
            path: File to write: int32 [G, T] for one channel, [B, G, T] for several (int64 if K
                needs it).

        Raises:
            TokenError: As for `save`.
        """
        self._check_one_recording("a .npy file")
        dtype = np.int32 if self.format.codebook_size <= 2**31 else np.int64
        codes = self.codes.cpu().numpy().astype(dtype)
        buffer = io.BytesIO()
        np.save(buffer, codes[0] if len(self) == 1 else codes, allow_pickle=False)
        _write(path, buffer.getvalue())

    def to_record(self, key: str) -> dict[str, Any]:
        """Plain codes of one recording as JSON types, for a line of a `.jsonl` file.

        Args:
            key: Name of the recording.

        Returns:
            key, codes (lists [G][T], or [B][G][T] for several channels), num_samples, sample_rate,
            frame_rate, codebook_size, fingerprint.

        Raises:
            TokenError: As for `save`.
        """
        self._check_one_recording("a record")
        codes = self.codes.tolist()
        return {
            "key": key,
            "codes": codes[0] if len(self) == 1 else codes,
            "num_samples": int(self.lengths[0]),
            "sample_rate": self.format.sample_rate,
            "frame_rate": self.format.frame_rate,
            "codebook_size": self.format.codebook_size,
            "fingerprint": self.format.fingerprint,
        }

    def _check_one_recording(self, what: str) -> None:
        if len(set(self.lengths.tolist())) != 1:
            raise TokenError(
                f"{what} holds one recording, not items of {sorted(set(self.lengths.tolist()))} "
                f"samples: save each item by itself"
            )
        if int(self.codes.min()) < 0:
            raise TokenError(f"{what} cannot hold dropped groups within a frame: use keep_groups")


def _write(path: str | os.PathLike[str], data: bytes) -> None:
    with naming(path), replacing(path, make_folder=False) as temporary:
        temporary.write_bytes(data)
