"""Every quantizer by its name in a configuration: trained, resumed, used; on two processes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
import torch
import yaml
from accelerate.state import AcceleratorState
from conftest import ROOT, SAMPLES
from safetensors.torch import load_file
from test_quantizer_contract import OPTIONS

from fsq_audio.cli import main
from fsq_audio.quantizers import base
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.training.config import read_run_config

TRUNK = {"channels": 16, "num_blocks": 1, "expansion": 2, "kernel_size": 3}


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    place = ROOT / "recipes" / "train_tokenizer.py"
    spec = importlib.util.spec_from_file_location("train_tokenizer", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of speech: `a.flac`, and a manifest."""
    folder = tmp_path_factory.mktemp("short")
    samples, rate = soundfile.read(SAMPLES[0], dtype="float32", frames=8000, start=16000)
    soundfile.write(folder / "a.flac", samples, rate)
    line = {"audio_filepath": "a.flac", "num_samples": 8000, "sample_rate": rate}
    (folder / "all.jsonl").write_text(json.dumps(line) + "\n")
    return folder


@pytest.fixture(autouse=True)
def quiet_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with torch.random.fork_rng():
        yield
    AcceleratorState._reset_state(reset_partial_state=True)


def configure(quantizer: dict[str, object], folder: Path, corpus: Path) -> Path:
    """A run of the smallest kind, as a file."""
    values = {
        "tokenizer": {
            "hop_length": 640,
            "encoder": {
                "front_end": {"name": "spectral", "window_length": 1024, "bands": 20},
                "trunk": TRUNK,
            },
            "quantizer": quantizer,
            "decoder": {"trunk": TRUNK, "head": {"name": "istft", "window_length": 1280}},
        },
        "data": {
            "train": str(corpus / "all.jsonl"),
            "valid": str(corpus / "all.jsonl"),
            "crop_frames": 8,
            "num_workers": 0,
        },
        "loss": {"mel_windows": [512], "mel_bands": [20]},
        "optimizer": {"warmup_steps": 1},
        "batch_size": 2,
        "max_steps": 2,
        "save_every": 1,
        "log_every": 1,
        "tracker": None,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_any_quantizer_trains_tokenizes_and_decodes(
    name: str,
    recipe: ModuleType,
    short: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = configure({"name": name, **OPTIONS[name]}, tmp_path, short)
    recipe.train(read_run_config(path), tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2]

    model, out = tmp_path / "model", tmp_path / "out"
    assert main(["tokenize", "--model", str(model), str(SAMPLES[0]), "-o", str(out)]) == 0
    (tokens,) = out.rglob("*.fsq")
    assert main(["decode", "--model", str(model), str(tokens), "-o", str(tmp_path / "back")]) == 0
    (back,) = (path for path in (tmp_path / "back").rglob("*.*"))
    waveform = torch.from_numpy(soundfile.read(SAMPLES[0], dtype="float32")[0])
    assert soundfile.info(back).frames == len(waveform)
    capsys.readouterr()
    assert main(["info", "--json", str(model), str(tokens)]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(facts["kind"], facts["quantizer"]["name"]) for facts in told] == [
        ("model", name),
        ("tokens", name),
    ]

    tokenizer = AudioTokenizer.from_pretrained(model)
    codes = AudioTokens.load(tokens).codes
    assert len(codes.unique()) > 1
    assert torch.equal(tokenizer.encode(waveform).codes, codes)
    lengths = [len(waveform) + 12000, len(waveform), 15000]
    padded = torch.zeros(3, lengths[0])
    padded[1, : lengths[1]] = waveform
    padded[2] = torch.randn(lengths[0]) * 0.1
    batch = tokenizer.encode(padded, lengths=lengths).codes
    assert torch.equal(batch[1, :, : codes.shape[-1]], codes[0])


RESUMED = {
    "restart_vq": {"codebook_size": 40, "dim": 4},
    "kmeans_vq": {"codebook_size": 8, "dim": 4, "reservoir_factor": 3, "growth": 1.1},
    "residual_vq": {
        "stage": {"name": "sqvae", "codebook_size": 8, "dim": 4, "tau_decay": 0.1},
        "num_groups": 2,
        "group_dropout": 0.5,
    },
}


@pytest.mark.parametrize("name", sorted(RESUMED))
def test_a_resumed_run_ends_like_one_that_was_not(
    name: str, recipe: ModuleType, short: Path, tmp_path: Path
) -> None:
    path = configure({"name": name, **RESUMED[name]}, tmp_path, short)
    run = read_run_config(path, ["--max_steps=6", "--save_every=3"])
    (tmp_path / "whole").mkdir()
    recipe.train(run, tmp_path / "whole")
    AcceleratorState._reset_state(reset_partial_state=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "model")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-00000006")
    torch.manual_seed(77)
    recipe.train(run, tmp_path / "again")
    for file in ("model/model.safetensors", "checkpoints/step-00000006/model.safetensors"):
        first, second = (load_file(tmp_path / place / file) for place in ("whole", "again"))
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), key
    if name == "kmeans_vq":
        # Something happened: the codebook was made anew, and ships as it is, not averaged.
        assert int(second["quantizer.quantizer.num_estimated"]) >= 2
        shipped = load_file(tmp_path / "again" / "model" / "model.safetensors")
        key = "quantizer.quantizer.codebook.values"
        assert torch.equal(shipped[key], second[key].half())


def test_a_codebook_may_have_a_learning_rate_of_its_own(recipe: ModuleType) -> None:
    from fsq_audio.quantizers import KMeansVectorQuantizer
    from fsq_audio.training.config import OptimizerConfig

    quantizer = KMeansVectorQuantizer(codebook_size=8, dim=2, learning_rate_factor=10.0)
    optimizer = recipe.build_optimizer(quantizer, OptimizerConfig(learning_rate=1e-3))
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(rates) == len(list(quantizer.parameters()))
    for key, parameter in quantizer.named_parameters():
        expected = 1e-2 if key == "codebook.values" else 1e-3
        assert rates[id(parameter)] == pytest.approx(expected), key
    schedule = recipe.warmup_cosine(optimizer, OptimizerConfig(warmup_steps=10), max_steps=20)
    assert schedule.get_last_lr() == pytest.approx([1e-4, 1e-3])


def test_the_walk_of_contributing_adds_a_quantizer(
    recipe: ModuleType, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    walk = text[text.index("## Walk 1: add a quantizer") : text.index("## Walk 2")]
    blocks = {
        language: "\n".join(line[3:] for line in body.splitlines())
        for language, body in re.findall(r"   ```(\w+)\n(.*?)\n   ```", walk, flags=re.DOTALL)
    }
    # From outside of the package: a module that registers itself when it is imported.
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    (tmp_path / "sign.py").write_text(blocks["python"])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sign", raising=False)
    __import__("sign")
    quantizer = yaml.safe_load(blocks["yaml"])["quantizer"]
    assert quantizer["name"] in base.quantizer_names()

    path = configure(quantizer, tmp_path, short)
    recipe.train(read_run_config(path), tmp_path)
    trained = AudioTokenizer.from_pretrained(tmp_path / "model")
    assert trained.codebook_size == 2
    waveform = torch.from_numpy(soundfile.read(short / "a.flac", dtype="float32")[0])
    tokens = trained.encode(waveform)
    trained.save_pretrained(tmp_path / "copy")
    copy = AudioTokenizer.from_pretrained(tmp_path / "copy")
    assert copy.fingerprint == trained.fingerprint
    assert torch.equal(copy.encode(waveform).codes, tokens.codes)
    assert torch.equal(copy.decode(tokens), trained.decode(tokens))


def test_a_validation_recording_may_be_shorter_than_a_window_of_the_losses(
    recipe: ModuleType, short: Path, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(short / "a.flac", dtype="float32", frames=1000)
    soundfile.write(tmp_path / "b.flac", samples, rate)
    path = configure({"name": "group_fsq", **OPTIONS["group_fsq"]}, tmp_path, short)
    options = [f"--data.valid={tmp_path}", "--loss.mel_windows=[2048]"]
    recipe.train(read_run_config(path, options), tmp_path)
    assert (tmp_path / "model").is_dir()


TWO_PROCESSES = """
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from fsq_audio.quantizers import Projected, build_quantizer
from test_quantizer_contract import OPTIONS

dist.init_process_group("gloo")
torch.set_num_threads(1)
rank = dist.get_rank()
moved = {}
for name, options in sorted(OPTIONS.items()):
    options = dict(options)
    if name == "kmeans_vq":
        options |= {"codebook_size": 10, "reservoir_factor": 4, "growth": 1.5}
    torch.manual_seed(0)
    model = Projected(build_quantizer(name, options), channels=6)
    model.initialize(torch.randn(8, 6, 20))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    together = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(1 + rank)  # from here on each has its own data and noise
    for step in range(4):
        latents = torch.randn(3 + rank, 6, 9) * 2
        mask = torch.arange(9) < torch.randint(1, 10, (3 + rank, 1))
        result = together(latents, mask)
        (result.quantized.square().mean() + sum(result.losses.values())).backward()
        optimizer.step()
        model.end_step(optimizer)
        optimizer.zero_grad()
    for key, value in model.state_dict().items():
        other = value.clone()
        dist.broadcast(other, 0)
        assert torch.equal(other, value), f"{name}: {key} differs"
    after = model.state_dict()
    moved[name] = any(
        not torch.equal(before[key], after[key]) for key in after if "codebook.values" in key
    )
if rank == 0:
    print(" ".join(name for name in moved if moved[name]))
dist.destroy_process_group()
"""


def test_two_processes_end_with_the_same_codebooks(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run(
        [*launch, str(script)],
        capture_output=True,
        text=True,
        cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    learnt = [name for name in sorted(OPTIONS) if "fsq" not in name]
    assert result.stdout.split() == learnt


def test_two_processes_average_what_one_would(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        """
import sys
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from fsq_audio.quantizers import build_quantizer

is_two = len(sys.argv) > 1
if is_two:
    dist.init_process_group("gloo")
for name in ("ema_vq", "entropy_vq"):
    torch.manual_seed(0)
    model = build_quantizer(name, {"codebook_size": 7, "dim": 3}).train()
    call = model
    if is_two and name == "entropy_vq":
        call = DistributedDataParallel(model)
    latents = torch.randn(4, 3, 11)
    if is_two:
        latents = latents.chunk(2)[dist.get_rank()]
    losses = call(latents).losses
    if name == "entropy_vq":
        losses["entropy"].backward()
        values = model.codebook.values.grad
    else:
        model.end_step()
        values = model.codebook.values
    if not is_two or dist.get_rank() == 0:
        print(" ".join(f"{float(value):.5f}" for value in values.flatten()))
"""
    )
    one = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = subprocess.run(
        [*launch, str(script), "two"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for first, second in zip(one.stdout.splitlines(), two.stdout.splitlines(), strict=True):
        expected = [float(value) for value in first.split()]
        assert [float(value) for value in second.split()] == pytest.approx(expected, abs=2e-5)
