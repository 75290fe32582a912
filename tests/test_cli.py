"""The verbs from end to end: what they write, what they print, what they return."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_tools import RATE, Command, listing, make_noise, save_tiny, write_audio
from conftest import ROOT, SAMPLES

from fsq_audio import __version__, audio
from fsq_audio.cli import main
from fsq_audio.cli.options import files
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


@pytest.fixture
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory)


@pytest.fixture
def command(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(model_folder, capsys)


def test_tokenize_and_decode_give_what_the_library_gives(command: Command, tmp_path: Path) -> None:
    assert command("tokenize", *SAMPLES, "-o", tmp_path / "tokens").code == 0
    assert command("decode", tmp_path / "tokens", "-o", tmp_path / "audio").code == 0
    model = AudioTokenizer.from_pretrained(command.model)
    for sample in SAMPLES:
        tokens = AudioTokens.load(tmp_path / "tokens" / f"{sample.stem}.fsq")
        assert tokens == model.encode_file(sample)
        written = audio.load(tmp_path / "audio" / f"{sample.stem}.wav", sample_rate=RATE)
        audio.save(tmp_path / "expected.wav", model.decode(tokens), sample_rate=RATE)
        assert written.equal(audio.load(tmp_path / "expected.wav", sample_rate=RATE))
        assert written.shape[1] == soundfile.info(sample).frames


def test_tokens_do_not_depend_on_how_files_are_batched(command: Command, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    for number, seconds in enumerate([0.3, 2.7, 0.001, 1.1, 0.5]):
        noise = make_noise(seconds, channels=1 + number % 2, seed=number)
        write_audio(inputs / f"{number}.wav", noise)
    everything = {}
    for name, options in {
        "one": ["-j", "1"],
        "streamed": ["--batch-seconds", "0.0001"],
        "some": ["--batch-seconds", "6", "-j", "3"],
    }.items():
        out = tmp_path / name
        done = command("tokenize", inputs, "-o", out, "--channels", "split", "--json", *options)
        assert done.code == 0
        assert [row["input"] for row in done.rows[:-1]] == [
            str(f) for f in sorted(inputs.iterdir())
        ]
        assert command("decode", out, "-o", out, *options).code == 0
        everything[name] = [(out / file).read_bytes() for file in listing(out)]
    assert len(everything["one"]) == 10
    assert everything["one"] == everything["streamed"] == everything["some"]


def test_long_files_are_streamed_and_short_ones_are_not(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed: list[str] = []
    encode_file = AudioTokenizer.encode_file

    def noted(self: AudioTokenizer, path: Path, **options: object) -> AudioTokens:
        streamed.append(path.name)
        return encode_file(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(AudioTokenizer, "encode_file", noted)
    for name, seconds in {"a": 0.5, "b": 2.0, "c": 0.5}.items():
        write_audio(tmp_path / f"{name}.wav", make_noise(seconds))
    out = tmp_path / "out"
    assert command("tokenize", tmp_path, "-o", out, "--batch-seconds", "1").code == 0
    assert streamed == ["b.wav"]
    assert listing(out) == ["a.fsq", "b.fsq", "c.fsq"]


def test_reconstruct_says_what_it_did(command: Command, tmp_path: Path) -> None:
    done = command("reconstruct", SAMPLES[0], "-o", tmp_path / "x.flac", "--save-tokens", "--json")
    assert done.code == 0
    assert listing(tmp_path) == ["x.flac", "x.fsq"]
    file, summary = done.rows
    num_samples = soundfile.info(SAMPLES[0]).frames
    num_frames = -(-num_samples // 320)
    num_bits = 2 * num_frames * np.log2(1000)
    assert file["input"] == str(SAMPLES[0])
    assert file["output"] == str(tmp_path / "x.flac")
    assert file["seconds"] == num_samples / RATE == summary["seconds"]
    assert file["num_tokens"] == 2 * num_frames
    assert file["num_bits"] == pytest.approx(num_bits)
    assert file["bits_per_second"] == pytest.approx(num_bits / file["seconds"])
    assert file["num_bytes"] == (tmp_path / "x.fsq").stat().st_size
    written = 8 * file["num_bytes"] / file["seconds"]
    assert summary["bits_per_second_written"] == pytest.approx(written)
    assert (summary["num_done"], summary["num_skipped"], summary["num_failed"]) == (1, 0, 0)
    assert summary["times_real_time"] > 0


def test_reconstruct_is_tokenize_and_decode(command: Command, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    options = ["--num-groups", "1"]
    done = command("reconstruct", SAMPLES[0], "-o", one, "--save-tokens", *options)
    assert done.code == 0
    assert f"{SAMPLES[0]} -> {one / SAMPLES[0].stem}.wav: 5.30 s, 265 tokens" in done.out
    assert done.last.startswith("1 done, 0 skipped, 0 failed; 5.3 s of audio in ")
    command("tokenize", SAMPLES[0], "-o", two, *options)
    command("decode", two, "-o", two)
    assert listing(one) == listing(two)
    for file in listing(one):
        assert (one / file).read_bytes() == (two / file).read_bytes()


def test_the_format_comes_from_the_option_or_the_name(command: Command, tmp_path: Path) -> None:
    sample = SAMPLES[0]
    assert command("tokenize", sample, "-o", tmp_path / "a.npy").code == 0
    assert command("tokenize", sample, "-o", tmp_path, "--format", "npy").code == 0
    model = AudioTokenizer.from_pretrained(command.model)
    codes = np.load(tmp_path / "a.npy")
    assert np.array_equal(codes, model.encode_file(sample).codes[0].numpy())
    assert np.array_equal(codes, np.load(tmp_path / f"{sample.stem}.npy"))
    info = json.loads((tmp_path / "codec_info.json").read_text())
    assert info["num_codebooks"] == 2
    assert info["codebook_size"] == 1000
    assert info["framerate"] == 50
    assert info["fingerprint"] == model.fingerprint


def test_num_groups_keeps_the_first(command: Command, tmp_path: Path) -> None:
    command("tokenize", SAMPLES[0], "-o", tmp_path / "two.fsq")
    command("tokenize", SAMPLES[0], "-o", tmp_path / "one.fsq", "--num-groups", 1)
    two, one = AudioTokens.load(tmp_path / "two.fsq"), AudioTokens.load(tmp_path / "one.fsq")
    assert one == two.keep_groups(1)
    command("decode", tmp_path / "one.fsq", "-o", tmp_path / "a.wav")
    command("decode", tmp_path / "two.fsq", "-o", tmp_path / "b.wav", "--num-groups", 1)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert command("decode", tmp_path, "-o", tmp_path, "--num-groups", 2, "-q").code == 3


def test_info(command: Command, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    stereo = write_audio(tmp_path / "stereo.wav", make_noise(1.0, channels=2), rate=8000)
    for channels in ("mix", "split"):
        file = tmp_path / f"{channels}.fsq"
        command("tokenize", stereo, "-o", file, "--channels", channels)
    model = AudioTokenizer.from_pretrained(command.model)
    told = command("info", command.model, tmp_path / "mix.fsq", tmp_path / "split.fsq", "--json")
    assert told.code == 0
    of_model, mix, split = told.rows
    assert of_model["kind"] == "model"
    assert of_model["model"] == mix["model"] == model.fingerprint
    assert of_model["num_parameters"] == sum(p.numel() for p in model.parameters())
    assert of_model["bits_per_second"] == model.bitrate
    assert (mix["channels"], mix["num_channels"], mix["original_num_channels"]) == ("mix", 1, 2)
    assert (split["channels"], split["num_channels"]) == ("split", 2)
    assert split["original_sample_rate"] == 8000
    assert split["num_bits"] == 2 * mix["num_bits"]
    table = command("info", tmp_path / "mix.fsq").out
    assert any(line.split() == ["frame", "rate", "50"] for line in table.splitlines())
    other = save_tiny(tmp_path_factory, shift=0.1)
    assert command("info", other, "--json").rows[0]["model"] != model.fingerprint
    for wrong in (stereo, tmp_path, tmp_path / "nothing"):
        failed = command("info", wrong)
        assert failed.code == 1
        assert len(failed.err.splitlines()) == 1


def test_a_missing_default_model_is_one_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsq_audio.checkpoint.PACKAGED", tmp_path / "none")
    for told in (
        command("info"),
        command("tokenize", SAMPLES[0], "-o", tmp_path / "out", model="default"),
    ):
        assert told.code == 1
        assert told.err.splitlines() == [
            "fsq-audio: error: no model came with this installation: name one with --model"
        ]
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["tokenize"],
        ["tokenize", "-o", "x"],
        ["tokenize", "a.wav"],
        ["tokenize", "a.wav", "-o", "x", "--form", "npy"],
        ["tokenize", "a.wav", "-o", "x", "--format", "wav"],
        ["tokenize", "a.wav", "-o", "x", "--device", "gpu"],
        ["tokenize", "a.wav", "-o", "x", "--num-groups", "0"],
        ["tokenize", "a.wav", "-o", "x", "-j", "0"],
        ["tokenize", "a.wav", "-o", "x", "--batch-seconds", "0"],
        ["tokenize", "a.wav", "-o", "x", "--batch-seconds", "nan"],
        ["tokenize", "a.wav", "-o", "x", "-v", "-q"],
        ["extract", "a.wav", "-o", "x", "--only-tasks", "9-3"],
        ["extract", "a.wav", "-o", "x", "--only-tasks", "3-"],
        ["evaluate", "a.wav", "-o", "x", "--num-groups", "2..1"],
        ["evaluate", "a.wav", "b.wav", "-o", "x", "--degraded", "a.wav"],
        ["tokenize", "a.wav", "-o", "x.wav"],
        ["tokenize", "a.wav", "-o", "x.npy", "--format", "fsq"],
        ["tokenize", "a.wav", "-o", "a.wav/x", "--root", "elsewhere"],
        ["tokenize", "a.wav", "b.wav", "-o", "x.fsq"],
        ["tokenize", "a.wav", "-o", "notes.txt"],
        ["tokenize", "a.wav", "-o", "x", "--num-groups", "3"],
        ["decode", "a.fsq", "-o", "x", "--sample-rate", "fast"],
        ["decode", "a.fsq", "-o", "x", "--sample-rate", "0"],
        ["decode", "a.fsq", "-o", "x", "--subtype", "VORBIS"],
        ["reconstruct", "a.wav", "-o", "x.fsq"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model_folder: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        write_audio(tmp_path / name)
    for name in ("a.fsq", "notes.txt"):
        (tmp_path / name).write_text("")
    before = listing(tmp_path)
    model = ["--model", str(model_folder)] if arguments[:1] == ["tokenize"] else []
    assert main(arguments + model) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: fsq-audio")
    assert ": error: " in said.err.splitlines()[-1]
    assert listing(tmp_path) == before


def test_an_unknown_option_shows_the_usage_of_its_verb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["decode", "a.fsq", "-o", "x", "--channels", "split"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: fsq-audio decode")
    assert "error: unrecognized arguments: --channels split" in said


def test_a_file_that_looks_like_an_option_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-a.wav").touch()
    assert main(["tokenize", "-a.wav", "-o", "x"]) == 2
    assert capsys.readouterr().err.endswith("-a.wav (the file: ./-a.wav)\n")


def test_formats_are_those_that_can_be_written() -> None:
    assert set(files.AUDIO_FORMATS) == {suffix[1:] for suffix in audio.writing._WRITABLE}


@pytest.mark.parametrize("name", files.AUDIO_FORMATS)
def test_every_format_is_written(command: Command, tmp_path: Path, name: str) -> None:
    source = write_audio(tmp_path / "a.wav")
    done = command("reconstruct", source, "-o", tmp_path / "out", "--format", name)
    assert done.code == 0, done.err
    info = audio.read_info(tmp_path / "out" / f"a.{name}")
    assert (info.sample_rate, info.num_channels) == (RATE, 1)
    if name not in ("mp3", "opus"):
        assert info.num_samples == audio.read_info(source).num_samples


def test_the_subtype_is_written(command: Command, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "a.wav")
    for subtype in ("FLOAT", "pcm_24"):
        out = tmp_path / subtype
        assert command("reconstruct", source, "-o", out, "--subtype", subtype).code == 0
        assert soundfile.info(out / "a.wav").subtype == subtype.upper()


def test_a_device_that_is_not_there(command: Command, tmp_path: Path) -> None:
    told = command("tokenize", SAMPLES[0], "-o", tmp_path, "--device", "cuda:99")
    assert told.code == 1
    assert "--device cuda:99: torch finds" in told.err
    assert command("tokenize", SAMPLES[0], "-o", tmp_path, "--device", "cpu").code == 0


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("tokenize", "decode", "reconstruct", "stream", "evaluate", "info"):
        assert main([verb, "--help"]) == 0
        assert f"usage: fsq-audio {verb}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fsq-audio {__version__}\n"


def test_help_does_not_import_what_is_heavy() -> None:
    code = (
        "import sys; from fsq_audio.cli import main; code = main(['tokenize', '--help']); "
        "heavy = {'torch', 'numpy', 'soundfile', 'huggingface_hub', 'accelerate', 'tqdm'}; "
        "sys.exit(code or ' '.join(heavy & set(sys.modules)) or 0)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_the_module_runs() -> None:
    command = [sys.executable, "-m", "fsq_audio", "tokenize", "nothing.wav", "-o", "nowhere"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr == "fsq-audio: error: nothing.wav: no such file or folder\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_run_says_so_and_is_continued(
    command: Command, tmp_path: Path, model_folder: Path
) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    for number in range(40):
        write_audio(inputs / f"{number:02}.wav", make_noise(10, seed=number))
    arguments = ["tokenize", inputs, "-o", out, "--model", model_folder, "--batch-seconds", "20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fsq_audio", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests may have told its children to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and not list(out.glob("*.fsq")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said == "fsq-audio: interrupted: run the same command to continue\n"
    names = listing(out)
    assert 0 < len(names) < 40
    assert all(name.endswith(".fsq") for name in names)
    done = command("tokenize", inputs, "-o", out, "--json")
    assert done.code == 0
    assert done.rows[-1]["num_skipped"] == len(names)
    assert len(listing(out)) == 40


INTERRUPTED_IMPORT = """
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("numpy."):
            sys.meta_path.remove(self)
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from fsq_audio.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt_is_not_lost_in_an_import(tmp_path: Path) -> None:
    arguments = ["extract", SAMPLES[0], "-o", tmp_path / "units"]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert not (tmp_path / "units").exists()
