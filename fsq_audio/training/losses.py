"""Reconstruction losses on spectra at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.config import PITCH_HZ
from fsq_audio.filters import mel_filters
from fsq_audio.layers import Context
from fsq_audio.training.pitch import VoicingEstimate, estimate_pitch


class SpectralLoss(nn.Module):
    """Mean absolute difference of log spectra, summed over scales (Kumar et al. 2023, section 3.4).

    Args:
        sample_rate: of both waveforms.
        windows: window length of each scale in samples; the hop is a quarter of it.
        bands: mel bands of each scale.
        magnitudes: whether the distance of log magnitudes is wanted, too.
    """

    # 70 dB under the power of a full-scale sine: quieter is silence, and costs no effort.
    FLOOR = 1e-7

    def __init__(
        self,
        *,
        sample_rate: int,
        windows: Sequence[int],
        bands: Sequence[int],
        magnitudes: bool = False,
    ) -> None:
        super().__init__()
        self.windows, self.magnitudes = tuple(windows), magnitudes
        for length, num_bands in zip(windows, bands, strict=True):
            window = torch.hann_window(length)
            filters = mel_filters(sample_rate=sample_rate, window_length=length, bands=num_bands)
            self.register_buffer(f"window_{length}", window * (2 / window.sum()), False)
            self.register_buffer(f"filters_{length}", filters, False)

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The distances, each a mean over the scales, in units of log10 (a factor of ten is 1).

        Args:
            output: `[B, S]`, with gradient.
            target: `[B, S]`.

        Returns:
            Scalars: `mel`, and, if it is wanted, `stft`.
        """
        distances: dict[str, list[Tensor]] = {}
        for length in self.windows:
            powers = self._power(output, length), self._power(target, length)
            filters = self.get_buffer(f"filters_{length}")
            mels = [F.linear(power, filters) for power in powers]
            distances.setdefault("mel", []).append(self._distance(*mels))
            if self.magnitudes:
                distances.setdefault("stft", []).append(self._distance(*powers))
        return {name: torch.stack(scales).mean() for name, scales in distances.items()}

    def _distance(self, output: Tensor, target: Tensor) -> Tensor:
        logs = [0.5 * torch.log10(power + self.FLOOR) for power in (output, target)]
        return F.l1_loss(logs[0], logs[1])

    def _power(self, waveform: Tensor, length: int) -> Tensor:
        frames = waveform.unfold(-1, length, length // 4) * self.get_buffer(f"window_{length}")
        power: Tensor = PowerSpectrum.apply(frames)
        return power


class PowerSpectrum(torch.autograd.Function):
    """`[..., N]` -> `[..., N // 2 + 1]`, the squared magnitudes of `torch.fft.rfft`.

    Its gradient is real, and so an inverse FFT to real numbers. torch's own goes through a complex
    one of full length, and takes several times as long.
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor) -> Tensor:
        """The powers."""
        spectrum = torch.fft.rfft(frames)
        ctx.save_for_backward(spectrum)
        ctx.length = frames.shape[-1]
        parts = torch.view_as_real(spectrum)
        return parts[..., 0].square().addcmul_(parts[..., 1], parts[..., 1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient of the frames."""
        (spectrum,) = ctx.saved_tensors
        (gradient,) = gradients
        weighted = spectrum * gradient
        # An inverse FFT to real numbers counts twice what has a mirror image, as the factor two of
        # a square's derivative does here: so only bins without one are doubled.
        weighted[..., 0] *= 2
        if ctx.length % 2 == 0:
            weighted[..., -1] *= 2
        frames: Tensor = torch.fft.irfft(weighted, n=ctx.length, norm="forward")
        return frames


def saturation_loss(scalars: Tensor) -> Tensor:
    """Mean squared excess of the scalars `[B, D, T]` beyond +-2, where tanh has flattened out."""
    return (scalars.abs() - 2).relu().square().mean()


class SourceLoss(nn.Module):
    """How far a decoder's source is from what can be measured of the original.

    Args:
        sample_rate: of the waveforms, in Hz.
        voicing_bands: of the source.
    """

    def __init__(self, *, sample_rate: int, voicing_bands: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.estimate_voicing = VoicingEstimate(sample_rate=sample_rate, bands=voicing_bands)

    def forward(
        self, octaves: Tensor, voicing: Tensor, waveform: Tensor, *, context: Context
    ) -> tuple[Tensor, Tensor]:
        """The distances of pitch and voicing.

        Args:
            octaves: `[B, N]` above the lowest of `PITCH_HZ`, for the ends of N equal steps.
            voicing: `[B, N, bands]`, shares of the pulses in the middle of the steps.
            waveform: `[B, left + N * step + right]`, what was encoded.
            context: left and right, in samples.

        Returns:
            Two scalars: the mean distance to the estimated pitch in octaves, where speech is
            periodic (0 where nothing is), and the mean squared distance to the estimated voicing.
        """
        num_steps = octaves.shape[-1]
        step = (waveform.shape[-1] - sum(context)) // num_steps
        ends = context.left + step * torch.arange(1, num_steps + 1, device=waveform.device)
        frequency, periodicity = estimate_pitch(waveform, ends, sample_rate=self.sample_rate)
        weight = periodicity.square()
        distance = (octaves - torch.log2(frequency / PITCH_HZ[0])).abs()
        pitch = (weight * distance).sum() / weight.sum().clamp(min=1.0)
        measured = self.estimate_voicing(waveform, ends - step // 2, frequency)
        return pitch, F.mse_loss(voicing, measured)
