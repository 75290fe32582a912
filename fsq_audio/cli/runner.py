"""The loop over files, told on the console: what was done, skipped or failed, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fsq_audio import batches
from fsq_audio.batches import Outcome, run_batches
from fsq_audio.cli.console import Console
from fsq_audio.cli.outputs import Job
from fsq_audio.cli.tally import Report, Tally
from fsq_audio.errors import FSQAudioError

Facts = TypeVar("Facts")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Work(batches.Work[Job, Facts, Item, Result, Report], Protocol[Facts, Item, Result]):
    """What a verb does with one file."""

    def commit(self, job: Job, report: Report) -> None:
        """Finishes a file, on the main thread and in order."""


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
        outcomes = run_batches(
            jobs, work, num_workers=self._num_workers, batch_seconds=self._batch_seconds
        )
        self._console.start_bar()
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    self._finish(outcome, work, tally)
        finally:
            self._console.end_bar()
        return tally

    def _finish(
        self, outcome: Outcome[Job, Report], work: Work[Any, Any, Any], tally: Tally
    ) -> None:
        job, report = outcome.job, outcome.report
        if report is not None:
            try:
                work.commit(job, report)
            except MemoryError:
                raise
            except Exception as error:
                outcome = Outcome(job, None, error)
        names = {"input": str(job.path), "output": str(job.output)}
        if outcome.error is not None:
            self._fail(outcome, names)
            tally.num_failed += 1
        elif report is None:
            self._console.detail(f"{job.path}: done before")
            self._console.result({"status": "skipped", **names})
            tally.num_skipped += 1
        else:
            sentence = f"{job.path} -> {job.output}: {report.sentence}"
            self._console.result({"status": "done", **names, **report.values}, sentence)
            tally.add(report)
        self._console.move_bar(tally.seconds, total=tally.expected_seconds)

    def _fail(self, outcome: Outcome[Job, Report], names: dict[str, str]) -> None:
        path, reason = str(outcome.job.path), outcome.reason
        assert outcome.error is not None
        named = reason if path in reason else f"{path}: {reason}"
        self._console.trace(outcome.error)
        if self._stop_at_error:
            raise FSQAudioError(named) from outcome.error
        self._console.error(named)
        self._console.result({"status": "failed", **names, "error": reason})
        self._errors.parent.mkdir(parents=True, exist_ok=True)
        with open(self._errors, "a", encoding="utf-8") as file:
            file.write(json.dumps({"path": path, "error": reason}) + "\n")
