"""Units as text and under byte pair encoding, read by tokenizers, transformers and codec-bpe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units import BOS, EOS, PAD, Pattern, UnitBPE, UnitText, UnitVocabulary
from fsq_audio.units.bpe import BASE, BASE_OF_MANY, MOST_UNITS, character_base

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def speechlike(num_frames: int, *, num_groups: int = 4, size: int = 50, seed: int = 0):
    """Codes [G, T] in which the same frames come again and again."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, size, (num_groups, 12))
    return frames[:, generator.integers(0, 12, num_frames)]


CODES = speechlike(400)
FLATTEN = Pattern("flatten", 4, 50)
UNITS = FLATTEN.apply(CODES)


@pytest.fixture(scope="module")
def bpe() -> UnitBPE:
    return UnitBPE.train([UNITS], num_units=200, vocabulary_size=280, specials=[BOS, EOS])


@pytest.fixture(scope="module")
def codec_bpe() -> ModuleType:
    pytest.importorskip("codec_bpe.core.trainer", reason="codec-bpe is not installed")
    return sys.modules["codec_bpe"]


# Byte pair encoding


@settings(max_examples=50)
@given(units=st.lists(st.integers(0, 199), max_size=60))
def test_bpe_is_exact_on_anything(bpe: UnitBPE, units: list[int]) -> None:
    ids = bpe.encode(units)
    assert bpe.decode(ids).tolist() == units
    assert bpe.counts(ids).sum() == len(units)


def test_bpe_makes_it_shorter(bpe: UnitBPE) -> None:
    ids = bpe.encode(UNITS)
    assert len(ids) < len(UNITS) / 2
    assert bpe.size == 280
    np.testing.assert_array_equal(FLATTEN.invert(bpe.decode(ids)), CODES)
    # Units that were never seen are tokens of their own, with ids like those of the vocabulary.
    unseen = np.setdiff1d(np.arange(200), UNITS)
    vocabulary = UnitVocabulary(4, 50, specials=(BOS, EOS))
    assert len(unseen) > 100
    for unit in unseen:
        assert bpe.encode([unit]).tolist() == vocabulary.to_ids([unit]).tolist()


def test_bpe_is_saved(bpe: UnitBPE, codec_bpe: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    bpe.save(path)
    ids = bpe.encode(UNITS)
    loaded = UnitBPE.load(path)
    assert (loaded.base, loaded.num_units, loaded.size) == (BASE, 200, 280)
    np.testing.assert_array_equal(loaded.encode(UNITS), ids)
    np.testing.assert_array_equal(loaded.decode(ids), UNITS)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path), bos_token=BOS, eos_token=EOS
    )
    text = codec_bpe.codes_to_chars(CODES, 50)
    assert tokenizer(text)["input_ids"] == ids.tolist()
    assert tokenizer.decode(ids.tolist()) == text


def test_codec_bpe_reads_ours(bpe: UnitBPE, codec_bpe: ModuleType) -> None:
    text = bpe.tokenizer.decode(bpe.encode(UNITS).tolist())
    back = codec_bpe.chars_to_codes(text, num_codebooks=4, codebook_size=50)
    np.testing.assert_array_equal(np.array(back), CODES)


def test_we_read_codec_bpe(codec_bpe: ModuleType, tmp_path: Path) -> None:
    np.save(tmp_path / "a_c0.npy", CODES)
    trainer = codec_bpe.core.trainer.Trainer(
        4, 50, codec_framerate=25.0, chunk_size_secs=4, vocab_size=300, pad_token="<pad>"
    )
    trainer.train(str(tmp_path)).save_pretrained(tmp_path / "theirs")
    bpe = UnitBPE.load(tmp_path / "theirs" / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "theirs")
    ids = bpe.encode(UNITS)
    assert ids.tolist() == theirs(codec_bpe.codes_to_chars(CODES, 50))["input_ids"]
    assert len(ids) < len(UNITS) / 2
    np.testing.assert_array_equal(bpe.decode(ids), UNITS)


def test_characters_go_round_the_surrogates() -> None:
    assert character_base(1) == character_base(35_328) == BASE
    assert character_base(35_329) == character_base(MOST_UNITS) == BASE_OF_MANY
    assert (chr(BASE + 35_327), ord(chr(BASE_OF_MANY + MOST_UNITS - 1))) == ("\ud7ff", 0x10FFFF)


def test_bpe_of_many_units() -> None:
    edges = [0, 1, 32_767, 35_327, 35_328] * 3
    bpe = UnitBPE.train([edges], num_units=35_329, vocabulary_size=35_400)
    assert (bpe.base, bpe.num_units) == (BASE_OF_MANY, 35_329)
    ids = bpe.encode(edges)
    assert len(ids) < len(edges)
    assert bpe.decode(ids).tolist() == edges
    assert bpe.decode(bpe.encode([4000])).tolist() == [4000]


def test_bpe_refuses(bpe: UnitBPE, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"of which there are {MOST_UNITS}.*keep fewer groups"):
        UnitBPE.train([], num_units=MOST_UNITS + 1, vocabulary_size=2**31)
    with pytest.raises(ConfigError, match=r"must be 11 or more.*got 10"):
        UnitBPE.train([], num_units=10, vocabulary_size=10, specials=["<a>"])
    with pytest.raises(TokenError, match=r"units must be in \[0, 10\), got 10 at position 0"):
        UnitBPE.train([[10]], num_units=10, vocabulary_size=20)
    with pytest.raises(TokenError, match=r"units must be in \[0, 200\)"):
        bpe.encode([200])
    for wrong in (280, -1):
        with pytest.raises(TokenError, match=rf"id {wrong} is not in \[0, 280\)"):
            bpe.decode([wrong])
    with pytest.raises(TokenError, match="special token"):
        bpe.decode([0, 5])
    assert bpe.decode([0, 5], skip_specials=True).tolist() == [3]
    assert bpe.counts([0, 5]).tolist() == [0, 1]
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="cannot read"):
        UnitBPE.load(path)
    for vocabulary in ({"a": 0, "c": 1}, {"a": 0, "bb": 1}, {}):
        tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[])).save(str(path))
        with pytest.raises(ConfigError, match="not a byte pair encoding of units"):
            UnitBPE.load(path)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"acoustic BPE needs .* 'fsq-audio\[units\]'"):
        UnitBPE.load("tokenizer.json")


# Text


@pytest.mark.parametrize(
    ("groups", "template", "first", "expected"),
    [
        (4, "", 0, "<|audio_0_7|><|audio_3_49|>"),
        (1, "", 0, "<|audio_7|><|audio_199|>"),
        (1, "s", 0, "<|s_7|><|s_199|>"),
        (1, "un", 0, "<Un7><Un199>"),
        (4, "custom_token", 10, "<custom_token_17><custom_token_209>"),
        (4, "{{{g}.{i}/{n}}}", 0, "{0.7/7}{3.49/199}"),
        (4, "ü{n}", 0, "ü7ü199"),
    ],
)
def test_texts(groups: int, template: str, first: int, expected: str) -> None:
    text = UnitText(groups, 200 // groups, template, first)
    assert text.write([7, 199]) == expected
    assert text.parse(expected).tolist() == [7, 199]
    assert text.parse(expected.replace(text.token(199), "\n " + text.token(199))).size == 2
    assert text.write([]) == ""
    assert text.parse("").tolist() == []


@settings(max_examples=50)
@given(
    units=st.lists(st.integers(0, 3 * 2**60 - 1)),
    template=st.sampled_from(["", "custom_token", "{g}a{i}b", "x{n}", "{i}-{g}+{n}."]),
)
def test_text_has_an_exact_inverse(units: list[int], template: str) -> None:
    text = UnitText(3, 2**60, template)
    assert text.parse(text.write(units)).tolist() == units


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<|audio_0_1|><|audio_0_", r"no token like .* at character 13: '<\|audio_0_'"),
        ("hello", "at character 0: 'hello'"),
        ("<|audio_4_0|>", r"<\|audio_4_0\|> at character 0 is none of 4 groups of 50 codes"),
        ("<|audio_0_50|>", "is none of 4 groups of 50 codes"),
        ("<|audio_00_5|>", "no token like"),
        ("<|audio_0_-5|>", "no token like"),
        ("<|audio_0_٣|>", "no token like"),
        ("<|audio_0_" + "9" * 5000 + "|>", "no token like"),
    ],
)
def test_what_is_no_text_of_units_is_refused(text: str, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        UnitText(4, 50).parse(text)


def test_numbers_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(TokenError, match="none of 4 groups"):
        UnitText(4, 50, "{g}.{i}/{n},").parse("1.7/58,")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("<{i}>", r"needs \{n\}, or \{i\} and, with several groups, \{g\}"),
        ("s", "with several groups"),
        ("<{g}>", "needs"),
        ("{g}{i}", "something else than a digit"),
        ("{n}", "something else than a digit"),
        ("0{n}", "something else than a digit"),
        ("<{g}0{i}>", "something else than a digit"),
        ("< {n}>", "white space"),
        ("<{n}{n}>", "a field twice"),
        ("<{x}{n}>", r"has the field \{x\}"),
        ("<{n:03}>", r"has the field \{n\}"),
        ("<{n", "is no format"),
    ],
)
def test_templates_that_cannot_be_read_back_are_refused(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UnitText(4, 50, template)


@pytest.mark.parametrize("specials_first", [True, False])
@pytest.mark.parametrize("template", ["", "custom_token", "ü{n}"])
def test_a_tokenizer_agrees_with_the_vocabulary(
    specials_first: bool, template: str, tmp_path: Path
) -> None:
    text, vocabulary = (
        UnitText(4, 50, template),
        UnitVocabulary(4, 50, specials_first=specials_first),
    )
    text.build_tokenizer(vocabulary).save(str(tmp_path / "tokenizer.json"))
    written = BOS + text.write(UNITS) + EOS
    expected = vocabulary.to_ids(UNITS, before=[BOS], after=[EOS]).tolist()
    plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"),
        bos_token=BOS, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    assert plain.encode(written).ids == fast(written)["input_ids"] == expected
    assert plain.decode(expected, skip_special_tokens=False) == written
    assert fast.decode(expected) == written
    np.testing.assert_array_equal(text.parse(plain.decode(expected)), UNITS)
    assert plain.get_vocab_size() == len(fast) == vocabulary.size
    assert fast.pad_token_id == vocabulary.special_id(PAD)
    with pytest.raises(Exception, match="Missing"):
        plain.encode("hello")


def test_a_tokenizer_of_many_units() -> None:
    text, vocabulary = UnitText(1, 65_600), UnitVocabulary(1, 65_600)
    tokenizer = text.build_tokenizer(vocabulary)
    assert tokenizer.encode(text.write([0, 65_536, 65_599])).ids == [3, 65_539, 65_602]


@pytest.mark.parametrize("specials_first", [True, False])
def test_a_text_tokenizer_is_extended(specials_first: bool, tmp_path: Path) -> None:
    words = ["[UNK]", "hello", "world", "<", "|", "audio_0_7"]
    base = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    base.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=base)
    text = UnitText(4, 50)
    vocabulary = UnitVocabulary(4, 50, specials_first=specials_first, first_id=len(fast))
    text.extend_tokenizer(fast.backend_tokenizer, vocabulary)
    fast.save_pretrained(tmp_path)
    fast = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ids = fast("hello world " + BOS + text.write(UNITS[:9]) + EOS)["input_ids"]
    assert ids[:2] == [1, 2]
    assert ids[2:] == vocabulary.to_ids(UNITS[:9], before=[BOS], after=[EOS]).tolist()
    assert len(fast) == vocabulary.stop_id
    with pytest.raises(ConfigError, match=f"build it with first_id={len(fast)}"):
        text.extend_tokenizer(fast.backend_tokenizer, vocabulary)
    again = UnitVocabulary(4, 50, first_id=len(fast))
    with pytest.raises(ConfigError, match="already"):
        text.extend_tokenizer(fast.backend_tokenizer, again)
    holey = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 5}, unk_token="a"))
    with pytest.raises(ConfigError, match="gaps"):
        text.extend_tokenizer(holey, UnitVocabulary(4, 50, first_id=2))


def test_tokenizers_refuse_other_vocabularies() -> None:
    text = UnitText(4, 50)
    with pytest.raises(ConfigError, match="use extend_tokenizer"):
        text.build_tokenizer(UnitVocabulary(4, 50, first_id=7))
    with pytest.raises(ConfigError, match="the vocabulary is of 2 groups of 50 codes"):
        text.build_tokenizer(UnitVocabulary(2, 50))
    with pytest.raises(ConfigError, match="too many"):
        UnitText(1, 2**31).build_tokenizer(UnitVocabulary(1, 2**31))


def test_tokenizer_json_is_plain(bpe: UnitBPE, tmp_path: Path) -> None:
    bpe.save(tmp_path / "tokenizer.json")
    assert json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["model"]["type"] == "BPE"
