"""What a round trip costs: seconds and memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """What a function returns, and the seconds that it took.

    Args:
        function: without arguments.
    """
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def reset_peak_memory() -> None:
    """Begins the count of `peak_memory` again; nothing where the system does not count."""
    try:
        _RESET.write_text("5")  # proc_pid_clear_refs(5): the peak becomes what is held now
    except OSError:
        return


def peak_memory() -> int | None:
    """Bytes of memory that this process held at most since `reset_peak_memory`.

    Not by `getrusage`: its maximum cannot be reset, and begins with that of the parent process.

    Returns:
        Resident bytes, Python and libraries included; None where the system does not count.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
