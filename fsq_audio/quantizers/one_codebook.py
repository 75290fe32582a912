"""What quantizers of one learnt codebook share: the contract around how each treats a frame."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from fsq_audio.quantizers.base import Quantized, check_codes, check_latents
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.rows import to_rows


class OneCodebookQuantizer(nn.Module, ABC):
    """A `Quantizer` of one group: a subclass makes its `codebook`, and writes `quantize_rows`."""

    codebook: Codebook
    num_groups: int = 1

    @property
    def channels(self) -> int:
        """C, the scalars of a vector where a subclass does not project them."""
        return self.codebook.dim

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.codebook.size

    @property
    def bits_per_frame(self) -> float:
        """log2 K."""
        return math.log2(self.codebook_size)

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents.

        Args:
            latents: [B, C, T], any strides.
            mask: [B, T] bool, True where a frame is real; others count in no loss and no statistic.

        Returns:
            quantized [B, C, T], codes [B, 1, T], and the losses that the class names.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            return self.quantize_rows(to_rows(latents), mask)

    @abstractmethod
    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Quantizes rows [B, T, C], checked and with autocast off; ends with `to_quantized`."""

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, 1, T] into quantized latents [B, C, T]; -1 gives zeros.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=1, codebook_size=self.codebook_size)
        return self.codebook.lookup(codes[:, 0]).transpose(1, 2)

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {
            "name": self.codebook.kind,
            "num_groups": 1,
            "codebook_size": self.codebook_size,
            "dim": self.codebook.dim,
        }
