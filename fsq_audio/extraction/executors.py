"""Who does the tasks: this process, several, a Slurm cluster, a Ray cluster.

One local process needs nothing but this library. Several, Slurm and Ray are datatrove's executors.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.extraction.run import Run
from fsq_audio.extraction.work import Step


def find_devices(name: str) -> list[str]:
    """Devices that share the work: each visible GPU for "cuda", else the one that is named."""
    if name != "cuda":
        return [name]
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def run_local(run: Run, step: Step, tasks: range, *, devices: Sequence[str], workers: int) -> None:
    """Does tasks on this machine and returns when they are done.

    Args:
        run: that was planned.
        step: what does one task.
        tasks: consecutive ones; those that are done are left out.
        devices: one process on each if there are several.
        workers: processes, on a single device.

    Raises:
        ConfigError: datatrove is needed and not installed.
        FSQAudioError: a process did not come to its end.
    """
    left = run.open_tasks(tasks)
    if len(devices) > 1:
        _run_on_each(step, left, devices, run.plan.num_tasks)
    elif workers > 1 and len(left) > 1:
        _run_in_pool(run, replace(step, device=devices[0]), tasks, workers)
    else:
        _run_here(replace(step, device=devices[0]), left, run.plan.num_tasks)


def submit(
    run: Run, step: Step, *, executor: str, workers: int | None, options: Mapping[str, Any]
) -> None:
    """Gives all tasks to a cluster; Ray returns when they are done, Slurm when it has the jobs.

    Args:
        run: that was planned, in a folder which all machines see under one name.
        step: what does one task.
        executor: "slurm" or "ray".
        workers: tasks at a time; None for as many as the cluster has room for.
        options: of datatrove's SlurmPipelineExecutor (time, partition, gpus_per_task, ...) or
            RayPipelineExecutor (cpus_per_task, gpus_per_task, mem_per_cpu_gb, ...); for Ray also
            `address` of the cluster, without which one is started on this machine.

    Raises:
        ConfigError: datatrove or Ray is not installed, or an option is none of the executor's.
    """
    classes = _datatrove(f"--executor {executor}")
    run.open_tasks(range(run.plan.num_tasks))
    options = dict(options)
    if executor == "ray":
        _start_ray(options.pop("address", None))
    try:
        pipeline = classes[executor](
            pipeline=[step],
            tasks=run.plan.num_tasks,
            workers=workers or -1,
            logging_dir=str(run.folder),
            **options,
        )
    except TypeError as error:
        reason = str(error).partition("() ")[2] or error
        raise ConfigError(f"--executor-options for {executor}: {reason}") from error
    pipeline.run()


def _run_here(step: Step, tasks: Sequence[int], num_tasks: int) -> None:
    # First what nobody does: another run of the same command may be at work.
    for waits in (False, True):
        for task in tasks:
            step.run(task, num_tasks, waits=waits)


def _run_on_each(step: Step, tasks: Sequence[int], devices: Sequence[str], num_tasks: int) -> None:
    """One process on each device; every one takes each n-th task."""
    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    processes = [
        spawn.Process(
            target=_run_apart,
            args=(replace(step, device=device), tasks[place :: len(devices)], num_tasks),
            daemon=True,
        )
        for place, device in enumerate(devices)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = [d for d, p in zip(devices, processes, strict=True) if p.exitcode != 0]
    if failed:
        raise FSQAudioError(f"the work on {', '.join(failed)} stopped: see the messages above")


def _run_apart(step: Step, tasks: Sequence[int], num_tasks: int) -> None:
    """In a process of its own, of which a user's mistake is one sentence, too."""
    try:
        _run_here(step, tasks, num_tasks)
    except FSQAudioError as error:
        sys.exit(f"fsq-audio: {error}")


def _run_in_pool(run: Run, step: Step, tasks: range, workers: int) -> None:
    executor = _datatrove("--workers above 1")["local"](
        pipeline=[step],
        tasks=run.plan.num_tasks,
        workers=workers,
        local_tasks=len(tasks),
        local_rank_offset=tasks.start,
        logging_dir=str(run.folder),
    )
    executor.run()


def _datatrove(what: str) -> dict[str, Any]:
    """Its executors, which write no log: what goes wrong is raised, progress is told here."""
    try:
        from datatrove.executor import local, ray, slurm
        from loguru import logger
    except ImportError:
        raise ConfigError(f"{what} needs datatrove: pip install 'fsq-audio[cluster]'") from None

    class Local(local.LocalPipelineExecutor):  # type: ignore[misc]
        def _run_for_rank(self, *args: Any, **options: Any) -> Any:
            # In each of its processes: the logger of this one does not reach them.
            from loguru import logger

            logger.disable("datatrove")
            return super()._run_for_rank(*args, **options)

    logger.disable("datatrove")
    return {
        "local": Local,
        "slurm": slurm.SlurmPipelineExecutor,
        "ray": ray.RayPipelineExecutor,
    }


def _start_ray(address: str | None) -> None:
    try:
        import ray
    except ImportError:
        raise ConfigError("--executor ray needs Ray: pip install 'fsq-audio[ray]'") from None
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
