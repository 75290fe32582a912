"""The command line of a training: a configuration, a folder, and what is said when it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from accelerate.utils import get_int_from_env

from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.locks import only_run

# A killed run's loader workers hold its lock until they notice, which they look for every 5 s.
_WORKERS_END_SECONDS = 10.0
# Where launchers say which process this is, as Accelerate reads it.
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")

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
        train: runs or resumes, in a folder that is there and its alone.

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
        with _alone_in(arguments.output):
            train(run, arguments.output)
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Makes the folder of a run, which no second run may use meanwhile."""
    if get_int_from_env(_RANKS, default=0) != 0:
        yield
        return
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--output {folder} is no folder to write to: {error.strerror}"
        ) from error
    try:
        with only_run(folder, patience=_WORKERS_END_SECONDS):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # of a folder with files: a mistake comes before the first one
                folder.rmdir()
