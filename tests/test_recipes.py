"""Recipes as a user runs them: real commands, real speech, a few steps."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, SAMPLES
from safetensors.torch import load_file

from fsq_audio.locks import only_run
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training import command as command_line
from fsq_audio.training.config import read_run_config
from fsq_audio.training.estimate import describe

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
STEPS = 8
# Small, and begun in the middle of a run.
ADVERSARIAL = [
    "--adversarial.start_step=3",
    "--adversarial.lead_steps=1",
    "--adversarial.ramp_steps=2",
    "--adversarial.every=2",
    "--adversarial.stft_windows=[256]",
    "--adversarial.stft_channels=4",
    "--adversarial.periods=[3]",
    "--adversarial.period_channels=2",
    "--loss.balance=true",
]
# One more thing that is drawn at random.
SEGMENT = "--adversarial.segment_samples=4000"
# What the shipped configuration has, smaller.
SOURCE = [
    "--tokenizer.encoder.front_end={name: spectral, window_length: 1024, subframes: 2, lags: 84}",
    "--tokenizer.decoder.head={name: harmonic_noise, window_length: 640, subframes: 4}",
]
SMALL = ["--tokenizer.encoder.trunk.channels=32", "--tokenizer.decoder.trunk.channels=32"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample recordings as a corpus."""
    path = tmp_path_factory.mktemp("corpus") / "all.jsonl"
    lines = [
        {
            "audio_filepath": str(sample),
            "num_samples": soundfile.info(sample).frames,
            "sample_rate": soundfile.info(sample).samplerate,
        }
        for sample in SAMPLES
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def command(manifest: Path, output: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "recipes" / "train_tokenizer.py"),
        f"--config={ROOT / 'configs' / 'tiny_cpu.yaml'}",
        f"--output={output}",
        f"--data.train={manifest}",
        f"--data.valid={manifest}",
        f"--max_steps={STEPS}",
        "--save_every=2",
        "--log_every=2",
        f"--validate_every={STEPS}",
        "--tokenizer.quantizer.group_dropout=0.5",
        "--tokenizer.quantizer.noise=0.5",
        *more,
    ]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        arguments, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    result = run(command(manifest, output, *ADVERSARIAL, SEGMENT))
    assert result.returncode == 0, result.stderr
    return output


def losses(output: Path, name: str = "loss/mel") -> list[float]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def weights(output: Path, step: int = STEPS, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


def same(first: object, second: object) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(first, torch.Tensor):
        assert isinstance(second, torch.Tensor)
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)  # type: ignore[arg-type]
    if isinstance(first, dict):
        assert isinstance(second, dict)
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        assert isinstance(second, list | tuple)
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_a_run_leaves_a_model_that_tokenizes(finished: Path) -> None:
    model = AudioTokenizer.from_pretrained(finished / "model")
    tokens = model.encode_file(SAMPLES[0])
    assert model.decode(tokens).shape[-1] == soundfile.info(SAMPLES[0]).frames
    stored = load_file(finished / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}


def test_a_run_says_what_it_did(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert all(line["loss/mel"] > 0 for line in lines)
    resolved = json.loads((finished / "run.json").read_text())
    assert resolved["max_steps"] == STEPS
    assert list((finished / "tensorboard").glob("events.*"))
    kept = sorted(path.name for path in (finished / "checkpoints").iterdir())
    assert kept == ["step-00000006", "step-00000008"]


def test_the_loss_falls(finished: Path, manifest: Path, tmp_path: Path) -> None:
    result = run(command(manifest, tmp_path, "--max_steps=40", "--log_every=1"))
    assert result.returncode == 0, result.stderr
    assert f"training:   2 recordings, 0.00 h ({manifest})" in result.stderr
    assert f"validation: 2 of 2 recordings, 0.00 h ({manifest})" in result.stderr
    assert "step 40 of 40: mel " in result.stderr  # no terminal: a line, not a bar
    assert result.stderr.endswith(f"the model after step 40: {tmp_path / 'model'}\n")
    mel = [json.loads(line)["loss/mel"] for line in (tmp_path / "log.jsonl").open()]
    assert sum(mel[-5:]) < 0.9 * sum(mel[:5])


def test_a_decoder_with_a_source_is_taught_its_pitch_and_gone_on_from(
    manifest: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fast = ["--optimizer.warmup_steps=5", "--optimizer.learning_rate=2e-3"]
    result = run(command(manifest, first, *SMALL, *SOURCE, *fast, "--max_steps=40"))
    assert result.returncode == 0, result.stderr
    for name in ("loss/pitch", "loss/voicing"):
        taught = losses(first, name)
        assert sum(taught[-5:]) < 0.8 * sum(taught[:5]), name
    heard = [f"--data.{name}={{}}" for name in ("noise", "reverb", "equalizer")]
    options = [*SMALL, *SOURCE, *heard, f"--init_from={first / 'model'}", "--max_steps=2"]
    result = run(command(manifest, second, *options))
    assert result.returncode == 0, result.stderr
    assert losses(second)[0] < 0.8 * losses(first)[0]
    result = run(command(manifest, tmp_path / "third", *SMALL, f"--init_from={first / 'model'}"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert str(first / "model") in result.stderr


def test_a_run_killed_again_and_again_ends_like_one_that_was_not(
    finished: Path, manifest: Path, tmp_path: Path
) -> None:
    arguments = command(manifest, tmp_path, *ADVERSARIAL, SEGMENT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    choose = random.Random(0)
    # Before and after the discriminators begin, at a random moment past a checkpoint.
    for step in (2, 4):
        process = subprocess.Popen(
            arguments,
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        checkpoints = [tmp_path / "checkpoints" / f"step-{s:08d}" for s in range(step, STEPS + 1)]
        deadline = time.monotonic() + 120
        while not any(c.is_dir() for c in checkpoints) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(choose.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "model").exists(), "it finished before it could be killed"
    result = run(arguments)
    assert result.returncode == 0, result.stderr
    places = [path / "checkpoints" / f"step-{STEPS:08d}" for path in (finished, tmp_path)]
    names = sorted(path.name for path in places[0].iterdir())
    assert names == sorted(path.name for path in places[1].iterdir())
    # Weights and moments of both, schedules, average, guards, balance, generators.
    assert len(names) >= 2 + 2 + 6 + 1
    for name in names:
        if name.endswith(".safetensors"):
            states = [load_file(place / name) for place in places]
        else:
            states = [torch.load(place / name, weights_only=False) for place in places]
        assert same(*states), name
    shipped = [load_file(path / "model" / "model.safetensors") for path in (finished, tmp_path)]
    assert same(*shipped)


def test_a_second_start_leaves_a_live_run_alone(
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line, "_WORKERS_END_SECONDS", 0)
    monkeypatch.setattr(sys, "argv", command(manifest, tmp_path)[1:])
    half_written = tmp_path / "checkpoints" / "step-00000001.tmp"
    half_written.mkdir(parents=True)

    def start() -> int:
        return command_line.run_command(
            None,
            configs="configs/",
            read=read_run_config,
            describe=describe,
            train=lambda _, output: half_written.rmdir(),
        )

    with only_run(tmp_path):
        assert start() == 1
    assert f"error: {tmp_path}: another run is writing there" in capsys.readouterr().err
    assert half_written.is_dir()
    assert start() == 0
    assert not half_written.exists()
    assert not (tmp_path / ".lock").exists()


def test_the_adversarial_stage_begins_where_it_should(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    learning = [line["step"] for line in lines if "loss/discriminator" in line]
    heard = [line["step"] for line in lines if "loss/adversarial" in line]
    assert learning == [4, 6, 8]
    assert heard == [6, 8]
    before, after = (weights(finished, step, "model_1") for step in (6, 8))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_two_processes_do_what_one_does_with_twice_the_batch(
    manifest: Path, tmp_path: Path
) -> None:
    options = [
        *ADVERSARIAL,
        *SMALL,
        "--adversarial.start_step=0",
        "--adversarial.lead_steps=0",
        "--adversarial.every=1",
        "--max_steps=3",
        "--log_every=1",
        "--tokenizer.quantizer.group_dropout=0",
        "--tokenizer.quantizer.noise=0",
    ]
    one = command(manifest, tmp_path / "one", *options, "--batch_size=4")
    two = command(manifest, tmp_path / "two", *options, "--batch_size=2")
    two[:1] = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for arguments in (one, two):
        result = run(arguments)
        # A run whose processes hold different weights stops at its first checkpoint.
        assert result.returncode == 0, result.stderr
    for name in ("loss/total", "loss/mel", "loss/discriminator", "gradient_norm"):
        found = losses(tmp_path / "two", name)
        assert found == pytest.approx(losses(tmp_path / "one", name), rel=2e-3), name
    first, second = weights(tmp_path / "one", 3), weights(tmp_path / "two", 3)
    assert all(torch.allclose(first[n], second[n], atol=1e-4) for n in first)


def test_accumulated_passes_do_what_one_does_with_a_larger_batch(
    manifest: Path, tmp_path: Path
) -> None:
    options = [
        *ADVERSARIAL,
        *SMALL,
        "--loss.balance=false",
        "--adversarial.start_step=0",
        "--adversarial.lead_steps=0",
        "--max_steps=2",
        "--log_every=1",
        "--tokenizer.quantizer.group_dropout=0",
        "--tokenizer.quantizer.noise=0",
    ]
    for name, sizes in (("one", (4, 1)), ("two", (2, 2))):
        more = [f"--batch_size={sizes[0]}", f"--accumulate={sizes[1]}"]
        result = run(command(manifest, tmp_path / name, *options, *more))
        assert result.returncode == 0, result.stderr
    for name in ("loss/total", "loss/discriminator", "gradient_norm"):
        found = losses(tmp_path / "two", name)
        assert found == pytest.approx(losses(tmp_path / "one", name), rel=2e-3), name


def test_processes_that_drift_apart_are_stopped(tmp_path: Path) -> None:
    script = tmp_path / "drift.py"
    script.write_text(
        "import torch\n"
        "from accelerate import Accelerator\n"
        "from fsq_audio.errors import TrainingError\n"
        "from fsq_audio.training.state import check_agreement\n"
        "accelerator = Accelerator()\n"
        "torch.manual_seed(0)\n"
        "layer = torch.nn.Linear(3, 3)\n"
        "check_agreement(accelerator, layer)\n"
        "with torch.no_grad():\n"
        "    layer.weight[0, 0] += accelerator.process_index * 1e-3\n"
        "try:\n"
        "    check_agreement(accelerator, layer)\n"
        "except TrainingError as error:\n"
        "    print(error)\n"
        "accelerator.end_training()\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = run([*launch, str(script)])
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("1 of 2 tensors differ") == 2


def test_a_run_that_diverges_stops_with_one_sentence(manifest: Path, tmp_path: Path) -> None:
    guard = ["--guard.max_ratio=1e-6", "--guard.history=2", "--guard.patience=3"]
    result = run(command(manifest, tmp_path, *SMALL, *guard))
    assert result.returncode == 1
    assert "error: the training diverged: 3 steps of the tokenizer in a row" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_users_mistake_is_one_sentence(manifest: Path, tmp_path: Path) -> None:
    result = run(command(manifest, tmp_path, "--max_step=3", "--tokenizer.hop_length=7"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "max_step" in result.stderr
    result = run(command(tmp_path / "none.jsonl", tmp_path))
    assert result.returncode == 1
    assert "no file or folder at" in result.stderr
    lost = '{"audio_filepath": "lost.wav", "num_samples": 16000, "sample_rate": 16000}\n'
    (tmp_path / "lost.jsonl").write_text(lost)
    result = run(command(manifest, tmp_path / "run", f"--data.valid={tmp_path / 'lost.jsonl'}"))
    assert result.returncode == 1
    assert "lost.wav" in result.stderr  # now, and not at the first validation
    assert not (tmp_path / "run").exists()
    result = run(command(manifest, tmp_path / "lost.jsonl" / "run"))
    assert result.returncode == 1
    assert "is no folder to write to: Not a directory" in result.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_builds_and_learns(path: Path) -> None:
    settings = read_run_config(path)
    model = AudioTokenizer.from_config(settings.tokenizer)
    num_frames = min(settings.data.crop_frames, 8)
    num_samples = num_frames * model.hop_length + sum(model.encoder.context)
    result = model(torch.randn(1, num_samples) * 0.1)
    assert result.waveform.shape == (1, num_frames * model.hop_length)
    result.waveform.square().mean().backward()
    assert 400 < model.bitrate < 1100


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_says_what_it_needs(path: Path) -> None:
    settings = read_run_config(path)
    text = describe(settings, num_processes=2)
    model = AudioTokenizer.from_config(settings.tokenizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert f"{parameters / 1e6:.2f} M parameters" in text
    assert f"{model.bitrate:.1f} bit/s" in text
    assert ("discriminators" in text) == (settings.adversarial is not None)
    for line in ("arithmetic", "a step", "memory", "data.train", "data.valid"):
        assert f"\n{line}" in text


def test_a_dry_run_trains_nothing(tmp_path: Path, manifest: Path) -> None:
    result = run([*command(manifest, tmp_path / "run"), "--dry-run"])
    assert result.returncode == 0, result.stderr
    assert "GMAC per second" in result.stdout
    assert not (tmp_path / "run").exists()


def test_every_configuration_has_its_row_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = [line for line in readme.splitlines() if "](configs/" in line]
    assert len(rows) == len(CONFIGS) > 5
    for path in CONFIGS:
        model = AudioTokenizer.from_config(read_run_config(path).tokenizer)
        row = (
            f"| [{path.stem}](configs/{path.name}) | {model.sample_rate / 1000:g} kHz "
            f"| {model.frame_rate:g} | {model.num_groups} x {model.codebook_size} "
            f"| {model.bitrate:.0f} |"
        )
        assert any(line.startswith(row) for line in rows), row
