"""Waveform -> latents: a front end that reaches the frame rate, and the trunk above it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.config import ConvFrontEnd, SpectralFrontEnd, TokenizerConfig
from fsq_audio.layers import SLOPE, Context, ResidualUnit, Trunk, kernel_context, leaky


class Encoder(nn.Module):
    """The encoder, evaluated "valid".

    Attributes:
        context: samples that it needs before and after the frames it returns.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        trunk = config.encoder.trunk
        self.front_end = build_front_end(config)
        self.trunk = Trunk(
            channels=trunk.channels,
            num_blocks=trunk.num_blocks,
            expansion=trunk.expansion,
            kernel_size=trunk.kernel_size,
            causal=config.causal,
        )
        self.context: Context = self.trunk.context.times(config.hop_length) + self.front_end.context

    def forward(self, waveform: Tensor) -> Tensor:
        """Latents of the frames inside the context.

        Args:
            waveform: `[B, context.left + T * hop_length + context.right]`, in [-1, 1].

        Returns:
            Latents `[B, C, T]`.
        """
        latents: Tensor = self.trunk(self.front_end(waveform))
        return latents


class SpectralProjection(nn.Module):
    """Short-time spectra by one convolution, compressed magnitudes, a projection.

    The kernels are windowed Fourier atoms; with `learn_atoms` they only start as those. Phase is
    dropped: at the rates of a tokenizer it cannot be sent, and magnitudes converge far sooner than
    raw samples.
    """

    atoms: Tensor

    # Below this power, 80 dB under a full-scale sine, the logarithm flattens out.
    FLOOR = 1e-8

    def __init__(self, config: SpectralFrontEnd, *, hop: int, channels: int, causal: bool) -> None:
        super().__init__()
        self.step = hop // config.subframes
        self.subframes = config.subframes
        self.window_length = config.window_length
        self.context = kernel_context(self.window_length - self.step, causal=causal)
        atoms = fourier_atoms(self.window_length)
        # A full-scale sine on a bin's centre has magnitude one. The factor stays outside the
        # atoms: as small as it would make them, one optimizer step would wipe them out.
        self.scale = 4 / self.window_length
        if config.learn_atoms:
            self.atoms = nn.Parameter(atoms)
        else:
            self.register_buffer("atoms", atoms, persistent=False)
        self.project = nn.Linear(self.subframes * (self.window_length // 2 + 1), channels)

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, context.left + T * hop + context.right]` -> `[B, C, T]`."""
        # Weak high partials would drown in the rounding of bfloat16 sums.
        with torch.autocast(waveform.device.type, enabled=False):
            frames = waveform.unfold(-1, self.window_length, self.step)
            spectra = F.linear(frames, self.atoms)
            real, imaginary = spectra.chunk(2, dim=-1)
            power = torch.addcmul(real * real, imaginary, imaginary) * self.scale**2
            # The affine constants centre speech near zero with unit spread.
            features = torch.log(power + self.FLOOR) * 0.25 + 2.5
            batch, _, bins = features.shape
        stacked = features.reshape(batch, -1, self.subframes * bins)
        projected: Tensor = self.project(stacked)
        return projected.transpose(1, 2)


class ConvDownsampler(nn.Module):
    """Strided convolutions with residual units on raw samples, after SEANet and DAC."""

    def __init__(self, config: ConvFrontEnd, *, channels: int, causal: bool) -> None:
        super().__init__()
        width = config.base_channels
        self.layers = nn.ModuleList([nn.Conv1d(1, width, 7)])
        self.context = Context(0, 0)
        contexts = [(1, kernel_context(6, causal=causal))]
        for stride in config.strides:
            for dilation in (1, 3):
                unit = ResidualUnit(width, dilation=dilation, causal=causal)
                self.layers.append(unit)
                contexts.append((1, unit.context))
            self.layers.append(nn.Sequential(nn.LeakyReLU(SLOPE), _strided(width, stride)))
            contexts.append((stride, kernel_context(stride, causal=causal)))
            width *= 2
        self.project = nn.Linear(width, channels)
        for stride, context in reversed(contexts):
            self.context = self.context.times(stride) + context

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, context.left + T * hop + context.right]` -> `[B, C, T]`."""
        x = waveform.unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        projected: Tensor = self.project(leaky(x).transpose(1, 2))
        return projected.transpose(1, 2)


def _strided(width: int, stride: int) -> nn.Conv1d:
    return nn.Conv1d(width, 2 * width, 2 * stride, stride=stride)


def build_front_end(config: TokenizerConfig) -> SpectralProjection | ConvDownsampler:
    """The front end that the configuration names."""
    front_end, channels = config.encoder.front_end, config.encoder.trunk.channels
    if isinstance(front_end, ConvFrontEnd):
        return ConvDownsampler(front_end, channels=channels, causal=config.causal)
    return SpectralProjection(
        front_end, hop=config.hop_length, channels=channels, causal=config.causal
    )


def fourier_atoms(length: int) -> Tensor:
    """Hann-windowed cosines, then sines: `[2 * (length // 2 + 1), length]` float32."""
    window = torch.hann_window(length, dtype=torch.float64)
    time = torch.arange(length, dtype=torch.float64) - length / 2
    bins = torch.arange(length // 2 + 1, dtype=torch.float64)
    angles = 2 * math.pi / length * bins[:, None] * time
    return (torch.cat([angles.cos(), angles.sin()]) * window).float()
