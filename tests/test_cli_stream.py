"""`fsq-audio stream`: pipes of PCM and codes, live, and what becomes of them when they break."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_tools import RATE, save_tiny
from conftest import ROOT, SAMPLES, build_tiny

from fsq_audio.audio import resampled_length
from fsq_audio.cli import main
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: bytes
    err: str


class Stream:
    """`stream("encode", data, "--pcm", "f32le")` with the model's folder given."""

    def __init__(
        self,
        model: Path,
        capture: pytest.CaptureFixture[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.model = model
        self._capture, self._monkeypatch = capture, monkeypatch

    def __call__(self, direction: str, data: bytes, *options: object) -> Outcome:
        stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)))
        self._monkeypatch.setattr("sys.stdin", stdin)
        self._capture.readouterr()
        given = [] if "--model" in options else ["--model", self.model]
        code = main(["stream", direction, *map(str, [*given, *options])])
        said = self._capture.readouterr()
        return Outcome(code, said.out, said.err.decode())


@pytest.fixture
def stream(
    tmp_path_factory: pytest.TempPathFactory,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Stream:
    return Stream(save_tiny(tmp_path_factory), capsysbinary, monkeypatch)


@pytest.fixture(scope="module")
def pcm() -> bytes:
    """A real recording as s16le, which is what is in its file."""
    return soundfile.read(SAMPLES[0], dtype="int16")[0].astype("<i2").tobytes()


def offline(model: AudioTokenizer, pcm: bytes) -> tuple[AudioTokens, np.ndarray]:
    """Tokens, and the samples from them as s16le would have them."""
    waveform = torch.from_numpy(np.frombuffer(pcm, "<i2").astype(np.float32) / 2**15)
    tokens = model.encode(waveform)
    samples = model.decode(tokens)[0].double().mul(2**15).round().clamp(-(2**15), 2**15 - 1)
    return tokens, samples.numpy().astype("<i2")


@pytest.mark.parametrize("form", ["jsonl", "binary"])
def test_canonical_blocks_give_what_tokenize_and_decode_give(
    stream: Stream, pcm: bytes, form: str
) -> None:
    tokens, samples = offline(AudioTokenizer.from_pretrained(stream.model), pcm)
    encoded = stream("encode", pcm, "--format", form, "--block-frames", 128)
    assert (encoded.code, encoded.err) == (0, "5.30 s, 265 frames\n")
    if form == "jsonl":
        header, *frames = [json.loads(line) for line in encoded.out.splitlines()]
        assert [frame["codes"] for frame in frames] == tokens.codes[0].T.tolist()
        assert frames[-1]["num_samples"] == len(samples)
        assert header["fingerprint"] == tokens.format.fingerprint
    decoded = stream("decode", encoded.out, "--block-frames", 128)
    assert decoded.code == 0
    assert decoded.out == samples.tobytes()
    assert stream("reconstruct", pcm, "--block-frames", 128).out == samples.tobytes()


def test_small_blocks_floats_and_fewer_groups(stream: Stream, pcm: bytes) -> None:
    floats = (np.frombuffer(pcm, "<i2").astype("<f4") / 2**15).tobytes()
    encoded = stream("encode", pcm, "-q", "--block-frames", 1, "--num-groups", 1)
    assert encoded.err == ""
    assert json.loads(encoded.out.splitlines()[0])["num_groups"] == 1
    options = ["--block-frames", 1, "--num-groups", 1, "--pcm", "f32le"]
    assert stream("encode", floats, *options).out == encoded.out
    decoded = stream("decode", encoded.out, "--block-frames", 1, "--pcm", "f32le")
    assert decoded.out == stream("reconstruct", floats, *options).out
    assert len(decoded.out) == len(floats)
    too_many = stream("decode", encoded.out, "--num-groups", 2)
    assert (too_many.code, too_many.out) == (1, b"")
    assert "num_groups must be from 1 to 1, got 2" in too_many.err


def test_another_sample_rate_comes_back_to_the_sample(stream: Stream, pcm: bytes) -> None:
    rate, num_samples = 44100, len(pcm) // 2
    back = stream("reconstruct", pcm, "--sample-rate", rate)
    assert len(back.out) == len(pcm)
    encoded = stream("encode", pcm, "--sample-rate", rate)
    length = resampled_length(num_samples, rate, RATE)
    assert json.loads(encoded.out.splitlines()[-1])["num_samples"] == length
    decoded = stream("decode", encoded.out, "--sample-rate", rate)
    assert len(decoded.out) == 2 * resampled_length(length, RATE, rate)


def test_another_model_is_refused(
    stream: Stream, pcm: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoded = stream("encode", pcm)
    other = save_tiny(tmp_path_factory, shift=0.1)
    refused = stream("decode", encoded.out, "--model", other)
    assert (refused.code, refused.out) == (1, b"")
    assert "these tokens belong to model" in refused.err


def test_a_stream_cut_short_is_decoded_and_told(stream: Stream, pcm: bytes) -> None:
    encoded = stream("encode", pcm)
    lines = encoded.out.splitlines(True)
    cut = stream("decode", b"".join(lines[:51]) + lines[51][:5])
    assert cut.code == 1
    assert "error: the stream was cut short: 50 frames came, and no end of it\n" in cut.err
    assert len(cut.out) == 2 * 50 * 320
    binary = stream("encode", pcm, "--format", "binary", "--block-frames", 128)
    nothing = stream("decode", binary.out[:300])
    assert (nothing.code, nothing.out) == (1, b"")
    assert "error: the stream was cut short: 0 frames came" in nothing.err
    for wrong, told in ((pcm, "no stream of tokens"), (b"", "not even a header came")):
        refused = stream("decode", wrong)
        assert (refused.code, refused.out) == (1, b"")
        assert told in refused.err


def test_input_that_is_no_pcm(stream: Stream, pcm: bytes) -> None:
    for direction in ("encode", "reconstruct"):
        empty = stream(direction, b"")
        assert (empty.code, empty.err) == (1, "fsq-audio: error: standard input has no samples\n")
        odd = stream(direction, pcm + b"x")
        assert odd.code == 1
        assert "ends within a sample (1 bytes are left over): is it s16le?" in odd.err
        assert odd.out == stream(direction, pcm).out  # whatever was sound came out
    not_a_number = np.full(2, np.nan, "<f4").tobytes()
    refused = stream("encode", not_a_number, "--pcm", "f32le")
    assert refused.code == 1
    assert "NaN or infinity at sample 0" in refused.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--block-frames", "129"], "--block-frames must be from 1 to 128, got 129"),
        (["--num-groups", "3"], "--num-groups 3: the model has 2"),
        (["--pcm", "s24le"], "invalid choice: 's24le'"),
        (["--json"], "unrecognized arguments: --json"),
    ],
)
def test_wrong_usage(stream: Stream, options: list[str], told: str) -> None:
    refused = stream("encode", b"", *options)
    assert refused.code == 2
    assert told in refused.err


def test_verbose_tells_the_latency(stream: Stream, pcm: bytes) -> None:
    assert "a sample waits" in stream("encode", pcm, "-v").err
    assert "a sample comes out" in stream("reconstruct", pcm, "-v").err


def start(direction: str, model: Path, *options: str, **pipes: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "fsq_audio", "stream", direction, "--model", str(model), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **{"stdin": subprocess.PIPE, **pipes},
    )


@POSIX
def test_frames_are_out_while_the_input_goes_on(tmp_path: Path, pcm: bytes) -> None:
    """One live pipe of a causal model: a frame in, a frame out; then Ctrl-C ends it properly."""
    model = build_tiny("spectral-istft-causal")
    model.save_pretrained(tmp_path)
    encode = start("encode", tmp_path, "--block-frames", "1", "--format", "binary")
    decode = start("decode", tmp_path, "--block-frames", "1", stdin=encode.stdout)
    watchdog = threading.Timer(120, encode.kill)
    watchdog.start()
    assert encode.stdin is not None
    assert decode.stdout is not None
    hop_bytes, came = 2 * model.hop_length, b""
    for place in range(0, 5 * hop_bytes, hop_bytes):
        encode.stdin.write(pcm[place : place + hop_bytes])
        encode.stdin.flush()
        came += decode.stdout.read(hop_bytes)  # waits in vain if one frame is kept back
    encode.stdin.write(pcm[5 * hop_bytes : 5 * hop_bytes + 100])
    encode.stdin.flush()
    # The last samples are read before the signal comes: the encoder waits for more.
    while encode.poll() is None and num_unread(encode.stdin.fileno()):
        time.sleep(0.005)
    encode.send_signal(signal.SIGINT)
    rest, told = decode.communicate(timeout=60)
    assert (decode.returncode, told) == (0, b"0.10 s, 6 frames\n")
    assert encode.wait(60) == 130
    assert len(came + rest) == 5 * hop_bytes + 100
    assert encode.stderr is not None
    said = encode.stderr.read().decode().splitlines()
    assert said[-1] == "fsq-audio: interrupted: what was heard until then is complete"
    encode.stdin.close()
    watchdog.cancel()


def num_unread(pipe: int) -> int:
    """Bytes that were written to a pipe and not read yet."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@POSIX
def test_nobody_reads_what_goes_out(tmp_path_factory: pytest.TempPathFactory, pcm: bytes) -> None:
    """As in `fsq-audio stream encode | head -1`."""
    encode = start("encode", save_tiny(tmp_path_factory))
    assert encode.stdin is not None
    assert encode.stdout is not None
    encode.stdout.readline()
    encode.stdout.close()
    encode.stdout = None
    _, told = encode.communicate(pcm, timeout=60)
    assert (encode.returncode, told) == (1, b"")
