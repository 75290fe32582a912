"""Arithmetic whose bits depend on the row alone, and not on the batch that it is in."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**22  # scores in memory at once: 1600 frames by 65536 codes would be 105 million


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float64, or in float32 on the one device that has no other."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def fixed_sum(terms: Tensor) -> Tensor:
    """Adds terms [..., F] over the last dim, in that order for every shape: [...]."""
    total = terms[..., 0]
    for index in range(1, terms.shape[-1]):
        total = total + terms[..., index]
    return total


def fixed_linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer [..., F] -> [..., O] that rounds the same in every shape, unlike a GEMM."""
    wide, weight = widened(rows), widened(weight)
    total = widened(bias).expand(*rows.shape[:-1], -1)
    for index in range(weight.shape[1]):
        total = total + wide[..., index, None] * weight[:, index]
    return total.to(rows.dtype)


@torch.no_grad()
def best_codes(rows: Tensor, matrix: Tensor, *, bias: Tensor) -> Tensor:
    """The k that maximises bias_k + matrix_k . row, the lowest one of several.

    A matrix product finds the best codes; but its last bits depend on the shape of the batch. So
    wherever others come as close to the best as rounding can account for, they are compared again
    by sums in a fixed order. The result is a function of the row, and of nothing else.

    Args:
        rows: [..., F].
        matrix: [K, F].
        bias: [K].

    Returns:
        [...] int64 in [0, K).
    """
    matrix, bias = widened(matrix.detach()), widened(bias.detach())
    flat = widened(rows.detach()).reshape(-1, matrix.shape[1])
    per_chunk = max(CHUNK // len(matrix), 1)
    codes = [_best_codes(part, matrix, bias) for part in torch.split(flat, per_chunk)]
    return torch.cat(codes).reshape(rows.shape[:-1])


def _best_codes(rows: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    if len(rows) == 0:
        return torch.zeros(0, dtype=torch.int64, device=rows.device)
    scores = torch.addmm(bias, rows, matrix.T)
    best, codes = scores.max(dim=1)
    # Twice what either sum may be off (Higham 2002, section 3.1), and a factor to spare.
    scale = bias.abs().max() + rows.norm(dim=1) * matrix.norm(dim=1).max()
    slack = 8 * (matrix.shape[1] + 2) * torch.finfo(scores.dtype).eps * scale
    is_close = scores >= (best - slack)[:, None]
    is_tied = is_close.sum(dim=1) > 1
    if not bool(is_tied.any()):
        return codes
    row, code = (is_close & is_tied[:, None]).nonzero(as_tuple=True)
    score = bias[code]
    for index in range(matrix.shape[1]):
        score = score + rows[row, index] * matrix[code, index]
    # Maxima and minima do not depend on the order either.
    highest = torch.full_like(best, -torch.inf).scatter_reduce(0, row, score, "amax")
    wins = score == highest[row]
    lowest = torch.full_like(codes, len(matrix)).scatter_reduce(0, row[wins], code[wins], "amin")
    return torch.where(is_tied, lowest, codes)
