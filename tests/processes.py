"""Runs of the command line in processes that can be killed."""

from __future__ import annotations

import os
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from fsq_audio.cli import main

VERBS = ("tokenize", "decode", "extract", "convert", "evaluate")


def start(*arguments: object, said: Path | None = None) -> BaseProcess:
    """Runs a command in a process of its own, which starts with everything imported.

    Args:
        arguments: of the command line.
        said: the file for what it says on standard error.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([f"fsq_audio.cli.{verb}" for verb in VERBS])
    process = context.Process(target=_run, args=([str(each) for each in arguments], said))
    process.start()
    return process


def _run(arguments: list[str], said: Path | None) -> None:
    if said is not None:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os._exit(main(arguments))
