"""Waveform -> latents: a front end that reaches the frame rate, and the trunk above it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.config import PITCH_HZ, ConvFrontEnd, SpectralFrontEnd, TokenizerConfig
from fsq_audio.filters import lag_filters, mel_filters
from fsq_audio.fourier import RealFourier
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
    """Short-time spectra, mel bands, their logarithm, the periods in them, a projection.

    Phase is dropped: at the rates of a tokenizer it cannot be sent, and magnitudes converge far
    sooner than raw samples. So is what mel bands drop: single harmonics, by which a small training
    set tells its speakers apart. What a deep voice needs of them, its period, is seen in the
    autocorrelation.
    """

    window: Tensor
    filters: Tensor
    lag_filters: Tensor

    # Below this power, 80 dB under a full-scale sine, the logarithm flattens out.
    FLOOR = 1e-8
    # Of the autocorrelation: its spectra are compressed, so that one strong formant does not pass
    # for a period, and its values, a few hundredths, are brought near unit spread.
    COMPRESSION, PERIOD_SCALE = 0.3, 20.0

    def __init__(
        self,
        config: SpectralFrontEnd,
        *,
        sample_rate: int,
        hop: int,
        channels: int,
        causal: bool,
    ) -> None:
        super().__init__()
        self.step = hop // config.subframes
        self.subframes = config.subframes
        self.window_length = config.window_length
        self.context = kernel_context(self.window_length - self.step, causal=causal)
        self.fourier = RealFourier(self.window_length)
        # A full-scale sine on a bin's centre has magnitude one.
        window = torch.hann_window(self.window_length, dtype=torch.float64, device="cpu")
        self.register_buffer("window", (window * (2 / window.sum())).float(), persistent=False)
        self.mel, self.lags = config.bands is not None, config.lags
        features = config.bands or self.window_length // 2 + 1
        if self.mel:
            filters = mel_filters(
                sample_rate=sample_rate, window_length=self.window_length, bands=features
            )
            self.register_buffer("filters", filters.T.contiguous().T, persistent=False)
        if self.lags:
            lowest, highest = PITCH_HZ
            filters = lag_filters(
                lowest=lowest, highest=highest, sample_rate=sample_rate, lags=self.lags
            )
            self.register_buffer("lag_filters", filters.T.contiguous().T, persistent=False)
        self.project = nn.Linear(self.subframes * (features + self.lags), channels)

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, context.left + T * hop + context.right]` -> `[B, C, T]`."""
        # Weak high partials would drown in the rounding of bfloat16 sums.
        with torch.autocast(waveform.device.type, enabled=False):
            frames = waveform.unfold(-1, self.window_length, self.step) * self.window
            real, imaginary = self.fourier(frames)
            power = torch.addcmul(real * real, imaginary, imaginary)
            # The affine constants centre speech near zero with unit spread.
            bands = F.linear(power, self.filters) if self.mel else power
            features = torch.log(bands + self.FLOOR) * 0.25 + 2.5
            if self.lags:
                features = torch.cat([features, self._periods(power)], dim=-1)
            batch, _, width = features.shape
        stacked = features.reshape(batch, -1, self.subframes * width)
        projected: Tensor = self.project(stacked)
        return projected.transpose(1, 2)

    def _periods(self, power: Tensor) -> Tensor:
        """Autocorrelation of the compressed spectra: `[B, N, bins]` -> `[B, N, lags]`."""
        correlation = self.fourier.inverse((power + self.FLOOR) ** self.COMPRESSION)
        correlation = correlation / correlation[..., :1]
        read = correlation[..., : self.lag_filters.shape[1]]
        return F.linear(read, self.lag_filters) * self.PERIOD_SCALE


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
        front_end,
        sample_rate=config.sample_rate,
        hop=config.hop_length,
        channels=channels,
        causal=config.causal,
    )
