"""The decoder's sound source: a pulse train that keeps its phase, and noise.

Convolutions have no memory for a phase that turns on and on, so a decoder of convolutions alone
cannot hold a pitch. Here the pitch of each subframe is read from the codes, and its phase is summed
up from the recording's first sample: in integers, so that the sum is exact, however it is split.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from fsq_audio.layers import Context, Trunk

LOWEST_HZ, HIGHEST_HZ = 50.0, 560.0
"""Fundamental frequencies that the source reaches."""

TURN = 1 << 32
"""A cycle in units of the integer phases."""


class PitchPredictor(nn.Module):
    """Latents -> fundamental frequency, at the end of each subframe.

    Attributes:
        context: frames of latents that it needs before and after.
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        sample_rate: int,
        hop: int,
        subframes: int,
        causal: bool,
    ) -> None:
        super().__init__()
        self.sample_rate, self.subframes = sample_rate, subframes
        self.step = hop // subframes
        self.source_rows = 2 * subframes
        self.project = nn.Linear(channels, width)
        self.trunk = Trunk(channels=width, num_blocks=2, expansion=2, kernel_size=3, causal=causal)
        self.norm = nn.LayerNorm(width)
        self.octaves = nn.Linear(width, subframes)
        self.context: Context = self.trunk.context

    def forward(self, latents: Tensor) -> Tensor:
        """`[B, C, left + T + right]` -> octaves above LOWEST_HZ `[B, T * subframes]`."""
        x = self.trunk(self.project(latents.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        top = math.log2(HIGHEST_HZ / LOWEST_HZ)
        octaves = torch.sigmoid(self.octaves(self.norm(x)).float()) * top
        return octaves.flatten(1)

    def advances(self, octaves: Tensor) -> Tensor:
        """What the phase gains with each sample, in units of 1 / TURN cycles: int64."""
        cycles = LOWEST_HZ / self.sample_rate * torch.exp2(octaves.detach())
        return (cycles * TURN).round().long()

    def source(self, advances: Tensor) -> Tensor:
        """Advances `[B, T * subframes]` from the first frame on -> `[B, source_rows, T]` int64."""
        phases = start_phases(advances, step=self.step)
        rows = [part.unflatten(1, (-1, self.subframes)) for part in (advances, phases)]
        return torch.cat(rows, dim=2).transpose(1, 2)


def _previous(advances: Tensor) -> Tensor:
    """Each subframe's advance at its start; where nothing was before, its own."""
    shifted = torch.cat([advances[..., :1], advances[..., :-1]], dim=-1)
    return torch.where(shifted == 0, advances, shifted)


def start_phases(advances: Tensor, *, step: int) -> Tensor:
    """Phase at the start of each subframe, in units of 1 / TURN cycles.

    Args:
        advances: `[..., N]` int64, per sample, at the end of each subframe; linear in between.
        step: samples per subframe, even.

    Returns:
        `[..., N]` int64 in [0, TURN).
    """
    gained = (_previous(advances) + advances) * (step // 2)
    return (gained.cumsum(-1) - gained) % TURN


def pulse_train(advances: Tensor, phases: Tensor, *, step: int) -> Tensor:
    """All harmonics below half the sample rate, in phase, at unit power.

    Args:
        advances: `[B, N]` int64, at the end of each subframe; zero is silence.
        phases: `[B, N]` int64, at the start of each subframe.
        step: samples per subframe.

    Returns:
        `[B, N * step]` float32.
    """
    end, start = advances.float() / TURN, _previous(advances).float() / TURN
    n = torch.arange(step, device=advances.device, dtype=torch.float32)
    slope = (end - start)[..., None] / step
    phase = phases.float()[..., None] / TURN + n * (start[..., None] + slope * (n / 2))
    frequency = start[..., None] + slope * n
    num_harmonics = (0.5 / frequency.clamp(min=1e-3)).floor()
    # The sum of the cosines in closed form (Dirichlet's kernel).
    half_turn = math.pi * (phase - phase.round())
    below = half_turn.sin()
    above = ((2 * num_harmonics + 1) * half_turn).sin()
    near = below.abs() < 1e-4
    ratio = torch.where(near, 2 * num_harmonics + 1, above / torch.where(near, 1.0, below))
    pulses = (ratio - 1) * (0.5 * (2 / num_harmonics).sqrt())
    return torch.where(advances[..., None] == 0, 0.0, pulses).flatten(1)


def white_noise(length: int) -> Tensor:
    """The same noise everywhere and always, at unit power: `[length]` float32."""
    # Of numpy's generators, the one whose stream never changes.
    return torch.from_numpy(np.random.RandomState(0).standard_normal(length).astype(np.float32))
