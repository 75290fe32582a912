"""Patterns, vocabulary, de-duplication and alignment of units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units import (
    BOS,
    EOS,
    PAD,
    Alignment,
    Code,
    Layout,
    Pattern,
    UnitVocabulary,
    deduplicate,
    duplicate,
    pattern_names,
    register_pattern,
)
from fsq_audio.units.arrays import check_codes, check_range

NAMES = ["coarse_first", "delay", "flatten", "parallel"]
CODES = np.array([[0, 1, 2], [7, 8, 9]])


@st.composite
def codes_of_size(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Codes [G, T], T from 0, in any dtype that holds them, and K: small to the most."""
    num_groups = draw(st.integers(1, 5))
    largest = (2**63 - 1) // num_groups
    size = draw(st.sampled_from([1, 2, 1000, 65_536, 100_000, 2**31 + 7, largest]))
    dtypes = [kind for kind in (np.uint16, np.int32, np.int64) if size - 1 <= np.iinfo(kind).max]
    shape = (num_groups, draw(st.integers(0, 9)))
    elements = st.integers(0, size - 1)
    return draw(arrays.arrays(draw(st.sampled_from(dtypes)), shape, elements=elements)), size


def test_patterns_are_known() -> None:
    assert pattern_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50)
@given(example=codes_of_size())
def test_a_pattern_has_an_exact_inverse(name: str, example: tuple[np.ndarray, int]) -> None:
    codes, size = example
    pattern = Pattern(name, len(codes), size)
    units = pattern.apply(codes)
    assert units.dtype == np.int64
    assert units.shape[-1] == pattern.length(codes.shape[1])
    assert units.size == 0 or 0 <= units.min() <= units.max() < pattern.vocabulary_size
    back = pattern.invert(units)
    assert back.dtype == np.int64
    assert back.shape == codes.shape
    np.testing.assert_array_equal(back, codes)


def test_what_the_patterns_give() -> None:
    def apply(name: str) -> list[object]:
        return Pattern(name, 2, 10).apply(CODES).tolist()

    assert apply("parallel") == CODES.tolist()
    assert apply("delay") == [[10, 0, 1, 2, 10], [10, 10, 7, 8, 9]]
    assert apply("flatten") == [0, 17, 1, 18, 2, 19]
    assert apply("coarse_first") == [0, 1, 2, 17, 18, 19]
    assert Pattern("delay", 4, 10).apply(np.zeros((4, 0), int)).tolist() == [[10] * 4] * 4


def test_delay_is_that_of_musicgen() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    import torch
    from transformers import MusicgenForCausalLM
    from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig

    groups, frames, size = 4, 9, 50
    config = MusicgenDecoderConfig(
        vocab_size=size, hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=1,
        num_codebooks=groups, pad_token_id=size, bos_token_id=size,
    )  # fmt: skip
    codes = np.random.default_rng(0).integers(0, size, (groups, frames))
    pattern = Pattern("delay", groups, size)
    start = torch.full((groups, 1), size)
    prompt = torch.cat([start, torch.from_numpy(codes)], dim=1)
    length = frames + groups
    # It gives the prompt up to where the first row ends, and a mask with the whole pattern.
    _, mask = MusicgenForCausalLM(config).build_delay_pattern_mask(prompt, size, max_length=length)
    np.testing.assert_array_equal(mask.numpy(), pattern.apply(codes))


@pytest.mark.parametrize(
    ("name", "units", "message"),
    [
        ("flatten", [0, 17, 1], r"3 steps are of no recording.*1 frames have 2, 2 have 4"),
        ("flatten", [0, 17, 18, 1], r"group 0 of frame 1 must be in \[0, 10\), got 18 at step 2"),
        ("flatten", [17, 1], "group 0 of frame 0"),
        ("flatten", [0, 20], r"group 1 of frame 0 must be in \[10, 20\), got 20 at step 1"),
        ("flatten", [[0, 17]], "integers of 1 dimension, got int64"),
        ("coarse_first", [0, 17, 1, 18], "group 0 of frame 1"),
        ("parallel", [[0, 10], [0, 0]], "group 0 of frame 1"),
        ("parallel", [[0, -1], [0, 0]], "group 0 of frame 1"),
        ("parallel", [[0, 1]], "must have 2 rows, got 1"),
        ("parallel", [[0.0], [1.0]], "must be integers"),
        ("delay", [[10], [10]], r"1 steps are of no recording.*0 frames have 2"),
        ("delay", [[10, 0, 5], [10, 10, 7]], "row 0 has no code at step 2: 10 must stand there"),
        ("delay", [[10, 10, 10], [10, 10, 7]], "group 0 of frame 0"),
        ("delay", [[3, 0, 10], [10, 10, 7]], "row 0 has no code at step 0"),
    ],
)
def test_what_no_pattern_gave_is_refused(name: str, units: list, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        Pattern(name, 2, 10).invert(units)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50)
@given(example=codes_of_size(), data=st.data())
def test_any_change_is_seen(
    name: str, example: tuple[np.ndarray, int], data: st.DataObject
) -> None:
    """Whatever a language model writes, the inverse gives codes of exactly that, or an error."""
    codes, size = example
    pattern = Pattern(name, len(codes), size)
    units = pattern.apply(codes)
    if units.size:
        place = data.draw(st.integers(0, units.size - 1))
        units.flat[place] = data.draw(st.integers(-(2**63), 2**63 - 1))
    try:
        back = pattern.invert(units)
    except TokenError:
        return
    np.testing.assert_array_equal(pattern.apply(back), units)


def test_patterns_refuse_wrong_codes_and_options() -> None:
    with pytest.raises(ConfigError, match="unknown pattern 'zigzag'"):
        Pattern("zigzag", 2, 10)
    with pytest.raises(ConfigError, match="num_groups must be a positive integer, got 0"):
        Pattern("flatten", 0, 10)
    with pytest.raises(ConfigError, match="keep fewer groups"):
        Pattern("flatten", 2, 2**62)
    with pytest.raises(ConfigError, match="taken"):
        register_pattern("delay", Layout(False, int, int, np.add))
    with pytest.raises(TokenError, match="must be of 3 groups, got 2"):
        Pattern("flatten", 3, 10).apply(CODES)
    with pytest.raises(TokenError, match=r"in \[0, 9\), got 9 in group 1, frame 2"):
        Pattern("flatten", 2, 9).apply(CODES)
    with pytest.raises(TokenError, match="got -1 in group 0, frame 0"):
        Pattern("flatten", 2, 10).apply(CODES - 1)
    with pytest.raises(TokenError, match="must be integers"):
        Pattern("flatten", 2, 10).apply(CODES * 1.0)


def test_arrays_beyond_int64_are_refused() -> None:
    with pytest.raises(TokenError, match="must fit int64"):
        check_codes(np.array([[2**63]], dtype=np.uint64))
    with pytest.raises(TokenError, match="one group or more"):
        check_codes(np.zeros((0, 3), int))
    assert check_range([], what="unit", stop=1).tolist() == []
    with pytest.raises(TokenError, match="integers of 1 dimension"):
        check_range(np.zeros((0, 2)), what="unit", stop=1)


# Vocabulary


@pytest.mark.parametrize("specials_first", [True, False])
@settings(max_examples=30)
@given(first_id=st.integers(0, 2**40), size=st.sampled_from([1, 1000, 65_536, 2**40]))
def test_ids_are_units_and_back(specials_first: bool, first_id: int, size: int) -> None:
    vocabulary = UnitVocabulary(
        3, size, specials=(BOS, "<own>"), specials_first=specials_first, first_id=first_id
    )
    units = np.unique([0, size - 1, size, 3 * size - 1])
    ids = vocabulary.to_ids(units, before=[BOS], after=["<own>"])
    assert ids.min() >= first_id
    assert ids.max() < vocabulary.stop_id == first_id + 3 * size + 2
    assert vocabulary.to_units(ids, skip_specials=True).tolist() == units.tolist()
    assert [vocabulary.meaning(int(index)) for index in ids] == [
        BOS,
        *(Code(int(unit) // size, int(unit) % size) for unit in units),
        "<own>",
    ]
    for index in ids[1:-1].tolist():
        assert vocabulary.code_id(vocabulary.meaning(index)) == index
    with pytest.raises(TokenError, match=f"position 0 holds the special token '{BOS[:2]}"):
        vocabulary.to_units(ids)


def test_where_specials_stand() -> None:
    before = UnitVocabulary(2, 10, first_id=100)
    after = UnitVocabulary(2, 10, first_id=100, specials_first=False)
    assert [before.special_id(text) for text in (BOS, EOS, PAD)] == [100, 101, 102]
    assert [after.special_id(text) for text in (BOS, EOS, PAD)] == [120, 121, 122]
    assert before.to_ids([0, 19]).tolist() == [103, 122]
    assert after.to_ids([0, 19]).tolist() == [100, 119]
    assert UnitVocabulary(2, 10, specials=()).to_ids([]).tolist() == []


def test_vocabulary_refuses() -> None:
    vocabulary = UnitVocabulary(2, 10, first_id=5)
    with pytest.raises(TokenError, match=r"units must be in \[0, 20\), got 20 at position 1"):
        vocabulary.to_ids([0, 20])
    with pytest.raises(TokenError, match=r"ids must be in \[5, 28\), got 4 at position 0"):
        vocabulary.to_units([4])
    with pytest.raises(TokenError, match=r"id 28 is not in \[5, 28\)"):
        vocabulary.meaning(28)
    with pytest.raises(TokenError, match="no special token '<x>'"):
        vocabulary.special_id("<x>")
    with pytest.raises(TokenError, match="out of range"):
        vocabulary.code_id(Code(2, 0))
    with pytest.raises(ConfigError, match=r"is empty; .*must differ.*; first_id must be"):
        UnitVocabulary(2, 10, specials=("", "", "a"), first_id=-1)
    with pytest.raises(ConfigError, match="do not fit int64"):
        UnitVocabulary(1, 2**63 - 1)


# De-duplication


@given(
    codes=st.tuples(st.integers(1, 3), st.integers(0, 30)).flatmap(
        lambda shape: arrays.arrays(np.uint16, shape, elements=st.integers(0, 1))
    )
)
def test_deduplication_has_an_exact_inverse(codes: np.ndarray) -> None:
    short = deduplicate(codes)
    assert short.durations.sum() == codes.shape[1]
    assert (short.codes[:, 1:] != short.codes[:, :-1]).any(axis=0).all()
    back = duplicate(short.codes, short.durations)
    assert back.shape == codes.shape
    np.testing.assert_array_equal(back, codes)


def test_frames_are_equal_in_all_groups_or_not_at_all() -> None:
    short = deduplicate([[1, 1, 1, 1, 2], [5, 5, 6, 6, 6]])
    assert short.codes.tolist() == [[1, 1, 2], [5, 6, 6]]
    assert short.durations.tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("durations", "message"), [([1], "3 frames need as many"), ([1, 0, 2], "got 0 of frame 1")]
)
def test_wrong_durations_are_refused(durations: list[int], message: str) -> None:
    with pytest.raises(TokenError, match=message):
        duplicate(CODES, durations)


# Alignment


@settings(max_examples=30)
@given(num_samples=st.integers(0, 5000), hop=st.integers(1, 700), groups=st.integers(1, 4))
def test_every_sample_has_its_units(num_samples: int, hop: int, groups: int) -> None:
    frames = Alignment.of_frames(num_samples, hop_length=hop, sample_rate=16000)
    assert len(frames.starts) == -(-num_samples // hop)
    assert (frames.stops - frames.starts).sum() == num_samples
    for name in NAMES:
        units = frames.through(Pattern(name, groups, 10))
        for sample in {0, num_samples // 2, num_samples - 1} & {*range(num_samples)}:
            found = units.at_sample(sample)
            assert len(found) == groups
            for place in map(tuple, np.atleast_2d(found.T).T.tolist()):
                assert units.starts[place] == sample // hop * hop
            second = sample / 16000
            np.testing.assert_array_equal(units.at_second(second), found)
        assert len(units.at_sample(num_samples)) == len(units.at_sample(-1)) == 0


def test_alignment_goes_the_way_that_the_codes_went() -> None:
    codes = np.array([[1, 1, 2, 2, 2], [5, 5, 5, 5, 5]])
    short = deduplicate(codes)
    frames = Alignment.of_frames(1530, hop_length=320, sample_rate=16000)
    assert frames.stops.tolist() == [320, 640, 960, 1280, 1530]
    units = frames.merged(short.durations).through(Pattern("flatten", 2, 10))
    assert units.starts.tolist() == [0, 0, 640, 640]
    assert units.stops.tolist() == [640, 640, 1530, 1530]
    assert units.seconds.tolist()[2] == [0.04, 0.095625]
    tokens = units.merged([3, 1])
    assert tokens.starts.tolist() == [0, 640]
    assert tokens.stops.tolist() == [1530, 1530]
    assert tokens.at_second(0.05).tolist() == [0, 1]
    rows = frames.through(Pattern("delay", 2, 10))
    assert rows.starts[:, :3].tolist() == [[-1, 0, 320], [-1, -1, 0]]
    assert np.isnan(rows.seconds[0, 0]).all()
    assert rows.at_sample(0).tolist() == [[0, 1], [1, 2]]


def test_seconds_find_their_sample_again() -> None:
    samples = Alignment.of_frames(3000, hop_length=1, sample_rate=44100)
    seconds = samples.seconds[:, 0].tolist()
    assert [samples.at_second(second).tolist() for second in seconds] == [[k] for k in range(3000)]


def test_alignment_refuses() -> None:
    frames = Alignment.of_frames(1000, hop_length=320, sample_rate=16000)
    for counts in ([2, 1], [4, 0], [5]):
        with pytest.raises(TokenError, match="add up to 4 units"):
            frames.merged(counts)
    rows = frames.through(Pattern("parallel", 2, 10))
    with pytest.raises(TokenError, match="merge frames before the pattern"):
        rows.merged([4])
    with pytest.raises(TokenError, match="applied already"):
        rows.through(Pattern("parallel", 2, 10))
    with pytest.raises(ConfigError, match="hop_length must be an integer of 1 or more, got 0"):
        Alignment.of_frames(1000, hop_length=0, sample_rate=16000)
