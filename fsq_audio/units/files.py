"""Names that are safe in files and as files, and arrays that are what they say."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fsq_audio.errors import TokenError


def relative_path(name: str) -> Path:
    """An item's name as a path that stays inside the folder it is taken in.

    Args:
        name: With "/" between folders.

    Raises:
        TokenError: It leads out of the folder, or is no plain path.
    """
    path = Path(name)
    leads_out = path.is_absolute() or ".." in path.parts
    if leads_out or not path.name or "\0" in name or str(path) != name:
        raise TokenError(
            f"the item {name!r} cannot be a file of its own: its name is no plain path"
        )
    return path


def read_npy(data: bytes) -> NDArray[Any]:
    """The array of a `.npy` file; its header is believed only if it fits what follows it.

    Args:
        data: All of the file.

    Raises:
        TokenError: It is of another length than its header says, or holds no numbers.
        ValueError: It is no such file.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    headers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = headers[version > (1, 0)](stream)
    size = len(data) - stream.tell()
    if (
        dtype.kind not in "iu"
        or min(shape, default=0) < 0
        or math.prod(shape) * dtype.itemsize != size
    ):
        raise TokenError(f"an array of {dtype} {list(shape)} does not take {size} bytes")
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order=order)


def escape(name: str, characters: str) -> str:
    """A name without certain characters: "%" and two hexadecimal digits stand for each.

    Args:
        name: Any text.
        characters: ASCII, to be replaced, as "%" is.
    """
    return "".join(f"%{ord(c):02X}" if c == "%" or c in characters else c for c in name)


def one_line(text: str) -> str:
    """A text with single spaces, for formats of one line an item."""
    return " ".join(text.split())
