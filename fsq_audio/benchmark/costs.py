"""What the machine can do, and what a process takes beside its computation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Far above the caches' sizes and the kernels' blocks: what matrix products reach at best.
_SIZE = 1536


def matrix_product_rate(*, device: str, num_threads: int, seconds: float = 1.0) -> float:
    """Multiply-adds per second of large float32 matrix products: the best of those made meanwhile.

    Args:
        device: where.
        num_threads: of torch, on a CPU.
        seconds: how long to try.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        a, b = (torch.randn(_SIZE, _SIZE, device=device) for _ in range(2))
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            started = time.perf_counter()
            float((a @ b)[0, 0])  # reading a number waits for an accelerator
            best = min(best, time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return float(_SIZE**3 / best)


@dataclass(frozen=True)
class ProcessCost:
    """What a process took.

    Attributes:
        seconds: by the clock, from its start to its end.
        peak_bytes: the most memory that it held; None where the system does not say.
    """

    seconds: float
    peak_bytes: int | None


def process_cost(arguments: Sequence[str]) -> ProcessCost:
    """Runs this interpreter with some arguments.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if not hasattr(os, "wait4"):
        status, peak = process.wait(), None
    else:
        _, code, usage = os.wait4(process.pid, 0)
        # ru_maxrss is in bytes on macOS, in KiB elsewhere.
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        status = process.returncode = os.waitstatus_to_exitcode(code)
    if status:
        raise subprocess.CalledProcessError(status, command)
    return ProcessCost(time.perf_counter() - started, peak)
