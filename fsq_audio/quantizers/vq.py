"""Vector quantization: the nearest of K learnt vectors.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (arXiv 1711.00937).
"""

from __future__ import annotations

from torch import Tensor

from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.rows import (
    Gradient,
    check_numbers,
    codebook_loss,
    commitment_loss,
    pass_gradient,
    to_quantized,
)


@register_quantizer("vq")
class VectorQuantizer(OneCodebookQuantizer):
    """One codebook that the gradient trains: [B, D, T] -> codes [B, 1, T].

    Losses (section 3.2, equation 3), means over real frames and scalars, before the gradient is
    passed on: `codebook` ||sg z - e||^2 moves the vectors, `commitment` beta ||z - sg e||^2 the
    encoder.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        commitment: float = 0.25,
        gradient: Gradient = "straight_through",
    ) -> None:
        """Draws a codebook from a normal distribution.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            commitment: beta, the weight of the commitment term.
            gradient: how the gradient passes, see `pass_gradient`.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(gradient=gradient, commitment=commitment)
        self.codebook = Codebook("vq", codebook_size=codebook_size, dim=dim)
        self.commitment = commitment
        self.gradient: Gradient = gradient

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Chooses the nearest vectors for rows [B, T, D]."""
        codes = self.codebook.nearest(rows)
        values = self.codebook.lookup(codes)
        losses = {
            "codebook": codebook_loss(rows, values, mask),
            "commitment": self.commitment * commitment_loss(rows, values, mask),
        }
        return to_quantized(pass_gradient(rows, values, self.gradient), codes, losses)
