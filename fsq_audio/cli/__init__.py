"""The command line: `fsq-audio VERB`; what can be typed is in `parser.py` and `options`.

Parsing imports nothing heavy; the module of a verb, and torch with it, comes when it runs.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from fsq_audio.cli.console import one_line
from fsq_audio.cli.parser import UsageError, build_parser
from fsq_audio.errors import FSQAudioError

DONE, FATAL, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code: 0 all done, 1 nothing could be done or the run stopped, 2 wrong usage,
        3 done but for some files, 130 interrupted.
    """
    parser = build_parser()
    try:
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:  # parse_args would show the usage of all verbs
            files = [word for word in unknown if os.path.exists(word)]
            hint = f" (the file: ./{files[0]})" if files else ""
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    except SystemExit as stop:  # --help, --version, wrong usage: argparse has said it
        return int(stop.code or 0)
    try:
        # Before torch, which imports NumPy if nobody has, swallows Ctrl-C in it, and goes on
        # with half of it: then every recording fails.
        importlib.import_module("numpy")
        all_done: bool = importlib.import_module(arguments.module).run(arguments)
        return DONE if all_done else SOME_FAILED
    except UsageError as error:
        arguments.parser.print_usage(sys.stderr)
        print(f"{arguments.parser.prog}: error: {one_line(str(error))}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt as interrupt:
        advice = str(interrupt) or "run the same command to continue"
        print(f"fsq-audio: interrupted: {advice}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not try to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FATAL
    except Exception as error:
        if arguments.verbose:
            traceback.print_exc()
        print(f"fsq-audio: error: {one_line(_sentence(error))}", file=sys.stderr)
        return FATAL


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory: try a lower --batch-seconds"
    if isinstance(error, FSQAudioError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return f"{type(error).__name__}: {error} (-v shows where)"
