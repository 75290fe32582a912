"""What the processes of a training tell each other, so that their codebooks stay the same.

Without `torch.distributed` every function hands back what it got.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def num_ranks() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_sum(tensor: Tensor) -> Tensor:
    """The sum over processes, the same bits on each."""
    if num_ranks() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    # A ring may add in another order on each process.
    dist.broadcast(total, 0)
    return total


def broadcast(tensor: Tensor, *, source: int) -> Tensor:
    """What one process holds; the others give a tensor of the same shape."""
    if num_ranks() == 1:
        return tensor
    received = tensor.detach().clone().contiguous()
    dist.broadcast(received, source)
    return received


def is_source(source: int) -> bool:
    """Whether this process is that one."""
    return num_ranks() == 1 or dist.get_rank() == source


def sizes_of(rows: Tensor) -> list[int]:
    """The number of rows that each process holds, in the order of processes."""
    if num_ranks() == 1:
        return [len(rows)]
    mine = torch.tensor([len(rows)], dtype=torch.int64, device=rows.device)
    everyones = [torch.zeros_like(mine) for _ in range(num_ranks())]
    dist.all_gather(everyones, mine)
    return [int(size) for size in everyones]


def all_rows(rows: Tensor) -> Tensor:
    """The rows [N, D] of all processes, in the order of processes; N may differ."""
    if num_ranks() == 1:
        return rows
    sizes = sizes_of(rows)
    padded = rows.new_zeros(max(sizes), rows.shape[1])
    padded[: len(rows)] = rows
    everyones = [torch.zeros_like(padded) for _ in sizes]
    dist.all_gather(everyones, padded)
    return torch.cat([part[:size] for part, size in zip(everyones, sizes, strict=True)])
