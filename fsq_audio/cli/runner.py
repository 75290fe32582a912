"""The loop over files: read ahead, compute in batches, write behind, report in order.

Three batches are on their way at a time: one is read while another is computed while a third is
written. Which files share a batch depends on their order and lengths alone.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fsq_audio.cli.console import Console
from fsq_audio.cli.outputs import Job
from fsq_audio.cli.tally import Report, Tally
from fsq_audio.errors import FSQAudioError

Facts = TypeVar("Facts")
Item = TypeVar("Item")
Result = TypeVar("Result")
A = TypeVar("A")
B = TypeVar("B")

_FILES_PER_BATCH = 256  # so that many skipped or tiny files are still reported as they come


class Work(Protocol[Facts, Item, Result]):
    """What a verb does with one file. Threads call `prepare`, `read` and `write`."""

    def prepare(self, job: Job) -> Prepared[Facts] | None:
        """Looks at a file without holding its audio; None if there is nothing left to do."""

    def read(self, job: Job, facts: Facts) -> Item:
        """Brings what `compute` needs into memory."""

    def compute(self, items: Sequence[Item]) -> Sequence[Result]:
        """Runs the model, on the main thread."""

    def write(self, job: Job, result: Result) -> Report:
        """Writes the output."""

    def stream(self, job: Job, facts: Facts) -> Report:
        """Reads, computes and writes a file that is too long to hold, on the main thread."""

    def commit(self, job: Job, report: Report) -> None:
        """Finishes a file, on the main thread and in order."""


@dataclass(frozen=True)
class Prepared(Generic[Facts]):
    """What a file is before its audio is read.

    Attributes:
        seconds: its duration.
        num_rows: how many channels will be held.
        facts: whatever the verb needs to go on.
    """

    seconds: float
    num_rows: int
    facts: Facts


@dataclass
class _Slot:
    """One job on its way: what its last stage gave, or will give, or why there is nothing."""

    job: Job
    prepared: Prepared[Any] | None = None
    value: Future[Any] | Any = None
    error: Exception | None = None
    is_streamed: bool = False

    @property
    def is_alive(self) -> bool:
        return self.prepared is not None and self.error is None

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls, and keeps whatever goes wrong with this one file for its report."""
        try:
            return function(*arguments)
        except MemoryError:
            raise
        except Exception as error:
            self.error = error


class Runner:
    """Runs one verb over many files."""

    def __init__(
        self,
        console: Console,
        *,
        errors: Path,
        stop_at_error: bool,
        num_workers: int,
        batch_seconds: float,
    ) -> None:
        """Keeps the settings.

        Args:
            console: where results are said.
            errors: file that failed inputs are noted in, one JSON object a line; that of an
                earlier run is removed.
            stop_at_error: raise the first error instead.
            num_workers: threads that read and write.
            batch_seconds: audio of one batch, padding included.
        """
        self._console = console
        self._errors = errors
        self._stop_at_error = stop_at_error
        self._num_workers = num_workers
        self._batch_seconds = batch_seconds

    def run(self, jobs: Sequence[Job], work: Work[Any, Any, Any]) -> Tally:
        """Does all jobs.

        Args:
            jobs: in the order of the reports.
            work: what to do with each.

        Returns:
            The counts.

        Raises:
            FSQAudioError: with `stop_at_error`, the first file that failed.
        """
        self._errors.unlink(missing_ok=True)
        tally = Tally(num_jobs=len(jobs))
        threads = ThreadPoolExecutor(self._num_workers, thread_name_prefix="fsq-audio")
        self._console.start_bar()
        try:
            slots = _map_ahead(threads, lambda job: _prepare(job, work), jobs, self._num_workers)
            batches = _group(slots, self._batch_seconds)
            read = _one_ahead(_start_reading(batch, work, threads) for batch in batches)
            done = _one_ahead(_compute(batch, work, threads) for batch in read)
            for slot in (slot for batch in done for slot in batch):
                self._finish(slot, work, tally)
        finally:
            threads.shutdown(cancel_futures=True)
            self._console.end_bar()
        return tally

    def _finish(self, slot: _Slot, work: Work[Any, Any, Any], tally: Tally) -> None:
        report = slot.attempt(slot.value.result) if slot.is_alive else None
        if report is not None:
            slot.attempt(work.commit, slot.job, report)
        names = {"input": str(slot.job.path), "output": str(slot.job.output)}
        if slot.error is not None:
            self._fail(slot.job, slot.error, names)
            tally.num_failed += 1
        elif report is None:
            self._console.detail(f"{slot.job.path}: done before")
            self._console.result({"status": "skipped", **names})
            tally.num_skipped += 1
        else:
            sentence = f"{slot.job.path} -> {slot.job.output}: {report.sentence}"
            self._console.result({"status": "done", **names, **report.values}, sentence)
            tally.add(report)
        self._console.move_bar(tally.seconds, total=tally.expected_seconds)

    def _fail(self, job: Job, error: Exception, names: dict[str, str]) -> None:
        reason = str(error)
        if not isinstance(error, (FSQAudioError, OSError)):
            reason = f"{type(error).__name__}: {reason}"
        named = reason if str(job.path) in reason else f"{job.path}: {reason}"
        self._console.trace(error)
        if self._stop_at_error:
            raise FSQAudioError(named) from error
        self._console.error(named)
        self._console.result({"status": "failed", **names, "error": reason})
        self._errors.parent.mkdir(parents=True, exist_ok=True)
        with open(self._errors, "a", encoding="utf-8") as file:
            file.write(json.dumps({"path": str(job.path), "error": reason}) + "\n")


def _prepare(job: Job, work: Work[Any, Any, Any]) -> _Slot:
    slot = _Slot(job)
    slot.prepared = slot.attempt(work.prepare, job)
    return slot


def _group(slots: Iterable[_Slot], batch_seconds: float) -> Iterator[list[_Slot]]:
    """Cuts the row of files into batches that take little memory, padding included."""
    batch: list[_Slot] = []
    num_rows, longest = 0, 0.0
    for slot in slots:
        rows, seconds = 0, 0.0
        if slot.prepared is not None:
            rows, seconds = slot.prepared.num_rows, slot.prepared.seconds
            slot.is_streamed = rows * seconds > batch_seconds
        is_full = (num_rows + rows) * max(longest, seconds) > batch_seconds
        if batch and (is_full or len(batch) == _FILES_PER_BATCH):
            yield batch
            batch, num_rows, longest = [], 0, 0.0
        batch.append(slot)
        num_rows, longest = num_rows + rows, max(longest, seconds)
    if batch:
        yield batch


def _start_reading(batch: list[_Slot], work: Work[Any, Any, Any], threads: Executor) -> list[_Slot]:
    for slot in batch:
        if slot.prepared is not None and not slot.is_streamed:
            slot.value = threads.submit(work.read, slot.job, slot.prepared.facts)
    return batch


def _compute(batch: list[_Slot], work: Work[Any, Any, Any], threads: Executor) -> list[_Slot]:
    whole = [slot for slot in batch if slot.is_alive and not slot.is_streamed]
    items = [(slot, slot.attempt(slot.value.result)) for slot in whole]
    items = [(slot, item) for slot, item in items if slot.error is None]
    for slot, result in _compute_whole(items, work):
        slot.value = threads.submit(work.write, slot.job, result)
    for slot in batch:
        if slot.prepared is not None and slot.is_streamed:
            report = slot.attempt(work.stream, slot.job, slot.prepared.facts)
            slot.value = Future()
            slot.value.set_result(report)
    return batch


def _compute_whole(
    items: Sequence[tuple[_Slot, Any]], work: Work[Any, Any, Any]
) -> list[tuple[_Slot, Any]]:
    """Computes a batch at once and, if that fails, one by one to find the culprit."""
    if not items:
        return []
    try:
        results = work.compute([item for _, item in items])
        return [(slot, result) for (slot, _), result in zip(items, results, strict=True)]
    except MemoryError:
        raise
    except Exception:
        alone = [(slot, slot.attempt(work.compute, [item])) for slot, item in items]
        return [(slot, results[0]) for slot, results in alone if slot.error is None]


def _one_ahead(values: Iterable[A]) -> Iterator[A]:
    """Yields each value once the next one has been started."""
    iterator = iter(values)
    waiting = deque(islice(iterator, 1))
    for value in iterator:
        waiting.append(value)
        yield waiting.popleft()
    yield from waiting


def _map_ahead(
    threads: Executor, function: Callable[[A], B], values: Iterable[A], num_workers: int
) -> Iterator[B]:
    """Like `map`, on threads, in order, and never far ahead of who listens."""
    waiting: deque[Future[B]] = deque()
    for value in values:
        waiting.append(threads.submit(function, value))
        if len(waiting) > 4 * num_workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
