"""Audio files are written exactly, whole or not at all."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_tools import (
    LOSSLESS,
    LOSSY,
    RATES,
    make_signal,
    recordings,
    tree,
    wav_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio import audio
from fsq_audio.audio import AudioInfo, AudioWriter, load, read_info, resampled_length, save
from fsq_audio.errors import AudioError


@pytest.mark.parametrize(
    ("name", "subtype", "bits"),
    [
        ("x.wav", None, 16),
        ("x.wav", "PCM_U8", 8),
        ("x.wav", "PCM_24", 24),
        ("x.flac", None, 16),
        ("x.flac", "PCM_24", 24),
        ("x.flac", "PCM_S8", 8),
        ("x.aiff", None, 16),
        ("x.caf", None, 16),
        ("x.w64", None, 16),
        ("x.rf64", None, 16),
    ],
)
def test_pcm_is_rounded_to_nearest_and_written_back_exactly(
    tmp_path: Path, name: str, subtype: str | None, bits: int
) -> None:
    scale = 2 ** (bits - 1)
    integers = torch.linspace(-scale, scale - 1, min(2**bits, 2**16), dtype=torch.float64).round()
    # Still nearest to the same integer; float32 has no room to tell that apart in 24 bits.
    for shift in (0, 0.49, -0.49) if bits < 24 else (0,):
        waveform = ((integers + shift) / scale).clamp(min=-1)
        save(tmp_path / name, waveform[None].float(), sample_rate=16000, subtype=subtype)
        waveform_read = load(tmp_path / name, sample_rate=16000)
        assert torch.equal(waveform_read[0].double() * scale, integers)


def test_float_wav_is_written_as_it_is(tmp_path: Path) -> None:
    waveform = torch.tensor([[2.5, -7.0, 1e-20, 0.1]])
    assert save(tmp_path / "x.wav", waveform, sample_rate=16000, subtype="float") == 0
    assert torch.equal(load(tmp_path / "x.wav", sample_rate=16000), waveform)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.opus", "x.mp3"])
def test_samples_beyond_one_are_clipped_and_counted(tmp_path: Path, name: str) -> None:
    waveform = torch.tensor([[1.0, -1.0, 1.5, -1.01, 0.5], [0.0, 0.0, 99.0, 0.0, 0.0]])
    assert save(tmp_path / name, waveform, sample_rate=16000) == 3
    if name in ("x.wav", "x.flac"):
        expected = waveform.clamp(-1, 32767 / 32768)
        assert torch.equal(load(tmp_path / name, sample_rate=16000, channels="split"), expected)


@pytest.mark.parametrize("name", ["x.ogg", "x.opus", "x.mp3"])
def test_lossy_encoders_get_clipped_samples(tmp_path: Path, name: str) -> None:
    waveform = 4 * torch.from_numpy(make_signal(5000).T).float()
    results = []
    for samples in (waveform, waveform.clamp(-1, 1)):
        save(tmp_path / name, samples, sample_rate=16000)
        results.append(load(tmp_path / name, sample_rate=16000))
    assert torch.equal(*results)


@given(recording=recordings([kind for kind in LOSSLESS[:8] + LOSSY if kind[2] != "ULAW"]))
@settings(max_examples=40)
def test_every_format_has_as_many_samples_as_were_written(
    tmp_path_factory: pytest.TempPathFactory, recording: tuple[Any, ...]
) -> None:
    extension, format_, subtype, rate, num_channels, num_samples = recording
    path = tmp_path_factory.getbasetemp() / f"written.{extension}"
    waveform = torch.from_numpy(make_signal(num_samples, num_channels, rate).T)
    save(path, waveform, sample_rate=rate, subtype=subtype)
    assert read_info(path) == AudioInfo(rate, num_channels, num_samples, format_, subtype)
    assert load(path, sample_rate=rate, channels="split").shape == (num_channels, num_samples)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.opus", "x.mp3"])
def test_the_file_does_not_depend_on_the_blocks(tmp_path: Path, name: str) -> None:
    waveform = torch.from_numpy(make_signal(50001, 2).T).float()
    results = []
    for size in (1000, 4097, 50001):
        with AudioWriter(
            tmp_path / name, sample_rate=16000, num_channels=2, file_sample_rate=24000
        ) as writer:
            for start in range(0, 50001, size):
                writer.write(waveform[:, start : start + size])
        results.append(load(tmp_path / name, sample_rate=24000, channels="split"))
    assert results[0].shape == (2, resampled_length(50001, 16000, 24000))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@given(
    num_samples=st.sampled_from([1, 2, 3]) | st.integers(1, 20000),
    rate=st.sampled_from(RATES),
    model_rate=st.sampled_from([16000, 24000]),
)
@settings(max_examples=60)
def test_there_and_back_again_has_the_same_number_of_samples(
    tmp_path_factory: pytest.TempPathFactory, num_samples: int, rate: int, model_rate: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "there.wav").write_bytes(wav_bytes(make_signal(num_samples), rate))
    waveform = load(folder / "there.wav", sample_rate=model_rate)
    with AudioWriter(
        folder / "back.wav", sample_rate=model_rate, file_sample_rate=rate, num_samples=num_samples
    ) as writer:
        writer.write(waveform)
    assert read_info(folder / "back.wav").num_samples == num_samples
    assert read_info(folder / "back.wav").sample_rate == rate


def test_a_number_of_samples_that_rounding_does_not_explain_is_refused(tmp_path: Path) -> None:
    for rate, wanted in [(48000, 3005), (48000, 2995), (8000, 502), (16000, 999), (16000, 1001)]:
        with (
            pytest.raises(AudioError, match=f"1000 samples at 16000 Hz make .* not the {wanted}"),
            AudioWriter(
                tmp_path / "x.wav", sample_rate=16000, file_sample_rate=rate, num_samples=wanted
            ) as writer,
        ):
            writer.write(torch.zeros(1, 1000))
    assert not tree(tmp_path)


def test_nothing_is_there_before_the_end_nor_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with AudioWriter(path, sample_rate=16000) as writer:
        writer.write(torch.zeros(1, 10000))
        assert not path.exists()
    before = tree(tmp_path)
    assert list(before) == ["x.wav"]

    def write_and_fail() -> None:
        with AudioWriter(path, sample_rate=16000) as writer:
            writer.write(torch.ones(1, 10000))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert tree(tmp_path) == before


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50000, before[1]))
    try:
        for name in ("x.wav", "x.flac", "x.ogg"):
            noise = torch.rand(1, 1_000_000) - 0.5
            with pytest.raises(AudioError, match=rf"{name}: cannot be written \(File too large\)"):
                save(tmp_path / name, noise, sample_rate=16000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not tree(tmp_path)


def test_more_than_a_wav_can_state_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio.writing, "_WAV_LIMIT", 20000)
    save(tmp_path / "x.wav", torch.zeros(2, 5000), sample_rate=16000)
    with pytest.raises(AudioError, match="too long for WAV"):
        save(tmp_path / "y.wav", torch.zeros(2, 5001), sample_rate=16000)
    save(tmp_path / "y.flac", torch.zeros(2, 5001), sample_rate=16000)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda f: save(f / "x.m4a", torch.zeros(1, 5), sample_rate=16000), "extension '.m4a'"),
        (lambda f: save(f / "x", torch.zeros(1, 5), sample_rate=16000), "extension ''"),
        (lambda f: save(f / "x.wav", torch.zeros(5), sample_rate=16000), r"\[C, S\]"),
        (lambda f: save(f / "x.wav", torch.zeros(0, 5), sample_rate=16000), "C >= 1"),
        (lambda f: save(f / "x.wav", torch.zeros(1, 0), sample_rate=16000), "no samples"),
        (
            lambda f: save(f / "x.wav", torch.zeros(1, 5, dtype=torch.int16), sample_rate=16000),
            "float in .* not torch.int16",
        ),
        (lambda f: save(f / "x.wav", torch.zeros(1, 5), sample_rate=0), "positive number of Hz"),
        (
            lambda f: save(f / "x.wav", torch.zeros(1, 5), sample_rate=16000, subtype="OPUS"),
            "WAV has no encoding 'OPUS': use one of PCM_16",
        ),
        (
            lambda f: save(f / "x.opus", torch.zeros(1, 5), sample_rate=44100),
            "as OPUS .*only supports sample rates of 8000",
        ),
        (lambda f: save(f / "x.mp3", torch.zeros(1, 5), sample_rate=96000), "44100, and 48000"),
        (lambda f: save(f / "x.mp3", torch.zeros(3, 5), sample_rate=16000), "MPEG_LAYER_III"),
        (
            lambda f: save(f / "x.wav", torch.tensor([[0, 0, np.nan]]), sample_rate=16000),
            "sample 2 of channel 0 is nan",
        ),
        (
            lambda f: save(f / "none" / "x.wav", torch.zeros(1, 5), sample_rate=16000),
            "there is no folder",
        ),
        (
            lambda f: save(f / "folder.wav", torch.zeros(1, 5), sample_rate=16000),
            "is a folder, so no audio file can take its place",
        ),
        (
            lambda f: AudioWriter(f / "x.wav", sample_rate=16000, num_samples=0),
            "num_samples must be >= 1",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match=message):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]


def test_an_index_in_a_later_block_is_the_waveforms(tmp_path: Path) -> None:
    def write(second: Tensor) -> None:
        with AudioWriter(tmp_path / "x.wav", sample_rate=16000) as writer:
            writer.write(torch.zeros(1, 7))
            writer.write(second)

    with pytest.raises(AudioError, match="sample 8 of channel 0 is inf"):
        write(torch.tensor([[0.0, torch.inf]]))
    with pytest.raises(AudioError, match=r"expected \[1, S\], got \[2, 3\]"):
        write(torch.zeros(2, 3))
