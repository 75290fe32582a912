"""Vector quantization with an entropy term: sure of each frame, yet using the whole codebook.

Jansen et al. 2020, "Coincidence, Categorization, and Consolidation" (arXiv 1911.05894); for
codebooks Yu et al. 2023, "Language Model Beats Diffusion" (arXiv 2310.05737), equation 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.ranks import all_sum
from fsq_audio.quantizers.rows import (
    Gradient,
    check_numbers,
    codebook_loss,
    commitment_loss,
    masked_mean,
    pass_gradient,
    to_quantized,
)


@register_quantizer("entropy_vq")
class EntropyVectorQuantizer(OneCodebookQuantizer):
    """VQ whose loss adds `entropy`: weight (E[H(p)] - diversity H(E[p])), in nats.

    p = softmax(-||z - e||^2 / tau) over the codes of a frame. E[p] is that of all processes, which
    must make the same number of passes: their averaged gradients are those of the entropy over the
    whole batch of a pass.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        commitment: float = 0.25,
        entropy: float = 0.1,
        diversity: float = 1.0,
        tau: float = 1.0,
        gradient: Gradient = "straight_through",
    ) -> None:
        """Draws a codebook from a normal distribution.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            commitment: beta, the weight of the commitment term.
            entropy: weight of the entropy term.
            diversity: weight, inside that term, of the entropy of the mean.
            tau: temperature of p.
            gradient: how the gradient passes, see `pass_gradient`.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(
            gradient=gradient, commitment=commitment, entropy=entropy, diversity=diversity, tau=tau
        )
        if tau == 0:
            raise ConfigError("tau must be above 0")
        self.codebook = Codebook("entropy_vq", codebook_size=codebook_size, dim=dim)
        self.commitment, self.entropy, self.diversity = commitment, entropy, diversity
        self.tau = tau
        self.gradient: Gradient = gradient

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Chooses the nearest vectors for rows [B, T, D]; `entropy` in training only."""
        codes = self.codebook.nearest(rows)
        values = self.codebook.lookup(codes)
        losses = {
            "codebook": codebook_loss(rows, values, mask),
            "commitment": self.commitment * commitment_loss(rows, values, mask),
        }
        if self.training:
            losses["entropy"] = self.entropy * self._entropy_loss(rows, mask)
        return to_quantized(pass_gradient(rows, values, self.gradient), codes, losses)

    def _entropy_loss(self, rows: Tensor, mask: Tensor | None) -> Tensor:
        book = self.codebook.values.to(rows.dtype)
        # -||z - e||^2 without the part that all codes share.
        logits = (2 * rows @ book.T - book.square().sum(dim=1)) / self.tau
        log_p = logits.log_softmax(dim=-1)
        p = log_p.exp()
        each = masked_mean(-(p * log_p).sum(dim=-1), mask)
        total = (p if mask is None else p * mask[..., None]).sum(dim=(0, 1))
        number = all_sum(total.detach().sum().clamp(min=1e-9))
        share = total / number
        # The value of all processes with the gradient of this one's part. DistributedDataParallel
        # takes the mean over processes where this is a sum: hence their number.
        everyones = all_sum(share.detach())
        num_parts = all_sum(torch.ones_like(number))
        share = everyones + num_parts * (share - share.detach())
        surprise: Tensor = torch.special.xlogy(share, share.clamp(min=1e-30)).sum()
        return each + self.diversity * surprise
