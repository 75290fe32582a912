"""What is damaged, cut short or no audio is refused, with what to do about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_tools import (
    LOSSLESS,
    LOSSY,
    make_signal,
    recordings,
    wav_bytes,
    write_with_soundfile,
)
from hypothesis import given, settings

from fsq_audio import audio
from fsq_audio.audio import load, read_info, save, stream
from fsq_audio.errors import AudioError


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
