"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, make_folder: bool = True, scratch: Path | None = None
) -> Iterator[Path]:
    """Gives a temporary name, which becomes the file if all goes well.

    A link that is there is replaced by the file, since many a tree is of links into a cache whose
    files must stay as they are.

    Args:
        path: The file.
        make_folder: Whether its folder is made where there is none.
        scratch: A folder of the same disk for the temporary name, which the caller empties after
            a kill; None for one beside the file.

    Yields:
        The name to write to.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path if scratch is None else scratch / path.name)
    try:
        with _named(path):
            yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Gives a new folder beside a folder, which takes its place if all goes well.

    Args:
        path: The folder, or a link to it, which stays; what is there goes then.

    Yields:
        The folder to write to.

    Raises:
        OSError: it cannot be written; the error names a file or the folder.
    """
    path = Path(os.path.realpath(path))  # else what goes to another disk would be beside the link
    temporary, old = _beside(path), _beside(path)
    temporary.mkdir(parents=True)
    try:
        with _named(path):
            yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A write to a full disk fails without saying of what."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex}.tmp")
