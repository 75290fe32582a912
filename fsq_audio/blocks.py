"""Canonical blocks: the fixed shapes that make tokens exact.

Mathematically a window with its context gives what the whole recording gives. In floating point
it does so only if the same kernels run on the same shapes. So the windows of an item depend on its
own length and on nothing else: full windows, then one from a ladder of shorter lengths. A call
always holds the same number of windows; where too few are left, zeros fill it up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from fsq_audio.layers import Context

Key = TypeVar("Key")

# Frames in a full window: long enough that context costs little, short enough for the caches.
WINDOW_FRAMES = 512
# The ladder's finest step, and the rungs between a power of two and the next: an item pays for
# less than four frames, or an eighth of its own, beyond what it has.
RUNG_FRAMES = 4
RUNGS_PER_OCTAVE = 8


def rung(num_frames: int) -> int:
    """Frames of the window that holds the last `num_frames` (1 to WINDOW_FRAMES) of an item."""
    assert 0 < num_frames <= WINDOW_FRAMES
    octave = 1 << (num_frames - 1).bit_length()  # the power of two at or above
    step = max(octave // 2 // RUNGS_PER_OCTAVE, RUNG_FRAMES)
    return -(-num_frames // step) * step


@dataclass(frozen=True)
class Window:
    """One window of an item.

    Attributes:
        values: `[..., left + frames * hop + right]`, zeros beyond the item's ends.
        num_frames: how many of its frames are the item's own.
    """

    values: Tensor
    num_frames: int


def cut_windows(blocks: Iterable[Tensor], *, hop: int, context: Context) -> Iterator[Window]:
    """Cuts a stream into canonical windows, whatever the sizes of its blocks.

    Args:
        blocks: consecutive pieces `[..., n]` of one signal, any n.
        hop: steps per frame (1 for codes).
        context: what each window carries beyond its frames, in steps.

    Yields:
        The windows in order. Only about one window and one block are held at a time.
    """
    full = WINDOW_FRAMES * hop + sum(context)
    pending: list[Tensor] = []
    num_pending = 0
    for block in blocks:
        if not pending:
            pending.append(block.new_zeros(*block.shape[:-1], context.left))
            num_pending = context.left
        pending.append(block)
        num_pending += block.shape[-1]
        if num_pending < full:
            continue
        buffer = torch.cat(pending, dim=-1)
        while buffer.shape[-1] >= full:
            yield Window(buffer[..., :full], WINDOW_FRAMES)
            buffer = buffer[..., WINDOW_FRAMES * hop :]
        pending, num_pending = [buffer], buffer.shape[-1]
    if not pending:
        return
    buffer = torch.cat(pending, dim=-1)
    while (num_steps := buffer.shape[-1] - context.left) > 0:
        num_frames = min(-(-num_steps // hop), WINDOW_FRAMES)
        length = rung(num_frames) * hop + sum(context)
        values = buffer[..., :length]
        missing = length - values.shape[-1]
        yield Window(torch.nn.functional.pad(values, (0, missing)), num_frames)
        buffer = buffer[..., num_frames * hop :]


def run_blocks(
    windows: Iterable[tuple[Key, Tensor]],
    function: Callable[[Tensor], Tensor],
    *,
    windows_per_call: int,
) -> Iterator[tuple[Key, Tensor]]:
    """Runs a function over the windows of many items, in calls of fixed shape.

    Args:
        windows: a key and `[..., steps]` each, of any canonical lengths.
        function: maps `[N, ..., steps]` to `[N, ...]`, row by row.
        windows_per_call: N. One is best on a CPU; an accelerator wants more.

    Yields:
        The key and the result of each window, as calls fill up: in order for one item.
    """
    waiting: dict[int, list[tuple[Key, Tensor]]] = defaultdict(list)

    def call(members: list[tuple[Key, Tensor]]) -> Iterator[tuple[Key, Tensor]]:
        rows = [values for _, values in members]
        rows += [torch.zeros_like(rows[0])] * (windows_per_call - len(rows))
        results = function(torch.stack(rows))
        for (key, _), result in zip(members, results, strict=False):
            yield key, result
        members.clear()

    for key, values in windows:
        members = waiting[values.shape[-1]]
        members.append((key, values))
        if len(members) == windows_per_call:
            yield from call(members)
    # Longest first: the full windows of an item come before its last, shorter one.
    for steps in sorted(waiting, reverse=True):
        if waiting[steps]:
            yield from call(waiting[steps])
