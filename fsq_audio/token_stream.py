"""Codes on a pipe: frames as they come, behind a header that names their model.

Two forms, version 1, told apart by their first byte. Both begin with one JSON object: `version`,
the fields of `TokenFormat`, and `num_groups`, which are kept. As lines of JSON, the header is the
first, and then there is one for each frame:

    {"codes": [812, 3, 977, 41]}
    {"codes": [640, 8, 970, 12], "num_samples": 84800}

The last line has the samples of the whole, and no codes if all frames are out before the length is
known. The binary form is `MAGIC`, the header's bytes (their number first), and then records of

    frames, from 1 on    and their codes, packed in the order [T, G] as in token files
    0                    in the last record, then 0 or 1 frames as above; the samples of the whole;
                         the CRC-32 of all packed codes and of these samples

with numbers of frames in 2 bytes, of samples in 8, others in 4, low byte first.

A stream without its end was cut short, and is said to be, after the frames that came.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fsq_audio.errors import TokenError
from fsq_audio.tokens import TokenFormat, pack, packed_size, unpack

VERSION = 1
MAGIC = b"\x89FSQ-stream\n"

_MAX_LINE = 2**16  # bytes; a real header has some hundreds
_MAX_FRAMES = 2**16 - 1
_MAX_GROUPS = 1024
_FRAMES, _SIZE, _SAMPLES = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class Piece:
    """Some frames of a stream.

    Attributes:
        codes: `[G, n]` int64.
        num_samples: of the whole stream, in its last piece, which has 0 or 1 frames; else None.
    """

    codes: Tensor
    num_samples: int | None = None


class TokenStreamWriter:
    """Writes a stream; each call hands its frames on at once."""

    def __init__(
        self, file: BinaryIO, tokens_format: TokenFormat, *, num_groups: int, binary: bool
    ) -> None:
        """Writes the header.

        Args:
            file: where to; it stays open.
            tokens_format: of the model that makes the codes.
            num_groups: groups G of the codes.
            binary: bytes instead of lines.
        """
        self._file, self._binary = file, binary
        self._codebook_size = tokens_format.codebook_size
        self._crc = 0
        header = json.dumps(
            {"version": VERSION, **asdict(tokens_format), "num_groups": num_groups}
        ).encode()
        self._write(MAGIC + _SIZE.pack(len(header)) + header if binary else header + b"\n")

    def write(self, codes: Tensor) -> None:
        """Appends frames: `[G, n]` int64 in [0, K), any n."""
        if self._binary:
            parts = [part for part in torch.split(codes, _MAX_FRAMES, dim=1) if part.shape[1]]
            data = b"".join(self._record(part) for part in parts)
        else:
            data = b"".join(_line(codes=frame) for frame in codes.T.tolist())
        self._write(data)

    def end(self, codes: Tensor, num_samples: int) -> None:
        """Appends the last frames `[G, n]`, any n, and the end.

        Args:
            codes: of the frames.
            num_samples: of the whole stream, at the model's rate.
        """
        self.write(codes[:, :-1])
        last = codes[:, -1:]
        if self._binary:
            start, samples = _FRAMES.pack(0) + self._record(last), _SAMPLES.pack(num_samples)
            data = start + samples + _SIZE.pack(zlib.crc32(samples, self._crc))
        else:
            frame = {"codes": last[:, 0].tolist()} if last.shape[1] else {}
            data = _line(**frame, num_samples=num_samples)
        self._write(data)

    def _record(self, codes: Tensor) -> bytes:
        packed = pack(codes.T.reshape(-1), self._codebook_size)
        self._crc = zlib.crc32(packed, self._crc)
        return _FRAMES.pack(codes.shape[1]) + packed

    def _write(self, data: bytes) -> None:
        write_now(self._file, data)


class TokenStreamReader:
    """Reads a stream of either form as it comes.

    Attributes:
        format: the model that its codes belong to.
        num_groups: groups G of its codes.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Reads the header.

        Args:
            file: buffered, so that `read` waits for all that it asks for.

        Raises:
            TokenError: there is none, or it is damaged or of another version.
        """
        self._file = file
        self._num_frames = self._crc = 0
        first = file.read(1)
        if not first:
            raise TokenError("the stream is empty: not even a header came")
        self._binary = first == MAGIC[:1]
        if self._binary:
            if first + file.read(len(MAGIC) - 1) != MAGIC:
                raise TokenError("this is no stream of tokens")
            (size,) = _SIZE.unpack(self._read(_SIZE.size))
            if size > _MAX_LINE:
                raise TokenError("the header of the stream is damaged")
            says = _parsed(self._read(size), "the header")
        elif first == b"{":
            says = _parsed(first + self._read_line(), "the header")
        else:
            raise TokenError(
                "this is no stream of tokens: `fsq-audio stream encode` makes one; files of tokens "
                "are for `fsq-audio decode`"
            )
        self.format, self.num_groups = _described(says)

    def __iter__(self) -> Iterator[Piece]:
        """The pieces in order; the last one has `num_samples`.

        Raises:
            TokenError: the stream is damaged or cut short, or something follows its end. All that
                came before was given out.
        """
        while True:
            piece = self._read_record() if self._binary else self._read_frame()
            self._num_frames += piece.codes.shape[1]
            if piece.num_samples is None:
                yield piece
                continue
            if -(-piece.num_samples // self.format.hop_length) != self._num_frames:
                raise TokenError(
                    f"the stream is damaged: {self._num_frames} frames came for "
                    f"{piece.num_samples} samples"
                )
            yield piece
            if self._file.read(1):
                raise TokenError("something follows the end of the stream")
            return

    def _read_frame(self) -> Piece:
        where = f"line {self._num_frames + 2}"
        says = _parsed(self._read_line(), where)
        is_last = "num_samples" in says
        frame = says.get("codes", [] if is_last else None)
        num_samples = says.get("num_samples", 0)
        if (
            set(says) - {"codes", "num_samples"}
            or type(frame) is not list
            or len(frame) not in ({0, self.num_groups} if is_last else {self.num_groups})
            or not all(type(c) is int and 0 <= c < self.format.codebook_size for c in frame)
            or type(num_samples) is not int
        ):
            raise TokenError(
                f"{where} of the stream must have {self.num_groups} codes in "
                f"[0, {self.format.codebook_size}), and the last one num_samples"
            )
        codes = torch.tensor(frame, dtype=torch.int64).view(-1, self.num_groups).T
        return Piece(codes, num_samples if is_last else None)

    def _read_record(self) -> Piece:
        codes = self._read_codes()
        if codes.shape[1]:
            return Piece(codes)
        codes = self._read_codes()
        samples = self._read(_SAMPLES.size)
        (crc,) = _SIZE.unpack(self._read(_SIZE.size))
        if codes.shape[1] > 1 or crc != zlib.crc32(samples, self._crc):
            raise TokenError("the stream is damaged: its checksum is wrong")
        return Piece(codes, *_SAMPLES.unpack(samples))

    def _read_codes(self) -> Tensor:
        (num_frames,) = _FRAMES.unpack(self._read(_FRAMES.size))
        num_codes, codebook_size = num_frames * self.num_groups, self.format.codebook_size
        packed = self._read(packed_size(num_codes, codebook_size))
        self._crc = zlib.crc32(packed, self._crc)
        return unpack(packed, num_codes, codebook_size).view(num_frames, self.num_groups).T

    def _read(self, num_bytes: int) -> bytes:
        data = self._file.read(num_bytes)
        if len(data) < num_bytes:
            raise self._cut_short()
        return data

    def _read_line(self) -> bytes:
        line = self._file.readline(_MAX_LINE)
        if not line.endswith(b"\n") and len(line) < _MAX_LINE:
            raise self._cut_short()
        return line

    def _cut_short(self) -> TokenError:
        return TokenError(
            f"the stream was cut short: {self._num_frames} frames came, and no end of it"
        )


def write_now(file: BinaryIO, data: bytes) -> None:
    """Writes all of it and keeps nothing back, also where a file is unbuffered (`python -u`)."""
    rest = memoryview(data)
    while rest:  # unbuffered, a signal may interrupt it half way
        rest = rest[file.write(rest) :]
    file.flush()


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        says = json.loads(data)
    except (ValueError, RecursionError):
        says = None
    if type(says) is not dict:
        raise TokenError(f"{where} of the stream is damaged: it is no JSON object")
    return says


def _described(says: dict[str, Any]) -> tuple[TokenFormat, int]:
    version, num_groups = says.pop("version", None), says.pop("num_groups", None)
    if version != VERSION:
        raise TokenError(
            f"the stream is of version {version}; this release reads version {VERSION}"
        )
    if type(num_groups) is not int or not 1 <= num_groups <= _MAX_GROUPS:
        raise TokenError(f"num_groups of the stream is {num_groups!r}")
    try:
        return TokenFormat(**says), num_groups
    except TypeError:
        raise TokenError("the header of the stream is damaged: other fields are in it") from None
