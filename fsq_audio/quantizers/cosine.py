"""Factorized vector quantization by direction: few dimensions, nearest by cosine.

Kumar et al. 2023, "High-Fidelity Audio Compression with Improved RVQGAN" (arXiv 2306.06546),
section 3.2; Yu et al. 2022, "Vector-quantized Image Modeling with Improved VQGAN" (2110.04627).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import DROPPED, Quantized, check_codes, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.exact import best_codes, fixed_linear, fixed_sum, widened
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.rows import (
    Gradient,
    check_numbers,
    codebook_loss,
    commitment_loss,
    pass_gradient,
    to_quantized,
)


@register_quantizer("cosine_vq")
class CosineVectorQuantizer(OneCodebookQuantizer):
    """VQ by the largest cosine; what is looked up keeps its length.

    `Projected` gives it `dim` scalars out of many channels, which is the factorization. With
    `width` it has projections of its own, as the stages of a residual quantizer need them: W -> D
    -> W. The losses are those of `VectorQuantizer`, in the D dimensions, lengths included.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        width: int | None = None,
        commitment: float = 0.25,
        gradient: Gradient = "straight_through",
    ) -> None:
        """Draws a codebook from a normal distribution.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            width: W, channels in and out; None is D, without projections.
            commitment: weight of the commitment term.
            gradient: how the gradient passes, see `pass_gradient`.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(gradient=gradient, commitment=commitment)
        if width is not None and width < 1:
            raise ConfigError(f"width must be positive or null, got {width}")
        self.codebook = Codebook("cosine_vq", codebook_size=codebook_size, dim=dim)
        self.project_in = None if width is None else nn.Linear(width, dim)
        self.project_out = None if width is None else nn.Linear(dim, width)
        self.commitment = commitment
        self.gradient: Gradient = gradient

    @property
    def channels(self) -> int:
        """C: D, or W."""
        return self.codebook.dim if self.project_in is None else self.project_in.in_features

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Chooses vectors for rows [B, T, C] by their direction."""
        rows = self._linear(self.project_in, rows)
        codes = self._search(rows)
        values = self.codebook.lookup(codes)
        losses = {
            "codebook": codebook_loss(rows, values, mask),
            "commitment": self.commitment * commitment_loss(rows, values, mask),
        }
        passed = pass_gradient(rows, values, self.gradient)
        return to_quantized(self._linear(self.project_out, passed), codes, losses)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, 1, T] into quantized latents [B, C, T]; -1 gives zeros.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=1, codebook_size=self.codebook_size)
        with torch.autocast(device_type=codes.device.type, enabled=False):
            values = self._linear(self.project_out, self.codebook.lookup(codes[:, 0]))
            return values.masked_fill(codes[:, 0, :, None] == DROPPED, 0.0).transpose(1, 2)

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {**super().describe(), "width": self.channels}

    def _search(self, rows: Tensor) -> Tensor:
        book = widened(self.codebook.values)
        # The row's own length is the same for all codes.
        book = book / fixed_sum(book * book).sqrt().clamp(min=1e-12)[:, None]
        return best_codes(rows, book, bias=book.new_zeros(len(book)))

    def _linear(self, layer: nn.Linear | None, rows: Tensor) -> Tensor:
        if layer is None:
            return rows
        weight, bias = layer.weight, layer.bias
        if self.training:
            return nn.functional.linear(rows, weight.to(rows.dtype), bias.to(rows.dtype))
        return fixed_linear(rows, weight, bias)
