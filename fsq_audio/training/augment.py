"""Noise, rooms and microphones for training crops; all choices are the crop's own generator's."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fsq_audio.training.config import DataConfig, EqualizerConfig, NoiseConfig, ReverbConfig
from fsq_audio.training.recordings import Recording, read_at_rate
from fsq_audio.training.sources import read_recordings


class Augmentation(Protocol):
    """Changes a crop."""

    def __call__(self, waveform: Tensor, choose: np.random.Generator) -> Tensor:
        """Maps `[S]` to `[S]`."""


class Noise:
    """Adds recorded noise, or coloured noise whose power falls with f^0 (white) to f^-2 (brown).

    Args:
        config: what noise, how often, how loud.
        sample_rate: of the crops.
    """

    def __init__(self, config: NoiseConfig, *, sample_rate: int) -> None:
        self.config = config
        self.sample_rate = sample_rate
        self.recordings = read_recordings(config.folder) if config.folder else None

    def __call__(self, waveform: Tensor, choose: np.random.Generator) -> Tensor:
        """Maps `[S]` to `[S]`; silence stays silent, since there is no level to go by."""
        if choose.random() >= self.config.probability:
            return waveform
        snr = choose.uniform(*self.config.snr_db)
        if self.recordings is None:
            noise = coloured_noise(len(waveform), slope=choose.uniform(0, 1), choose=choose)
        else:
            noise = self._recorded(self.recordings, len(waveform), choose)
        level = _rms(waveform) / max(_rms(noise), 1e-8) * 10 ** (-snr / 20)
        return waveform + noise * level

    def _recorded(
        self, recordings: list[Recording], length: int, choose: np.random.Generator
    ) -> Tensor:
        recording = recordings[int(choose.integers(len(recordings)))]
        total = max(int(recording.num_samples * self.sample_rate / recording.sample_rate), 1)
        start = int(choose.integers(max(total - length, 0) + 1))
        stop = min(start + length, total)
        noise = read_at_rate(recording, start=start, stop=stop, sample_rate=self.sample_rate)
        return noise.repeat(-(-length // len(noise)))[:length]


class Reverb:
    """Convolves with recorded impulse responses, or with exponentially decaying noise.

    Args:
        config: what rooms, how often.
        sample_rate: of the crops.
    """

    MAX_SECONDS = 1.0

    def __init__(self, config: ReverbConfig, *, sample_rate: int) -> None:
        self.config = config
        self.sample_rate = sample_rate
        self.recordings = read_recordings(config.folder) if config.folder else None

    def __call__(self, waveform: Tensor, choose: np.random.Generator) -> Tensor:
        """Maps `[S]` to `[S]` of the same level; the direct sound stays where it was."""
        if choose.random() >= self.config.probability:
            return waveform
        longest = int(self.MAX_SECONDS * self.sample_rate)
        if self.recordings is None:
            decay = choose.uniform(*self.config.decay_seconds)
            time = np.arange(longest) / self.sample_rate
            tail = choose.standard_normal(longest) * 10 ** (-3 * time / decay)
            # Direct sound 0 to 12 dB above all of the tail.
            tail *= 10 ** (-choose.uniform(0, 12) / 20) / np.sqrt(np.square(tail).sum())
            response = torch.from_numpy(tail).float()
            response[0] = 1
        else:
            chosen = self.recordings[int(choose.integers(len(self.recordings)))]
            total = int(chosen.num_samples * self.sample_rate / chosen.sample_rate)
            whole = read_at_rate(chosen, start=0, stop=total, sample_rate=self.sample_rate)
            response = whole[int(whole.abs().argmax()) :][:longest]
        size = len(waveform) + len(response) - 1
        return filtered(waveform, torch.fft.rfft(response, size), size=size)


class Equalizer:
    """Filters with a random frequency response, smooth over octaves, without delay.

    Args:
        config: how often, how much.
        sample_rate: of the crops.
    """

    LOWEST_HZ = 60.0

    def __init__(self, config: EqualizerConfig, *, sample_rate: int) -> None:
        self.config = config
        self.sample_rate = sample_rate

    def __call__(self, waveform: Tensor, choose: np.random.Generator) -> Tensor:
        """Maps `[S]` to `[S]` of the same level."""
        if choose.random() >= self.config.probability:
            return waveform
        # A tenth of a second of zeros: what rings on must not come round to the start.
        size = len(waveform) + self.sample_rate // 10
        frequencies = np.fft.rfftfreq(size, 1 / self.sample_rate).clip(self.LOWEST_HZ)
        octaves = np.log2(frequencies / self.LOWEST_HZ)
        points = np.arange(np.ceil(octaves[-1]) + 1)
        gains = choose.uniform(-self.config.gain_db, self.config.gain_db, len(points))
        response = torch.from_numpy(10 ** (np.interp(octaves, points, gains) / 20)).float()
        return filtered(waveform, response, size=size)


def build_augmentations(config: DataConfig, *, sample_rate: int) -> list[Augmentation]:
    """What the configuration asks for: the room, the noise in it, then the microphone."""
    augmentations: list[Augmentation] = []
    if config.reverb is not None:
        augmentations.append(Reverb(config.reverb, sample_rate=sample_rate))
    if config.noise is not None:
        augmentations.append(Noise(config.noise, sample_rate=sample_rate))
    if config.equalizer is not None:
        augmentations.append(Equalizer(config.equalizer, sample_rate=sample_rate))
    return augmentations


def filtered(waveform: Tensor, response: Tensor, *, size: int) -> Tensor:
    """A waveform `[S]` through a filter, at the level that it had.

    Args:
        waveform: `[S]`.
        response: the filter's spectrum `[size // 2 + 1]`.
        size: samples of the transform; what rings on beyond them comes round to the start.
    """
    changed = torch.fft.irfft(torch.fft.rfft(waveform, size) * response, size)[: len(waveform)]
    levelled: Tensor = changed * (_rms(waveform) / max(_rms(changed), 1e-8))
    return levelled


def coloured_noise(length: int, *, slope: float, choose: np.random.Generator) -> Tensor:
    """Noise `[length]` whose magnitudes fall with f^-slope."""
    spectrum = np.fft.rfft(choose.standard_normal(length))
    spectrum *= np.arange(1, len(spectrum) + 1) ** -slope
    return torch.from_numpy(np.fft.irfft(spectrum, length)).float()


def _rms(waveform: Tensor) -> float:
    return float(waveform.square().mean().sqrt())
