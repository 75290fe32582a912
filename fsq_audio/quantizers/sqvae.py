"""Stochastic quantization: sure of a code only as far as a learnt variance allows.

Takida et al. 2022, "SQ-VAE: Variational Bayes on Discrete Representation with Self-annealed
Stochastic Quantization" (arXiv 2205.07547), section 4.1 (Gaussian).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.exact import best_codes, fixed_linear, widened
from fsq_audio.quantizers.gumbel import add_gumbel
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.rows import (
    check_numbers,
    masked_mean,
    pass_gradient,
    to_quantized,
    to_rows,
)
from fsq_audio.quantizers.statistics import Annealing

Variance = Literal["I", "II", "III", "IV"]


@register_quantizer("sqvae")
class SQVAE(OneCodebookQuantizer):
    """Gaussian SQ-VAE: p = softmax(-sum_d (z_d - b_kd)^2 / (2 sigma_d^2)).

    In training z_q = softmax((log p + gumbel) / tau) B: soft, its own gradient, tau annealed. In
    evaluation the code is argmax p, without noise. Losses, in nats per real frame, in training:
    `variance` sum_d (z_d - z_qd)^2 / (2 sigma_d^2) and `entropy` sum_k p_k log p_k.

    sigma^2 is (table 1) I: one number; II: one per item; III: one per frame; IV: one per frame and
    scalar. Where the paper's encoder has a second head for it, log sigma^2 here is a linear
    function of z, which begins as type I.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        variance: Variance = "I",
        initial_variance: float = 1.0,
        weight: float = 1.0,
        tau: float = 1.0,
        tau_min: float = 0.1,
        tau_decay: float = 1e-5,
    ) -> None:
        """Draws a codebook from a normal distribution.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            variance: the type.
            initial_variance: sigma^2 at first; the paper's code has 20 for 64 scalars, and less
                for fewer.
            weight: of both losses. 1 is the bound of the paper where the reconstruction loss is a
                negative log-likelihood, in nats per frame; for others it is a matter of scale.
            tau: temperature at the first step.
            tau_min: the lowest one.
            tau_decay: tau exp(-tau_decay t) at step t.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(weight=weight, initial_variance=initial_variance)
        if initial_variance == 0:
            raise ConfigError("initial_variance must be above 0")
        if variance not in get_args(Variance):
            raise ConfigError(f"variance must be one of {list(get_args(Variance))}: {variance!r}")
        self.codebook = Codebook("sqvae", codebook_size=codebook_size, dim=dim)
        self.annealing = Annealing(start=tau, lowest=tau_min, decay=tau_decay)
        self.log_variance = nn.Parameter(torch.tensor(math.log(initial_variance)))
        self.variance: Variance = variance
        self.variance_head: nn.Linear | None = None
        if variance != "I":
            self.variance_head = nn.Linear(dim, dim if variance == "IV" else 1, bias=False)
            nn.init.zeros_(self.variance_head.weight)
        self.weight = weight

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Mixes vectors for rows [B, T, D] in training; codes are the most probable ones."""
        codes = self._search(rows)
        if not self.training:
            values = self.codebook.lookup(codes)
            return to_quantized(pass_gradient(rows, values, "straight_through"), codes)
        precision = self._precision(rows, mask)
        logits = self._logits(rows, precision)
        log_p = logits.log_softmax(dim=-1)
        shares = (add_gumbel(log_p) / self.annealing.temperature).softmax(dim=-1)
        values = shares @ self.codebook.values.to(rows.dtype)
        spread = ((rows - values).square() * precision).sum(dim=-1) / 2
        losses = {
            "variance": self.weight * masked_mean(spread, mask),
            "entropy": self.weight * masked_mean((log_p.exp() * log_p).sum(dim=-1), mask),
        }
        return to_quantized(values, codes, losses)

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {**super().describe(), "variance": self.variance}

    def probabilities(self, latents: Tensor, mask: Tensor | None = None) -> Tensor:
        """The p of each code, [B, T, K], for latents [B, D, T]."""
        rows = to_rows(latents)
        precision = self._precision(rows, mask)
        return self._logits(rows, precision).softmax(dim=-1)

    def _log_variance(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        """Log sigma^2, broadcastable to rows [B, T, D]."""
        base = self.log_variance.to(rows.dtype)
        if self.variance_head is None:
            return base
        if self.training:
            more = nn.functional.linear(rows, self.variance_head.weight.to(rows.dtype))
        else:
            weight = self.variance_head.weight
            more = fixed_linear(rows, weight, weight.new_zeros(len(weight)))
        if self.variance != "II":
            return base + more
        real = torch.ones_like(more) if mask is None else mask[..., None].to(more.dtype)
        total = torch.where(real > 0, more, 0.0).sum(dim=1, keepdim=True)
        return base + total / real.sum(dim=1, keepdim=True).clamp(min=1)

    def _precision(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        """1 / sigma^2, sigma^2 at least 1e-10 as in the paper's code."""
        return (-self._log_variance(rows, mask)).clamp(max=math.log(1e10)).exp()

    def _logits(self, rows: Tensor, precision: Tensor) -> Tensor:
        """Log p of each code, [B, T, K], up to what all codes of a frame share."""
        book = self.codebook.values.to(rows.dtype)
        weights = precision.expand_as(rows)
        return (weights * rows) @ book.T - weights @ book.square().T / 2

    def _search(self, rows: Tensor) -> Tensor:
        if self.variance != "IV":
            return self.codebook.nearest(rows)  # one variance for all scalars: it scales all alike
        book = widened(self.codebook.values)
        precision = widened(self._precision(rows, None))
        features = torch.cat([precision * widened(rows), precision], dim=-1)
        matrix = torch.cat([2 * book, -book * book], dim=-1)
        return best_codes(features, matrix, bias=book.new_zeros(len(book)))
