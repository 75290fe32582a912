"""What training teaches the decoder's source: pitch and voicing, from normalised correlations."""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.config import PITCH_HZ
from fsq_audio.filters import band_shares, mel_filters

INTEGRATION_SECONDS = 0.04
# Above, formants make peaks of their own.
CUTOFF_HZ = 1000.0
# Of two lags that fit equally well, the shorter is the period: an octave costs this much.
OCTAVE_COST = 0.02


@torch.no_grad()
def estimate_pitch(waveform: Tensor, centres: Tensor, *, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Fundamental frequency and periodicity, by normalised cross-correlation (Talkin 1995).

    Args:
        waveform: `[B, S]`.
        centres: `[N]` int64, the samples at which it is asked for.
        sample_rate: in Hz.

    Returns:
        F0 `[B, N]` in Hz, and the correlation `[B, N]`, 0 to 1, of a period with the next: near
        one where the frame is voiced.
    """
    shortest, longest = round(sample_rate / PITCH_HZ[1]), round(sample_rate / PITCH_HZ[0])
    integrated = round(INTEGRATION_SECONDS * sample_rate)
    length = integrated + longest + 1
    size = 1 << (2 * length - 1).bit_length() - 1
    # Crops have any length, and some take an FFT many times as long as their neighbours.
    smooth = next_fast_len(waveform.shape[-1], real=True)
    spectrum = torch.fft.rfft(waveform, n=smooth)
    spectrum[..., round(CUTOFF_HZ / sample_rate * smooth) :] = 0
    low = torch.fft.irfft(spectrum, n=smooth)[..., : waveform.shape[-1]]
    low = F.pad(low, (length, length))
    # A lag compares the halves of a stretch whose middle is the centre: here, for all lags at once,
    # the middle of the shortest.
    starts = centres + length - (integrated + shortest) // 2
    frames = low.unfold(-1, length, 1)[:, starts]
    head = torch.fft.rfft(frames[..., :integrated], n=size)
    whole = torch.fft.rfft(frames, n=size)
    products = torch.fft.irfft(head.conj() * whole, n=size)[..., shortest - 1 : longest + 2]
    # A running sum needs float64, which Apple's mps has not: there the CPU takes it.
    exact = low.cpu() if low.device.type == "mps" else low
    energy = F.pad(exact.double().square().cumsum(-1), (1, 0))
    # Of every stretch of the recording, by where it starts; then of those that lags away start.
    energies = (energy[:, integrated:] - energy[:, :-integrated]).clamp(min=0)
    energies = energies.unfold(-1, longest + 2, 1)[:, starts.to(exact.device)]
    floor = 1e-7 * integrated
    scale = ((energies[..., shortest - 1 :] + floor) * (energies[..., :1] + floor)).sqrt()
    correlation = (products.to(exact.device) / scale).float().to(waveform.device)
    lags = torch.arange(shortest - 1, longest + 2, device=waveform.device)
    scores = correlation - OCTAVE_COST * torch.log2(lags / lags[0])
    peak = (scores[..., 1:-1] > scores[..., :-2]) & (scores[..., 1:-1] >= scores[..., 2:])
    best = torch.where(peak, scores[..., 1:-1], -2.0).argmax(-1, keepdim=True) + 1
    before, top, after = (correlation.gather(-1, best + shift).squeeze(-1) for shift in (-1, 0, 1))
    # The vertex of the parabola through the peak and its neighbours.
    bend = (before + after - 2 * top).clamp(max=-1e-6)
    lag = lags[best.squeeze(-1)] + ((before - after) / (2 * bend)).clamp(-0.5, 0.5)
    # Of three neighbours the middle one: a single jump is an error.
    median = F.pad(lag, (1, 1), mode="replicate").unfold(-1, 3, 1).median(-1).values
    return sample_rate / median, top.clamp(0, 1)


class VoicingEstimate(nn.Module):
    """How periodic each band of a waveform is: its autocorrelation at the period.

    Args:
        sample_rate: in Hz.
        bands: mel-spaced.
    """

    WINDOW_SECONDS = 0.064
    # A voice is never quite in tune with the estimate, and high bands are the first to tell.
    DETUNINGS = (0.96, 0.98, 1.0, 1.02, 1.04)
    # What noise reaches by chance in a band of this many bins, and what a clear voice does.
    NOISE, VOICE = 0.35, 0.85

    window: Tensor
    filters: Tensor
    decay: Tensor

    def __init__(self, *, sample_rate: int, bands: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        length = self.length = 2 * round(self.WINDOW_SECONDS * sample_rate / 2)
        window = torch.hann_window(length)
        filters = mel_filters(sample_rate=sample_rate, window_length=length, bands=bands)
        self.register_buffer("window", window, False)
        self.register_buffer("filters", band_shares(filters), False)
        # The window's own autocorrelation, by which that of a steady tone falls.
        decay = torch.fft.irfft(torch.fft.rfft(window, n=2 * length).abs().square())[:length]
        self.register_buffer("decay", decay / decay[0], False)

    @torch.no_grad()
    def forward(self, waveform: Tensor, centres: Tensor, frequency: Tensor) -> Tensor:
        """Measures the voicing.

        Args:
            waveform: `[B, S]`.
            centres: `[N]` int64, the samples at which it is asked for.
            frequency: `[B, N]`, the fundamental there, in Hz.

        Returns:
            `[B, N, bands]`, from 0 for noise to 1 for a voice.
        """
        half = self.length // 2
        frames = F.pad(waveform, (half, half)).unfold(-1, self.length, 1)[:, centres]
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
        power = spectrum[..., 0].square() + spectrum[..., 1].square()
        total = F.linear(power, self.filters) + 1e-9 * self.length
        turns = torch.arange(half + 1, device=waveform.device) / self.length
        best = torch.zeros_like(total)
        for detuning in self.DETUNINGS:
            lag = self.sample_rate / (frequency * detuning)
            phase = 2 * math.pi * turns * lag[..., None]
            parts = (F.linear(power * wave, self.filters) for wave in (phase.cos(), phase.sin()))
            correlation = torch.hypot(*parts) / total
            best = torch.maximum(best, correlation / self.decay[lag.round().long(), None])
        return ((best - self.NOISE) / (self.VOICE - self.NOISE)).clamp(0, 1)
