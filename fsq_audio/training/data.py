"""Training crops out of a manifest: deterministic per (seed, index), read by seeking."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.layers import Context


@dataclass(frozen=True)
class Recording:
    """One line of a manifest.

    Attributes:
        path: the audio file.
        num_samples: its length at `sample_rate`.
        sample_rate: samples per second.
    """

    path: Path
    num_samples: int
    sample_rate: int


def read_manifest(path: str | Path) -> list[Recording]:
    """Reads a manifest: JSON lines with `audio_filepath`, `num_samples` and `sample_rate`.

    Args:
        path: the manifest; relative audio paths start at its folder.

    Raises:
        ConfigError: it cannot be read, a line is wrong, or it names no recording.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the manifest {path}: {error.strerror}") from error
    recordings = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            recordings.append(
                Recording(
                    path.parent / entry["audio_filepath"],
                    int(entry["num_samples"]),
                    int(entry["sample_rate"]),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}, is no manifest entry: {error!r}") from error
    if not recordings:
        raise ConfigError(f"the manifest {path} names no recording")
    return recordings


class CropDataset(Dataset[Tensor]):
    """Random crops with the audio around them; recordings weigh by their length.

    Item `index` depends on `(seed, index)` alone, so a run resumes by counting, and no state of a
    sampler is needed.

    Args:
        recordings: what to read, all at one sample rate.
        sample_rate: the rate that is expected of them.
        crop_samples: length of a crop.
        context: samples to read around a crop; zeros stand beyond a recording's ends.
        gain_db: the level changes by up to this many decibels, never beyond full scale.
        speed: the playing speed changes by up to this factor minus one, up or down.
        seed: of all choices.
        num_items: length of the dataset.
    """

    def __init__(
        self,
        recordings: list[Recording],
        *,
        sample_rate: int,
        crop_samples: int,
        context: Context,
        gain_db: float,
        speed: float,
        seed: int,
        num_items: int,
    ) -> None:
        for recording in recordings:
            if recording.sample_rate != sample_rate:
                raise ConfigError(
                    f"{recording.path} has {recording.sample_rate} Hz, the tokenizer expects "
                    f"{sample_rate} Hz: prepare the data at that rate"
                )
        self.recordings = recordings
        self.crop_samples = crop_samples
        self.context = context
        self.gain_db = gain_db
        self.speed = speed
        self.seed = seed
        self.num_items = num_items
        self._ends = np.cumsum([recording.num_samples for recording in recordings])

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> Tensor:
        """One crop with its context: `[left + crop_samples + right]` float32."""
        if not 0 <= index < self.num_items:
            raise IndexError(index)
        choose = np.random.default_rng((self.seed, index))
        chosen = int(np.searchsorted(self._ends, choose.integers(self._ends[-1]), side="right"))
        recording = self.recordings[chosen]
        gain = 10 ** (choose.uniform(-self.gain_db, self.gain_db) / 20)
        speed = (1 + self.speed) ** choose.uniform(-1, 1)
        num_samples = self.context.left + self.crop_samples + self.context.right
        num_read, before = round(num_samples * speed), round(self.context.left * speed)
        # Some crops reach over an end, so that clean starts and ends are learnt.
        crop = round(self.crop_samples * speed)
        margin, room = crop // 8, recording.num_samples - crop
        start = int(choose.integers(min(-margin, room), max(room + margin, 0) + 1)) - before
        waveform = read_span(recording, start=start, stop=start + num_read)
        if num_read != num_samples:
            changed = soxr.resample(waveform.numpy(), num_read, num_samples)
            waveform = torch.from_numpy(changed)[:num_samples]
            waveform = F.pad(waveform, (0, num_samples - len(waveform)))
        return waveform * min(gain, 1 / max(float(waveform.abs().max()), 1e-4))


def read_span(recording: Recording, *, start: int, stop: int) -> Tensor:
    """Samples `[stop - start]` of a recording; zeros beyond its ends.

    Raises:
        AudioError: the file cannot be read, or is shorter than the manifest says.
    """
    span = torch.zeros(stop - start)
    first, last = max(start, 0), min(stop, recording.num_samples)
    if first >= last:
        return span
    try:
        samples, _ = soundfile.read(
            str(recording.path), start=first, stop=last, dtype="float32", always_2d=True
        )
    except (OSError, RuntimeError) as error:
        raise AudioError(f"cannot read {recording.path}: {error}") from error
    if len(samples) != last - first:
        raise AudioError(
            f"{recording.path} ends before sample {last}, its manifest says "
            f"{recording.num_samples} samples: prepare the data again"
        )
    span[first - start : last - start] = torch.from_numpy(samples.mean(axis=1))
    return span
