"""Discriminators: several STFT resolutions and several periods, small enough for a CPU.

A first pilot, with three small STFT discriminators, lost: they stayed barely ahead of the
tokenizer, and on raw spectra they learnt nothing. What is done about it here, by design:

- **Input.** Speech spans some 60 dB, so raw spectra are a few large numbers among zeros.
  Magnitudes are compressed (exponent 0.3) with the phase kept, and each item is divided by the
  level of its recording: what is seen does not depend on gain.
- **Scale.** Losses are means over discriminators, layers and items, and feature distances are
  relative to the features of real speech, so that weights mean the same for any number of
  discriminators, and larger features cannot outgrow the spectral losses.
- **Time.** The discriminators have a learning rate of their own, learn alone for some steps, and
  are then faded in (`AdversarialConfig`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from fsq_audio.training.config import AdversarialConfig

SLOPE = 0.1
# 80 dB under full scale: no lower level is divided by, no lower magnitude has a steep power.
FLOOR = 1e-4


@dataclass(frozen=True)
class Judgement:
    """What one discriminator says.

    Attributes:
        scores: `[B, N]`, positive is real.
        features: the outputs of its inner layers, `[B, ...]` each.
    """

    scores: Tensor
    features: list[Tensor]

    def split(self, batch: int) -> tuple[Judgement, Judgement]:
        """The first `batch` items and the others."""
        parts = [(feature[:batch], feature[batch:]) for feature in self.features]
        return (
            Judgement(self.scores[:batch], [first for first, _ in parts]),
            Judgement(self.scores[batch:], [second for _, second in parts]),
        )

    def detach(self) -> Judgement:
        """The same numbers without gradients."""
        return Judgement(self.scores.detach(), [feature.detach() for feature in self.features])


class STFTDiscriminator(nn.Module):
    """Convolutions over one compressed complex spectrum (Defossez et al. 2022, section 3.4).

    The frequency axis shrinks by two in each layer, time is dilated instead, so that nearly all
    the arithmetic is in the first layers: that is what makes it cheap.

    Args:
        window_length: in samples; the hop is a quarter of it.
        channels: of every layer.
        compression: exponent of the magnitudes.
    """

    window: Tensor

    def __init__(self, *, window_length: int, channels: int, compression: float) -> None:
        super().__init__()
        self.window_length = window_length
        self.compression = compression
        window = torch.hann_window(window_length)
        # A full-scale sine has magnitude one.
        self.register_buffer("window", window * (2 / window.sum()), persistent=False)
        layers = [nn.Conv2d(2, channels, (3, 9), stride=(1, 2), padding=(1, 4))]
        layers += [
            nn.Conv2d(channels, channels, (3, 9), (1, 2), (dilation, 4), (dilation, 1))
            for dilation in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Compressed real and imaginary parts: `[B, S]` -> `[B, 2, frames, bins]`."""
        missing = max(self.window_length - waveform.shape[-1], 0)
        waveform = F.pad(waveform, (0, missing))
        frames = waveform.unfold(-1, self.window_length, self.window_length // 4) * self.window
        parts = torch.view_as_real(torch.fft.rfft(frames))
        # Not the square root's own gradient: it is infinite at silence.
        power = parts.square().sum(-1, keepdim=True) + FLOOR**2
        return (parts * power ** ((self.compression - 1) / 2)).movedim(-1, 1)

    def forward(self, waveform: Tensor) -> Judgement:
        """Judges `[B, S]`."""
        with torch.autocast(waveform.device.type, enabled=False):
            x = self.spectrum(waveform.float())
        return _judge(x, self.layers, self.last)


class PeriodDiscriminator(nn.Module):
    """Strided convolutions over samples that are one period apart (Kong et al. 2020, section 2.3).

    Args:
        period: in samples.
        channels: of the first layer; each later one has twice as many, up to 16 times.
    """

    def __init__(self, *, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, channels, 2 * channels, 4 * channels, 8 * channels]
        layers = [
            nn.Conv2d(narrow, wide, (5, 1), stride=(3, 1), padding=(2, 0))
            for narrow, wide in itertools.pairwise(widths)
        ]
        layers.append(nn.Conv2d(widths[-1], 16 * channels, (5, 1), padding=(2, 0)))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv2d(16 * channels, 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> Judgement:
        """Judges `[B, S]`."""
        whole = waveform[:, : waveform.shape[-1] // self.period * self.period]
        x = whole.reshape(len(whole), 1, -1, self.period)
        return _judge(x, self.layers, self.last)


def _judge(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x.float())
    return Judgement(last(x).flatten(1).float(), features)


class Discriminators(nn.Module):
    """All discriminators of a run as one module.

    `forward` takes real and resynthesized speech in one call, since DistributedDataParallel allows
    one forward for a backward.
    """

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        members: list[nn.Module] = [
            STFTDiscriminator(
                window_length=length,
                channels=config.stft_channels,
                compression=config.compression,
            )
            for length in config.stft_windows
        ]
        members += [
            PeriodDiscriminator(period=period, channels=config.period_channels)
            for period in config.periods
        ]
        self.members = nn.ModuleList(members)

    def forward(self, waveform: Tensor, level: Tensor) -> list[Judgement]:
        """Judges waveforms.

        Args:
            waveform: `[B, S]`.
            level: `[B]`, what each is divided by: the level of its original, so that a wrong level
                is still seen.
        """
        levelled = waveform / level[:, None]
        return [member(levelled) for member in self.members]


def speech_level(waveform: Tensor) -> Tensor:
    """Ten times the root mean square of each item, near the peak of speech: `[B, S]` -> `[B]`."""
    return 10 * waveform.square().mean(-1).sqrt().clamp(min=FLOOR)


def random_segment(*waveforms: Tensor, length: int | None) -> list[Tensor]:
    """The same stretch of each `[B, S]`, from a random place: `[B, min(length, S)]`; None: all."""
    num_samples = waveforms[0].shape[-1]
    length = min(length or num_samples, num_samples)
    start = int(torch.randint(num_samples - length + 1, ()))
    return [waveform[:, start : start + length] for waveform in waveforms]


def discriminator_loss(real: list[Judgement], fake: list[Judgement], *, kind: str) -> Tensor:
    """Hinge (Lim and Ye 2017) or least squares (Mao et al. 2017); mean over discriminators.

    Args:
        real: of recordings.
        fake: of resynthesis, cut off from the tokenizer.
        kind: "hinge" or "least_squares".

    Returns:
        A scalar; 2 where hinge discriminators know nothing, 0.5 where least squares do.
    """
    losses = []
    for r, f in zip(real, fake, strict=True):
        if kind == "hinge":
            losses.append(F.relu(1 - r.scores).mean() + F.relu(1 + f.scores).mean())
        else:
            losses.append((1 - r.scores).square().mean() + f.scores.square().mean())
    return torch.stack(losses).mean()


def adversarial_loss(fake: list[Judgement], *, kind: str) -> Tensor:
    """What the tokenizer minimises to be judged real: a scalar, mean over discriminators."""
    if kind == "hinge":
        return torch.stack([-f.scores.mean() for f in fake]).mean()
    return torch.stack([(1 - f.scores).square().mean() for f in fake]).mean()


def feature_matching_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Mean distance of features, relative to those of real speech (Defossez et al. 2022, eq. 2).

    The divisor is the item's own, so that the loss of a batch is the mean over its items.
    """
    losses = []
    for r, f in zip(real, fake, strict=True):
        for expected, feature in zip(r.features, f.features, strict=True):
            expected = expected.detach()
            distance = (feature - expected).abs().flatten(1).mean(1)
            losses.append((distance / expected.abs().flatten(1).mean(1).clamp(min=1e-3)).mean())
    return torch.stack(losses).mean()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, a backward pass goes through the module and leaves no gradients in it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
