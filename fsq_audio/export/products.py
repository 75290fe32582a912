"""The Fourier transform as matrix products, for runtimes whose own transform is slow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FourierProduct(nn.Module):
    """What `fsq_audio.fourier.RealFourier` computes, by sums over cosines and sines.

    Cosines are even and sines odd about the middle of a frame, so that each product needs only
    half a frame: the sums, or the differences, of samples that lie opposite.
    """

    cosines: Tensor
    sines: Tensor
    weighted_cosines: Tensor
    weighted_sines: Tensor

    def __init__(self, length: int) -> None:
        """Prepares the matrices.

        Args:
            length: N, in samples; even.
        """
        super().__init__()
        assert length % 2 == 0
        self.length, self.middle = length, length // 2
        steps = torch.arange(self.middle + 1)
        # Reduced as integers: the angle of a large product would be a rounded one.
        angles = (steps[:, None] * steps % length).double() * (2 * math.pi / length)
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("sines", angles.sin()[1:-1].float(), persistent=False)
        # Each bin counts for itself and for its mirror image; the first and the last have none.
        weights = torch.full((self.middle + 1, 1), 2.0 / length)
        weights[0] = weights[-1] = 1.0 / length
        self.register_buffer("weighted_cosines", self.cosines * weights, persistent=False)
        self.register_buffer("weighted_sines", -self.sines.T * weights, persistent=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[..., N]` -> real and imaginary parts `[..., N / 2 + 1]`."""
        ahead = frames[..., 1 : self.middle]
        behind = frames[..., self.middle + 1 :].flip(-1)
        ends = frames[..., :1], frames[..., self.middle : self.middle + 1]
        even = torch.cat([ends[0], ahead + behind, ends[1]], dim=-1)
        return even @ self.cosines, (behind - ahead) @ self.sines

    def inverse(self, real: Tensor, imaginary: Tensor | None = None) -> Tensor:
        """Parts `[..., N / 2 + 1]`, or spectra that are all real -> frames `[..., N]`."""
        even = real @ self.weighted_cosines
        ends, middle = even[..., :1], even[..., self.middle :]
        inner = even[..., 1 : self.middle]
        if imaginary is None:
            return torch.cat([even, inner.flip(-1)], dim=-1)
        odd = imaginary @ self.weighted_sines
        return torch.cat([ends, inner + odd, middle, (inner - odd).flip(-1)], dim=-1)
