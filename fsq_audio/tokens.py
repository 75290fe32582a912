"""Tokens: codes, their lengths and what is needed to decode them; the token file `.fsq`.

Shapes: B items (the channels of a recording, or a batch), G groups kept, T frames, codes in
[0, K) where K is the codebook size.

A token file is one recording in a safetensors container, version 1: the tensor `codes`, uint8,
holds the packed codes, and `__metadata__` has one entry, `fsq_audio`, a JSON object of

    v     version of this layout, 1         B    channels, all of one length
    id    fingerprint of the model          G    groups kept
    rate  its sample rate in Hz             S    samples of each channel at that rate
    hop   its samples per frame             src  [rate, samples, channels, "mix" or "split"] of the
    K     its codebook size                      recording that was tokenized, or null
    fsq   its quantizer, in its own words   crc  CRC-32, 8 hexadecimal digits, of the JSON text
                                                 before `,"crc":` followed by the packed codes

Codes are packed in the order [B, T, G], so that a file's beginning is the recording's. Blocks of n
codes are numbers in base K, first code foremost, in as few whole bytes as hold K**n - 1, high byte
first; n is the smallest that wastes no more than half a percent, and the last block may be shorter.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsq_audio.errors import TokenError

FILE_VERSION = 1
OUTSIDE = -1
"""What stands in `codes` beyond an item's own frames."""

_ENTRY = "fsq_audio"
_CRC_START = ',"crc":'
_KEYS = ("v", "id", "rate", "hop", "K", "fsq", "B", "G", "S", "src", "crc")
_MAX_HEADER = 2**16  # bytes; a real one has some hundreds
_MAX_CODEBOOK_SIZE = 2**63  # codes are int64
_BLOCKS_AT_ONCE = 1024  # of those too large for uint64, which are Python integers


@dataclass(frozen=True)
class TokenFormat:
    """The model that tokens belong to: all that decoding them depends on.

    Attributes:
        fingerprint: Name of exactly one configuration with exactly one set of weights.
        sample_rate: Samples per second of its waveforms.
        hop_length: Samples per frame.
        codebook_size: Values K that a code can take, from 2 to 2**63.
        quantizer: Its quantizer's description in JSON types: name, levels, bound, num_groups, ...
    """

    fingerprint: str
    sample_rate: int
    hop_length: int
    codebook_size: int
    quantizer: dict[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.fingerprint, str) and self.fingerprint.isprintable()):
            raise TokenError(f"a fingerprint must be printable text, not {self.fingerprint!r}")
        if not self.fingerprint:
            raise TokenError("a fingerprint must not be empty")
        _check_int("sample_rate", self.sample_rate)
        _check_int("hop_length", self.hop_length)
        _check_int("codebook_size", self.codebook_size, lowest=2, highest=_MAX_CODEBOOK_SIZE)
        try:
            in_json = json.loads(json.dumps(self.quantizer, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise TokenError(f"a quantizer's description must be JSON: {error}") from error
        if type(self.quantizer) is not dict or in_json != self.quantizer:
            raise TokenError("a quantizer's description must be a dict with JSON types only")

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def check(self, expected: TokenFormat) -> None:
        """Makes sure that a model can decode tokens of this format.

        Args:
            expected: The model's own format.

        Raises:
            TokenError: They belong to another model.
        """
        if self.fingerprint != expected.fingerprint:
            raise TokenError(
                f"these tokens belong to model {self.fingerprint}, not to this model, "
                f"{expected.fingerprint}: decode them with the model that made them, "
                f"or tokenize the audio again"
            )
        for name in ("sample_rate", "hop_length", "codebook_size", "quantizer"):
            mine, other = getattr(self, name), getattr(expected, name)
            if mine != other:
                raise TokenError(
                    f"these tokens claim to belong to this model, {expected.fingerprint}, "
                    f"but their {name} is {mine}, not {other}: they were altered"
                )


@dataclass(frozen=True)
class Source:
    """The recording that was tokenized, as it was before resampling.

    Attributes:
        sample_rate: Its samples per second.
        num_samples: Its samples, of each channel.
        num_channels: Its channels.
        channels: "mix" where their mean was tokenized, "split" where each was.
    """

    sample_rate: int
    num_samples: int
    num_channels: int
    channels: Literal["mix", "split"]

    def __post_init__(self) -> None:
        _check_int("sample_rate of the source", self.sample_rate)
        _check_int("num_samples of the source", self.num_samples)
        _check_int("num_channels of the source", self.num_channels)
        if self.channels not in ("mix", "split"):
            raise TokenError(f"channels must be 'mix' or 'split', not {self.channels!r}")


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
        _write_whole(path, _to_file(self))

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
        with _naming(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait
                raise TokenError("is a pipe or a device, not a file")
            with open(path, "rb") as file:
                return _from_file(file, os.fstat(file.fileno()).st_size)

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
        _write_whole(path, buffer.getvalue())

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


# Packing: mixed numbers of bits without wasting any to speak of.


@dataclass(frozen=True)
class _BlockShape:
    num_codes: int
    num_bytes: int


def packed_size(num_codes: int, codebook_size: int) -> int:
    """Bytes that `pack` makes, at most 0.5 % and one byte more than num_codes x log2 K / 8.

    Args:
        num_codes: Codes, >= 0, of any size: this is arithmetic only.
        codebook_size: Values K that a code can take, from 2 to 2**63.

    Returns:
        Bytes.
    """
    block = _block_shape(codebook_size)
    num_blocks, rest = divmod(num_codes, block.num_codes)
    return num_blocks * block.num_bytes + _num_bytes(codebook_size**rest)


def pack(codes: Tensor, codebook_size: int) -> bytes:
    """Packs codes densely, for any codebook size.

    Args:
        codes: [N] int64 in [0, K).
        codebook_size: Values K that a code can take, from 2 to 2**63.

    Returns:
        `packed_size` bytes, as the head of this module describes them.
    """
    digits = codes.cpu().numpy()
    block = _block_shape(codebook_size)
    split = len(digits) // block.num_codes * block.num_codes
    whole, rest = digits[:split].reshape(-1, block.num_codes), digits[split:]
    packed = [
        _pack_blocks(whole[i : i + _BLOCKS_AT_ONCE], codebook_size, block.num_bytes)
        for i in range(0, len(whole), _BLOCKS_AT_ONCE)
    ]
    if len(rest):
        num_bytes = _num_bytes(codebook_size ** len(rest))
        packed.append(_pack_blocks(rest[None], codebook_size, num_bytes))
    return b"".join(packed)


def unpack(packed: bytes, num_codes: int, codebook_size: int) -> Tensor:
    """Undoes `pack`.

    Args:
        packed: What `pack` made: `packed_size(num_codes, codebook_size)` bytes.
        num_codes: Codes N in it.
        codebook_size: Values K that a code can take, from 2 to 2**63.

    Returns:
        [N] int64 in [0, K).

    Raises:
        TokenError: The number of bytes is wrong, or a block is no number that `pack` makes.
    """
    if len(packed) != packed_size(num_codes, codebook_size):
        expected = packed_size(num_codes, codebook_size)
        raise TokenError(f"{num_codes} packed codes take {expected} bytes, not {len(packed)}")
    block = _block_shape(codebook_size)
    num_blocks, rest = divmod(num_codes, block.num_codes)
    codes = np.empty(num_codes, np.int64)
    whole = codes[: num_blocks * block.num_codes].reshape(num_blocks, block.num_codes)
    rows = np.frombuffer(packed, np.uint8, num_blocks * block.num_bytes)
    rows = rows.reshape(num_blocks, block.num_bytes)
    for i in range(0, num_blocks, _BLOCKS_AT_ONCE):
        whole[i : i + _BLOCKS_AT_ONCE] = _unpack_blocks(
            rows[i : i + _BLOCKS_AT_ONCE], block.num_codes, codebook_size
        )
    if rest:
        last = np.frombuffer(packed, np.uint8, offset=num_blocks * block.num_bytes)[None]
        codes[num_codes - rest :] = _unpack_blocks(last, rest, codebook_size)[0]
    return torch.from_numpy(codes)


@lru_cache
def _block_shape(codebook_size: int) -> _BlockShape:
    """Fewest codes n per block so that 8 x bytes <= 1.005 x n log2 K, decided in integers.

    Multiplied by 200 that is 2**(1600 x bytes) <= K**(201 n), and n stays below 1600 because a
    block wastes less than 8 bits.
    """
    step = codebook_size**201
    raised, num_codes, num_bytes = step, 1, _num_bytes(codebook_size)
    while raised.bit_length() <= 1600 * num_bytes:  # that is: raised < 2**(1600 x num_bytes)
        raised, num_codes = raised * step, num_codes + 1
        num_bytes = _num_bytes(codebook_size**num_codes)
    return _BlockShape(num_codes=num_codes, num_bytes=num_bytes)


def _num_bytes(num_values: int) -> int:
    """Bytes that hold any of 0 ... num_values - 1; none for a single value."""
    return ((num_values - 1).bit_length() + 7) // 8


def _pack_blocks(digits: NDArray[np.int64], base: int, num_bytes: int) -> bytes:
    """[N, n] digits -> N numbers of num_bytes each, by Horner's rule on all of them at once."""
    if num_bytes <= 8:
        numbers = np.zeros(len(digits), np.uint64)
        for column in digits.astype(np.uint64).T:
            numbers = numbers * np.uint64(base) + column
        octets = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
        return octets[:, 8 - num_bytes :].tobytes()
    large: NDArray[Any] = np.zeros(len(digits), object)  # Python integers
    for column in digits.astype(object).T:
        large = large * base + column
    return b"".join(number.to_bytes(num_bytes, "big") for number in large)


def _unpack_blocks(rows: NDArray[np.uint8], num_codes: int, base: int) -> NDArray[np.int64]:
    """[N, bytes] -> [N, num_codes] digits."""
    num_bytes = rows.shape[1]
    highest = base**num_codes - 1
    numbers: NDArray[Any]
    if num_bytes <= 8:
        octets = np.zeros((len(rows), 8), np.uint8)
        octets[:, 8 - num_bytes :] = rows
        numbers = octets.view(">u8").reshape(-1).astype(np.uint64)
        divisor: Any = np.uint64(base)
    else:
        numbers = np.array([int.from_bytes(row, "big") for row in rows.tolist()], object)
        divisor = base
    if (numbers > highest).any():
        raise TokenError("damaged: a packed block is larger than any that codes make")
    digits = np.empty((len(rows), num_codes), np.int64)
    for j in reversed(range(num_codes)):
        digits[:, j] = numbers % divisor
        numbers = numbers // divisor
    return digits


# The token file.


def _to_file(tokens: AudioTokens) -> bytes:
    packed = pack(tokens.codes.transpose(1, 2).reshape(-1), tokens.format.codebook_size)
    source = tokens.source
    text = _compact(
        {
            "v": FILE_VERSION,
            "id": tokens.format.fingerprint,
            "rate": tokens.format.sample_rate,
            "hop": tokens.format.hop_length,
            "K": tokens.format.codebook_size,
            "fsq": tokens.format.quantizer,
            "B": len(tokens),
            "G": tokens.num_groups,
            "S": int(tokens.lengths[0]),
            "src": None
            if source is None
            else [source.sample_rate, source.num_samples, source.num_channels, source.channels],
        }
    )
    # One entry only: safetensors writes several in an order that changes from run to run.
    text = f'{text[:-1]}{_CRC_START}"{_checksum(text[:-1], packed)}"}}'
    codes = np.frombuffer(packed, np.uint8)
    data: bytes = safetensors.numpy.save({"codes": codes}, metadata={_ENTRY: text})
    if len(data) - len(packed) > _MAX_HEADER:
        raise TokenError(f"the quantizer's description must fit in {_MAX_HEADER} bytes")
    return data


def _from_file(file: BinaryIO, num_bytes: int) -> AudioTokens:
    """Checks in an order in which nothing is read or allocated on the file's word alone."""
    header_size = int.from_bytes(file.read(8), "little")
    if num_bytes < 8 or header_size > _MAX_HEADER:
        raise TokenError("is not a token file")
    if header_size > num_bytes - 8:
        raise TokenError("cut short within its header")
    num_packed = num_bytes - 8 - header_size
    text = _metadata_entry(_parsed(file.read(header_size)), num_packed)
    says = _parsed(text)
    if type(says) is not dict or type(says.get("v")) is not int:
        raise TokenError("damaged: its description cannot be read")
    if says["v"] != FILE_VERSION:
        raise TokenError(
            f"is of version {says['v']}; this release reads version {FILE_VERSION}: "
            f"upgrade fsq_audio, or tokenize the audio again"
        )
    tokens_format, source = _described(says)
    _check_int("number of channels", says["B"])
    _check_int("number of groups", says["G"])
    _check_int("number of samples", says["S"])
    num_frames = -(-says["S"] // says["hop"])
    num_codes = says["B"] * says["G"] * num_frames
    expected = packed_size(num_codes, says["K"])
    if expected != num_packed:
        raise TokenError(
            f"damaged: {says['S']} samples make {expected} bytes of codes, not {num_packed}"
        )
    packed = file.read(num_packed)
    if says["crc"] != _checksum(text.rpartition(_CRC_START)[0], packed):
        raise TokenError("damaged: its checksum is wrong")
    codes = unpack(packed, num_codes, says["K"]).reshape(says["B"], num_frames, says["G"])
    return AudioTokens(
        codes=codes.transpose(1, 2).contiguous(),
        lengths=torch.full((says["B"],), says["S"], dtype=torch.int64),
        format=tokens_format,
        source=source,
    )


def _metadata_entry(header: Any, num_packed: int) -> str:
    """The description in a safetensors header that is of this one tensor and nothing else."""
    if type(header) is not dict or type(header.get("__metadata__")) is not dict:
        raise TokenError("is not a token file")
    metadata = header["__metadata__"]
    if list(metadata) != [_ENTRY] or type(metadata[_ENTRY]) is not str:
        raise TokenError("is not a token file")
    if not metadata[_ENTRY].isascii():
        raise TokenError("damaged: its description cannot be read")
    if set(header) != {"__metadata__", "codes"}:
        raise TokenError("damaged: it must hold one tensor, named codes, and nothing else")
    tensor = header["codes"]
    if type(tensor) is dict and type(tensor.get("shape")) is list and len(tensor["shape"]) == 1:
        (size,) = tensor["shape"]
        if tensor == {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}:
            if size == num_packed:
                return str(metadata[_ENTRY])
            what = "cut short" if type(size) is int and size > num_packed else "damaged"
            raise TokenError(f"{what}: its header announces {size} bytes, {num_packed} are there")
    raise TokenError("damaged: its tensor must be one row of bytes")


def _described(says: dict[str, Any]) -> tuple[TokenFormat, Source | None]:
    if tuple(says) != _KEYS:
        raise TokenError("damaged: its description is not complete")
    tokens_format = TokenFormat(says["id"], says["rate"], says["hop"], says["K"], says["fsq"])
    if says["src"] is None:
        return tokens_format, None
    if type(says["src"]) is not list or len(says["src"]) != 4:
        raise TokenError("damaged: its source cannot be read")
    return tokens_format, Source(*says["src"])


def _checksum(text: str, packed: bytes) -> str:
    return f"{zlib.crc32(packed, zlib.crc32(text.encode())):08x}"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TokenError("is not a token file, or its header is damaged") from error


def _check_int(name: str, value: Any, *, lowest: int = 1, highest: int = 2**63 - 1) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise TokenError(f"{name} must be an integer from {lowest} to {highest}, not {value!r}")


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except TokenError as error:
        raise TokenError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise TokenError(f"{path}: no such file or folder") from error
    except IsADirectoryError as error:
        raise TokenError(f"{path}: is a folder, not a file") from error
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror or error}") from error


def _write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes under a temporary name in the same folder, then moves it into place."""
    temporary = Path(path).with_name(f".{uuid.uuid4().hex}.tmp")
    with _naming(path):
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
