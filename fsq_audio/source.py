"""The sound source of a decoder: pulses at the pitch of the voice, and noise.

Convolutions see some frames at a time, and have no memory for a phase that turns on and on: a
decoder made of them alone cannot keep a pitch, least of all a deep one. Here the codes give the
pitch, and its phase is summed up from the first sample of the recording. The sum is of integers:
so it is exact, and the same however a recording is cut.

Frames are cut into equal subframes. An advance is what the phase gains with each sample at the end
of a subframe; in between it changes linearly. Zero is silence.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fsq_audio.config import PITCH_HZ
from fsq_audio.layers import Context, Trunk

TURN = 1 << 32
"""A cycle, in units of advances and phases."""


class PitchPredictor(nn.Module):
    """Latents -> pitch at the end of each subframe.

    Attributes:
        context: frames of latents that it needs before and after.
        source_rows: integers per frame in what `source` returns.
    """

    def __init__(
        self, *, channels: int, width: int, sample_rate: int, hop: int, subframes: int
    ) -> None:
        super().__init__()
        self.sample_rate, self.subframes = sample_rate, subframes
        self.step = hop // subframes
        self.source_rows = 2 * subframes + 1
        self.project = nn.Linear(channels, width)
        self.trunk = Trunk(channels=width, num_blocks=2, expansion=2, kernel_size=3, causal=False)
        self.norm = nn.LayerNorm(width)
        self.octaves = nn.Linear(width, subframes)
        self.context: Context = self.trunk.context

    def forward(self, latents: Tensor) -> Tensor:
        """Pitch in octaves above the lowest of `PITCH_HZ`, up to the highest.

        Args:
            latents: `[B, C, context.left + T + context.right]`.

        Returns:
            `[B, T * subframes]` float32.
        """
        x = self.trunk(self.project(latents.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        lowest, highest = PITCH_HZ
        octaves = torch.sigmoid(self.octaves(self.norm(x)).float()) * math.log2(highest / lowest)
        return octaves.flatten(1)

    def advances(self, octaves: Tensor) -> Tensor:
        """`[B, T * subframes]` as `forward` returns them -> int64, cut off from gradients."""
        cycles = PITCH_HZ[0] / self.sample_rate * torch.exp2(octaves.detach())
        return (cycles * TURN).round().long()

    def source(self, advances: Tensor) -> Tensor:
        """What the source does in each frame of a whole recording.

        Args:
            advances: `[B, T * subframes]` int64, from the first frame on.

        Returns:
            `[B, source_rows, T]` int64: advances, phases, and the number of the frame.
        """
        return RunningSource(subframes=self.subframes, step=self.step).push(advances)


class RunningSource:
    """What the source does in a recording that comes in pieces: what `source` says of the whole."""

    def __init__(self, *, subframes: int, step: int) -> None:
        """Begins before the first frame.

        Args:
            subframes: of a frame.
            step: samples per subframe, even.
        """
        self._subframes, self._step = subframes, step
        self._last: Tensor | None = None
        self._phase: Tensor | int = 0
        self._num_frames = 0

    def push(self, advances: Tensor) -> Tensor:
        """Of the next frames: `[B, T * subframes]` int64 -> `[B, source_rows, T]` int64."""
        if advances.shape[-1] == 0:
            return advances.new_zeros(len(advances), 2 * self._subframes + 1, 0)
        last = advances[..., :1] if self._last is None else self._last
        gained = _gained(torch.cat([last, advances], dim=-1), step=self._step)[..., 1:]
        total = self._phase + gained.cumsum(-1)
        parts = advances, (total - gained) % TURN
        rows = [part.view(len(part), -1, self._subframes) for part in parts]
        num_frames = rows[0].shape[1]
        count = self._num_frames + torch.arange(num_frames, device=advances.device)
        self._last, self._phase = advances[..., -1:], total[..., -1:] % TURN
        self._num_frames += num_frames
        rows.append(count[None, :, None].expand(len(advances), -1, 1))
        return torch.cat(rows, dim=2).transpose(1, 2)


def pulse_train(advances: Tensor, phases: Tensor, *, step: int) -> Tensor:
    """All harmonics up to half the sample rate, in phase, at unit power.

    Args:
        advances: `[B, N]` int64.
        phases: `[B, N]` int64, at the start of each subframe.
        step: samples per subframe.

    Returns:
        `[B, N * step]` float32.
    """
    last, first = advances.float() / TURN, _before(advances).float() / TURN
    n = torch.arange(step, device=advances.device, dtype=torch.float32)
    slope = (last - first)[..., None] / step
    phase = n * (first[..., None] + slope * (n / 2))
    phase += phases.float()[..., None] / TURN
    cycles_per_sample = first[..., None] + slope * n
    # At least one, as the lowest pitch has 160 at 16 kHz; silence divides by no zero.
    num_harmonics = (0.5 / cycles_per_sample.clamp_(min=1e-3)).floor_()
    # The sum of their cosines in closed form (Dirichlet's kernel), and its limit at the pulses.
    half_turns = phase.sub_(phase.round()).mul_(math.pi)
    denominator, width = half_turns.sin(), 2 * num_harmonics + 1
    ratio = half_turns.mul_(width).sin_().div_(denominator)
    cosines = torch.where(denominator.abs_() < 1e-4, width, ratio).sub_(1).div_(2)
    pulses = cosines.mul_((2 / num_harmonics).sqrt_())
    return (pulses * (advances[..., None] != 0)).flatten(1)


def even_noise(length: int) -> Tensor:
    """White noise that hardly fluctuates, the same always and everywhere: `[length]` float32.

    At unit power; each 10 ms of each mel band are about as loud as any other, as in what Pumplin
    (1985) called low-noise noise, but band by band. How it was made: `recipes/make_noise.py`.
    """
    noise = np.load(Path(__file__).with_name("noise.npy"), allow_pickle=False)
    return torch.from_numpy(np.resize(noise, length).astype(np.float32))


def _gained(advances: Tensor, *, step: int) -> Tensor:
    """What the phase gains in each subframe."""
    return (_before(advances) + advances) * (step // 2)


def _before(advances: Tensor) -> Tensor:
    """The advance at the start of each subframe: the one before's, or its own after silence."""
    shifted = torch.cat([advances[..., :1], advances[..., :-1]], dim=-1)
    return torch.where(shifted == 0, advances, shifted)
