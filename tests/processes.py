"""Runs of the command line in processes that can be killed."""

from __future__ import annotations

import itertools
import os
import signal
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from fsq_audio.cli import main

VERBS = ("tokenize", "decode", "extract", "convert", "evaluate")


def start(*arguments: object, said: Path | None = None, dies_at: int | None = None) -> BaseProcess:
    """Runs a command in a process of its own, which starts with everything imported.

    Args:
        arguments: of the command line.
        said: the file for what it says on standard error.
        dies_at: it kills itself when it is about to give a file its final name for the n-th time.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([f"fsq_audio.cli.{verb}" for verb in VERBS])
    process = context.Process(target=_run, args=([str(each) for each in arguments], said, dies_at))
    process.start()
    return process


def _run(arguments: list[str], said: Path | None, dies_at: int | None) -> None:
    if said is not None:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if dies_at is not None:
        _die_at(dies_at)
    os._exit(main(arguments))


def _die_at(count: int) -> None:
    replace, calls = os.replace, itertools.count(1)

    def replace_or_die(source: str | Path, target: str | Path) -> None:
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die  # type: ignore[assignment]
