"""Recipes as a user runs them: real commands, real speech, a few steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import ROOT, SAMPLES
from safetensors.torch import load_file

from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.config import read_run_config

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
STEPS = 8


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
    result = run(command(manifest, output))
    assert result.returncode == 0, result.stderr
    return output


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
    mel = [json.loads(line)["loss/mel"] for line in (tmp_path / "log.jsonl").open()]
    assert sum(mel[-5:]) < 0.9 * sum(mel[:5])


def test_a_killed_run_resumes_to_the_same_weights(
    finished: Path, manifest: Path, tmp_path: Path
) -> None:
    arguments = command(manifest, tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    process = subprocess.Popen(
        arguments, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    first = tmp_path / "checkpoints" / "step-00000002"
    deadline = time.monotonic() + 120
    while not first.is_dir() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model").exists(), "it finished before it could be killed"
    result = run(arguments)
    assert result.returncode == 0, result.stderr
    expected = load_file(finished / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors")
    resumed = load_file(tmp_path / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    shipped = [load_file(path / "model" / "model.safetensors") for path in (finished, tmp_path)]
    assert all(torch.equal(shipped[1][name], tensor) for name, tensor in shipped[0].items())


def test_a_users_mistake_is_one_sentence(manifest: Path, tmp_path: Path) -> None:
    result = run(command(manifest, tmp_path, "--max_step=3", "--tokenizer.hop_length=7"))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "max_step" in result.stderr
    result = run(command(tmp_path / "none.jsonl", tmp_path))
    assert result.returncode == 1
    assert "cannot read the manifest" in result.stderr


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


def test_all_configurations_are_found() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"tiny_cpu", "speech_16khz", "speech_24khz", "speech_16khz_single_book"} <= names
    assert len(names) >= 7
