"""Codes as bytes: mixed numbers of bits without wasting any to speak of.

Blocks of n codes are numbers in base K, first code foremost, in as few whole bytes as hold
K**n - 1, high byte first; n is the smallest that wastes no more than half a percent, and the last
block may be shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsq_audio.errors import TokenError

_BLOCKS_AT_ONCE = 1024  # of those too large for uint64, which are Python integers


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
