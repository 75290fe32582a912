from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from token_tools import golden_tokens, make_format, make_tokens

from fsq_audio.errors import TokenError
from fsq_audio.tokens import AudioTokens, Source


def test_properties() -> None:
    tokens = make_tokens([1, 320, 321, 1000])
    assert len(tokens) == 4
    assert tokens.num_groups == 2
    assert tokens.num_frames.tolist() == [1, 1, 2, 4]
    assert tokens.duration.tolist() == [1 / 16000, 0.02, 321 / 16000, 0.0625]
    assert tokens.num_bits == pytest.approx(8 * 2 * 9.965784)
    assert tokens.format.frame_rate == 50


def test_items_are_trimmed_and_equal() -> None:
    tokens = make_tokens([1, 700, 321])
    for index, item in enumerate(tokens):
        frames = int(tokens.num_frames[index])
        assert item.codes.shape == (1, 2, frames)
        assert torch.equal(item.codes[0], tokens.codes[index, :, :frames])
        assert item.lengths.tolist() == [int(tokens.lengths[index])]
    assert tokens[-1] == tokens[2]
    assert tokens[0] != tokens[1]
    with pytest.raises(IndexError):
        tokens[3]


def test_an_item_of_a_split_recording_is_a_mono_recording() -> None:
    item = golden_tokens()[1]
    assert item.source == Source(
        sample_rate=44100, num_samples=22047, num_channels=1, channels="split"
    )


def test_keep_groups() -> None:
    tokens = make_tokens([700, 1], num_groups=4)
    kept = tokens.keep_groups(1)
    assert torch.equal(kept.codes, tokens.codes[:, :1])
    assert kept.num_bits == tokens.num_bits / 4
    for wrong in (0, 5):
        with pytest.raises(TokenError, match=f"cannot keep {wrong} of 4 groups"):
            tokens.keep_groups(wrong)


def test_equality_sees_every_field() -> None:
    tokens = golden_tokens()
    assert tokens == golden_tokens()
    codes = tokens.codes.clone()
    codes[1, 1, 24] += 1
    assert tokens != replace(tokens, codes=codes)
    assert tokens != replace(tokens, lengths=tokens.lengths - 1)
    assert tokens != replace(tokens, source=None)
    assert tokens != replace(tokens, format=make_format())


INT = torch.int64


@pytest.mark.parametrize(
    ("codes", "lengths", "message"),
    [
        (torch.zeros(1, 2, 2), torch.tensor([640]), r"codes must be int64 .*float32 \[1, 2, 2\]"),
        (torch.zeros(2, 2, dtype=INT), torch.tensor([640]), r"codes must be int64 .* \[2, 2\]"),
        (torch.zeros(1, 0, 2, dtype=INT), torch.tensor([640]), "none of them 0"),
        (torch.zeros(1, 2, 2, dtype=INT), torch.tensor([640, 640]), r"lengths must be int64 \[1\]"),
        (torch.zeros(1, 2, 2, dtype=INT), torch.tensor([640.0]), "not torch.float32"),
        (torch.zeros(1, 2, 2, dtype=INT), torch.tensor([0]), "lengths must be >= 1 sample, not 0"),
        (torch.zeros(1, 2, 2, dtype=INT), torch.tensor([320]), "2 frames, but .* has 1 frames"),
        (torch.zeros(1, 2, 2, dtype=INT), torch.tensor([641]), "2 frames, but .* has 3 frames"),
        (torch.full((1, 2, 2), 1000), torch.tensor([640]), r"in \[0, 1000\), .* not 1000"),
        (torch.full((1, 2, 2), -2), torch.tensor([640]), "not -2"),
        (torch.zeros(2, 1, 2, dtype=INT), torch.tensor([640, 320]), "beyond .* must be -1"),
    ],
)
def test_wrong_tokens_are_refused(codes: torch.Tensor, lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        AudioTokens(codes=codes, lengths=lengths, format=make_format())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": ""}, "fingerprint"),
        ({"fingerprint": "a\nb"}, "fingerprint"),
        ({"fingerprint": 5}, "fingerprint"),
        ({"sample_rate": 0}, "sample_rate must be an integer from 1"),
        ({"sample_rate": True}, "sample_rate must be an integer from 1"),
        ({"hop_length": 320.0}, "hop_length must be an integer"),
        ({"codebook_size": 1}, "codebook_size must be an integer from 2"),
        ({"codebook_size": 2**63 + 1}, "codebook_size"),
        ({"codebook_size": True}, "codebook_size"),
        ({"quantizer": {"levels": (8, 5)}}, "JSON"),
        ({"quantizer": {"eps": float("nan")}}, "JSON"),
        ({"quantizer": {"eps": torch.tensor(1)}}, "JSON"),
        ({"quantizer": [1]}, "dict"),
    ],
)
def test_wrong_formats_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenError, match=message):
        make_format(**changes)


def test_wrong_sources_are_refused() -> None:
    with pytest.raises(TokenError, match="'mix' or 'split', not 'left'"):
        Source(16000, 5, 1, "left")  # type: ignore[arg-type]
    with pytest.raises(TokenError, match="num_samples of the source"):
        Source(16000, 0, 1, "mix")
    stereo = Source(16000, 320, 2, "mix")
    with pytest.raises(TokenError, match="2 channels, mix, gives 1 items, not 2"):
        replace(make_tokens([320, 320]), source=stereo)
    with pytest.raises(TokenError, match="2 channels, split, gives 2 items, not 1"):
        replace(make_tokens([320]), source=replace(stereo, channels="split"))


def test_check_format_names_both_models() -> None:
    tokens = make_tokens([320])
    tokens.check_format(make_format())
    with pytest.raises(TokenError, match="model 0123456789abcdef, not to this model, feedface"):
        tokens.check_format(make_format(fingerprint="feedface"))
    with pytest.raises(TokenError, match="hop_length is 320, not 640"):
        tokens.check_format(make_format(hop_length=640))


# Plain codes


def test_npy(tmp_path: Path) -> None:
    tokens = golden_tokens()
    tokens.save_npy(tmp_path / "two.npy")
    tokens[0].save_npy(tmp_path / "one.npy")
    two, one = np.load(tmp_path / "two.npy"), np.load(tmp_path / "one.npy")
    assert two.dtype == one.dtype == np.int32
    assert np.array_equal(two, tokens.codes.numpy())
    assert np.array_equal(one, tokens.codes[0].numpy())
    make_tokens([320], codebook_size=2**40).save_npy(tmp_path / "large.npy")
    assert np.load(tmp_path / "large.npy").dtype == np.int64


def test_records() -> None:
    record = make_tokens([321]).to_record("a/b c")
    assert json.loads(json.dumps(record)) == record
    assert record["key"] == "a/b c"
    assert np.array(record["codes"]).shape == (2, 2)
    assert record["num_samples"] == 321
    assert record["frame_rate"] == 50
    assert record["fingerprint"] == "0123456789abcdef"
    assert np.array(golden_tokens().to_record("x")["codes"]).shape == (2, 2, 25)
