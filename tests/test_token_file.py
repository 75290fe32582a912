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
from hypothesis import given, settings
from hypothesis import strategies as st
from token_tools import BOOK_SIZES, GOLDEN, QUANTIZER, golden_tokens, make_tokens

from fsq_audio.errors import TokenError
from fsq_audio.tokens import AudioTokens, Source, file, packed_size


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
    with safetensors.safe_open(GOLDEN, "numpy") as opened:
        assert list(opened.keys()) == ["codes"]
        assert opened.get_tensor("codes").dtype == np.uint8
        description = json.loads(opened.metadata()["fsq_audio"])
    assert description["v"] == 1
    assert description["id"] == "0123456789abcdef"
    assert description["src"] == [44100, 22047, 2, "split"]


def load_bytes(data: bytes) -> AudioTokens:
    """What `AudioTokens.load` does with an open file; thousands of real ones would take long."""
    return AudioTokens.of_content(file.from_file(io.BytesIO(data), len(data)))


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
    return f'{start},"crc":"{file._checksum(start, packed)}"}}'


def altered(path: Path, alter: Callable[[dict[str, Any]], object], packed: bytes) -> None:
    """Writes the golden file with another description, and a checksum that fits it."""
    with safetensors.safe_open(GOLDEN, "numpy") as opened:
        says = json.loads(opened.metadata()["fsq_audio"])
    alter(says)
    text = with_crc(file._compact(says), packed)
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
    with safetensors.safe_open(GOLDEN, "numpy") as opened:
        metadata = opened.metadata()
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


def test_a_description_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    tokens = make_tokens([640], quantizer={**QUANTIZER, "note": "x" * 2**16})
    with pytest.raises(TokenError, match=r"must fit in 65536 bytes"):
        tokens.save(tmp_path / "x.fsq")
    assert not list(tmp_path.iterdir())


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
