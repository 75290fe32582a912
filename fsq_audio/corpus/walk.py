"""The files under a folder, one after the other, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fsq_audio.errors import AudioError

Identity = tuple[int, int]


def walk(
    folder: Path, *, leave_out: Identity | None = None, above: tuple[Identity, ...] = ()
) -> Iterator[Path]:
    """Every file under a folder in sorted order, hidden names left out.

    Links to folders are followed unless they lead back up.

    Args:
        folder: where to begin.
        leave_out: a folder below it that is not entered; see `identity`.
        above: the folders that lead here.

    Raises:
        AudioError: a folder cannot be listed.
    """
    here = identity(folder)
    if here is None or here in above or (above and here == leave_out):
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise AudioError(f"{folder}: cannot be listed: {error.strerror}") from error
    for path in (folder / name for name in names if not name.startswith(".")):
        if os.path.isdir(path):
            yield from walk(path, leave_out=leave_out, above=(*above, here))
        else:
            yield path


def identity(folder: Path) -> Identity | None:
    """What tells a folder from every other, whatever path leads there; None if there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
