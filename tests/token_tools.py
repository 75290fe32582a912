"""Tokens that tests of several files make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from fsq_audio.tokens import AudioTokens, Source, TokenFormat

GOLDEN = Path(__file__).parent / "golden" / "tokens_v1.fsq"

# 2, powers of two, products of levels, the worst for the block search, and both ends.
BOOK_SIZES = st.sampled_from([2, 3, 5, 8, 240, 249, 256, 1000, 1024, 15360, 2**32, 2**63]) | (
    st.integers(2, 2**63)
)
QUANTIZER = {"name": "group_fsq", "levels": [8, 5, 5, 5], "bound": "paper", "num_groups": 2}


def make_format(**changes: Any) -> TokenFormat:
    usual: dict[str, Any] = {
        "fingerprint": "0123456789abcdef",
        "sample_rate": 16000,
        "hop_length": 320,
        "codebook_size": 1000,
        "quantizer": QUANTIZER,
    }
    return TokenFormat(**{**usual, **changes})


def golden_tokens() -> AudioTokens:
    """What tests/golden/tokens_v1.fsq holds. Neither may ever change."""
    b, g, t = torch.meshgrid(torch.arange(2), torch.arange(2), torch.arange(25), indexing="ij")
    return AudioTokens(
        codes=(517 * b + 331 * g + 137 * t) % 1000,
        lengths=torch.tensor([7999, 7999]),
        format=make_format(quantizer={**QUANTIZER, "eps": 1e-3, "said": 'a "ü"\n', "no": None}),
        source=Source(sample_rate=44100, num_samples=22047, num_channels=2, channels="split"),
    )


def make_tokens(lengths: list[int], num_groups: int = 2, **changes: Any) -> AudioTokens:
    """Random codes; the same for the same arguments."""
    audio_format = make_format(**changes)
    frames = [-(-length // audio_format.hop_length) for length in lengths]
    generator = np.random.default_rng(0)
    highest = audio_format.codebook_size - 1
    shape = (len(lengths), num_groups, max(frames))
    codes = torch.from_numpy(generator.integers(0, highest, shape, np.int64, endpoint=True))
    for row, num_frames in zip(codes, frames, strict=True):
        row[:, num_frames:] = -1
    return AudioTokens(codes=codes, lengths=torch.tensor(lengths), format=audio_format)
