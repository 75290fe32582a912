"""From latents to rows and back; the losses of learnt codebooks, and how the gradient passes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import Quantized

Gradient = Literal["straight_through", "rotation"]


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
