"""What learnt codebooks share: the vectors, an exact search, estimators of the gradient, means."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.quantizers.base import DROPPED, Quantized

Gradient = Literal["straight_through", "rotation"]

MAX_CODES = 2**20
CHUNK = 2**22  # scores in memory at once: 1600 frames by 65536 codes would be 105 million


class Codebook(nn.Module):
    """K vectors of D scalars.

    Attributes:
        values: [K, D]; a parameter where the gradient trains it, else a buffer.
        learning_rate_factor: its learning rate in units of the model's (see `Projected`).
        is_averaged: whether an average of weights may average it; not where its vectors jump.
    """

    values: Tensor
    convention: Tensor

    def __init__(
        self,
        kind: str,
        *,
        codebook_size: int,
        dim: int,
        is_parameter: bool = True,
        learning_rate_factor: float = 1.0,
        is_averaged: bool = True,
    ) -> None:
        """Draws the vectors from a normal distribution: scalars begin with that spread, too.

        Args:
            kind: name of the quantizer, saved so that weights are not loaded into another one.
            codebook_size: K.
            dim: D.
            is_parameter: False for a buffer.
            learning_rate_factor: see the attribute.
            is_averaged: see the attribute.

        Raises:
            ConfigError: a size is out of range.
        """
        super().__init__()
        check_sizes(codebook_size=codebook_size, dim=dim)
        self.kind = kind
        self.learning_rate_factor = learning_rate_factor
        self.is_averaged = is_averaged
        values = torch.randn(codebook_size, dim)
        if is_parameter:
            self.values = nn.Parameter(values)
        else:
            self.register_buffer("values", values)
        identity = [zlib.crc32(kind.encode()), codebook_size, dim]
        self.register_buffer("convention", torch.tensor(identity, dtype=torch.int64))

    @property
    def size(self) -> int:
        """K."""
        return len(self.values)

    @property
    def dim(self) -> int:
        """D."""
        return self.values.shape[1]

    def nearest(self, rows: Tensor) -> Tensor:
        """The code [...] int64 of the vector nearest to each of the rows [..., D]."""
        values = widened(self.values)
        return best_codes(rows, 2 * values, bias=-fixed_sum(values * values))

    def lookup(self, codes: Tensor) -> Tensor:
        """The vectors [..., D] of codes [...], float32 or float64; zeros where dropped."""
        values = self.values if self.values.dtype == torch.float64 else self.values.float()
        found = functional.embedding(codes.clamp(min=0), values)
        return found.masked_fill((codes == DROPPED).unsqueeze(-1), 0.0)

    @torch.no_grad()
    def draw(self, rows: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """K random rows out of [N, D], tiled with a little noise where N < K (Jukebox's code).

        Raises:
            ConfigError: there are none.
        """
        if len(rows) == 0:
            raise ConfigError("a codebook cannot begin as latents of a batch without real frames")
        num_copies = -(-self.size // len(rows))
        if num_copies > 1:
            rows = rows.repeat(num_copies, 1)
            noise = torch.randn(rows.shape, generator=generator, dtype=torch.float32)
            rows = rows + (noise * 0.01 / self.dim**0.5).to(rows)
        order = torch.randperm(len(rows), generator=generator)[: self.size]
        return rows[order.to(rows.device)].to(self.values.dtype)

    def extra_repr(self) -> str:
        """The sizes, for printing."""
        return f"codebook_size={self.size}, dim={self.dim}"

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(f"{prefix}convention")
        if saved is not None and saved.tolist() != self.convention.tolist():
            _, size, dim = saved.tolist()
            raise CheckpointError(
                f"the weights are for another codebook ({size} codes of {dim} scalars), this model "
                f"has {self.kind!r} with {self.size} codes of {self.dim} scalars: build the model "
                f"from the configuration of the weights"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def check_sizes(*, codebook_size: int, dim: int) -> None:
    """Refuses sizes out of range.

    Raises:
        ConfigError: naming every fault.
    """
    faults = []
    if type(codebook_size) is not int or not 2 <= codebook_size <= MAX_CODES:
        faults.append(f"codebook_size must be from 2 to {MAX_CODES}, got {codebook_size!r}")
    if type(dim) is not int or dim < 1:
        faults.append(f"dim must be a positive integer, got {dim!r}")
    if faults:
        raise ConfigError("the codebook cannot be built: " + "; ".join(faults))


def check_numbers(*, gradient: str = "straight_through", **numbers: float) -> None:
    """Refuses an unknown estimator, and weights and decays that are negative or not finite.

    Raises:
        ConfigError: naming every fault.
    """
    faults = [
        f"{name} must be finite and not negative, got {number}"
        for name, number in numbers.items()
        if not 0 <= number < float("inf")
    ]
    if gradient not in get_args(Gradient):
        faults.append(f"gradient must be one of {list(get_args(Gradient))}, got {gradient!r}")
    if faults:
        raise ConfigError("the quantizer cannot be built: " + "; ".join(faults))


# Arithmetic whose bits depend on the row alone


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
    found = torch.cat(codes) if codes else torch.zeros(0, dtype=torch.int64, device=rows.device)
    return found.reshape(rows.shape[:-1])


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


# From latents to rows and back


def to_rows(latents: Tensor) -> Tensor:
    """Latents [B, D, T] as rows [B, T, D], float32 unless they are float64."""
    rows = latents if latents.dtype == torch.float64 else latents.float()
    return rows.transpose(1, 2)


def real_rows(rows: Tensor, mask: Tensor | None) -> Tensor:
    """The rows [N, ...] of real frames out of [B, T, ...], without gradient."""
    return (rows.flatten(0, 1) if mask is None else rows[mask]).detach()


def to_quantized(
    values: Tensor, codes: Tensor, losses: dict[str, Tensor] | None = None
) -> Quantized:
    """Packs values [B, T, D] and codes [B, T] of one group."""
    return Quantized(
        quantized=values.transpose(1, 2), codes=codes.unsqueeze(1), losses=losses or {}
    )


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of values [B, T] over real frames; 0 where there are none."""
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


# Losses and gradients


def codebook_loss(rows: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Pulls vectors to rows, both [B, T, D]: the mean squared distance, no gradient to rows."""
    return masked_mean((rows.detach() - values).square().mean(dim=-1), mask)


def commitment_loss(rows: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Pulls rows to vectors, both [B, T, D]: the mean squared distance, no gradient to vectors."""
    return masked_mean((rows - values.detach()).square().mean(dim=-1), mask)


def pass_gradient(rows: Tensor, values: Tensor, gradient: Gradient) -> Tensor:
    """The values, with a gradient to the rows and none to the codebook.

    Args:
        rows: [..., D], what was quantized.
        values: [..., D], by what.
        gradient: "straight_through" hands the gradient on as it is (Bengio et al. 2013);
            "rotation" turns and scales it as the row was turned and scaled to become the value
            (Fifty et al. 2024, arXiv 2410.06424, section 4.2).
    """
    if not rows.requires_grad:
        return values.detach()
    soft = rows if gradient == "straight_through" else _rotated(rows, values.detach())
    # Adds an exact 0: `rows + (values - rows).detach()` would round the values.
    return values.detach() + (soft - soft.detach())


def _rotated(rows: Tensor, values: Tensor) -> Tensor:
    """Rows times the constant |q| / |e| (I - 2 w w' + 2 q^ e^') that takes each to its value."""

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum(dim=-1, keepdim=True)

    fixed, tiny = rows.detach(), torch.finfo(rows.dtype).tiny
    length, target = fixed.norm(dim=-1, keepdim=True), values.norm(dim=-1, keepdim=True)
    source = fixed / length.clamp(min=tiny)
    aim = values / target.clamp(min=tiny)
    middle = functional.normalize(source + aim, dim=-1)
    turned = rows - 2 * middle * dot(middle, rows) + 2 * aim * dot(source, rows)
    # A row of length 0 has no direction: it keeps its gradient.
    scaled = torch.where(length > 0, turned * (target / length.clamp(min=1e-6)), rows)
    return scaled
