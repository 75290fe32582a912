"""The Fourier transform of frames, as one part that a module holds: an export takes another."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RealFourier(nn.Module):
    """The fast transform of real frames; real and imaginary parts apart."""

    def __init__(self, length: int) -> None:
        """Fixes the length of the frames.

        Args:
            length: N, in samples; even.
        """
        super().__init__()
        self.length = length

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[..., N]` -> real and imaginary parts `[..., N / 2 + 1]`."""
        real, imaginary = torch.view_as_real(torch.fft.rfft(frames)).unbind(-1)
        return real, imaginary

    def inverse(self, real: Tensor, imaginary: Tensor | None = None) -> Tensor:
        """Parts `[..., N / 2 + 1]`, or spectra that are all real -> frames `[..., N]`."""
        spectra = real if imaginary is None else torch.complex(real, imaginary)
        frames: Tensor = torch.fft.irfft(spectra, n=self.length)
        return frames
