"""Vector quantization with an entropy term: sure of each frame, yet using the whole codebook.

Jansen et al. 2020, "Coincidence, Categorization, and Consolidation" (arXiv 1911.05894); for
codebooks Yu et al. 2023, "Language Model Beats Diffusion" (arXiv 2310.05737), equation 5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
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
    masked_mean,
    pass_gradient,
    to_quantized,
    to_rows,
)
from fsq_audio.quantizers.ranks import all_sum


@register_quantizer("entropy_vq")
class EntropyVectorQuantizer(nn.Module):
    """VQ whose loss adds `entropy`: weight (E[H(p)] - diversity H(E[p])), in nats.

    p = softmax(-||z - e||^2 / tau) over the codes of a frame. E[p] is that of all processes: their
    averaged gradients are those of the entropy over the whole batch of a pass.
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
            quantized [B, D, T], codes [B, 1, T], losses; `entropy` in training only, where all
            processes must make the same number of passes.

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
            if self.training:
                losses["entropy"] = self.entropy * self._entropy_loss(rows, mask)
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
        return describe_book("entropy_vq", self.codebook)

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
