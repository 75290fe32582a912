"""Training crops: deterministic per (seed, index), read by seeking."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from fsq_audio.errors import AudioError
from fsq_audio.layers import Context
from fsq_audio.training.augment import Augmentation
from fsq_audio.training.recordings import Recording, read_span, stretch

_LOG = logging.getLogger(__name__)
MAX_ATTEMPTS = 10


class CropDataset(Dataset[Tensor]):
    """Random crops with the audio around them; recordings weigh by their duration.

    A crop is a function of (seed, index): a run resumes from its step, and any number of processes
    and workers draws the same ones. Where a recording cannot be read, another one takes its place,
    which is a function of (seed, index), too.

    Args:
        recordings: what to draw from; other sample rates are resampled.
        sample_rate: samples per second of the crops.
        crop_samples: S, samples per crop.
        context: samples before and after a crop; zeros beyond a recording's ends.
        gain_db: the level changes by up to this many decibels, never beyond full scale.
        speed: the playing speed changes by up to this factor minus one, up or down.
        augmentations: applied in order, before the gain.
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
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        self.recordings = recordings
        self.sample_rate = sample_rate
        self.crop_samples = crop_samples
        self.context = context
        self.gain_db = gain_db
        self.speed = speed
        self.augmentations = tuple(augmentations)
        self.seed = seed
        self.num_items = num_items
        lengths = [round(r.num_samples * sample_rate / r.sample_rate) for r in recordings]
        self._ends = np.cumsum(lengths)
        self._told: set[Recording] = set()
        # Shared, since the readers are other processes.
        self._num_failed = multiprocessing.Value("q", 0)

    @property
    def num_failed(self) -> int:
        """Crops so far of another recording than was drawn, workers included."""
        return int(self._num_failed.value)

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> Tensor:
        """One crop with its context: `[left + crop_samples + right]` float32.

        Raises:
            AudioError: ten recordings drawn in a row cannot be read.
        """
        if not 0 <= index < self.num_items:
            raise IndexError(index)
        reason: AudioError | None = None
        for attempt in range(MAX_ATTEMPTS):
            key = (self.seed, index, attempt) if attempt else (self.seed, index)
            choose = np.random.default_rng(key)
            chosen = int(np.searchsorted(self._ends, choose.integers(self._ends[-1]), side="right"))
            recording = self.recordings[chosen]
            try:
                return self._crop(recording, choose)
            except AudioError as error:
                reason = error
                with self._num_failed.get_lock():
                    self._num_failed.value += attempt == 0
                # Each recording once (in each worker): a lost folder would fill the screen.
                if recording not in self._told:
                    self._told.add(recording)
                    _LOG.warning("crop %d, another takes its place: %s", index, error)
        raise AudioError(f"{MAX_ATTEMPTS} recordings in a row cannot be read, the last: {reason}")

    def _crop(self, recording: Recording, choose: np.random.Generator) -> Tensor:
        gain = 10 ** (choose.uniform(-self.gain_db, self.gain_db) / 20)
        speed = (1 + self.speed) ** choose.uniform(-1, 1)
        # Samples of the file per sample of the crop.
        speed *= recording.sample_rate / self.sample_rate
        num_samples = self.context.left + self.crop_samples + self.context.right
        num_read, before = round(num_samples * speed), round(self.context.left * speed)
        # Some crops reach over an end, so that clean starts and ends are learnt.
        crop = round(self.crop_samples * speed)
        margin, room = crop // 8, recording.num_samples - crop
        start = int(choose.integers(min(-margin, room), max(room + margin, 0) + 1)) - before
        waveform = read_span(recording, start=start, stop=start + num_read)
        if num_read != num_samples:
            waveform = stretch(waveform, num_samples)
        for augmentation in self.augmentations:
            waveform = augmentation(waveform, choose)
        return waveform * min(gain, 1 / max(float(waveform.abs().max()), 1e-4))
