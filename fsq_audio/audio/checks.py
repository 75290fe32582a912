"""What reading and writing check alike, and how each refusal becomes one sentence."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile
from numpy.typing import NDArray

from fsq_audio.errors import AudioError

Block = NDArray[np.float32]
"""[n, C], the layout of soundfile and soxr."""


def check_finite(block: Block, first: int, where: object) -> None:
    """Refuses NaN and infinities, naming the earliest; `first` is the index of block[0]."""
    finite = np.isfinite(block)
    if not finite.all():
        sample, channel = np.argwhere(~finite)[0]
        raise AudioError(
            f"{where}: sample {first + int(sample)} of channel {int(channel)} is "
            f"{block[sample, channel]}, not a finite number"
        )


def check_rate(rate: int, name: str) -> None:
    """Refuses a rate of no Hz; `name` is that of the argument."""
    if rate < 1:
        raise AudioError(f"{name} must be a positive number of Hz, not {rate}")


def fix_with_ffmpeg(path: str | os.PathLike[str], output: str) -> str:
    """The command that makes a file that can be read."""
    return f"`ffmpeg -i {shlex.quote(os.fspath(path))} {output}`"


@contextmanager
def os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the operating system refuses into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise AudioError(f"{path}: is a folder, not an audio file") from error
    except PermissionError as error:
        raise AudioError(f"{path}: permission denied") from error
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from error


@contextmanager
def libsndfile_errors(sentence: str) -> Iterator[None]:
    """Turns libsndfile's refusal into one sentence."""
    try:
        yield
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).strip(". ")
        raise AudioError(f"{sentence} ({reason})") from error
