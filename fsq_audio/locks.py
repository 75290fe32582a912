"""One process at a time where two would write into each other's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsq_audio.errors import ConfigError


@contextmanager
def only_run(path: Path, *, patience: float = 0) -> Iterator[None]:
    """Makes sure that no other run writes to a file, or into a folder, meanwhile.

    The system lets go of the lock of a process that is killed.

    Args:
        path: what is written; a hidden file beside it, or in the folder, is the lock.
        patience: seconds to wait for another run to let go.

    Raises:
        ConfigError: another run holds it, or the place cannot be written to.
    """
    # Imported late: most calls never need it.
    from filelock import FileLock, Timeout

    place = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    lock = FileLock(place, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"{path}: another run is writing there: let it come to its end, or take another "
            f"--output"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written to: {error.strerror or error}") from error
    except NotImplementedError:
        pass  # the file system has no locks: filelock before 3.30 has no other way there
    try:
        yield
    finally:
        with suppress(PermissionError):  # of Windows, where letting go removes it
            place.unlink(missing_ok=True)
        lock.release()
