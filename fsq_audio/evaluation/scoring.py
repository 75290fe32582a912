"""All metrics of one recording, in this process or in others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from fsq_audio.errors import FSQAudioError
from fsq_audio.evaluation.align import take_out
from fsq_audio.evaluation.metric import Measured, Pair, Voice, measure
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.registry import METRICS
from fsq_audio.evaluation.system import load_samples


@dataclass(frozen=True)
class Task:
    """One original and all that is to be compared with it, so that it is analysed once.

    Attributes:
        recording: the original.
        degraded: audio file of each system.
        metrics: names of those that each system still lacks.
        recogniser: folder of a model; None for the packaged one.
    """

    recording: Recording
    degraded: Mapping[str, Path]
    metrics: Mapping[str, Sequence[str]]
    recogniser: str | None = None


@dataclass(frozen=True)
class Scores:
    """What came of a task.

    Attributes:
        recording: the original.
        measured: by system and metric.
        failed: systems whose file, or whose original, cannot be read, and why.
    """

    recording: Recording
    measured: Mapping[str, Mapping[str, Measured]]
    failed: Mapping[str, str]


def score(task: Task) -> Scores:
    """Computes what a task asks for; nothing is raised for a bad file.

    Args:
        task: of one original.
    """
    try:
        reference = Voice(load_samples(task.recording.path))
    except (FSQAudioError, OSError) as error:
        return Scores(task.recording, {}, dict.fromkeys(task.degraded, str(error)))
    measured, failed = {}, {}
    for system, path in task.degraded.items():
        try:
            samples = load_samples(path)
        except (FSQAudioError, OSError) as error:
            failed[system] = str(error)
            continue
        # Lengths are made equal; what a system lost at the end counts as silence.
        degraded = Voice(take_out(samples, delay=0, length=len(reference.samples)))
        pair = Pair(
            reference,
            degraded,
            text=task.recording.text,
            language=task.recording.language,
            recogniser=task.recogniser,
        )
        measured[system] = {name: measure(METRICS[name], pair) for name in task.metrics[system]}
    return Scores(task.recording, measured, failed)


def score_all(tasks: Sequence[Task], *, num_workers: int) -> Iterator[Scores]:
    """Scores of many tasks, as they come.

    Args:
        tasks: in any order.
        num_workers: processes; 1 for none but this.
    """
    if num_workers == 1 or len(tasks) < 2:
        yield from map(score, tasks)
        return
    # Forking after torch has started threads can hang.
    context = multiprocessing.get_context("spawn")
    size = min(num_workers, len(tasks))
    with ProcessPoolExecutor(size, mp_context=context, initializer=_one_thread) as pool:
        futures = [pool.submit(score, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_thread() -> None:
    torch.set_num_threads(1)
