"""Makes the noise of the decoder's source: white, and as even in time and frequency as it can be.

    python recipes/make_noise.py --output fsq_audio/noise.npy

Gaussian noise begins it; gradient descent then takes the fluctuations out of its short-time powers
in mel bands, at four resolutions at once. Another machine's noise differs in the last digits, so
the file that is packaged is what counts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsq_audio.files import replacing
from fsq_audio.filters import mel_filters

SAMPLE_RATE = 16_000
LENGTH = 40_960  # 2.56 s, then it repeats
WINDOWS, BANDS = (256, 512, 1024, 2048), (40, 64, 100, 128)


class Evenness:
    """Levels of the bands of a noise that goes round, beside those of white noise at unit power."""

    def __init__(self) -> None:
        self.windows = [torch.hann_window(length) for length in WINDOWS]
        self.filters = [
            mel_filters(sample_rate=SAMPLE_RATE, window_length=length, bands=bands)
            for length, bands in zip(WINDOWS, BANDS, strict=True)
        ]

    def __call__(self, noise: Tensor) -> list[Tensor]:
        """`[S]` -> for each resolution `[N, bands]`, in units of log10 of the amplitude."""
        levels = []
        for window, filters in zip(self.windows, self.filters, strict=True):
            length = len(window)
            circle = torch.cat([noise, noise[: length - length // 4]])
            frames = circle.unfold(0, length, length // 4) * window
            power = torch.fft.rfft(frames).abs().square() @ filters.T
            levels.append(0.5 * torch.log10(power / window.square().sum() + 1e-9))
        return levels


def deviations(levels: list[Tensor]) -> str:
    """The mean distance to an even level, in dB, for each resolution."""
    return ", ".join(f"{20 * float(level.abs().mean()):.2f}" for level in levels)


def make_noise(steps: int) -> Tensor:
    """The noise `[LENGTH]` float32."""
    evenness, places = Evenness(), np.random.RandomState(0)
    noise = torch.from_numpy(places.standard_normal(LENGTH).astype(np.float32))
    print(f"windows of {WINDOWS} samples: dB from even, Gaussian noise: ", end="")
    print(deviations(evenness(noise)))
    noise.requires_grad_()
    optimizer = torch.optim.Adam([noise])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        # Rolled, or it would be even only where the windows of this script lie.
        levels = evenness(noise.roll(int(places.randint(WINDOWS[-1] // 4))))
        loss = torch.stack([level.square().mean() for level in levels]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = noise.detach()
    noise /= noise.square().mean().sqrt()
    print(f"after {steps} steps: {deviations(evenness(noise.roll(37)))}")
    return noise


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    noise = make_noise(arguments.steps)
    with replacing(arguments.output) as path, open(path, "wb") as file:
        np.save(file, noise.numpy().astype(np.float16))


if __name__ == "__main__":
    main()
