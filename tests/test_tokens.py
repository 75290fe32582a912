from __future__ import annotations

import io
import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq_audio import tokens as tokens_module
from fsq_audio.errors import TokenError
from fsq_audio.tokens import AudioTokens, Source, TokenFormat, pack, packed_size, unpack

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


# Packing


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
    block = tokens_module._block_shape(codebook_size)

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
    num_codes = tokens_module._block_shape(codebook_size).num_codes
    packed = codebook_size**num_codes
    num_bytes = packed_size(num_codes, codebook_size)
    assert int(unpack((packed - 1).to_bytes(num_bytes, "big"), num_codes, codebook_size).min()) > 0
    with pytest.raises(TokenError, match="larger than any"):
        unpack(packed.to_bytes(num_bytes, "big"), num_codes, codebook_size)


def test_packed_bytes_of_another_number_are_refused() -> None:
    with pytest.raises(TokenError, match="5 packed codes take 7 bytes, not 8"):
        unpack(bytes(8), 5, 1000)


# AudioTokens


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


# The token file


@given(
    codebook_size=BOOK_SIZES,
    num_items=st.integers(1, 3),
    num_groups=st.integers(1, 5),
    num_samples=st.integers(1, 9000),
    hop_length=st.integers(1, 700),
    is_split=st.booleans(),
)
@settings(max_examples=60)
def test_files_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    codebook_size: int,
    num_items: int,
    num_groups: int,
    num_samples: int,
    hop_length: int,
    is_split: bool,
) -> None:
    tokens = make_tokens(
        [num_samples] * num_items, num_groups, codebook_size=codebook_size, hop_length=hop_length
    )
    if is_split:
        tokens = replace(tokens, source=Source(44100, 123, num_items, "split"))
    path = tmp_path_factory.getbasetemp() / "round trip ü.x.fsq"
    tokens.save(path)
    assert AudioTokens.load(path) == tokens
    payload = packed_size(tokens.codes.numel(), codebook_size)
    assert path.stat().st_size - payload < 600


def test_ten_hours_of_tokens_take_their_bits(tmp_path: Path) -> None:
    tokens = make_tokens([36000 * 16000])
    tokens.save(tmp_path / "long.fsq")
    assert AudioTokens.load(tmp_path / "long.fsq") == tokens
    assert tokens.num_bits <= 8 * (tmp_path / "long.fsq").stat().st_size < 1.005 * tokens.num_bits


def test_golden_file_loads_forever() -> None:
    assert AudioTokens.load(GOLDEN) == golden_tokens()


def test_golden_file_is_still_what_is_written(tmp_path: Path) -> None:
    # Several times: safetensors orders metadata entries at random, so there must be only one.
    for index in range(8):
        golden_tokens().save(tmp_path / f"{index}.fsq")
        assert (tmp_path / f"{index}.fsq").read_bytes() == GOLDEN.read_bytes()


def test_the_file_is_a_safetensors_file() -> None:
    with safetensors.safe_open(GOLDEN, "numpy") as file:
        assert list(file.keys()) == ["codes"]
        assert file.get_tensor("codes").dtype == np.uint8
        description = json.loads(file.metadata()["fsq_audio"])
    assert description["v"] == 1
    assert description["id"] == "0123456789abcdef"
    assert description["src"] == [44100, 22047, 2, "split"]


def load_bytes(data: bytes) -> AudioTokens:
    """What `AudioTokens.load` does with an open file; thousands of real ones would take long."""
    return tokens_module._from_file(io.BytesIO(data), len(data))


def test_no_flipped_bit_gives_other_codes() -> None:
    data = GOLDEN.read_bytes()
    num_refused = 0
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                loaded = load_bytes(bytes(flipped))
            except TokenError:
                num_refused += 1
            else:
                assert loaded == golden_tokens()
    # White space that pads the header is all that may change unnoticed.
    assert num_refused >= 8 * len(data) - 16


@given(position=st.integers(0, 10**6), value=st.binary(min_size=1, max_size=12))
def test_no_overwritten_bytes_give_other_codes(position: int, value: bytes) -> None:
    data = bytearray(GOLDEN.read_bytes())
    position %= len(data) - len(value)
    data[position : position + len(value)] = value
    try:
        loaded = load_bytes(bytes(data))
    except TokenError:
        return
    assert loaded == golden_tokens()


def test_every_cut_is_refused(tmp_path: Path) -> None:
    data, path = GOLDEN.read_bytes(), tmp_path / "cut.fsq"
    assert load_bytes(data) == golden_tokens()
    for size in range(len(data)):
        with pytest.raises(TokenError):
            load_bytes(data[:size])
    path.write_bytes(data[:-1])
    with pytest.raises(TokenError, match="cut short: its header announces 125 bytes, 124 are"):
        AudioTokens.load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(TokenError, match="damaged"):
        AudioTokens.load(path)


def with_crc(text: str, packed: bytes) -> str:
    start = text.rpartition(',"crc":')[0]
    return f'{start},"crc":"{tokens_module._checksum(start, packed)}"}}'


def altered(path: Path, alter: Callable[[dict[str, Any]], object], packed: bytes) -> None:
    """Writes the golden file with another description, and a checksum that fits it."""
    with safetensors.safe_open(GOLDEN, "numpy") as file:
        says = json.loads(file.metadata()["fsq_audio"])
    alter(says)
    text = with_crc(tokens_module._compact(says), packed)
    codes = np.frombuffer(packed, np.uint8)
    path.write_bytes(safetensors.numpy.save({"codes": codes}, metadata={"fsq_audio": text}))


def golden_packed() -> bytes:
    return bytes(safetensors.numpy.load_file(GOLDEN)["codes"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 2}, "is of version 2; this release reads version 1: upgrade"),
        ({"v": "1"}, "description"),
        ({"id": ""}, "fingerprint"),
        ({"rate": 0}, "sample_rate"),
        ({"hop": 319}, "7999 samples make 130 bytes of codes, not 125"),
        ({"hop": 0}, "hop_length"),
        ({"hop": 320.0}, "hop_length"),
        ({"K": 1}, "codebook_size"),
        ({"K": 2**64}, "codebook_size"),
        ({"K": 900}, "larger than any|make"),
        ({"fsq": []}, "quantizer"),
        ({"B": 0}, "number of channels"),
        ({"B": 1}, "bytes of codes, not 125"),
        ({"G": 3}, "bytes of codes, not 125"),
        ({"G": -2}, "number of groups"),
        ({"S": 8001}, "make 130 bytes"),
        ({"S": 2**62}, "bytes of codes, not 125"),
        ({"S": 10**30}, "number of samples"),
        ({"src": [44100, 22047, 1, "split"]}, "gives 1 items, not 2"),
        ({"src": [44100, 22047, 2]}, "source"),
        ({"src": [44100, 22047, 2, "left"]}, "'mix' or 'split'"),
        ({"src": {}}, "source"),
        ({"src": ...}, "not complete"),
    ],
)
def test_inconsistent_files_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "altered.fsq"

    def alter(says: dict[str, Any]) -> None:
        for key, value in change.items():
            says.pop(key) if value is ... else says.update({key: value})

    altered(path, alter, golden_packed())
    with pytest.raises(TokenError, match=message) as caught:
        AudioTokens.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_altering_nothing_is_accepted(tmp_path: Path) -> None:
    """Otherwise the test above would pass for a wrong reason."""
    altered(tmp_path / "same.fsq", lambda says: None, golden_packed())
    assert AudioTokens.load(tmp_path / "same.fsq") == golden_tokens()


def test_a_code_out_of_range_is_refused_even_with_a_right_checksum(tmp_path: Path) -> None:
    path = tmp_path / "large.fsq"
    altered(path, lambda says: None, b"\xff" * 125)
    with pytest.raises(TokenError, match="a packed block is larger than any"):
        AudioTokens.load(path)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    data = bytearray(GOLDEN.read_bytes())
    data[-1] ^= 1
    (tmp_path / "x.fsq").write_bytes(data)
    with pytest.raises(TokenError, match="its checksum is wrong"):
        AudioTokens.load(tmp_path / "x.fsq")


def raw_file(header: bytes, payload: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + payload


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a token file"),
        (b"\0" * 7, "is not a token file"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "is not a token file"),
        ((2**40).to_bytes(8, "little") + b"{}", "is not a token file"),
        ((2**16 + 1).to_bytes(8, "little") + b" " * (2**16 + 1), "is not a token file"),
        ((100).to_bytes(8, "little") + b"{}", "cut short within its header"),
        (raw_file(b"{}"), "is not a token file"),
        (raw_file(b"[" * 60000), "header is damaged"),
        (raw_file(b"\xff\xfe"), "header is damaged"),
        (raw_file(b'{"__metadata__":{"fsq_audio":"\\ud800"}}'), "description cannot be read"),
        (raw_file(b'{"__metadata__":{"fsq_audio":"{}"},"codes":1}'), "one row of bytes"),
        (
            raw_file(
                b'{"__metadata__":{"fsq_audio":"[]"},'
                b'"codes":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
            ),
            "description cannot be read",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "other.fsq"
    path.write_bytes(data)
    with pytest.raises(TokenError, match=message):
        AudioTokens.load(path)


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(TokenError, match="is not a token file"):
        AudioTokens.load(path)
    with safetensors.safe_open(GOLDEN, "numpy") as file:
        metadata = file.metadata()
    codes = np.frombuffer(golden_packed(), np.uint8)
    safetensors.numpy.save_file({"codes": codes, "more": codes}, path, metadata=metadata)
    with pytest.raises(TokenError, match="one tensor, named codes, and nothing else"):
        AudioTokens.load(path)
    safetensors.numpy.save_file({"codes": codes.view(np.int8)}, path, metadata=metadata)
    with pytest.raises(TokenError, match="one row of bytes"):
        AudioTokens.load(path)


def test_nothing_is_allocated_on_the_word_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "boast.fsq"
    altered(path, lambda says: says.update(S=2**40, B=2**20), golden_packed())
    tracemalloc.start()
    try:
        with pytest.raises(TokenError, match="not 125"):
            AudioTokens.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fsq")
    with pytest.raises(TokenError, match=r"pipe\.fsq: is a pipe"):
        AudioTokens.load(tmp_path / "pipe.fsq")
    with pytest.raises(TokenError, match=r"none\.fsq: no such file"):
        AudioTokens.load(tmp_path / "none.fsq")
    with pytest.raises(TokenError, match="is a folder"):
        AudioTokens.load(tmp_path)
    with pytest.raises(TokenError, match="no such file or folder"):
        golden_tokens().save(tmp_path / "none" / "x.fsq")


def test_only_one_whole_recording_is_saved(tmp_path: Path) -> None:
    uneven = make_tokens([320, 321])
    dropped = make_tokens([640])
    dropped.codes[0, 1, 0] = -1
    for save in (AudioTokens.save, AudioTokens.save_npy):
        with pytest.raises(TokenError, match=r"items of \[320, 321\] samples: save each"):
            save(uneven, tmp_path / "x")
        with pytest.raises(TokenError, match="dropped groups"):
            save(dropped, tmp_path / "x")
    with pytest.raises(TokenError, match="dropped groups"):
        dropped.to_record("x")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.fsq"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(TokenError, match=r"x\.fsq: No space left on device"):
        golden_tokens().save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


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
