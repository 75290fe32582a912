"""The loop over recordings: read ahead, compute in batches, write behind, results in order.

Three batches are on their way at a time: one is read while another is computed while a third is
written. Which recordings share a batch depends on their order and lengths alone.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from fsq_audio.errors import DeviceError, FSQAudioError

Job = TypeVar("Job")
JobIn = TypeVar("JobIn", contravariant=True)
Facts = TypeVar("Facts")
Item = TypeVar("Item")
Result = TypeVar("Result")
Report = TypeVar("Report")
ReportOut = TypeVar("ReportOut", covariant=True)
A = TypeVar("A")
B = TypeVar("B")

# What torch says then: which exception it is differs by release.
_OF_A_DEVICE = re.compile(r"(CUDA|HIP|XPU|MPS)( backend)? (error|out of memory)|cuDNN error")
_JOBS_PER_BATCH = 256  # so that many skipped or tiny recordings are still reported as they come


class Work(Protocol[JobIn, Facts, Item, Result, ReportOut]):
    """What is done with one recording. Threads call `prepare`, `read` and `write`."""

    def prepare(self, job: JobIn) -> Prepared[Facts] | None:
        """Looks at a recording without holding its audio; None if there is nothing left to do."""

    def read(self, job: JobIn, facts: Facts) -> Item:
        """Brings what `compute` needs into memory."""

    def compute(self, items: Sequence[Item]) -> Sequence[Result]:
        """Runs the model, on the main thread."""

    def write(self, job: JobIn, result: Result) -> ReportOut:
        """Writes the output."""

    def stream(self, job: JobIn, facts: Facts) -> ReportOut:
        """Reads, computes and writes what is too long to hold, on the main thread."""


@dataclass(frozen=True)
class Prepared(Generic[Facts]):
    """What a recording is before its audio is read.

    Attributes:
        seconds: its duration.
        num_rows: how many channels will be held.
        facts: whatever the work needs to go on.
    """

    seconds: float
    num_rows: int
    facts: Facts


@dataclass(frozen=True)
class Outcome(Generic[Job, Report]):
    """What came of one job.

    Attributes:
        job: the job.
        report: what `write` or `stream` gave; None if there was nothing to do, or it failed.
        error: why it failed.
    """

    job: Job
    report: Report | None
    error: Exception | None

    @property
    def reason(self) -> str:
        """The error as a sentence."""
        if isinstance(self.error, (FSQAudioError, OSError)):
            return str(self.error)
        return f"{type(self.error).__name__}: {self.error}"


def run_batches(
    jobs: Iterable[Job],
    work: Work[Job, Any, Any, Any, Report],
    *,
    num_workers: int,
    batch_seconds: float,
) -> Generator[Outcome[Job, Report], None, None]:
    """Does all jobs; whatever goes wrong with one of them costs only itself.

    Args:
        jobs: in the order of the outcomes.
        work: what to do with each.
        num_workers: threads that read and write.
        batch_seconds: audio of one batch, padding included; what is longer is streamed.

    Yields:
        The outcome of each. Closing the generator stops the threads.

    Raises:
        MemoryError: a batch does not fit.
        DeviceError: the device failed with one recording alone. It would with all that follow, and
            these would count as bad ones.
    """
    threads = ThreadPoolExecutor(num_workers, thread_name_prefix="fsq-audio")
    try:
        slots = _map_ahead(threads, lambda job: _prepare(job, work), jobs, num_workers)
        batches = _group(slots, batch_seconds)
        read = _one_ahead(_start_reading(batch, work, threads) for batch in batches)
        done = _one_ahead(_compute(batch, work, threads) for batch in read)
        for slot in (slot for batch in done for slot in batch):
            report = slot.attempt(slot.value.result) if slot.is_alive else None
            yield Outcome(slot.job, report, slot.error)
    finally:
        threads.shutdown(cancel_futures=True)


@dataclass
class _Slot:
    """One job on its way: what its last stage gave, or will give, or why there is nothing."""

    job: Any
    prepared: Prepared[Any] | None = None
    value: Future[Any] | Any = None
    error: Exception | None = None
    is_streamed: bool = False

    @property
    def is_alive(self) -> bool:
        return self.prepared is not None and self.error is None

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls, and keeps whatever goes wrong with this one job for its outcome."""
        try:
            return function(*arguments)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and _OF_A_DEVICE.match(str(error)):
                reason = str(error).partition("\n")[0]
                raise DeviceError(
                    f"the device failed, and no recording is to blame: {reason}; what is done is "
                    f"kept: run the same command to continue"
                ) from error
            self.error = error


_AnyWork = Work[Any, Any, Any, Any, Any]


def _prepare(job: Job, work: _AnyWork) -> _Slot:
    slot = _Slot(job)
    slot.prepared = slot.attempt(work.prepare, job)
    return slot


def _group(slots: Iterable[_Slot], batch_seconds: float) -> Iterator[list[_Slot]]:
    """Cuts the row of jobs into batches that take little memory, padding included."""
    batch: list[_Slot] = []
    num_rows, longest = 0, 0.0
    for slot in slots:
        rows, seconds = 0, 0.0
        if slot.prepared is not None:
            rows, seconds = slot.prepared.num_rows, slot.prepared.seconds
            slot.is_streamed = rows * seconds > batch_seconds
        is_full = (num_rows + rows) * max(longest, seconds) > batch_seconds
        if batch and (is_full or len(batch) == _JOBS_PER_BATCH):
            yield batch
            batch, num_rows, longest = [], 0, 0.0
        batch.append(slot)
        num_rows, longest = num_rows + rows, max(longest, seconds)
    if batch:
        yield batch


def _start_reading(batch: list[_Slot], work: _AnyWork, threads: Executor) -> list[_Slot]:
    for slot in batch:
        if slot.prepared is not None and not slot.is_streamed:
            slot.value = threads.submit(work.read, slot.job, slot.prepared.facts)
    return batch


def _compute(batch: list[_Slot], work: _AnyWork, threads: Executor) -> list[_Slot]:
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


def _compute_whole(items: Sequence[tuple[_Slot, Any]], work: _AnyWork) -> list[tuple[_Slot, Any]]:
    """Computes a batch at once and, if that fails, one by one to find the culprit."""
    if not items:
        return []
    try:
        results = work.compute([item for _, item in items])
        return [(slot, result) for (slot, _), result in zip(items, results, strict=True)]
    except MemoryError:
        raise
    except Exception:
        pass  # one of them will fail again; in here, the error still holds the memory of all
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
