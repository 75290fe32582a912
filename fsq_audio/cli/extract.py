"""`fsq-audio extract`: a corpus to sharded units, on one machine or many."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fsq_audio.cli.console import Console
from fsq_audio.cli.parser import UsageError
from fsq_audio.cli.session import choose_device, load_model, make_console
from fsq_audio.corpus.sources import expand
from fsq_audio.extraction.estimate import expected_bytes
from fsq_audio.extraction.executors import find_devices, run_local, submit
from fsq_audio.extraction.progress import Watch
from fsq_audio.extraction.run import Run, Settings, open_run, plan_inputs, read_run, run_folder
from fsq_audio.extraction.work import Step
from fsq_audio.units.item import StoreInfo

_SECONDS_BETWEEN = {True: 1.0, False: 30.0}  # lines of progress, on a terminal and elsewhere


def run(arguments: Namespace) -> bool:
    """Runs the verb; whether all recordings were done."""
    console = make_console(arguments)
    options = read_options(arguments.executor_options)
    _check(arguments, options)
    settings = _settings(arguments)
    inputs = [os.path.abspath(name) for name in arguments.inputs]
    for name in inputs:
        expand(name)  # before any work: what is not there is a mistake of typing
    if arguments.dry_run:
        return _tell_plan(console, arguments, settings, inputs)
    console.remark("planning")
    extraction = open_run(arguments.output.absolute(), settings, inputs, num_tasks=arguments.tasks)
    tasks = arguments.only_tasks or range(extraction.plan.num_tasks)
    if tasks.stop > extraction.plan.num_tasks:
        raise UsageError(f"--only-tasks: the last task is {extraction.plan.num_tasks - 1}")
    console.remark(_plan_sentence(extraction.plan.sizes, extraction.plan.seconds))
    if arguments.retry_failed:
        extraction.reopen_failed(tasks)
    _execute(console, arguments, extraction, tasks, options)
    return _tell_end(console, extraction, tasks)


def read_options(texts: list[str]) -> dict[str, Any]:
    """Options of an executor, from `name=value` (values as in YAML) and YAML files.

    Args:
        texts: as typed; later ones win.

    Raises:
        UsageError: one is neither.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            read = yaml.load(value if equals else _read(text), _Loader)
            more = {name: read} if equals else read
        except yaml.YAMLError as error:
            raise UsageError(f"--executor-options {text}: {error}") from error
        if not isinstance(more, dict):
            raise UsageError(f"--executor-options {text}: expected name=value or a YAML file")
        options |= more
    return options


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 12:00:00 as 43200; Slurm means hours by the one, minutes by the other."""


_Loader.yaml_implicit_resolvers = {
    first: [("tag:yaml.org,2002:str", re.compile(r"\d+(:\d+)+$")), *resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no UTF-8: {error}"
        raise UsageError(
            f"--executor-options {path}: expected name=value or a YAML file ({reason})"
        ) from error


def _check(arguments: Namespace, options: dict[str, Any]) -> None:
    if arguments.executor == "local" and options:
        raise UsageError("--executor-options are those of --executor slurm or ray")
    if arguments.executor != "local" and arguments.only_tasks:
        raise UsageError("--only-tasks is for --executor local")


def _settings(arguments: Namespace) -> Settings:
    device = choose_device(arguments.device) if arguments.executor == "local" else None
    model = load_model(arguments.model)
    kept = arguments.num_groups or model.num_groups
    if kept > model.num_groups:
        raise UsageError(f"--num-groups {kept}: the model has {model.num_groups}")
    folder = Path(arguments.model)
    return Settings(
        model=str(folder.absolute()) if folder.is_dir() else arguments.model,
        info=StoreInfo.from_format(model.format, kept),
        # A cluster's machines are not this one: "auto" is the CPU there.
        device=device.type if device else arguments.device.replace("auto", "cpu").split(":")[0],
        split=arguments.split,
    )


def _execute(
    console: Console, arguments: Namespace, run: Run, tasks: range, options: dict[str, Any]
) -> None:
    devices = [run.settings.device]
    if arguments.executor == "local":
        named = arguments.device if ":" in arguments.device else run.settings.device
        devices = find_devices(named)
    workers = arguments.workers or 1
    if len(devices) > 1 and workers > 1:
        raise UsageError("--workers is for one device: each GPU has a process of its own")
    num_threads = arguments.num_threads
    if num_threads is None and arguments.executor == "local" and workers > 1:
        num_threads = max(1, (os.cpu_count() or 1) // workers)
    step = Step(
        output=run.output,
        split=run.settings.split,
        device=devices[0],
        num_threads=num_threads,
        num_readers=arguments.num_workers,
        batch_seconds=arguments.batch_seconds,
    )
    with _telling(console, run, tasks):
        if arguments.executor == "local":
            run_local(run, step, tasks, devices=devices, workers=workers)
        else:
            submit(
                run, step, executor=arguments.executor, workers=arguments.workers, options=options
            )


@contextmanager
def _telling(console: Console, run: Run, tasks: range) -> Iterator[None]:
    """Tells how far it is, from a thread, while the work goes on; and once at the end."""
    watch, stop = Watch(run, tasks), threading.Event()

    def tell() -> None:
        while not stop.wait(_SECONDS_BETWEEN[console.is_live]):
            console.show(watch.sentence())

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
        stop.set()
        thread.join()
        console.end_bar()
        console.remark(watch.sentence())
    finally:
        stop.set()
        thread.join()
        console.end_bar()


def _tell_end(console: Console, run: Run, tasks: range) -> bool:
    watch = Watch(run, tasks)
    total = watch.look()
    left = len(tasks) - watch.num_final
    num_bytes = sum(run.shard(t).stat().st_size for t in tasks if run.shard(t).is_file())
    values = {
        "status": "summary",
        "output": str(run.output),
        "num_tasks": len(tasks),
        "num_tasks_left": left,
        "num_done": total.num_done,
        "num_failed": total.num_failed,
        "seconds": total.seconds,
        "num_bytes": num_bytes,
    }
    text = (
        f"{run.output}: {total.num_done} recordings done, {total.num_failed} failed, "
        f"{total.seconds / 3600:.2f} h, {num_bytes} bytes in {watch.num_final} shards"
    )
    if left:
        text += f"; {left} tasks are left: the same command tells and continues"
    console.result(values, text)
    if total.num_failed:
        console.error(f"{total.num_failed} recordings failed: see {run.output}/errors-*.jsonl")
    return total.num_failed == 0


def _tell_plan(
    console: Console, arguments: Namespace, settings: Settings, inputs: list[str]
) -> bool:
    output = arguments.output.absolute()
    if (run_folder(output, settings.split) / "run.json").is_file():
        run = read_run(output, settings.split)
        return _tell_end(console, run, range(run.plan.num_tasks))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recordings.jsonl"
        plan = plan_inputs(inputs, path, leave_out=output, num_tasks=arguments.tasks)
    num_bytes = expected_bytes(plan, settings.info)
    values = {
        "status": "would write",
        "output": str(output),
        "num_recordings": sum(plan.sizes),
        "seconds": sum(plan.seconds),
        "num_tasks": plan.num_tasks,
        "expected_bytes": num_bytes,
    }
    text = f"would write {_plan_sentence(plan.sizes, plan.seconds)}, about {num_bytes} bytes"
    console.result(values, f"{text} in {output}")
    return True


def _plan_sentence(sizes: tuple[int, ...], seconds: tuple[float, ...]) -> str:
    return f"{sum(sizes)} recordings, {sum(seconds) / 3600:.2f} h, {len(sizes)} tasks"
