"""Audio of every kind that libsndfile writes, and places where there is none to be had."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_tools import Command, listing, make_noise, save_tiny, write_audio
from conftest import SAMPLES
from extraction_tools import read_store

from fsq_audio.audio import load, read_info, resampled_length
from fsq_audio.errors import AudioError

HEADERLESS = {"RAW", "SD2"}
RATES = (4000, 8000, 11025, 16000, 44100, 96000, 192000)
CHANNELS = (1, 2, 3, 5, 8)
NAMES = ["-o", "a b", "zwei\nZeilen", "жук", "日本", "'\"$x;", "%s{}", "dots..", "<b>", "a\tb"]


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


def write_zoo(path: Path) -> Iterator[tuple[str, str, int, int]]:
    """Writes file after file to one path: format, encoding, rate and channels of each."""
    for container in sorted(set(soundfile.available_formats()) - HEADERLESS):
        for subtype, rate, channels in itertools.product(
            soundfile.available_subtypes(container), RATES, CHANNELS
        ):
            noise = make_noise(0.02, channels=channels)
            try:
                soundfile.write(path, noise, rate, format=container, subtype=subtype)
                soundfile.info(path)
            except soundfile.SoundFileError:  # no such combination
                continue
            yield container, subtype, rate, channels


def test_every_format_rate_and_number_of_channels(tmp_path: Path) -> None:
    # The name is that of another format throughout: the content counts.
    path = tmp_path / "mislabelled.mp3"
    seen = set()
    for container, subtype, rate, channels in write_zoo(path):
        what = (container, subtype, rate, channels)
        info = read_info(path)
        assert (info.num_channels, info.format) == (channels, container), what
        waveform = load(path, sample_rate=16000, channels="split")
        expected = resampled_length(info.num_samples, info.sample_rate, 16000)
        assert waveform.shape == (channels, expected), what
        if info.sample_rate == 16000 and subtype.startswith("PCM_"):
            samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
            assert np.array_equal(waveform.numpy().T, samples), what
        seen.add(what)
    assert len(seen) > 1000
    for rate, channels in itertools.product(RATES, CHANNELS):
        assert ("WAV", "PCM_16", rate, channels) in seen
        assert ("FLAC", "PCM_24", rate, channels) in seen


def test_a_flac_that_ends_at_any_thousandth_byte_is_refused(tmp_path: Path) -> None:
    whole = SAMPLES[0].read_bytes()
    path = tmp_path / "x.flac"
    cuts = range(0, len(whole), 1000)
    assert len(cuts) > 50
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(AudioError, match=r"x\.flac: (is empty|is not audio|damaged)"):
            load(path, sample_rate=16000)


@pytest.mark.parametrize("rate", [0, 1, 99])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: int) -> None:
    """At 1 Hz, a megabyte would be resampled to hours."""
    data = bytearray(write_audio(tmp_path / "x.wav").read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(AudioError, match=r"x\.wav: "):
        load(tmp_path / "x.wav", sample_rate=16000)


@pytest.mark.parametrize("verb", ["tokenize", "extract"])
def test_what_is_no_file_of_audio_costs_only_itself(
    command: Command, tmp_path: Path, verb: str
) -> None:
    folder = tmp_path / "in"
    write_audio(folder / "good.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "nowhere.flac").symlink_to("nothing.flac")
    (folder / "circle").symlink_to(".", target_is_directory=True)
    done = command(verb, folder, "-o", tmp_path / "out", "--json")
    assert done.code == 3, done.err
    assert (done.rows[-1]["num_done"], done.rows[-1]["num_failed"]) == (1, 3)
    [errors] = (tmp_path / "out").glob("errors*.jsonl")
    text = errors.read_text()
    assert "pipe.wav: is a pipe or a device" in text
    assert "loop.wav" in text
    assert "nowhere.flac: no such file" in text


def test_a_pipe_is_no_manifest(command: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jsonl")
    told = command("extract", tmp_path / "x.jsonl", "-o", tmp_path / "out")
    assert told.code == 1
    assert "x.jsonl is a pipe or a device, not a file" in told.last


def test_any_name_goes_through_extract_and_convert(command: Command, tmp_path: Path) -> None:
    for name in NAMES:
        write_audio(tmp_path / "in" / "sub" / f"{name}.wav")
    assert command("extract", tmp_path / "in", "-o", tmp_path / "units").code == 0
    ids = sorted(f"sub/{name}" for name in NAMES)
    assert sorted(read_store(tmp_path / "units")) == ids
    for form in ("jsonl", "npy"):
        there, back = tmp_path / form, tmp_path / f"{form}-back"
        assert command("convert", tmp_path / "units", "-o", there, "--to", form).code == 0
        done = command("convert", there, "-o", back, "--from", form, "--to", "parquet")
        assert done.code == 0, done.err
        assert read_store(back) == read_store(tmp_path / "units")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_must_not_be_written(command: Command, tmp_path: Path) -> None:
    write_audio(tmp_path / "in" / "a.wav")
    (tmp_path / "out").mkdir(mode=0o500)
    told = command("tokenize", tmp_path / "in", "-o", tmp_path / "out")
    assert told.code in (1, 3)
    assert "ermission denied" in told.err
    assert "Traceback" not in told.err
    assert listing(tmp_path / "out") == []
