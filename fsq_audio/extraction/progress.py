"""How far a run is: each task tells in a small file, and whoever wants to know reads them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from fsq_audio.extraction.run import Run
from fsq_audio.files import replacing


@dataclass(frozen=True)
class Progress:
    """How far a task is, or several are.

    Attributes:
        seconds: audio that was turned into units.
        num_done: recordings of it.
        num_failed: recordings that could not be read.
        is_final: whether nothing is left to do.
    """

    seconds: float
    num_done: int
    num_failed: int
    is_final: bool

    def save(self, run: Run, task: int) -> None:
        """Writes the file of a task that is at work, whole or not at all."""
        with replacing(run.progress(task), scratch=run.scratch(task)) as temporary:
            temporary.write_text(json.dumps(asdict(self)), "utf-8")

    def __add__(self, other: Progress) -> Progress:
        """Both together."""
        return Progress(
            self.seconds + other.seconds,
            self.num_done + other.num_done,
            self.num_failed + other.num_failed,
            self.is_final and other.is_final,
        )


class Watch:
    """Follows the tasks of a run; the clock starts when it is made."""

    def __init__(self, run: Run, tasks: range) -> None:
        """Reads what is done.

        Args:
            run: the run.
            tasks: that are to be followed.
        """
        self._run = run
        self._tasks = tasks
        self._final: dict[int, Progress] = {}
        self._start = time.monotonic()
        self._clock = time.time()
        self._before = self.look()

    @property
    def num_final(self) -> int:
        """Tasks that were done when last looked."""
        return len(self._final)

    def look(self) -> Progress:
        """All tasks together."""
        total = Progress(0.0, 0, 0, True)
        for task in self._tasks:
            total += self._look(task)
        return total

    def _look(self, task: int) -> Progress:
        if task in self._final:
            return self._final[task]
        path = self._run.progress(task)
        try:
            progress = Progress(**json.loads(path.read_text("utf-8")))
            is_stale = path.stat().st_mtime < self._clock  # of a run that was stopped
        except (OSError, ValueError):
            return Progress(0.0, 0, 0, False)
        if progress.is_final and self._run.shard(task).is_file():
            self._final[task] = progress
        elif is_stale:
            return Progress(0.0, 0, 0, False)
        return progress

    def speed(self, now: Progress) -> float:
        """Hours of audio per hour, since the clock started."""
        return (now.seconds - self._before.seconds) / max(time.monotonic() - self._start, 1e-9)

    def sentence(self) -> str:
        """How far it is, for people."""
        now, plan = self.look(), self._run.plan
        expected = sum(plan.seconds[task] for task in self._tasks)
        speed = self.speed(now)
        text = (
            f"{now.seconds / 3600:.2f} of {expected / 3600:.2f} h, {speed:.0f} h per hour, "
            f"{now.num_failed} failed, task {self.num_final} of {len(self._tasks)}"
        )
        if speed > 0:
            left = max(0.0, expected - now.seconds) / speed
            text += f", {timedelta(seconds=round(left))} left"
        return text
