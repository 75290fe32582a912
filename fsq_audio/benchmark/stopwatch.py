"""A fair stopwatch for noisy machines: contenders take turns, round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

LEAST_SECONDS = 0.5  # what is quicker is repeated, and the median of the repetitions counts


@dataclass(frozen=True)
class Job:
    """One piece of work of one contender.

    Attributes:
        contender: who does it.
        way: how it is fed, such as "one by one".
        load: on what; ratios compare jobs of one load and one direction.
        direction: "encode" or "decode".
        seconds: audio in it, without padding.
        run: does it once.
        num_threads: of torch.
    """

    contender: str
    way: str
    load: str
    direction: str
    seconds: float
    run: Callable[[], object]
    num_threads: int


@dataclass
class Timing:
    """Speeds of a job as multiples of real time, one a round."""

    job: Job
    speeds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The usual speed."""
        return statistics.median(self.speeds)


def measure(
    jobs: Sequence[Job], *, rounds: int, tell: Callable[[str], None] = lambda _: None
) -> list[Timing]:
    """Times all jobs, once each in every round, so that a slow minute slows all of them.

    Args:
        jobs: in the order in which they take turns.
        rounds: how often.
        tell: is told how far it is.

    Returns:
        A timing for each job, in order.
    """
    timings = [Timing(job) for job in jobs]
    before = torch.get_num_threads()
    try:
        for number in range(rounds):
            started = time.perf_counter()
            for timing in timings:
                torch.set_num_threads(timing.job.num_threads)
                timing.speeds.append(timing.job.seconds / _seconds(timing.job.run))
            tell(f"round {number + 1} of {rounds}: {time.perf_counter() - started:.0f} s")
    finally:
        torch.set_num_threads(before)
    return timings


def _seconds(run: Callable[[], object]) -> float:
    spent: list[float] = []
    while not spent or sum(spent) < LEAST_SECONDS:
        started = time.perf_counter()
        run()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the fastest rival.

    Attributes:
        median: over the rounds.
        lowest: of the rounds.
        highest: of the rounds.
        rival: the fastest rival, by its median.
    """

    median: float
    lowest: float
    highest: float
    rival: Timing


def compare(own: Timing, rivals: Iterable[Timing]) -> Ratio:
    """Compares round with round, so that what slowed both counts for neither."""
    rival = max(rivals, key=lambda timing: timing.median)
    ratios = [a / b for a, b in zip(own.speeds, rival.speeds, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), rival)
