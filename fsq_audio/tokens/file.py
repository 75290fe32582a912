"""The token file `.fsq`.

A token file is one recording in a safetensors container, version 1: the tensor `codes`, uint8,
holds the packed codes, and `__metadata__` has one entry, `fsq_audio`, a JSON object of

    v     version of this layout, 1         B    channels, all of one length
    id    fingerprint of the model          G    groups kept
    rate  its sample rate in Hz             S    samples of each channel at that rate
    hop   its samples per frame             src  [rate, samples, channels, "mix" or "split"] of the
    K     its codebook size                      recording that was tokenized, or null
    fsq   its quantizer, in its own words   crc  CRC-32, 8 hexadecimal digits, of the JSON text
                                                 before `,"crc":` followed by the packed codes

Codes are packed in the order [B, T, G], so that a file's beginning is the recording's; `packing.py`
says how.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from torch import Tensor

from fsq_audio.errors import TokenError
from fsq_audio.tokens.format import Source, TokenFormat, check_int
from fsq_audio.tokens.packing import pack, packed_size, unpack

FILE_VERSION = 1

_ENTRY = "fsq_audio"
_CRC_START = ',"crc":'
_KEYS = ("v", "id", "rate", "hop", "K", "fsq", "B", "G", "S", "src", "crc")
_MAX_HEADER = 2**16  # bytes; a real one has some hundreds


@dataclass(frozen=True)
class Content:
    """What is in a token file.

    Attributes:
        codes: [B, G, T] int64 in [0, K).
        num_samples: of each channel, at the model's rate.
        format: The model that they belong to.
        source: The recording that they came from.
    """

    codes: Tensor
    num_samples: int
    format: TokenFormat
    source: Source | None


def to_bytes(content: Content) -> bytes:
    """The bytes of a file: the same content always gives the same.

    Raises:
        TokenError: The quantizer's description is too long.
    """
    num_items, num_groups, _ = content.codes.shape
    packed = pack(content.codes.transpose(1, 2).reshape(-1), content.format.codebook_size)
    source = content.source
    text = _compact(
        {
            "v": FILE_VERSION,
            "id": content.format.fingerprint,
            "rate": content.format.sample_rate,
            "hop": content.format.hop_length,
            "K": content.format.codebook_size,
            "fsq": content.format.quantizer,
            "B": num_items,
            "G": num_groups,
            "S": content.num_samples,
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


def from_file(file: BinaryIO, num_bytes: int) -> Content:
    """Reads a file, and checks in an order in which nothing is believed on its word alone.

    Args:
        file: At its beginning.
        num_bytes: Of the file.

    Raises:
        TokenError: It is no token file, damaged, cut short, or of a later version.
    """
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
    check_int("number of channels", says["B"])
    check_int("number of groups", says["G"])
    check_int("number of samples", says["S"])
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
    return Content(codes.transpose(1, 2).contiguous(), says["S"], tokens_format, source)


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


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
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
