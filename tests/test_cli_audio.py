"""Every kind of audio file through the command line, good and bad."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_tools import RATE, Command, listing, make_noise, save_tiny, write_audio

from fsq_audio.audio import resampled_length
from fsq_audio.tokens import AudioTokens


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_16"}),
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "PCM_U8"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.flac", {"rate": 44100}),
        ("a.flac", {"rate": 8000}),
        ("a.ogg", {"subtype": "VORBIS", "rate": 22050}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS", "rate": 48000}),
        ("a.mp3", {"rate": 24000}),
        ("A.WAV", {}),
        ("really_flac.wav", {"format": "FLAC"}),
        ("really_wav.mp3", {"format": "WAV"}),
        ("no_extension", {"format": "WAV"}),
        ("recording.txt", {"format": "FLAC"}),
    ],
)
@pytest.mark.parametrize("num_channels", [1, 2])
def test_a_file_keeps_its_length(
    command: Command, tmp_path: Path, name: str, options: dict[str, object], num_channels: int
) -> None:
    # A length that 44.1 kHz -> 16 kHz -> 44.1 kHz alone would not give back.
    noise = make_noise(6401 / RATE, channels=num_channels)
    source = write_audio(tmp_path / name, noise, **options)
    before = soundfile.info(source)
    tokens, back = tmp_path / "x.fsq", tmp_path / "x.wav"
    assert command("tokenize", source, "-o", tokens).code == 0
    assert command("decode", tokens, "-o", back, "--sample-rate", "original").code == 0
    after = soundfile.info(back)
    assert (after.frames, after.samplerate, after.channels) == (before.frames, before.samplerate, 1)
    assert command("decode", tokens, "-o", tmp_path / "y.wav").code == 0
    at_model_rate = soundfile.info(tmp_path / "y.wav")
    assert at_model_rate.samplerate == RATE
    assert at_model_rate.frames == resampled_length(before.frames, before.samplerate, RATE)


def test_split_gives_the_channels_back_and_mix_gives_one(command: Command, tmp_path: Path) -> None:
    left, right = make_noise(0.6, seed=1), make_noise(0.6, seed=2)
    write_audio(tmp_path / "in" / "left.wav", left, subtype="FLOAT")
    write_audio(tmp_path / "in" / "right.wav", right, subtype="FLOAT")
    write_audio(tmp_path / "in" / "both.wav", np.concatenate([left, right], 1), subtype="FLOAT")
    write_audio(tmp_path / "in" / "mean.wav", (left + right) / 2, subtype="FLOAT")
    codes, samples = {}, {}
    for channels in ("mix", "split"):
        out = tmp_path / channels
        assert command("tokenize", tmp_path / "in", "-o", out, "--channels", channels).code == 0
        assert command("decode", out, "-o", out).code == 0
        for file in sorted(out.glob("*.fsq")):
            codes[channels, file.stem] = AudioTokens.load(file).codes
            samples[channels, file.stem] = soundfile.read(file.with_suffix(".wav"))[0].T
    assert codes["mix", "both"].equal(codes["mix", "mean"])
    assert samples["mix", "both"].ndim == 1
    assert codes["split", "both"][0].equal(codes["mix", "left"][0])
    assert codes["split", "both"][1].equal(codes["mix", "right"][0])
    assert not codes["mix", "left"].equal(codes["mix", "right"])
    expected = np.stack([samples["mix", "left"], samples["mix", "right"]])
    assert np.array_equal(samples["split", "both"], expected)


@pytest.mark.parametrize(
    "samples",
    [
        np.full((1, 1), 0.5, np.float32),
        np.zeros((5000, 1), np.float32),
        np.clip(make_noise() * 100, -1, 1),
        make_noise() * 100,
        make_noise() + 0.5,
        np.full((3201, 1), -1.0, np.float32),
    ],
    ids=["one sample", "silence", "clipped", "beyond full scale", "DC offset", "DC alone"],
)
def test_odd_audio_is_audio(command: Command, tmp_path: Path, samples: np.ndarray) -> None:
    source = write_audio(tmp_path / "a.wav", samples, subtype="FLOAT")
    done = command("reconstruct", source, "-o", tmp_path / "b.wav", "--subtype", "FLOAT")
    assert done.code == 0, done.err
    written, _ = soundfile.read(tmp_path / "b.wav", always_2d=True)
    assert written.shape == samples.shape
    assert np.isfinite(written).all()


def write_bad_files(folder: Path) -> dict[str, str]:
    """One file of each kind of bad, and what must be said of it."""
    noise = make_noise()
    noise[100] = np.nan
    write_audio(folder / "nan.wav", noise, subtype="FLOAT")
    noise[100] = -np.inf
    write_audio(folder / "infinity.wav", noise, subtype="DOUBLE")
    write_audio(folder / "no_samples.wav", np.zeros((0, 1), np.float32))
    (folder / "no_bytes.flac").write_bytes(b"")
    (folder / "text.mp3").write_text("Lorem ipsum dolor sit amet. " * 40)
    whole = write_audio(folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "gone.wav").symlink_to(folder / "nothing.wav")
    return {
        "nan.wav": "sample 100",
        "infinity.wav": "sample 100",
        "no_samples.wav": "0 samples",
        "no_bytes.flac": "0 bytes",
        "text.mp3": "not audio",
        "cut.flac": "cut short",
        "gone.wav": "no such file",
    }


@pytest.mark.parametrize("verb", ["tokenize", "reconstruct"])
@pytest.mark.parametrize("batch_seconds", [300, 0.1])
def test_bad_files_are_told_and_the_good_ones_done(
    command: Command, tmp_path: Path, verb: str, batch_seconds: float
) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    good = [write_audio(inputs / name) for name in ("a.wav", "m.flac", "z.ogg")]
    expected = write_bad_files(inputs)
    done = command(verb, inputs, "-o", out, "--json", "--batch-seconds", batch_seconds)
    assert done.code == 3
    suffix = "fsq" if verb == "tokenize" else "wav"
    assert listing(out) == [f"a.{suffix}", "errors.jsonl", f"m.{suffix}", f"z.{suffix}"]
    noted = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [list(row) for row in noted] == [["path", "error"]] * len(expected)
    assert {Path(row["path"]).name for row in noted} == set(expected)
    for row in noted:
        assert expected[Path(row["path"]).name] in row["error"]
        assert f"fsq-audio: {row['error']}" in done.err.splitlines()
    summary = done.rows[-1]
    assert (summary["num_done"], summary["num_failed"]) == (len(good), len(expected))
    assert {row["input"] for row in done.rows if row["status"] == "failed"} == {
        str(inputs / name) for name in expected
    }


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(command: Command, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "a.wav")
    source.chmod(0)
    done = command("tokenize", source, "-o", tmp_path / "out")
    assert done.code == 3
    assert "permission denied" in done.err


@pytest.mark.parametrize("kind", ["not tokens", "damaged", "another model's", "empty"])
def test_bad_token_files(
    command: Command, tmp_path: Path, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inputs = tmp_path / "in"
    good, bad = inputs / "good.fsq", inputs / "bad.fsq"
    command("tokenize", write_audio(tmp_path / "a.wav"), "-o", inputs / "good.fsq")
    data = bytearray(good.read_bytes())
    data[-3] ^= 1
    bad.write_bytes({"damaged": bytes(data), "not tokens": b"RIFF" * 9}.get(kind, b""))
    if kind == "another model's":
        other = save_tiny(tmp_path_factory, shift=0.1)
        command("tokenize", tmp_path / "a.wav", "-o", bad, "--if-exists", "overwrite", model=other)
    done = command("decode", inputs, "-o", tmp_path / "out")
    assert done.code == 3
    assert listing(tmp_path / "out") == ["errors.jsonl", "good.wav"]
    if kind == "another model's":
        mine, others = AudioTokens.load(good).format, AudioTokens.load(bad).format
        assert mine.fingerprint in done.err
        assert others.fingerprint in done.err


def test_the_original_rate_must_be_known(command: Command, tmp_path: Path) -> None:
    command("tokenize", write_audio(tmp_path / "a.wav"), "-o", tmp_path / "a.fsq")
    tokens = AudioTokens.load(tmp_path / "a.fsq")
    AudioTokens(codes=tokens.codes, lengths=tokens.lengths, format=tokens.format).save(
        tmp_path / "a.fsq"
    )
    out = tmp_path / "b.wav"
    done = command("decode", tmp_path / "a.fsq", "-o", out, "--sample-rate", "original")
    assert (done.code, out.exists()) == (3, False)
    assert "give --sample-rate" in done.err
    assert command("decode", tmp_path / "a.fsq", "-o", out, "--sample-rate", 8000).code == 0
    assert soundfile.info(out).samplerate == 8000
