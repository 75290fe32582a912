"""Where our own time goes, and what comes before the first sample: for information."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

_KINDS = {
    "matrix products": r"^(add|b|badd|addb)?mm$|linear",
    "convolutions": r"conv",
    "Fourier transforms": r"fft",
}


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Shares of the time of one call, by kind of operator, on one thread.

    Returns:
        Fractions of 1 for each kind and for "the rest", the largest first.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            run()
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                run()
    finally:
        torch.set_num_threads(before)
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        if "::" in event.key:  # an operator, not a call of the runtime's
            spent[_kind(event.key.split("::")[-1])] += event.self_cpu_time_total
    return {kind: value / spent.total() for kind, value in spent.most_common()}


def _kind(operator: str) -> str:
    found = (kind for kind, pattern in _KINDS.items() if re.search(pattern, operator))
    return next(found, "the rest")


def seconds(run: Callable[[], object], *, times: int = 5) -> float:
    """Median wall time of some calls."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def run_python(*arguments: str) -> None:
    """Runs a fresh interpreter."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
