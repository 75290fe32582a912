"""Vector quantization: the nearest of K learnt vectors.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (arXiv 1711.00937).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fsq_audio.quantizers.base import (
    Quantized,
    check_codes,
    check_latents,
    register_quantizer,
)
from fsq_audio.quantizers.codebook import (
    Codebook,
    Gradient,
    check_numbers,
    codebook_loss,
    commitment_loss,
    describe_book,
    pass_gradient,
    to_quantized,
    to_rows,
)


@register_quantizer("vq")
class VectorQuantizer(nn.Module):
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
        self.channels = dim
        self.num_groups = 1
        self.codebook_size = codebook_size
        self.bits_per_frame = math.log2(codebook_size)

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents.

        Args:
            latents: [B, D, T], any strides.
            mask: [B, T] bool, True where a frame is real; others count in no loss.

        Returns:
            quantized [B, D, T], codes [B, 1, T], and the two losses.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            rows = to_rows(latents)
            codes = self.codebook.nearest(rows)
            values = self.codebook.lookup(codes)
            losses = {
                "codebook": codebook_loss(rows, values, mask),
                "commitment": self.commitment * commitment_loss(rows, values, mask),
            }
            return to_quantized(pass_gradient(rows, values, self.gradient), codes, losses)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, 1, T] into quantized latents [B, D, T]; -1 gives zeros.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=1, codebook_size=self.codebook_size)
        return self.codebook.lookup(codes[:, 0]).transpose(1, 2)

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return describe_book("vq", self.codebook)
