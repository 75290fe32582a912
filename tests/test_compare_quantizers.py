"""The sweep over quantizers: cells are done once, resumed, shared out; and what is made of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import soundfile
import yaml
from conftest import ROOT, SAMPLES

SWEEPS = sorted((ROOT / "configs" / "compare_quantizers").glob("*.yaml"))
RECIPE = ROOT / "recipes" / "compare_quantizers.py"
EGS = ROOT / "egs" / "fsq_vs_vq"
SMALL = {"channels": 16, "num_blocks": 1, "expansion": 2, "kernel_size": 3}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison that ships, on one sample and at the smallest scale."""
    folder = tmp_path_factory.mktemp("sweep")
    samples, rate = soundfile.read(SAMPLES[0], dtype="float32", frames=24000)
    soundfile.write(folder / "a.flac", samples, rate)
    line = {"audio_filepath": "a.flac", "num_samples": len(samples), "sample_rate": rate}
    manifest = folder / "all.jsonl"
    manifest.write_text(json.dumps(line) + "\n")
    values = yaml.safe_load((ROOT / "configs/compare_quantizers/fsq_vs_vq.yaml").read_text())
    run = values["run"]
    run["tokenizer"]["encoder"]["trunk"] = run["tokenizer"]["decoder"]["trunk"] = SMALL
    run["data"] |= {"train": str(manifest), "valid": str(manifest), "crop_frames": 16}
    run |= {"max_steps": 2, "batch_size": 2, "log_every": 1}
    run["optimizer"] |= {"learning_rate": 0.001}
    values |= {"held_out": [str(manifest)], "sizes": [16, 64], "seeds": [0]}
    values["language_model"] = {"context": 8, "steps": 2, "width": 32, "layers": 1}
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def start(config: Path, output: Path, *more: str, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(RECIPE), "--config", str(config), "--output", str(output)]
    command += ["--runs", str(output.with_name("runs")), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=300)
    return process.returncode, output + errors


def test_processes_share_out_the_cells_and_none_is_done_twice(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "results"
    chosen = ["--arms", "fsq", "vq", "--sizes", "16"]
    # What a launcher tells two processes; without forgetting it they would wait for each other.
    one_of_two = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29871"}
    both = [
        start(config, output, *chosen, RANK=str(rank), LOCAL_RANK=str(rank), **one_of_two)
        for rank in range(2)
    ]
    reports = [finish(process) for process in both]
    assert [code for code, _ in reports] == [0, 0], reports
    assert sum(report.count("\ncell ") + report.startswith("cell ") for _, report in reports) == 2
    cells = {path.name: json.loads(path.read_text()) for path in output.iterdir()}
    assert sorted(cells) == ["fsq-16-0.json", "vq-16-0.json"]
    assert [cells[name]["codebook_size"] for name in sorted(cells)] == [15, 16]
    for cell in cells.values():
        assert cell["mel_distance"] > 0
        assert cell["health"][0]["num_codes"] == 75
        assert 0 < cell["compression_bits"] < 10
        assert cell["compression_num_codes"] == 75
    assert not list(tmp_path.glob("runs/*/checkpoints"))
    # Again: nothing is left to do, and what is there stays.
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    code, report = finish(start(config, output, *chosen))
    assert code == 0
    assert "0 cells done, 0 of 2 left" in report
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before


def test_mistakes_are_told(config: Path, tmp_path: Path) -> None:
    code, report = finish(start(config, tmp_path / "r", "--arms", "fsq", "nonsense"))
    assert (code, "has no arm nonsense: it has fsq, " in report) == (1, True)
    code, report = finish(start(config, tmp_path / "r", "--arms", "fsq", "--sizes", "100"))
    assert (code, "was asked for has any of the sizes: it has [16, 64]" in report) == (1, True)
    code, report = finish(start(config, tmp_path / "r", "--run.max_stops", "3"))
    assert (code, "max_stops" in report) == (1, True)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_sweep_opens_with_its_command_and_is_right(path: Path, tmp_path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    name = f"configs/compare_quantizers/{path.name}"
    assert first.startswith(
        f"# accelerate launch --cpu recipes/compare_quantizers.py --config {name}"
    )
    code, report = finish(start(path, tmp_path / "results", "--dry-run"))
    assert code == 0, report
    values = yaml.safe_load(path.read_text("utf-8"))
    listed = {line.rsplit("-", 2)[0] for line in report.splitlines() if "\tto do" in line}
    assert listed == set(values["arms"])


def test_both_sweeps_train_alike() -> None:
    """The tables set their cells side by side."""
    first, second = (yaml.safe_load(path.read_text("utf-8")) for path in SWEEPS)
    assert first["run"] == second["run"]
    assert first["held_out"] == second["held_out"]


@pytest.fixture(scope="module")
def egs() -> dict[str, ModuleType]:
    modules = {}
    for name in ("verdicts", "write_results"):
        spec = importlib.util.spec_from_file_location(name, EGS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        modules[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    return modules


def cell(error: float, usage: float = 1.0, cost: float = 1.0) -> dict[str, Any]:
    health = {"usage_over_ceiling": usage, "perplexity": 10 * usage}
    return {"mel_distance": error, "health": [health], "compression_bits": cost}


SIZES = (64, 1024, 16384)


def test_expectations_hold_where_the_paper_says_so(egs: dict[str, ModuleType]) -> None:
    cells = {}
    for place, size in enumerate(SIZES):
        usage = 0.9 - 0.3 * place
        cells["fsq", size] = [cell(0.40 - 0.04 * place, 1.0, 5.0)]
        cells["vq", size] = [cell(0.38 - 0.03 * min(place, 1), usage, 5 * usage)]
        for arm in ("restart_vq", "kmeans_vq", "sqvae"):
            cells[arm, size] = [cell(0.38, 0.98, 4.9)]
    design = {("fsq", size): cells["fsq", size] for size in SIZES[1:]}
    for arm in ("fsq_levels_4", "fsq_levels_2"):
        design |= {(arm, size): [cell(0.5)] for size in SIZES[1:]}
    lines = egs["verdicts"].verdicts(cells, design)
    assert [line.split(".**")[0].rsplit(" ", 1)[1] for line in lines] == ["held"] * 7
    # Each can fail.
    worst = {key: [cell(0.4 + 0.1 * (key[0] == "vq"), 0.5, 9 - key[1] % 7)] for key in cells}
    for number, key in enumerate(sorted(worst)):
        worst[key] = [cell(worst[key][0]["mel_distance"], 0.5 + number / 100, 9 - number)]
    design |= {("fsq_levels_2", size): [cell(0.1)] for size in SIZES[1:]}
    lines = egs["verdicts"].verdicts(worst, design)
    assert [line.split(".**")[0].rsplit(" ", 1)[1] for line in lines] == ["failed"] * 7


def test_what_seeds_cannot_tell_apart_is_undecided(egs: dict[str, ModuleType]) -> None:
    design = {
        (arm, size): [cell(0.40), cell(0.42)]
        for arm in ("fsq", "fsq_levels_4", "fsq_levels_2")
        for size in SIZES
    }
    design["fsq_levels_2", 1024] = [cell(0.42), cell(0.42)]
    *_, last = egs["verdicts"].verdicts({}, design)
    assert "undecided.** Error, less that of five levels or more" in last
    first, *_ = egs["verdicts"].verdicts({}, {})
    assert "undecided" in first


def test_the_page_is_what_the_results_make(
    egs: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("results", "results.md.in"):
        (tmp_path / name).symlink_to(EGS / name)
    monkeypatch.setattr(egs["write_results"], "HERE", tmp_path)
    assert egs["write_results"].main() == 0
    assert (tmp_path / "RESULTS.md").read_text("utf-8") == (EGS / "RESULTS.md").read_text("utf-8")
    assert "<svg" in (tmp_path / "figure.svg").read_text("utf-8")


def test_without_results_there_is_no_page(
    egs: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egs["write_results"], "HERE", tmp_path)
    assert egs["write_results"].main() == 1
    assert not list(tmp_path.iterdir())
