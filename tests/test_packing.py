from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_tools import BOOK_SIZES

from fsq_audio.errors import TokenError
from fsq_audio.tokens import pack, packed_size, packing, unpack


@given(codebook_size=BOOK_SIZES, num_codes=st.integers(0, 700), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_packing_round_trips(codebook_size: int, num_codes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, codebook_size - 1, num_codes, np.int64, endpoint=True)
    values[generator.random(num_codes) < 0.2] = codebook_size - 1  # the largest code, often
    codes = torch.from_numpy(values)
    packed = pack(codes, codebook_size)
    assert len(packed) == packed_size(num_codes, codebook_size)
    assert torch.equal(unpack(packed, num_codes, codebook_size), codes)


@pytest.mark.parametrize("codebook_size", [2, 3, 249, 1000, 2**63])
def test_packing_the_largest_codes(codebook_size: int) -> None:
    codes = torch.full((1000,), codebook_size - 1)
    assert torch.equal(unpack(pack(codes, codebook_size), 1000, codebook_size), codes)


@given(codebook_size=BOOK_SIZES, num_codes=st.integers(1, 300))
@settings(max_examples=40)
def test_packed_size_is_within_half_a_percent_and_a_byte(
    codebook_size: int, num_codes: int
) -> None:
    # 8 (bytes - 1) <= 1.005 N log2 K, in integers: 2**(1600 (bytes - 1)) <= K**(201 N).
    num_bytes = packed_size(num_codes, codebook_size)
    assert 2 ** (1600 * (num_bytes - 1)) <= codebook_size ** (201 * num_codes)
    assert 2 ** (8 * num_bytes) >= codebook_size**num_codes


@given(codebook_size=BOOK_SIZES)
@settings(max_examples=30)
def test_blocks_are_as_small_as_possible(codebook_size: int) -> None:
    block = packing._block_shape(codebook_size)

    def wastes_little(num_codes: int) -> bool:
        num_bytes = -(-(codebook_size**num_codes - 1).bit_length() // 8)
        return bool(2 ** (1600 * num_bytes) <= codebook_size ** (201 * num_codes))

    assert wastes_little(block.num_codes)
    assert not any(wastes_little(n) for n in range(1, min(block.num_codes, 40)))


def test_packing_is_as_documented() -> None:
    # Four codes below 1000 in five bytes, first code foremost, high byte first; the last block
    # has two codes in three bytes.
    packed = pack(torch.tensor([1, 2, 3, 4, 998, 999]), 1000)
    assert packed == (1002003004).to_bytes(5, "big") + (998999).to_bytes(3, "big")


@pytest.mark.parametrize("codebook_size", [1000, 249])
def test_a_block_that_is_too_large_is_refused(codebook_size: int) -> None:
    num_codes = packing._block_shape(codebook_size).num_codes
    packed = codebook_size**num_codes
    num_bytes = packed_size(num_codes, codebook_size)
    assert int(unpack((packed - 1).to_bytes(num_bytes, "big"), num_codes, codebook_size).min()) > 0
    with pytest.raises(TokenError, match="larger than any"):
        unpack(packed.to_bytes(num_bytes, "big"), num_codes, codebook_size)


def test_packed_bytes_of_another_number_are_refused() -> None:
    with pytest.raises(TokenError, match="5 packed codes take 7 bytes, not 8"):
        unpack(bytes(8), 5, 1000)
