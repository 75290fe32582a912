"""Vector quantization with a codebook of moving averages.

van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1; counts are smoothed as in Sonnet's code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.exact import widened
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.rows import (
    Gradient,
    check_numbers,
    commitment_loss,
    pass_gradient,
    real_rows,
    to_quantized,
)
from fsq_audio.quantizers.statistics import ClusterAverages


@register_quantizer("ema_vq")
class EMAVectorQuantizer(OneCodebookQuantizer):
    """VQ whose vectors are moving averages of what was quantized to them; see `ClusterAverages`.

    e = m / N_hat with N_hat = (N + eps) / (sum N + K eps) sum N. They move at the end of a step, by
    all passes of all processes, and not at all where a step is not taken. The one loss is
    `commitment`.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        commitment: float = 0.25,
        decay: float = 0.99,
        eps: float = 1e-5,
        gradient: Gradient = "straight_through",
    ) -> None:
        """Draws a codebook from a normal distribution.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            commitment: beta, the weight of the commitment term.
            decay: g of the averages.
            eps: of the smoothed counts.
            gradient: how the gradient passes, see `pass_gradient`.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(gradient=gradient, commitment=commitment, eps=eps)
        self.codebook = Codebook("ema_vq", codebook_size=codebook_size, dim=dim, is_parameter=False)
        self.averages = ClusterAverages(self.codebook.values, decay=decay)
        self.commitment, self.eps = commitment, eps
        self.gradient: Gradient = gradient

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Chooses the nearest vectors for rows [B, T, D]; in training, remembers both."""
        codes = self.codebook.nearest(rows)
        values = self.codebook.lookup(codes)
        if self.training:
            self.averages.add(real_rows(rows, mask), real_rows(codes, mask))
        losses = {"commitment": self.commitment * commitment_loss(rows, values, mask)}
        return to_quantized(pass_gradient(rows, values, self.gradient), codes, losses)

    @torch.no_grad()
    def end_step(self, optimizer: object = None, *, is_taken: bool = True) -> None:
        """Moves the codebook; see `Quantizer`."""
        if not is_taken:
            self.averages.forget()
        elif self.averages.update():
            counts = widened(self.averages.counts)
            total = counts.sum()
            smooth = (counts + self.eps) / (total + len(counts) * self.eps) * total
            sums = widened(self.averages.sums)
            self.codebook.values.copy_(sums / smooth.clamp(min=1e-12)[:, None])
