"""The pitch that training teaches the decoder's source: normalised cross-correlation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fsq_audio.config import PITCH_HZ

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
    spectrum = torch.fft.rfft(waveform)
    spectrum[..., round(CUTOFF_HZ / sample_rate * waveform.shape[-1]) :] = 0
    low = torch.fft.irfft(spectrum, n=waveform.shape[-1])
    low = F.pad(low, (length, length))
    # A lag compares the halves of a stretch whose middle is the centre: here, for all lags at once,
    # the middle of the shortest.
    starts = centres + length - (integrated + shortest) // 2
    frames = low[:, starts[:, None] + torch.arange(length, device=waveform.device)]
    head = torch.fft.rfft(frames[..., :integrated], n=size)
    whole = torch.fft.rfft(frames, n=size)
    products = torch.fft.irfft(head.conj() * whole, n=size)[..., shortest - 1 : longest + 2]
    energy = F.pad(frames.double().square().cumsum(-1), (1, 0))
    energies = (energy[..., integrated:] - energy[..., : length - integrated + 1])[
        ..., shortest - 1 : longest + 2
    ]
    floor = 1e-7 * integrated
    scale = ((energies + floor) * (energy[..., integrated, None] + floor)).sqrt()
    correlation = (products / scale).float()
    lags = torch.arange(shortest - 1, longest + 2, device=waveform.device)
    scores = correlation - OCTAVE_COST * torch.log2(lags / lags[0])
    peak = (scores[..., 1:-1] > scores[..., :-2]) & (scores[..., 1:-1] >= scores[..., 2:])
    best = torch.where(peak, scores[..., 1:-1], -2.0).argmax(-1, keepdim=True) + 1
    before, top, after = (correlation.gather(-1, best + shift).squeeze(-1) for shift in (-1, 0, 1))
    # The vertex of the parabola through the peak and its neighbours.
    bend = (before + after - 2 * top).clamp(max=-1e-6)
    lag = lags[best.squeeze(-1)] + ((before - after) / (2 * bend)).clamp(-0.5, 0.5)
    # Of three neighbours the middle one: a single jump is an error.
    smooth = F.pad(lag, (1, 1), mode="replicate").unfold(-1, 3, 1).median(-1).values
    return sample_rate / smooth, top.clamp(0, 1)
