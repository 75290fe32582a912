"""Waveform -> latents: a front end that reaches the frame rate, and the trunk above it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.config import ConvFrontEnd, SpectralFrontEnd, TokenizerConfig
from fsq_audio.errors import ConfigError
from fsq_audio.layers import SLOPE, Context, ResidualUnit, Trunk, kernel_context, leaky
from fsq_audio.source import HIGHEST_HZ, LOWEST_HZ


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
    """Short-time spectra, mel bands, their logarithm, a projection.

    Phase is dropped: at the rates of a tokenizer it cannot be sent, and magnitudes converge far
    sooner than raw samples. So is what mel bands drop: single harmonics, by which a small training
    set tells its speakers apart.
    """

    window: Tensor
    filters: Tensor

    # Below this power, 80 dB under a full-scale sine, the logarithm flattens out.
    FLOOR = 1e-8

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
        # A full-scale sine on a bin's centre has magnitude one.
        window = torch.hann_window(self.window_length, dtype=torch.float64)
        self.register_buffer("window", (window * (2 / window.sum())).float(), persistent=False)
        features = self.window_length // 2 + 1
        self.mel = config.bands is not None
        if config.bands is not None:
            features = config.bands
            filters = mel_filters(
                sample_rate=sample_rate, window_length=self.window_length, bands=features
            )
            self.register_buffer("filters", filters, persistent=False)
        self.lags = config.lags
        if config.lags:
            self.register_buffer(
                "at_lags",
                lag_interpolation(
                    config.lags, sample_rate=sample_rate, window_length=self.window_length
                ),
                persistent=False,
            )
        self.project = nn.Linear(self.subframes * (features + config.lags), channels)

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, context.left + T * hop + context.right]` -> `[B, C, T]`."""
        # Weak high partials would drown in the rounding of bfloat16 sums.
        with torch.autocast(waveform.device.type, enabled=False):
            frames = waveform.unfold(-1, self.window_length, self.step) * self.window
            real, imaginary = torch.view_as_real(torch.fft.rfft(frames)).unbind(-1)
            power = torch.addcmul(real * real, imaginary, imaginary)
            if self.lags:
                # Compressed spectra, so that one strong formant does not pass for a period.
                periods = torch.fft.irfft((power + self.FLOOR) ** 0.3)
                periods = periods / periods[..., :1]
                periods = F.linear(periods[..., : self.at_lags.shape[1]], self.at_lags) * 20
            if self.mel:
                power = F.linear(power, self.filters)
            # The affine constants centre speech near zero with unit spread.
            features = torch.log(power + self.FLOOR) * 0.25 + 2.5
            if self.lags:
                features = torch.cat([features, periods], dim=-1)
            batch, _, width = features.shape
        stacked = features.reshape(batch, -1, self.subframes * width)
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
        front_end,
        sample_rate=config.sample_rate,
        hop=config.hop_length,
        channels=channels,
        causal=config.causal,
    )


def mel_filters(*, sample_rate: int, window_length: int, bands: int) -> Tensor:
    """Triangular filters on Slaney's mel scale, from 0 Hz to half the sample rate.

    The shapes of `librosa.filters.mel`, whose import alone would double the start-up time. Rows sum
    to one: a band's value is a mean power, whatever its width.

    Args:
        sample_rate: of the waveform, in Hz.
        window_length: of the spectra, in samples.
        bands: number of filters.

    Returns:
        `[bands, window_length // 2 + 1]` float32.

    Raises:
        ConfigError: so many bands that one of them holds no bin.
    """
    # Linear below 1000 Hz, where 15 mel are reached; 27 mel for each factor of 6.4 above.
    top = sample_rate / 2
    top_mel = 3 * top / 200 if top < 1000 else 15 + 27 * math.log(top / 1000) / math.log(6.4)
    mels = torch.linspace(0, top_mel, bands + 2, dtype=torch.float64)
    edges = torch.where(mels < 15, 200 / 3 * mels, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = torch.arange(window_length // 2 + 1, dtype=torch.float64) * sample_rate / window_length
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    totals = filters.sum(1, keepdim=True)
    if not bool((totals > 0).all()):
        raise ConfigError(
            f"{bands} mel bands are too many for a window of {window_length} samples at "
            f"{sample_rate} Hz: some hold no bin; take fewer bands or a longer window"
        )
    return (filters / totals).float()


def lag_interpolation(count: int, *, sample_rate: int, window_length: int) -> Tensor:
    """Autocorrelation at integer lags -> at lags evenly spaced in octaves: `[count, lags]`."""
    shortest, longest = sample_rate / HIGHEST_HZ, sample_rate / LOWEST_HZ
    wanted = shortest * (longest / shortest) ** torch.linspace(0, 1, count, dtype=torch.float64)
    lags = torch.arange(min(round(longest) + 2, window_length // 2), dtype=torch.float64)
    return (1 - (lags - wanted[:, None]).abs()).clamp(min=0).float()
