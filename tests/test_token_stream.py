"""Codes on a pipe: both forms keep them exactly, and nothing damaged or cut short passes."""

from __future__ import annotations

import io
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio.errors import TokenError
from fsq_audio.token_stream import MAGIC, Piece, TokenStreamReader, TokenStreamWriter
from fsq_audio.tokens import TokenFormat

FORMAT = TokenFormat("deadbeef", 16000, 320, 1000, {"name": "group_fsq", "levels": [8, 5, 5, 5]})
BINARY = pytest.mark.parametrize("binary", [False, True])


def written(pieces: list[Tensor], num_samples: int, *, binary: bool) -> bytes:
    file = io.BytesIO()
    writer = TokenStreamWriter(file, FORMAT, num_groups=len(pieces[0]), binary=binary)
    for piece in pieces[:-1]:
        writer.write(piece)
    writer.end(pieces[-1], num_samples)
    return file.getvalue()


def read(data: bytes) -> tuple[TokenStreamReader, list[Piece]]:
    reader = TokenStreamReader(io.BytesIO(data))
    return reader, list(reader)


def some_codes(num_frames: int = 7) -> Tensor:
    codes = torch.randint(1000, (3, num_frames), generator=torch.Generator().manual_seed(0))
    codes[0, 0] = 999
    return codes


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    missing=st.integers(0, 319),
    binary=st.booleans(),
)
def test_what_was_written_is_read(sizes: list[int], missing: int, binary: bool) -> None:
    num_frames = sum(sizes)
    codes = torch.randint(1000, (3, num_frames))
    num_samples = num_frames * 320 - missing if num_frames else 0
    reader, pieces = read(written(list(codes.split(sizes, dim=1)), num_samples, binary=binary))
    assert (reader.format, reader.num_groups) == (FORMAT, 3)
    assert torch.equal(torch.cat([piece.codes for piece in pieces], dim=1), codes)
    assert [piece.num_samples for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].num_samples == num_samples
    assert pieces[-1].codes.shape[1] <= 1


def test_binary_streams_take_what_the_codes_hold() -> None:
    """1000 frames of 3 codes of log2(1000) bits, in records of 8 frames: 3 bytes more for each."""
    data = written(list(some_codes(1000).split(8, dim=1)), 320000, binary=True)
    assert len(data) < 1000 * 3 * 9.97 / 8 + 125 * 3 + 300


def test_more_frames_than_a_record_holds() -> None:
    codes = some_codes(70000)
    _, pieces = read(written([codes], 70000 * 320, binary=True))
    assert torch.equal(torch.cat([piece.codes for piece in pieces], dim=1), codes)


def test_lines_are_a_frame_each() -> None:
    lines = [json.loads(line) for line in written([some_codes(3)], 641, binary=False).splitlines()]
    assert [line.get("codes") for line in lines] == [None, *some_codes(3).T.tolist()]
    assert [line.get("num_samples") for line in lines] == [None, None, None, 641]
    assert lines[0]["fingerprint"] == "deadbeef"


@BINARY
def test_a_stream_cut_short_anywhere_is_told(binary: bool) -> None:
    data = written([some_codes(), some_codes()[:, :2]], 9 * 320, binary=binary)
    for size in range(len(data)):
        with pytest.raises(TokenError, match=r"cut short|empty|no stream of tokens"):
            read(data[:size])


def test_frames_come_out_before_the_cut_is_told() -> None:
    data = written([some_codes()], 7 * 320, binary=False)
    pieces = iter(TokenStreamReader(io.BytesIO(b"".join(data.splitlines(True)[:6]))))
    came = [next(pieces).codes for _ in range(5)]
    assert torch.equal(torch.cat(came, dim=1), some_codes()[:, :5])
    with pytest.raises(TokenError, match="cut short: 5 frames came"):
        next(pieces)


def test_a_binary_stream_with_a_flipped_bit_is_refused() -> None:
    data = written([some_codes(), some_codes()[:, :1]], 8 * 320 - 5, binary=True)
    start = data.index(b'"num_groups": 3}') + len(b'"num_groups": 3}')
    for place in range(start, len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            with pytest.raises(TokenError):
                read(bytes(damaged))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"codes": [1, 2]}', "line 2 of the stream must have 3 codes in"),
        (b'{"codes": [1, 2, 1000]}', r"codes in \[0, 1000\)"),
        (b'{"codes": [1, 2, -1]}', r"codes in \[0, 1000\)"),
        (b'{"codes": [1, 2, true]}', "must have 3 codes"),
        (b'{"codes": [1, 2, 3], "more": 1}', "must have 3 codes"),
        (b'{"codes": [], "num_samples": "1"}', "must have 3 codes"),
        (b'{"num_samples": 320}', "0 frames came for 320 samples"),
        (b"[1, 2, 3]", "line 2 of the stream is damaged"),
        (b"{", "line 2 of the stream is damaged"),
        (b"[" * 70000, "line 2 of the stream is damaged"),
    ],
)
def test_a_wrong_line_is_named(line: bytes, told: str) -> None:
    header = written([some_codes()], 7 * 320, binary=False).splitlines(True)[0]
    with pytest.raises(TokenError, match=told):
        read(header + line + b"\n")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 2}, "is of version 2; this release reads version 1"),
        ({"num_groups": 0}, "num_groups of the stream is 0"),
        ({"num_groups": 10**9}, "num_groups of the stream is 1000000000"),
        ({"hop_length": "320"}, "hop_length must be an integer"),
        ({"more": 1}, "the header of the stream is damaged"),
    ],
)
@BINARY
def test_a_wrong_header_is_named(changes: dict[str, object], told: str, binary: bool) -> None:
    lines = written([some_codes()], 7 * 320, binary=False).splitlines(True)
    header = json.dumps({**json.loads(lines[0]), **changes}).encode()
    data = MAGIC + len(header).to_bytes(4, "little") + header if binary else header + b"\n"
    with pytest.raises(TokenError, match=told):
        TokenStreamReader(io.BytesIO(data))


def test_an_interrupted_write_goes_on() -> None:
    class Raw(io.BytesIO):
        def write(self, data: bytes) -> int:
            return super().write(data[:5])

    raw = Raw()
    TokenStreamWriter(raw, FORMAT, num_groups=3, binary=True).end(some_codes(), 7 * 320)
    assert raw.getvalue() == written([some_codes()], 7 * 320, binary=True)


def test_what_is_no_stream_is_refused() -> None:
    for data in (b"RIFF....WAVE", b"\x00\x01", b"\x89PNG\r\n\x1a\n", b"fsq"):
        with pytest.raises(TokenError, match="no stream of tokens"):
            TokenStreamReader(io.BytesIO(data))
    with pytest.raises(TokenError, match="is damaged"):
        TokenStreamReader(io.BytesIO(MAGIC + b"\xff\xff\xff\xff"))


@BINARY
def test_nothing_may_follow_the_end(binary: bool) -> None:
    data = written([some_codes()], 7 * 320, binary=binary)
    with pytest.raises(TokenError, match="something follows the end"):
        read(data + data)
