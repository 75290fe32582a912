"""Reconstruction losses on spectra at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence

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
    """

    # 70 dB under the power of a full-scale sine: quieter is silence, and costs no effort.
    FLOOR = 1e-7

    def __init__(self, *, sample_rate: int, windows: Sequence[int], bands: Sequence[int]) -> None:
        super().__init__()
        self.windows = tuple(windows)
        for length, num_bands in zip(windows, bands, strict=True):
            window = torch.hann_window(length)
            filters = mel_filters(sample_rate=sample_rate, window_length=length, bands=num_bands)
            self.register_buffer(f"window_{length}", window * (2 / window.sum()), False)
            self.register_buffer(f"filters_{length}", filters, False)

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The log-mel and the log-magnitude distance.

        Args:
            output: `[B, S]`, with gradient.
            target: `[B, S]`.

        Returns:
            Two scalars, each a mean over the scales, in units of log10 (a factor of ten is 1).
        """
        mel_distances, stft_distances = [], []
        for length in self.windows:
            powers = self._power(output, length), self._power(target, length)
            filters = self.get_buffer(f"filters_{length}")
            mels = [0.5 * torch.log10(F.linear(p, filters) + self.FLOOR) for p in powers]
            mel_distances.append(F.l1_loss(mels[0], mels[1]))
            magnitudes = [0.5 * torch.log10(p + self.FLOOR) for p in powers]
            stft_distances.append(F.l1_loss(magnitudes[0], magnitudes[1]))
        return torch.stack(mel_distances).mean(), torch.stack(stft_distances).mean()

    def _power(self, waveform: Tensor, length: int) -> Tensor:
        frames = waveform.unfold(-1, length, length // 4) * self.get_buffer(f"window_{length}")
        spectrum = torch.view_as_real(torch.fft.rfft(frames))
        return spectrum.square().sum(-1)


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
