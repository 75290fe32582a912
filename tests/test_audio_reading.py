"""Audio files are read exactly, at any rate, in little memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from audio_tools import (
    LOSSLESS,
    LOSSY,
    RATES,
    make_signal,
    recordings,
    wav_bytes,
    write_with_soundfile,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq_audio import audio
from fsq_audio.audio import AudioInfo, load, read_info, resampled_length, save, stream
from fsq_audio.errors import AudioError

SAMPLES = sorted((Path(__file__).parents[1] / "egs" / "samples").glob("*.flac"))


@given(recording=recordings(LOSSLESS), block_values=st.sampled_from([1, 500, 4096, 2**18]))
@settings(max_examples=60)
def test_lossless_files_are_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, recording: tuple[Any, ...], block_values: int
) -> None:
    extension, format_, subtype, rate, num_channels, num_samples = recording
    num_samples = min(num_samples, 2000 * block_values)
    signal = make_signal(num_samples, num_channels, rate)
    path = tmp_path_factory.getbasetemp() / f"lossless.{extension}"
    write_with_soundfile(path, signal, rate, format_, subtype)
    assert read_info(path) == AudioInfo(rate, num_channels, num_samples, format_, subtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio.reading, "_BLOCK_VALUES", block_values)
        split = load(path, sample_rate=rate, channels="split")
        mixed = load(path, sample_rate=rate)
    assert split.dtype == mixed.dtype == torch.float32
    assert np.array_equal(split.numpy(), signal.T.astype(np.float32))
    assert np.array_equal(mixed.numpy()[0], signal.mean(axis=1).astype(np.float32))


@given(recording=recordings(LOSSY), block_values=st.sampled_from([500, 4096, 100000]))
@settings(max_examples=60)
def test_lossy_files_are_read_without_seams(
    tmp_path_factory: pytest.TempPathFactory, recording: tuple[Any, ...], block_values: int
) -> None:
    extension, format_, subtype, rate, num_channels, num_samples = recording
    signal = make_signal(num_samples, num_channels, rate)
    path = tmp_path_factory.getbasetemp() / f"lossy.{extension}"
    write_with_soundfile(path, signal, rate, format_, subtype)
    assert read_info(path) == AudioInfo(rate, num_channels, num_samples, format_, subtype)
    whole = load(path, sample_rate=rate, channels="split")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio.reading, "_BLOCK_VALUES", block_values)
        assert torch.equal(load(path, sample_rate=rate, channels="split"), whole)
    # At once, soundfile seeks only to the beginning; that changes an MP3 in the last bits.
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert np.allclose(whole.numpy(), expected.T, rtol=0, atol=1e-5)


@given(
    num_samples=st.sampled_from([1, 2, 3]) | st.integers(1, 40000),
    rates=st.tuples(st.sampled_from(RATES) | st.integers(4000, 200000), st.sampled_from(RATES)),
    block_values=st.sampled_from([700, 2**18]),
)
@settings(max_examples=80)
def test_resampling_gives_the_stated_length_and_soxrs_samples(
    tmp_path_factory: pytest.TempPathFactory,
    num_samples: int,
    rates: tuple[int, int],
    block_values: int,
) -> None:
    from_rate, to_rate = rates
    signal = make_signal(num_samples, 2, from_rate)
    path = tmp_path_factory.getbasetemp() / "resampled.wav"
    path.write_bytes(wav_bytes(signal, from_rate, "FLOAT"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio.reading, "_BLOCK_VALUES", block_values)
        waveform = load(path, sample_rate=to_rate, channels="split")
        mixed = load(path, sample_rate=to_rate, channels="mix")
    expected = resampled_length(num_samples, from_rate, to_rate)
    assert waveform.shape == (2, expected)
    assert mixed.shape == (1, expected)
    assert abs(expected - num_samples * to_rate / from_rate) <= 0.5 or expected == 1
    at_once = soxr.resample(signal.astype(np.float32), from_rate, to_rate, "HQ")
    assert abs(len(at_once) - expected) <= 1
    shared = min(len(at_once), expected)
    assert np.array_equal(waveform.numpy()[:, :shared], at_once[:shared].T)
    assert torch.allclose(waveform.mean(dim=0), mixed[0], atol=1e-6)


def test_resampled_length_rounds_halves_up_and_is_never_zero() -> None:
    assert resampled_length(1, 48000, 16000) == 1
    assert resampled_length(3, 32000, 16000) == 2
    assert resampled_length(5, 32000, 16000) == 3
    assert resampled_length(441, 44100, 16000) == 160
    assert resampled_length(10**15 + 1, 16000, 16000) == 10**15 + 1


def test_the_one_sample_that_soxr_would_drop_is_there(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    path.write_bytes(wav_bytes(np.full((1, 1), 0.5), 48000))
    waveform = load(path, sample_rate=16000)
    assert waveform.shape == (1, 1)
    assert 0.05 < float(waveform[0, 0]) < 0.5  # what is left of one sample under a third


def test_a_stream_is_the_loaded_waveform_in_small_blocks(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    write_with_soundfile(path, make_signal(700_000, 2, 44100), 44100, "FLAC", "PCM_16")
    blocks = list(stream(path, sample_rate=96000, channels="split"))
    assert len(blocks) > 5
    assert all(0 < block.numel() <= 2**18 + 2**12 for block in blocks)
    whole = load(path, sample_rate=96000, channels="split")
    assert torch.equal(torch.cat(blocks, dim=1), whole)


def test_streaming_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(10 * 60 * 44100, np.int16), 44100)
    tracemalloc.start()
    try:
        num_samples = sum(b.shape[1] for b in stream(path, sample_rate=16000))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert num_samples == 10 * 60 * 16000


def test_a_header_with_many_channels_makes_no_large_blocks(tmp_path: Path) -> None:
    path = tmp_path / "wide.wav"
    path.write_bytes(wav_bytes(np.zeros((3, 1000)), 100))
    tracemalloc.start()
    try:
        assert load(path, sample_rate=16000).shape == (1, 480)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_float_files_beyond_one_pass_unchanged(tmp_path: Path) -> None:
    signal = np.array([[3.5], [-1e20], [1e-30], [0.25]])
    (tmp_path / "x.wav").write_bytes(wav_bytes(signal, subtype="FLOAT"))
    waveform = load(tmp_path / "x.wav", sample_rate=16000)
    assert np.array_equal(waveform.numpy(), signal.T.astype(np.float32))


def test_silence_clipping_and_offset_are_read_as_they_are(tmp_path: Path) -> None:
    signal = np.repeat([[0.0], [32767 / 32768], [-1.0], [0.5]], 50, axis=0)
    (tmp_path / "x.wav").write_bytes(wav_bytes(signal))
    assert np.array_equal(load(tmp_path / "x.wav", sample_rate=16000).numpy(), signal.T)


@pytest.mark.skipif(not SAMPLES, reason="no sample recordings in this checkout")
def test_real_speech(tmp_path: Path) -> None:
    for path in SAMPLES:
        info = read_info(path)
        waveform = load(path, sample_rate=info.sample_rate, channels="split")
        assert waveform.shape == (info.num_channels, info.num_samples)
        assert 0.05 < float(waveform.abs().max()) <= 1
        copy = tmp_path / "copy.flac"
        save(copy, waveform, sample_rate=info.sample_rate, subtype=info.subtype)
        assert torch.equal(load(copy, sample_rate=info.sample_rate, channels="split"), waveform)
        at_24k = load(path, sample_rate=24000)
        assert at_24k.shape[1] == resampled_length(info.num_samples, info.sample_rate, 24000)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("speech.wav", ("mp3", "MP3", "MPEG_LAYER_III")),
        ("speech.mp3", ("wav", "WAV", "PCM_16")),
        ("speech.raw", ("flac", "FLAC", "PCM_16")),
        ("speech", ("ogg", "OGG", "VORBIS")),
    ],
)
def test_content_counts_not_the_extension(
    tmp_path: Path, name: str, kind: tuple[str, str, str]
) -> None:
    extension, format_, subtype = kind
    right, wrong = tmp_path / f"right.{extension}", tmp_path / name
    write_with_soundfile(right, make_signal(5000), 16000, format_, subtype)
    wrong.write_bytes(right.read_bytes())
    assert read_info(wrong).format == format_
    assert torch.equal(load(wrong, sample_rate=16000), load(right, sample_rate=16000))


def test_names_with_spaces_dots_and_umlauts(tmp_path: Path) -> None:
    path = tmp_path / "ein ü.b -n.wav"
    save(path, torch.zeros(1, 5), sample_rate=16000)
    assert load(str(path), sample_rate=16000).shape == (1, 5)


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    """As programs write it to a pipe: STREAMINFO (RFC 9639, 8.2) says 0 samples for unknown."""
    path = write_with_soundfile(tmp_path / "x.flac", make_signal(30000), 16000, "FLAC", "PCM_16")
    expected = load(path, sample_rate=16000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert soundfile.info(path).frames > 2**62
    assert read_info(path).num_samples == 30000
    assert torch.equal(load(path, sample_rate=16000), expected)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="damaged or cut short after sample"):
        load(path, sample_rate=16000)
    end = 4  # of the metadata blocks, each with a flag for the last and 24 bits of size
    is_last = False
    while not is_last:
        is_last = data[end] >= 128
        end += 4 + int.from_bytes(data[end + 1 : end + 4], "big")
    path.write_bytes(data[:end])
    for read in (read_info, lambda path: load(path, sample_rate=16000)):
        with pytest.raises(AudioError, match="holds 0 samples"):
            read(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "pipe.wav"
    data = bytearray(wav_bytes(make_signal(3000)))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(data)
    assert load(path, sample_rate=16000).shape == (1, 3000)
