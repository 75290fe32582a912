"""The command line of a training: a configuration, a folder, and what is said when it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from fsq_audio.errors import FSQAudioError

Run = TypeVar("Run")


def run_command(
    description: str | None,
    *,
    configs: str,
    read: Callable[[str, Sequence[str]], Run],
    describe: Callable[..., str],
    train: Callable[[Run, Path], None],
) -> int:
    """Does what the command line asks for; dotted options that it does not know are overrides.

    Args:
        description: of the training.
        configs: the folder of its configurations.
        read: a configuration from its file and the overrides.
        describe: what `--dry-run` prints, of a run and `num_processes`.
        train: runs or resumes, and makes its folder.

    Returns:
        The exit code: 0 done, 1 a mistake of the user's, 130 interrupted.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--config", required=True, help=f"a file of {configs}")
    parser.add_argument("--output", required=True, type=Path, help="folder of the run")
    parser.add_argument("--dry-run", action="store_true", help="say what the run needs, and stop")
    arguments, overrides = parser.parse_known_args()
    try:
        run = read(arguments.config, overrides)
        if arguments.dry_run:
            num_processes = int(os.environ.get("WORLD_SIZE", "1"))
            print(describe(run, num_processes=num_processes))
            return 0
        train(run, arguments.output)
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return 130
    return 0
