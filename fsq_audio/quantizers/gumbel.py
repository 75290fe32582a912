"""Vector quantization by Gumbel-softmax: codes are drawn in training, and chosen afterwards.

Baevski et al. 2020, "vq-wav2vec" (arXiv 1910.05453), section 3.1; Jang et al. 2017 (1611.01144).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.exact import best_codes
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.rows import pass_gradient, to_quantized
from fsq_audio.quantizers.statistics import Annealing


@register_quantizer("gumbel_vq")
class GumbelVectorQuantizer(OneCodebookQuantizer):
    """A linear layer says how well each code fits (the paper has two); there is no loss.

    In training a code is drawn with softmax(logits) for its probabilities, and the gradient is that
    of softmax((logits + gumbel) / tau), tau annealed; in evaluation it is the one that fits best.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        tau: float = 2.0,
        tau_min: float = 0.5,
        tau_decay: float = 5e-6,
    ) -> None:
        """Draws a codebook from a normal distribution.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            tau: temperature at the first step.
            tau_min: the lowest one.
            tau_decay: tau exp(-tau_decay t) at step t.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        self.codebook = Codebook("gumbel_vq", codebook_size=codebook_size, dim=dim)
        self.annealing = Annealing(start=tau, lowest=tau_min, decay=tau_decay)
        self.score = nn.Linear(dim, codebook_size)

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Draws vectors for rows [B, T, D] in training, chooses them in evaluation."""
        if not self.training:
            codes = best_codes(rows, self.score.weight, bias=self.score.bias)
            values = self.codebook.lookup(codes)
            return to_quantized(pass_gradient(rows, values, "straight_through"), codes)
        weight, bias = (part.to(rows.dtype) for part in (self.score.weight, self.score.bias))
        noisy = add_gumbel(nn.functional.linear(rows, weight, bias))
        codes = noisy.argmax(dim=-1)
        shares = (noisy / self.annealing.temperature).softmax(dim=-1)
        soft = shares @ self.codebook.values.detach().to(rows.dtype)
        # The value of the code, the gradient of the mixture: adds an exact 0.
        values = self.codebook.lookup(codes) + (soft - soft.detach())
        return to_quantized(values, codes)


def add_gumbel(logits: Tensor) -> Tensor:
    """Adds Gumbel noise: the largest of the sums is drawn with softmax(logits)."""
    return logits - torch.empty_like(logits).exponential_().clamp(min=1e-30).log()
