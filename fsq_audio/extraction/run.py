"""One extraction: its folder, what it was begun with, and what of it is done.

OUT/data/train-00003-of-00010.parquet   the shard of task 3; it is there when the task is done
OUT/errors-00003-of-00010.jsonl         the recordings of task 3 that failed, if any did
OUT/run/run.json                        settings, model, inputs, plan: `Run`
OUT/run/recordings.jsonl                all recordings, with what is known of them
OUT/run/progress/00003.json             how far task 3 is
OUT/run/completions/00003               datatrove's marker: made to agree with the shards
OUT/run/scratch/00003/                  what task 3 is writing; emptied when it begins again
OUT/run/scratch/plan/                   the same of the plan
OUT/run/locks/00003.lock                held by the process that works on task 3
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from fsq_audio import __version__
from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.sources import read_entries
from fsq_audio.errors import ConfigError
from fsq_audio.extraction.identity import digest_of
from fsq_audio.extraction.plan import RECORDINGS_FILE, Plan, make_plan, read_task
from fsq_audio.files import replacing
from fsq_audio.units.item import StoreInfo
from fsq_audio.units.store import shard_name

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Settings:
    """What outputs depend on, the recordings apart.

    Attributes:
        model: folder, hub id or "default".
        info: the model's fingerprint, groups and the rest of what its units need.
        device: "cpu", "cuda" or "mps": codes are the same on one kind of device only.
        split: of the names of shards.
    """

    model: str
    info: StoreInfo
    device: str
    split: str


@dataclass(frozen=True)
class Run:
    """An extraction that was planned.

    Attributes:
        output: OUT.
        settings: what it was begun with.
        inputs: the names that were given, each with a digest of what it stood for.
        plan: its tasks.
        version: of this library, for the reader.
    """

    output: Path
    settings: Settings
    inputs: dict[str, str]
    plan: Plan
    version: str

    @property
    def folder(self) -> Path:
        """What is kept of the run."""
        return run_folder(self.output, self.settings.split)

    def shard(self, task: int) -> Path:
        """The file of a task; it is there if and only if the task is done."""
        return self.output / "data" / shard_name(self.settings.split, task, self.plan.num_tasks)

    def errors(self, task: int) -> Path:
        """The list of the recordings of a task that failed."""
        split, total = self.settings.split, self.plan.num_tasks
        return self.output / f"errors-{split}-{task:05d}-of-{total:05d}.jsonl"

    def progress(self, task: int) -> Path:
        """How far a task is."""
        return self.folder / "progress" / f"{task:05d}.json"

    def scratch(self, task: int) -> Path:
        """The folder for what a task is writing."""
        return self.folder / "scratch" / f"{task:05d}"

    def lock(self, task: int) -> FileLock:
        """Who works on a task holds it."""
        path = self.folder / "locks" / f"{task:05d}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def entries(self, task: int) -> list[Entry]:
        """The recordings of a task."""
        return read_task(self.folder / RECORDINGS_FILE, self.plan, task)

    def reopen_failed(self, tasks: range) -> None:
        """Undoes those in which recordings failed; the rest of such a task is made again, too."""
        for task in tasks:
            if self.errors(task).is_file():
                with self.lock(task):
                    self.shard(task).unlink(missing_ok=True)
                    self.errors(task).unlink(missing_ok=True)

    def open_tasks(self, tasks: range) -> list[int]:
        """Those that are not done; datatrove's markers are made to agree."""
        markers = self.folder / "completions"
        markers.mkdir(parents=True, exist_ok=True)
        left = []
        for task in tasks:
            if self.shard(task).is_file():
                (markers / f"{task:05d}").touch()
                shutil.rmtree(self.scratch(task), ignore_errors=True)  # of a kill just then
            else:
                (markers / f"{task:05d}").unlink(missing_ok=True)
                left.append(task)
        return left


def run_folder(output: Path, split: str) -> Path:
    """Where a run keeps what is not for readers of units."""
    return output / "run" / split


def open_run(
    output: Path, settings: Settings, inputs: Sequence[str], *, num_tasks: int | None
) -> Run:
    """Plans a run, or finds the one that was begun, and makes sure that it is the same.

    Args:
        output: OUT.
        settings: of this run.
        inputs: absolute names; see `fsq_audio.corpus.sources.read_entries`.
        num_tasks: as for `make_plan`; None for as many as there are, or a good number.

    Raises:
        ConfigError: the folder was begun otherwise, or with other inputs; or as for `make_plan`.
    """
    folder = run_folder(output, settings.split)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(output / "run" / "plan.lock"):
        digests = {name: digest_of(name, leave_out=output) for name in inputs}
        if (folder / RUN_FILE).is_file():
            run = read_run(output, settings.split)
            _check_same(run, settings, digests, num_tasks)
            return run
        _check_others(output, settings)
        scratch = folder / "scratch" / "plan"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        with replacing(folder / RECORDINGS_FILE, scratch=scratch) as path:
            plan = plan_inputs(inputs, path, leave_out=output, num_tasks=num_tasks)
        run = Run(output, settings, digests, plan, __version__)
        with replacing(folder / RUN_FILE, scratch=scratch) as path:
            path.write_text(json.dumps(_to_values(run)) + "\n", "utf-8")
        shutil.rmtree(scratch, ignore_errors=True)
        return run


def plan_inputs(
    inputs: Sequence[str], path: Path, *, leave_out: Path, num_tasks: int | None
) -> Plan:
    """The plan of all inputs, one after another; see `make_plan`."""
    entries = (entry for name in inputs for entry in read_entries(name, leave_out=leave_out))
    return make_plan(entries, path, num_tasks=num_tasks)


def read_run(output: Path, split: str) -> Run:
    """The run that was begun in a folder.

    Raises:
        ConfigError: there is none, or its description is damaged.
    """
    path = run_folder(output, split) / RUN_FILE
    try:
        values = json.loads(path.read_text("utf-8"))
        settings, plan = values["settings"], values["plan"]
        settings["info"] = StoreInfo.from_json(json.dumps(settings["info"]))
        for name in ("bounds", "sizes", "seconds"):
            plan[name] = tuple(plan[name])
        return Run(output, Settings(**settings), values["inputs"], Plan(**plan), values["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot read {path}: {error}: take another --output") from error


def _to_values(run: Run) -> dict[str, Any]:
    info = json.loads(run.settings.info.to_json())
    return {
        "version": run.version,
        "settings": {**asdict(run.settings), "info": info},
        "inputs": run.inputs,
        "plan": asdict(run.plan),
    }


def _check_others(output: Path, settings: Settings) -> None:
    """A new run must not mix with what is there."""
    if any((output / "data").glob(f"{settings.split}-*.parquet")):
        raise ConfigError(
            f"{output} holds shards of split {settings.split!r} that no run in it is known to have "
            f"written: take another --output or --split"
        )
    for other in (output / "run").glob(f"*/{RUN_FILE}"):
        there = read_run(output, other.parent.name).settings
        _check(output, _differences(there, replace(settings, split=there.split)))


def _check_same(
    run: Run, settings: Settings, inputs: dict[str, str], num_tasks: int | None
) -> None:
    differences = _differences(run.settings, settings)
    if num_tasks not in (None, run.plan.num_tasks):
        differences.append(f"{run.plan.num_tasks} tasks, not {num_tasks}")
    if list(inputs) != list(run.inputs):
        differences.append(f"inputs {', '.join(run.inputs)}, not {', '.join(inputs)}")
    differences += [
        f"other files or lines in {name}"
        for name in inputs
        if name in run.inputs and inputs[name] != run.inputs[name]
    ]
    _check(run.output, differences)


def _check(output: Path, differences: list[str]) -> None:
    if differences:
        raise ConfigError(
            f"{output} was begun with {'; '.join(differences)}: give what it was begun with, or "
            f"take another --output"
        )


def _differences(one: Settings, other: Settings) -> list[str]:
    there, here = _described(one), _described(other)
    return [f"{name} {there[name]}, not {here[name]}" for name in here if there[name] != here[name]]


def _described(settings: Settings) -> dict[str, object]:
    info = {f"model's {f.name}": getattr(settings.info, f.name) for f in fields(StoreInfo)}
    return {
        "model": info.pop("model's fingerprint"),
        "--num-groups": info.pop("model's num_groups"),
        "--device": settings.device,
        "--split": settings.split,
        **info,
    }
