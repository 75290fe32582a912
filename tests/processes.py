"""Runs of the command line in processes that can be killed."""

from __future__ import annotations

import os
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from fsq_audio.cli import main

VERBS = ("tokenize", "decode", "extract", "convert", "evaluate")


def start(*arguments: object) -> BaseProcess:
    """Runs a command in a process of its own, which starts with everything imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload([f"fsq_audio.cli.{verb}" for verb in VERBS])
    process = context.Process(target=_run, args=([str(argument) for argument in arguments],))
    process.start()
    return process


def _run(arguments: list[str]) -> None:
    os._exit(main(arguments))
