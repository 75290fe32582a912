"""Canonical blocks: the fixed shapes that make tokens exact.

Mathematically a window with its context gives what the whole recording gives. In floating point
it does so only if the same kernels run on the same shapes. So the windows of an item depend on its
own length and on nothing else: full windows, then one from a ladder of shorter lengths. A call
always holds the same number of windows; where too few are left, zeros fill it up.

On a CPU every call runs on one thread, and threads run calls side by side: kernels that share a
matrix product among threads give other bits for other numbers of threads.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from fsq_audio.layers import Context

Key = TypeVar("Key")

# Frames in a full window: long enough that context costs little, short enough that a recording of
# some seconds keeps several threads busy, and that a block's tensors stay in a core's cache.
WINDOW_FRAMES = 128
# The shortest window, the ladder's finest step, and the rungs between a power of two and the next:
# a longer item pays for less than four frames, or an eighth of its own, beyond what it has.
MIN_WINDOW_FRAMES = 16
RUNG_FRAMES = 4
RUNGS_PER_OCTAVE = 8
# Pieces that wait to be joined: a tensor of one sample weighs as much as a hundred of them.
MAX_PIECES = 256


def rung(num_frames: int) -> int:
    """Frames of the window that holds the last `num_frames` (1 to WINDOW_FRAMES) of an item."""
    assert 0 < num_frames <= WINDOW_FRAMES
    octave = 1 << (num_frames - 1).bit_length()  # the power of two at or above
    step = max(octave // 2 // RUNGS_PER_OCTAVE, RUNG_FRAMES)
    return max(-(-num_frames // step) * step, MIN_WINDOW_FRAMES)


@dataclass(frozen=True)
class Window:
    """One window of an item.

    Attributes:
        values: `[..., left + frames * hop + right]`, zeros beyond the item's ends.
        num_frames: how many of its frames are the item's own.
    """

    values: Tensor
    num_frames: int


class WindowCutter:
    """Cuts one signal into windows as it arrives, whatever the sizes of its pieces.

    Only what the next windows need is held in between.
    """

    def __init__(self, *, hop: int, context: Context, num_frames: int = WINDOW_FRAMES) -> None:
        """Begins before the signal's first step.

        Args:
            hop: steps per frame (1 for codes).
            context: what each window carries beyond its frames, in steps.
            num_frames: frames of a full window, at most WINDOW_FRAMES; others are not canonical.
        """
        assert 0 < num_frames <= WINDOW_FRAMES
        self._hop, self._context, self._num_frames = hop, context, num_frames
        self._pending: list[Tensor] = []
        self._num_pending = 0

    def push(self, piece: Tensor) -> list[Window]:
        """Full windows that the next piece `[..., n]`, any n, completes."""
        if not self._pending:
            self._pending.append(piece.new_zeros(*piece.shape[:-1], self._context.left))
            self._num_pending = self._context.left
        self._pending.append(piece)
        self._num_pending += piece.shape[-1]
        if len(self._pending) > MAX_PIECES:
            self._pending = [torch.cat(self._pending, dim=-1)]
        advance = self._num_frames * self._hop
        full = advance + sum(self._context)
        if self._num_pending < full:
            return []
        buffer = torch.cat(self._pending, dim=-1)
        num_windows = (self._num_pending - full) // advance + 1
        # A copy: what is kept must not keep a large piece alive.
        self._pending = [buffer[..., num_windows * advance :].clone()]
        self._num_pending -= num_windows * advance
        starts = range(0, num_windows * advance, advance)
        return [Window(buffer[..., start : start + full], self._num_frames) for start in starts]

    def finish(self) -> list[Window]:
        """The windows up to the signal's end, the last one from the ladder."""
        if not self._pending:
            return []
        buffer = torch.cat(self._pending, dim=-1)
        windows = []
        while (num_steps := buffer.shape[-1] - self._context.left) > 0:
            num_frames = min(-(-num_steps // self._hop), self._num_frames)
            length = min(rung(num_frames), self._num_frames) * self._hop + sum(self._context)
            values = buffer[..., :length]
            missing = length - values.shape[-1]
            windows.append(Window(torch.nn.functional.pad(values, (0, missing)), num_frames))
            buffer = buffer[..., num_frames * self._hop :]
        return windows


def cut_windows(blocks: Iterable[Tensor], *, hop: int, context: Context) -> Iterator[Window]:
    """Cuts a stream into canonical windows, whatever the sizes of its blocks.

    Args:
        blocks: consecutive pieces `[..., n]` of one signal, any n.
        hop: steps per frame (1 for codes).
        context: what each window carries beyond its frames, in steps.

    Yields:
        The windows in order. Only about one window and one block are held at a time.
    """
    cutter = WindowCutter(hop=hop, context=context)
    for block in blocks:
        yield from cutter.push(block)
    yield from cutter.finish()


def run_blocks(
    windows: Iterable[tuple[Key, Tensor]],
    function: Callable[[Tensor], Tensor],
    *,
    windows_per_call: int,
    num_threads: int,
) -> Iterator[tuple[Key, Tensor]]:
    """Runs a function over the windows of many items, in calls of fixed shape.

    Args:
        windows: a key and `[..., steps]` each, of any canonical lengths.
        function: maps `[N, ..., steps]` to `[N, ...]`, row by row.
        windows_per_call: N. One is best on a CPU; an accelerator wants more.
        num_threads: calls that run at a time, each on a thread of its own.

    Yields:
        The key and the result of each window, as calls fill up: in order for one item.
    """
    waiting: deque[tuple[list[Key], Future[Tensor]]] = deque()

    def finish() -> Iterator[tuple[Key, Tensor]]:
        keys, future = waiting.popleft()
        yield from zip(keys, future.result(), strict=False)

    _keep_freed_memory()
    threads_of_caller = torch.get_num_threads()
    pool = ThreadPoolExecutor(num_threads)
    try:
        for keys, block in _calls(windows, windows_per_call):
            waiting.append((keys, pool.submit(_on_one_thread, function, block)))
            if len(waiting) > 2 * num_threads:
                yield from finish()
        while waiting:
            yield from finish()
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread that sets its own number also sets what later threads start with.
        torch.set_num_threads(threads_of_caller)


@cache
def _keep_freed_memory() -> None:
    """Lets a call use the memory of the one before.

    The allocator of Linux (glibc) gives what is freed beyond twice the largest block that was
    mapped back to the system, so that a window asks for some thousand pages again, up to a sixth
    of its time. So one large block is mapped, never touched, and freed: from then on up to 62 MiB
    stay with each thread.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _on_one_thread(function: Callable[[Tensor], Tensor], block: Tensor) -> Tensor:
    torch.set_num_threads(1)
    with torch.no_grad():  # a thread does not inherit it
        return function(block)


def _calls(
    windows: Iterable[tuple[Key, Tensor]], windows_per_call: int
) -> Iterator[tuple[list[Key], Tensor]]:
    """Keys, and `[windows_per_call, ..., steps]` with zeros where there are too few of a length."""
    groups: dict[int, list[tuple[Key, Tensor]]] = defaultdict(list)

    def call(steps: int) -> tuple[list[Key], Tensor]:
        members = groups.pop(steps)
        rows = [values for _, values in members]
        rows += [torch.zeros_like(rows[0])] * (windows_per_call - len(rows))
        return [key for key, _ in members], torch.stack(rows)

    def longest_first() -> list[int]:
        # The full windows of an item come before its last, shorter one.
        return sorted(groups, reverse=True)

    for key, values in windows:
        steps = values.shape[-1]
        groups[steps].append((key, values))
        if len(groups[steps]) == windows_per_call:
            yield from (call(waiting) for waiting in longest_first() if waiting >= steps)
    yield from map(call, longest_first())
