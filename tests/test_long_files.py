"""Hours of audio in bounded memory, with the codes that a short recording has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import SAMPLES
from torch import Tensor

from fsq_audio import audio
from fsq_audio.blocks import WINDOW_FRAMES
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens

MEBIBYTE = 2**20


@dataclass(frozen=True)
class RoundTrip:
    """What became of one file.

    Attributes:
        encode_seconds: from the audio file to the token file.
        decode_seconds: from the token file to the audio file.
        peak: bytes of memory that the process has held so far, at most.
    """

    encode_seconds: float
    decode_seconds: float
    peak: int


def peak_memory() -> int:
    """The largest resident size of this process, in bytes.

    Not `getrusage`: on Linux its maximum begins with that of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc/self/status")


def round_trips(source: str, paths: list[Path]) -> list[RoundTrip]:
    """Audio to tokens in a file, and those to audio in a file, one recording after the other.

    Runs in a process of its own, so that nothing else counts.
    """
    model = AudioTokenizer.from_pretrained(source)
    results = []
    for path in paths:
        times = [time.perf_counter()]
        model.encode_file(path).save(path.with_suffix(".fsq"))
        times.append(time.perf_counter())
        tokens = AudioTokens.load(path.with_suffix(".fsq"))
        with audio.AudioWriter(decoded(path), sample_rate=model.sample_rate) as writer:
            for piece in model.decode_stream(tokens):
                writer.write(piece)
        times.append(time.perf_counter())
        results.append(RoundTrip(times[1] - times[0], times[2] - times[1], peak_memory()))
    return results


def decoded(path: Path) -> Path:
    return path.with_suffix(".decoded.flac")


def in_own_process(source: str, paths: list[Path]) -> list[RoundTrip]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(round_trips, source, paths).result()


@contextmanager
def looped(path: Path, period: Tensor, num_samples: int) -> Iterator[None]:
    """A FLAC file with one recording again and again, removed at the end with what became of it."""
    try:
        with soundfile.SoundFile(path, "w", 16000, 1, "PCM_16") as file:
            for start in range(0, num_samples, len(period)):
                file.write(period[: num_samples - start].numpy())
        yield
    finally:
        for made in (path, path.with_suffix(".fsq"), decoded(path)):
            made.unlink(missing_ok=True)


def one_period(model: AudioTokenizer) -> Tensor:
    """Real speech as long as one full window, so that a loop of it has windows all alike."""
    signal = torch.cat([torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in SAMPLES])
    size = WINDOW_FRAMES * model.hop_length
    return signal.repeat(-(-size // len(signal)))[:size]


def count_differences(path: Path, period: int) -> tuple[int, int]:
    """Codes and samples that differ from those of the second period, but for the ends.

    The first window has silence before it, and the last two end elsewhere.
    """
    codes = AudioTokens.load(path.with_suffix(".fsq")).codes[0]
    first = codes[:, WINDOW_FRAMES : 2 * WINDOW_FRAMES]
    num_periods = codes.shape[1] // WINDOW_FRAMES
    assert num_periods > 4
    wrong_codes = sum(
        int((codes[:, i * WINDOW_FRAMES : (i + 1) * WINDOW_FRAMES] != first).sum())
        for i in range(2, num_periods - 1)
    )
    wrong_samples = 0
    with soundfile.SoundFile(decoded(path)) as file:
        file.seek(2 * period)
        expected = file.read(period, dtype="int16")
        for _ in range(3, num_periods - 2):
            wrong_samples += int((file.read(period, dtype="int16") != expected).sum())
    return wrong_codes, wrong_samples


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux's /proc"
)


@needs_proc
def test_memory_does_not_grow_with_length(tiny: AudioTokenizer, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path / "model")
    short, long = tmp_path / "short.flac", tmp_path / "long.flac"
    period = one_period(tiny)
    minutes = 60 * 16000
    with looped(short, period, 2 * minutes), looped(long, period, 20 * minutes):
        before, after = in_own_process(str(tmp_path / "model"), [short, long])
        # 18 minutes more are 66 MiB of samples; their codes, in all the copies that are made,
        # are a few.
        assert after.peak - before.peak < 32 * MEBIBYTE

        tokens = AudioTokens.load(long.with_suffix(".fsq"))
        waveform = audio.load(long, sample_rate=16000)
        assert torch.equal(tokens.codes, tiny.encode(waveform).codes)
        result = soundfile.info(decoded(long))
        assert result.frames == waveform.shape[-1]
        assert count_differences(long, len(period)) == (0, 0)


def test_a_stream_is_decoded_as_it_is_in_memory(tiny: AudioTokenizer, speech: Tensor) -> None:
    """Over several windows, the last one short."""
    tokens = tiny.encode(speech.repeat(6)[:-777])
    assert tokens.codes.shape[-1] > 2 * WINDOW_FRAMES
    pieces = list(tiny.decode_stream(tokens))
    assert len(pieces) > 2
    assert torch.equal(torch.cat(pieces, dim=-1), tiny.decode(tokens))


@needs_proc
@pytest.mark.slow
def test_ten_hours_take_less_than_two_gigabytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AudioTokenizer.from_pretrained()
    assert model.sample_rate == 16000
    path, num_samples = tmp_path / "ten_hours.flac", 10 * 3600 * 16000
    period = one_period(model)
    with looped(path, period, num_samples):
        (result,) = in_own_process("default", [path])
        wrong_codes, wrong_samples = count_differences(path, len(period))
        num_bytes = path.with_suffix(".fsq").stat().st_size
        with capsys.disabled():
            print(
                f"\nten hours: peak memory {result.peak / 1e9:.2f} GB, "
                f"tokenized in {result.encode_seconds:.0f} s, "
                f"decoded in {result.decode_seconds:.0f} s, {num_bytes} bytes of tokens; between "
                f"repetitions {wrong_codes} codes and {wrong_samples} samples differ"
            )
        assert result.peak < 2e9
        assert soundfile.info(decoded(path)).frames == num_samples
        assert (wrong_codes, wrong_samples) == (0, 0)
