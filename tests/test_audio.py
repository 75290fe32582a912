from __future__ import annotations

import io
import os
import resource
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio import audio
from fsq_audio.audio import AudioInfo, AudioWriter, load, read_info, resampled_length, save, stream
from fsq_audio.errors import AudioError

SAMPLES = sorted((Path(__file__).parents[1] / "egs" / "samples").glob("*.flac"))

# (extension, format, subtype); the decoded audio of the first ones is known exactly.
LOSSLESS = [
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "PCM_32"),
    ("wav", "WAV", "PCM_U8"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "DOUBLE"),
    ("flac", "FLAC", "PCM_16"),
    ("flac", "FLAC", "PCM_24"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("caf", "CAF", "PCM_16"),
    ("w64", "W64", "PCM_16"),
    ("rf64", "RF64", "PCM_16"),
]
LOSSY = [
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("wav", "WAV", "ULAW"),
]
RATES = [8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000, 96000]
_RATES_OF = {
    "OPUS": [8000, 12000, 16000, 24000, 48000],
    "MPEG_LAYER_III": [8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000],
}


def make_signal(num_samples: int, num_channels: int = 1, sample_rate: int = 16000) -> np.ndarray:
    """[S, C] float64: a tone per channel with noise, in multiples of 1/128, so that all PCM
    encodings hold it exactly."""
    generator = np.random.default_rng(num_samples)
    time = np.arange(num_samples)[:, None] / sample_rate
    tones = 0.4 * np.sin(2 * np.pi * (220 + 110 * np.arange(num_channels)) * time + 0.3)
    noise = 0.05 * generator.standard_normal((num_samples, num_channels))
    return np.rint(128 * (tones + noise)) / 128


def write_with_soundfile(
    path: Path, signal: np.ndarray, sample_rate: int, format_: str, subtype: str
) -> Path:
    with soundfile.SoundFile(
        path, "w", sample_rate, signal.shape[1], subtype=subtype, format=format_
    ) as file:
        for start in range(0, len(signal), 4096):
            file.write(signal[start : start + 4096])
    return path


def wav_bytes(signal: np.ndarray, sample_rate: int = 16000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, signal, sample_rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@st.composite
def recordings(draw: st.DrawFn, kinds: list[tuple[str, str, str]]) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(kinds))
    sample_rate = draw(st.sampled_from(_RATES_OF.get(kind[2], RATES)))
    num_channels = draw(st.integers(1, 2 if kind[0] == "mp3" else 3))
    num_samples = draw(st.sampled_from([1, 2, 3]) | st.integers(1, 30000))
    return (*kind, sample_rate, num_channels, num_samples)


# Reading


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


# Bad input


@pytest.mark.parametrize("kind", LOSSLESS + LOSSY, ids=lambda kind: "-".join(kind[1:]))
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9, 0.99, -1])
def test_files_that_are_cut_short_are_refused(
    tmp_path: Path, kind: tuple[str, str, str], keep: float
) -> None:
    extension, format_, subtype = kind
    path = tmp_path / f"x.{extension}"
    write_with_soundfile(path, make_signal(50000), 16000, format_, subtype)
    data = path.read_bytes()
    # A CAF that lacks less than 12 bytes is the one cut that cannot be noticed.
    num_lost = 13 if format_ == "CAF" else 1
    path.write_bytes(data[:-num_lost] if keep < 0 else data[: int(keep * len(data))])
    with pytest.raises(AudioError, match=f"^{path}: ") as caught:
        load(path, sample_rate=16000)
    assert "\n" not in str(caught.value)


def ogg_pages(data: bytes) -> list[bytes]:
    starts = [i for i in range(len(data)) if data[i : i + 4] == b"OggS"]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_files_with_a_page_missing_are_refused(tmp_path: Path, subtype: str) -> None:
    path = write_with_soundfile(tmp_path / "x.ogg", make_signal(100000), 16000, "OGG", subtype)
    pages = ogg_pages(path.read_bytes())
    assert len(pages) > 5
    path.write_bytes(b"".join(pages[:-1]))
    with pytest.raises(AudioError, match="cut short: its last Ogg page is missing"):
        read_info(path)
    path.write_bytes(b"".join(pages[:4] + pages[5:]))
    with pytest.raises(AudioError, match=r"header announces 100000 samples, \d+ can be read"):
        load(path, sample_rate=16000)
    path.write_bytes(b"".join(pages) * 2)
    assert load(path, sample_rate=16000).shape == (1, 100000)  # the same stream: pages repeat


def test_several_ogg_streams_in_one_file_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a.ogg", tmp_path / "b.ogg"]
    for path in paths:
        write_with_soundfile(path, make_signal(20000), 16000, "OGG", "VORBIS")
    paths[0].write_bytes(b"".join(path.read_bytes() for path in paths))
    with pytest.raises(AudioError, match="several Ogg streams, of which only the first"):
        load(paths[0], sample_rate=16000)


def uneven_mp3(path: Path) -> bytes:
    """Variable bit rate: speech-like, then silent, so that a guess from its start is too short."""
    signal = np.concatenate([make_signal(50000), np.zeros((20000, 1))])
    write_with_soundfile(path, signal, 16000, "MP3", "MPEG_LAYER_III")
    return path.read_bytes()


def test_mp3_without_a_length_is_refused_where_its_end_would_be_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    data = uneven_mp3(path)
    path.write_bytes(data[data.index(data[:2], 2) :])  # without the first frame, its Xing tag
    assert soundfile.info(path).frames < 60000
    for read in (read_info, lambda path: load(path, sample_rate=16000)):
        with pytest.raises(AudioError, match=r"only \d+ samples could be read: rewrite .*-c copy"):
            read(path)


def test_mp3_without_a_length_but_of_constant_rate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    with soundfile.SoundFile(
        path, "w", 16000, 1, format="MP3", bitrate_mode="CONSTANT", compression_level=0.5
    ) as file:
        file.write(make_signal(50000))
    data = path.read_bytes()
    path.write_bytes(data[data.index(data[:2], 2) :])
    info, waveform = read_info(path), load(path, sample_rate=16000)
    assert waveform.shape == (1, info.num_samples)
    assert 50000 <= info.num_samples < 53000  # whole frames, the encoder's padding included


@given(recording=recordings([("mp3", "MP3", "MPEG_LAYER_III")]))
@settings(max_examples=40)
def test_mp3_encoders_padding_is_not_taken_for_more_audio(
    tmp_path_factory: pytest.TempPathFactory, recording: tuple[Any, ...]
) -> None:
    _, format_, subtype, rate, num_channels, num_samples = recording
    path = tmp_path_factory.getbasetemp() / "padded.mp3"
    signal = make_signal(num_samples, num_channels, rate)
    write_with_soundfile(path, signal, rate, format_, subtype)
    blocks = list(stream(path, sample_rate=rate, channels="split"))
    assert sum(block.shape[1] for block in blocks) == num_samples


def test_mp3_with_more_after_its_stated_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    data = uneven_mp3(path)
    tagged = b"ID3\x04\0\0\0\0\x02\x01" + bytes(257) + data
    path.write_bytes(tagged + b"TAG" + bytes(125))
    assert load(path, sample_rate=16000).shape == (1, 70000)
    for following in (data, tagged):
        path.write_bytes(data + following)
        with pytest.raises(AudioError, match="only 70000 samples could be read"):
            load(path, sample_rate=16000)
    path.write_bytes(tagged[:-1])
    with pytest.raises(AudioError, match="cut short"):
        read_info(path)


def test_flac_with_damage_inside_is_refused(tmp_path: Path) -> None:
    path = write_with_soundfile(tmp_path / "x.flac", make_signal(50000), 16000, "FLAC", "PCM_16")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match="damaged or cut short"):
        load(path, sample_rate=16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", ["mix", "split"])
def test_the_first_sample_that_is_no_number_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, channels: audio.Channels
) -> None:
    monkeypatch.setattr(audio.reading, "_BLOCK_VALUES", 2000)
    signal = make_signal(9000, 2)
    signal[7001, 1] = signal[7001, 0] = signal[8000, 0] = value
    signal[7001, 0] = 0
    (tmp_path / "x.wav").write_bytes(wav_bytes(signal, 44100, "FLOAT"))
    with pytest.raises(AudioError, match=f"sample 7001 of channel 1 is {value}, not a finite"):
        load(tmp_path / "x.wav", sample_rate=16000, channels=channels)


@pytest.mark.parametrize("num_following", [0, 60000])
def test_an_overflow_while_resampling_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_following: int
) -> None:
    """At the end of the file, where soxr gives its rest, and before; within a filter block."""
    monkeypatch.setattr(audio.reading, "_BLOCK_VALUES", 4000)
    loud = np.resize([[3.4e38], [3.4e38], [-3.4e38]], (100, 1))
    signal = np.concatenate([np.zeros((20000, 1)), loud, np.zeros((num_following, 1))])
    (tmp_path / "x.wav").write_bytes(wav_bytes(signal, 8000, "FLOAT"))
    assert load(tmp_path / "x.wav", sample_rate=8000).shape == (1, 20100 + num_following)
    with pytest.raises(AudioError, match=r"x\.wav at 16000 Hz: sample [34]\d{4} of channel 0 is"):
        load(tmp_path / "x.wav", sample_rate=16000)


MP4 = b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.wav", b"", r"is empty \(0 bytes\)"),
        ("no_samples.wav", wav_bytes(np.zeros((0, 1))), "holds 0 samples"),
        ("text.wav", b"Once upon a time there was no audio in this file.", "is not audio"),
        ("text.vox", b"Once upon a time there was no audio in this file.", "is not audio"),
        ("text.raw", b"Once upon a time there was no audio in this file.", "is not audio"),
        ("zeros.mp3", bytes(5000), "is not audio"),
        ("speech.m4a", MP4, r"MP4 .* convert it first, `ffmpeg -i \S*speech.m4a out.flac`"),
        ("speech.wav", MP4, "MP4 .* convert it first"),
        ("speech.aac", b"\xff\xf1\x50\x80" + bytes(100), "AAC cannot be read: convert"),
        ("film.mkv", b"\x1a\x45\xdf\xa3" + bytes(100), "Matroska or WebM cannot be read"),
        ("film.avi", b"RIFF\0\0\0\0AVI LIST" + bytes(100), "AVI video cannot be read"),
        ("speech.wma", bytes(100), r"\.wma cannot be read: convert it first"),
        ("a b.m4a", MP4, r"`ffmpeg -i '\S*a b.m4a' out.flac`"),
    ],
    ids=lambda value: f"{len(value)}-bytes" if isinstance(value, bytes) else value,
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for read in (read_info, lambda path: load(path, sample_rate=16000)):
        with pytest.raises(AudioError, match=f"^{path}: .*{message}|^{path}: {message}") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_missing_files_folders_pipes_and_locked_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for name, message in [
        ("none.wav", "no such file"),
        (".", "is a folder, not an audio file"),
        ("pipe.wav", "is a pipe or a device"),
        ("none.wav/x.wav", "no such file"),
    ]:
        with pytest.raises(AudioError, match=message):
            read_info(tmp_path / name)
    save(tmp_path / "x.wav", torch.zeros(1, 5), sample_rate=16000)
    with pytest.raises(AudioError, match="Not a directory"):
        read_info(tmp_path / "x.wav" / "y.wav")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(audio.file, "open", refuse, raising=False)
    with pytest.raises(AudioError, match=r"x\.wav: permission denied"):
        read_info(tmp_path / "x.wav")


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.wav", torch.zeros(1, 5), sample_rate=16000)
    with pytest.raises(AudioError, match="'mix' or 'split', not 'left'"):
        load(tmp_path / "x.wav", sample_rate=16000, channels="left")  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="sample_rate must be a positive number of Hz, not 0"):
        load(tmp_path / "x.wav", sample_rate=0)


# Writing


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
            with pytest.raises(AudioError, match=f"{name}: cannot be written"):
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
