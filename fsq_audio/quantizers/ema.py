"""Vector quantization with a codebook of moving averages.

van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1; counts are smoothed as in Sonnet's code.
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
    commitment_loss,
    describe_book,
    pass_gradient,
    real_rows,
    to_quantized,
    to_rows,
    widened,
)
from fsq_audio.quantizers.statistics import ClusterAverages


@register_quantizer("ema_vq")
class EMAVectorQuantizer(nn.Module):
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
        self.channels = dim
        self.num_groups = 1
        self.codebook_size = codebook_size
        self.bits_per_frame = math.log2(codebook_size)

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents; in training, remembers them until `end_step`.

        Args:
            latents: [B, D, T], any strides.
            mask: [B, T] bool, True where a frame is real; others count in no loss and no average.

        Returns:
            quantized [B, D, T], codes [B, 1, T], the commitment loss.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            rows = to_rows(latents)
            codes = self.codebook.nearest(rows)
            values = self.codebook.lookup(codes)
            if self.training:
                real = codes.flatten() if mask is None else codes[mask]
                self.averages.add(real_rows(rows, mask), real)
            losses = {"commitment": self.commitment * commitment_loss(rows, values, mask)}
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
        return describe_book("ema_vq", self.codebook)

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
