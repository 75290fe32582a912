"""A loss on what is heard: loudness in critical bands, after the perceptual model of PESQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.filters import band_shares, mel_filters


class LoudnessLoss(nn.Module):
    """How much louder or softer the output sounds than its target, moment by moment.

    After ITU-T P.862, section 10.2 (see also Martin-Donas et al. 2018): powers in critical bands,
    at the level that makes the target speech; Zwicker's loudness above the threshold of hearing; a
    dead zone in which differences are masked. What was added counts more than what is missing, and
    bad moments count more than their share.

    It is no PESQ. Above all, it forgives no gain and no filter: P.862 sets both signals to one
    level, and equalises the original to what was made of it. A tokenizer that was trained with
    that whistled at 3 kHz, day and night: the tone was equalised away, and the rest scored better.
    Even so, PESQ is no independent measure of a model that was trained with this.

    Args:
        sample_rate: of both waveforms, in Hz.
        bands: mel bands; 49 are about as wide as critical bands, up to 8 kHz.
    """

    window: Tensor
    filters: Tensor
    speech: Tensor
    threshold: Tensor

    WINDOW_SECONDS = 0.032
    # Where speech has its level, and what it is set to. Powers are 10 ** (dB SPL / 10).
    SPEECH_HZ = (325.0, 3250.0)
    SPEECH_POWER = 1e7
    # Crops below this mean square (-50 dB) are pauses, and stay soft.
    QUIET = 1e-5
    # Zwicker's law.
    EXPONENT, SCALE = 0.23, 0.187
    # Frames of a moment (0.32 s), and the norm over them.
    MOMENT, MOMENT_NORM = 20, 6
    # Of the two disturbances in P.862's score, times the 21 Bark over which it sums them.
    SYMMETRIC, ASYMMETRIC = 2.1, 0.65

    def __init__(self, *, sample_rate: int, bands: int = 49) -> None:
        super().__init__()
        self.length = round(self.WINDOW_SECONDS * sample_rate)
        window = torch.hann_window(self.length)
        # With this scale, the powers of the bins add up to the mean square.
        scale = (2 / self.length / window.square().sum()).sqrt()
        filters = mel_filters(sample_rate=sample_rate, window_length=self.length, bands=bands)
        frequencies = torch.arange(self.length // 2 + 1) * sample_rate / self.length
        lowest, highest = self.SPEECH_HZ
        # Terhardt's threshold (1979), in dB; below 40 Hz it goes to infinity.
        khz = (filters @ frequencies).clamp(min=40.0) / 1000
        quiet = 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
        self.register_buffer("window", window * scale, False)
        # Each bin's power is shared among its bands.
        self.register_buffer("filters", band_shares(filters), False)
        self.register_buffer(
            "speech", ((frequencies > lowest) & (frequencies < highest)).float(), False
        )
        self.register_buffer("threshold", 10 ** (quiet / 10), False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The disturbance.

        Args:
            output: `[B, S]` of 0.4 s or more, with gradient.
            target: `[B, S]`.

        Returns:
            A scalar: near 0 for equal waveforms, 1 to 2 for fair speech, 4 for bad.
        """
        powers = [self._power(waveform) for waveform in (output, target)]
        level = (powers[1] @ self.speech).mean(-1).clamp(min=self.QUIET)[:, None, None]
        degraded, reference = (
            F.linear(p * (self.SPEECH_POWER / level), self.filters) for p in powers
        )
        heard = self._loudness(degraded), self._loudness(reference)
        difference = (heard[0] - heard[1]).abs()
        difference = (difference - 0.25 * torch.minimum(*heard)).relu()
        added = ((degraded + 50) / (reference + 50)) ** 1.2
        added = torch.where(added < 3, 0.0, added.clamp(max=12))
        audible = (reference * (reference > self.threshold)).sum(-1)
        loud = ((audible + 1e5) / self.SPEECH_POWER) ** 0.04
        symmetric = (difference.square().mean(-1) + 1e-8).sqrt() / loud
        asymmetric = (difference * added).mean(-1) / loud
        return self.SYMMETRIC * self._over_time(symmetric) + self.ASYMMETRIC * self._over_time(
            asymmetric
        )

    def _power(self, waveform: Tensor) -> Tensor:
        frames = waveform.unfold(-1, self.length, self.length // 2) * self.window
        return torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1)

    def _loudness(self, power: Tensor) -> Tensor:
        above = (0.5 + 0.5 * power / self.threshold).clamp(min=1) ** self.EXPONENT - 1
        return self.SCALE * (2 * self.threshold) ** self.EXPONENT * above

    def _over_time(self, disturbance: Tensor) -> Tensor:
        moments = disturbance.unfold(-1, self.MOMENT, self.MOMENT // 2)
        # The small constant keeps the gradient of the root finite where nothing is wrong.
        worst = (moments + 1e-4).pow(self.MOMENT_NORM).mean(-1).pow(1 / self.MOMENT_NORM)
        return worst.square().mean(-1).sqrt().mean()
