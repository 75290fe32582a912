"""The recipes of language models on units, as a user runs them: real commands, real speech."""

from __future__ import annotations

import io
import json
import math
import os
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from conftest import ROOT, SAMPLES
from safetensors.torch import load_file

from fsq_audio import AudioTokenizer
from fsq_audio.errors import ConfigError
from fsq_audio.tokens import AudioTokens
from fsq_audio.training.unit_lm import read_unit_lm_config
from fsq_audio.units.item import StoreInfo, UnitItem
from fsq_audio.units.parquet import write_shard
from fsq_audio.units.store import shard_name

pytest.importorskip("transformers", reason="transformers is not installed")

CONFIGS = sorted((ROOT / "configs" / "unit_lm").glob("*.yaml"))
STEPS = 8


@dataclass
class Result:
    stdout: str
    stderr: str


def run(recipe: str, *arguments: object, code: int = 0) -> Result:
    """A training in a process of its own; what follows it, which leaves nothing behind, in this."""
    path, options = ROOT / "recipes" / f"{recipe}_unit_lm.py", [*map(str, arguments)]
    if recipe == "train":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        command = [sys.executable, str(path), *options]
        process = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
        )
        found, result = process.returncode, Result(process.stdout, process.stderr)
    else:
        with (
            redirect_stdout(io.StringIO()) as output,
            redirect_stderr(io.StringIO()) as errors,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", [str(path), *options])
            with pytest.raises(SystemExit) as end:
                runpy.run_path(str(path), run_name="__main__")
        found, result = end.value.code, Result(output.getvalue(), errors.getvalue())
    assert found == code, result
    return result


@pytest.fixture(scope="module")
def tokenizer() -> AudioTokenizer:
    return AudioTokenizer.from_pretrained().eval()


@pytest.fixture(scope="module")
def store(tokenizer: AudioTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples as a store: one to learn, one held out."""
    folder = tmp_path_factory.mktemp("units")
    info = StoreInfo.from_format(tokenizer.format, tokenizer.num_groups)
    for split, sample in zip(("train", "valid"), SAMPLES, strict=True):
        tokens = tokenizer.encode_file(sample)
        item = UnitItem(
            id=sample.stem,
            codes=tokens.codes[0].numpy(),
            num_samples=int(tokens.lengths[0]),
            sampling_rate=tokenizer.sample_rate,
        )
        write_shard(folder / "data" / shard_name(split, 0, 1), [item], info)
    return folder


def options(store: Path, output: Path, *more: str) -> list[object]:
    return [
        f"--config={CONFIGS[0]}",
        f"--output={output}",
        f"--data.store={store}",
        "--data.valid=train",
        "--model.width=32",
        "--model.layers=1",
        "--model.context=64",
        "--model.dropout=0.2",
        "--optimizer.learning_rate=0.003",
        "--optimizer.warmup_steps=2",
        f"--max_steps={STEPS}",
        "--batch_size=2",
        "--accumulate=2",
        "--validate_every=2",
        "--log_every=2",
        "--save_every=2",
        "--keep_checkpoints=9",
        *more,
    ]


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    run("train", *options(store, output))
    return output


def read_log(output: Path, name: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def test_a_run_learns_and_says_so(finished: Path) -> None:
    bits = read_log(finished, "train/bits_per_id")
    assert list(bits) == [2, 4, 6, 8]
    assert bits[2] == pytest.approx(math.log2(4001), abs=0.5)
    assert bits[8] < bits[2] - 0.1
    assert list(read_log(finished, "valid/bits_per_token")) == [2, 4, 6, 8]
    assert json.loads((finished / "run.json").read_text())["max_steps"] == STEPS
    assert read_log(finished, "train/epoch")[8] > 0


def test_a_resumed_run_ends_like_one_that_was_not_stopped(
    finished: Path, store: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    shutil.copytree(finished / "checkpoints/step-00000004", half / "checkpoints/step-00000004")
    # When a run validates must not change what it learns.
    run("train", *options(store, half, "--validate_every=8"))
    for name in (
        "model.safetensors",
        "optimizer.bin",
        *(f"custom_checkpoint_{n}.pkl" for n in range(5)),
    ):
        first, second = (
            each / "checkpoints" / f"step-{STEPS:08d}" / name for each in (finished, half)
        )
        if name.endswith(".safetensors"):
            states: list[Any] = [load_file(first), load_file(second)]
        else:
            states = [torch.load(each, weights_only=False) for each in (first, second)]
        assert str(states[0]) == str(states[1])
        if name.startswith("model"):
            assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    for name, steps in (("valid/bits_per_token", (8,)), ("train/bits_per_id", (6, 8))):
        values = read_log(finished, name)
        assert read_log(half, name) == {step: values[step] for step in steps}
    same = [(each / "model/model.safetensors").read_bytes() for each in (finished, half)]
    assert same[0] == same[1]
    # Once more: nothing is left to do.
    run("train", *options(store, half))
    assert sorted(read_log(half, "train/bits_per_id")) == [6, 8]


def test_a_run_that_gets_worse_stops_and_keeps_its_best(store: Path, tmp_path: Path) -> None:
    more = [
        "--data.valid=valid",
        "--patience=2",
        "--max_steps=60",
        "--optimizer.learning_rate=0.05",
        "--save_every=99",
    ]
    run("train", *options(store, tmp_path, *more))
    bits = read_log(tmp_path, "valid/bits_per_token")
    best = min(bits.values())
    assert list(bits.values())[-3] == best
    assert len(bits) < 30
    result = json.loads(evaluate(tmp_path, store, tmp_path / "found.json"))
    assert result["splits"]["valid"]["language_model"]["bits_per_token"] == pytest.approx(best)
    run("train", *options(store, tmp_path, *more))
    assert read_log(tmp_path, "valid/bits_per_token") == bits


def evaluate(run_folder: Path, store: Path, output: Path) -> str:
    run("evaluate", f"--model={run_folder}/model", f"--store={store}", "--split", "valid",
        "--output", output)  # fmt: skip
    return output.read_text("utf-8")


def test_an_evaluation_has_three_prices(finished: Path, store: Path, tmp_path: Path) -> None:
    result = json.loads(evaluate(finished, store, tmp_path / "found.json"))
    found = result["splits"]["valid"]
    seconds = soundfile.info(SAMPLES[1]).duration
    assert found["num_tokens"] == 712
    for system, low, high in (
        ("uniform", 9.965, 9.966),
        ("unigram", 9.5, 10.2),
        ("language_model", 9.5, 12.5),
    ):
        prices = found[system]
        assert low < prices["bits_per_token"] < high
        assert prices["bits_per_second"] == pytest.approx(prices["bits_per_token"] * 712 / seconds)
        assert len(prices["bits_per_token_of_groups"]) == 4
    # 133 codes of a group, each nearly once, and one for each of a thousand.
    assert 9.5 < result["unigram_entropy"] < math.log2(1000)


def test_samples_are_sound_and_tokens_and_a_function_of_the_seed(
    finished: Path, tokenizer: AudioTokenizer, tmp_path: Path
) -> None:
    token_file = tmp_path / "a.b.fsq"
    whole = tokenizer.encode_file(SAMPLES[0])
    whole.save(token_file)
    common = [f"--model={finished}/model", "--prompt-seconds=0.2", "--seconds=0.4"]
    for name, more in (("first", []), ("other", ["--seed=1", "--top-k=5"])):
        run("sample", token_file, *common, "--output", tmp_path / name, *more)
    run("sample", SAMPLES[0], *common, "--output", tmp_path / "file", "--audio-format=wav")
    made = AudioTokens.load(tmp_path / "first/a.b.fsq")
    assert made.codes.shape == (1, 4, 15)
    assert torch.equal(made.codes[..., :5], whole.codes[..., :5])
    assert made == AudioTokens.load(tmp_path / f"file/{SAMPLES[0].stem}.fsq")
    assert made != AudioTokens.load(tmp_path / "other/a.b.fsq")
    sound = [soundfile.read(tmp_path / name / "a.b.flac")[0] for name in ("first", "other")]
    assert (sound[0] != sound[1]).any()
    samples, rate = soundfile.read(tmp_path / f"file/{SAMPLES[0].stem}.wav", dtype="float32")
    assert (len(samples), rate) == (15 * 640, 16000)
    expected = tokenizer.decode(made)[0].numpy()
    assert abs(samples - expected).max() < 1e-4


def test_mistakes_are_one_sentence(finished: Path, store: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    for recipe, arguments, expected in (
        ("train", options(store, tmp_path / "r", "--data.valid=test"), "no split 'test'"),
        ("evaluate", ["--model", missing, "--store", store, "--split", "valid", "--output",
                      tmp_path / "x.json"], "no folder of a language model"),
        ("sample", [SAMPLES[0], "--model", f"{finished}/model", "--output", missing],
         "context holds 0.6 s in all"),
    ):  # fmt: skip
        result = run(recipe, *arguments, code=1)
        assert expected in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "r").exists()
    for wrong in ("--model.width=33", "--model.depth=3", "--model.context=1", "--batch_size=0"):
        with pytest.raises(ConfigError, match=wrong[2:].split("=")[0]):
            read_unit_lm_config(CONFIGS[0], [wrong])


def test_a_dry_run_counts_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    result = run("train", *options(store, tmp_path / "r"), "--dry-run")
    assert "4 groups of 1000 codes, 100 ids/s" in result.stdout
    assert "4 contexts, 256 ids, 2.6 s (2 contexts x 2 passes x 1 processes)" in result.stdout
    assert "8 steps, 3.84 times through the data" in result.stdout
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_opens_with_its_command_and_is_right(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    assert first == (
        f"# accelerate launch --cpu recipes/train_unit_lm.py --config configs/unit_lm/{path.name} "
        f"--output runs/unit_lm/{path.stem}"
    )
    assert read_unit_lm_config(path).max_steps == yaml.safe_load(path.read_text())["max_steps"]
