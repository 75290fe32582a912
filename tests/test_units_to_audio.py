"""A real recording: codes to units of every kind, back, and to the same samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from torch import Tensor

from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.units import (
    BOS,
    EOS,
    Alignment,
    Pattern,
    UnitBPE,
    UnitText,
    UnitVocabulary,
    deduplicate,
    duplicate,
    pattern_names,
)


@pytest.fixture(scope="module")
def tokenizer() -> AudioTokenizer:
    return AudioTokenizer.from_pretrained()


@pytest.fixture(scope="module")
def tokens(tokenizer: AudioTokenizer) -> AudioTokens:
    return tokenizer.encode_file(SAMPLES[0])


@pytest.fixture(scope="module")
def check(tokenizer: AudioTokenizer, tokens: AudioTokens) -> Callable[[np.ndarray], None]:
    """Decodes codes that came back, and compares the samples."""
    expected: Tensor = tokenizer.decode(tokens)
    assert expected.abs().max() > 0.05

    def compare(codes: np.ndarray) -> None:
        again = dataclasses.replace(tokens, codes=torch.from_numpy(codes)[None])
        assert torch.equal(tokenizer.decode(again), expected)

    return compare


def pattern_of(name: str, tokens: AudioTokens) -> Pattern:
    return Pattern(name, tokens.num_groups, tokens.format.codebook_size)


@pytest.mark.parametrize("name", pattern_names())
def test_every_pattern(name: str, tokens: AudioTokens, check: Callable) -> None:
    pattern = pattern_of(name, tokens)
    check(pattern.invert(pattern.apply(tokens.codes[0].numpy())))


def test_bpe_and_text_and_ids(tokens: AudioTokens, check: Callable) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    codes = tokens.codes[0].numpy()
    pattern = pattern_of("flatten", tokens)
    units = pattern.apply(codes)
    short = deduplicate(codes)
    check(duplicate(short.codes, short.durations))

    bpe = UnitBPE.train([units], num_units=4000, vocabulary_size=4100)
    ids = bpe.encode(units)
    assert len(ids) < len(units)
    check(pattern.invert(bpe.decode(ids)))
    other = pattern.apply(AudioTokenizer.from_pretrained().encode_file(SAMPLES[1]).codes[0])
    np.testing.assert_array_equal(bpe.decode(bpe.encode(other)), other)

    text = UnitText(4, 1000)
    check(pattern.invert(text.parse(text.write(units))))
    vocabulary = UnitVocabulary(4, 1000)
    written = vocabulary.to_ids(units, before=[BOS], after=[EOS])
    check(pattern.invert(vocabulary.to_units(written, skip_specials=True)))

    frames = Alignment.of_frames(int(tokens.lengths[0]), hop_length=640, sample_rate=16000)
    times = frames.through(pattern).merged(bpe.counts(ids))
    assert len(times.starts) == len(ids)
    assert times.stops[-1] == tokens.lengths[0]
