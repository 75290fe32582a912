"""Stores of units to test with: small, and awkward wherever an item can be awkward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fsq_audio.units.item import StoreInfo, UnitItem

HOP, RATE = 320, 16000
# What formats are written with, where that is another project's library.
LIBRARIES = {
    "espnet": "kaldiio",
    "megatron": "datatrove",
    "shar": "lhotse",
    "text": "tokenizers",
    "webdataset": "webdataset",
}
NAMES = ("plain", "v1.2.final", "sub/dir.d/Grüße-日本語", "with space", "two..dots.", "-dash")


def skip_without(*formats: object) -> None:
    """Skips a test of formats whose library is not installed."""
    for name in LIBRARIES.keys() & {each for each in formats if isinstance(each, str)}:
        library = LIBRARIES[name]
        pytest.importorskip(library, reason=f"{library} is not installed: {name} needs it")


def make_info(**changes: Any) -> StoreInfo:
    usual: dict[str, Any] = {
        "fingerprint": "0123456789abcdef",
        "sample_rate": RATE,
        "hop_length": HOP,
        "num_groups": 2,
        "codebook_size": 1000,
        "quantizer": {"name": "group_fsq", "levels": [8, 5, 5, 5], "num_groups": 2},
    }
    return StoreInfo(**{**usual, **changes})


def make_item(info: StoreInfo, name: str, num_frames: int, **changes: Any) -> UnitItem:
    """Random codes, the highest and the lowest one among them, that depend on the name."""
    random = np.random.default_rng(list(name.encode()))
    codes = random.integers(0, info.codebook_size, (info.num_groups, num_frames))
    codes[:, :1] = info.codebook_size - 1
    codes[:, 1:2] = 0
    return UnitItem(
        **{
            "id": name,
            "codes": codes,
            "num_samples": max(0, num_frames * info.hop_length - 7),
            "sampling_rate": info.sample_rate,
            **changes,
        }
    )


def make_items(info: StoreInfo) -> list[UnitItem]:
    """Dotted and unicode names; 0, 1 and more frames; with and without what is known."""
    frames = (5, 0, 1, 40, 2, 3)
    return [
        make_item(
            info,
            name,
            num_frames,
            audio_path=f"audio/{name}.flac",
            text=None if number == 4 else f"Ein Satz, № {number}, 言葉",
            speaker_id=None if number % 2 else f"speaker.{number}",
            chapter_id=None if number % 3 else "1",
        )
        for number, (name, num_frames) in enumerate(zip(NAMES, frames, strict=True))
    ]
