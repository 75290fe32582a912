"""What codes cost in bits: under a language model, and under the frequencies of codes alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from fsq_audio.errors import TokenError
from fsq_audio.language_model.model import UnitLanguageModel, next_id_nats, with_eos
from fsq_audio.units.arrays import Integers, check_codes

Bits: TypeAlias = NDArray[np.float64]


@torch.no_grad()
def model_bits(
    model: UnitLanguageModel, recordings: Iterable[Integers], *, batch_size: int = 16
) -> list[Bits]:
    """Bits of each code of each recording, given all codes before it in that recording.

    A recording longer than the model's context is read in windows that overlap by half: each code
    is predicted once, from half a context or more. The end of a recording is not predicted.

    Args:
        model: in evaluation mode.
        recordings: codes [G, T] of each; T may be 0.
        batch_size: windows at a time.

    Returns:
        [G, T] of each recording.

    Raises:
        TokenError: codes of another number of groups, or out of range.
    """
    assert not model.llama.training
    language, device = model.language, model.llama.device
    kept, windows = [], []
    for number, codes in enumerate(recordings):
        ids = language.codes_to_ids(codes)
        kept.append((codes.shape[1], np.empty(len(ids))))
        seen = torch.from_numpy(with_eos(ids, language))
        for window in _windows(len(ids), model.context):
            # A view: the windows of a recording share its memory.
            windows.append((number, window, seen[window.start : window.stop + 1]))
    windows.sort(key=lambda entry: -len(entry[1]))  # those of one length are padded least
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        rows = [row for _, _, row in batch]
        padded = pad_sequence(rows, batch_first=True, padding_value=language.eos_id)
        nats = next_id_nats(model.llama, padded.to(device)).double().cpu().numpy()
        for (number, window, _), row in zip(batch, nats, strict=True):
            skipped = window.first - window.start
            kept[number][1][window.first : window.stop] = row[skipped : len(window)]
    pattern = language.pattern
    return [bits[pattern.positions(frames)] / math.log(2) for frames, bits in kept]


@dataclass(frozen=True)
class _Window:
    """Ids start to stop - 1 are seen; those from `first` on, of the recording's, are counted."""

    start: int
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def _windows(num_ids: int, context: int) -> Iterator[_Window]:
    start = first = 0
    while first < num_ids:
        stop = min(start + context, num_ids)
        yield _Window(start, first, stop)
        start, first = start + max(context // 2, 1), stop


@dataclass(frozen=True)
class Unigram:
    """Codes that depend on nothing but their group: how often each occurred, smoothed.

    Attributes:
        probabilities: [G, K].
    """

    probabilities: Bits

    @classmethod
    def count(
        cls,
        recordings: Iterable[Integers],
        *,
        num_groups: int,
        codebook_size: int,
        smoothing: float = 1.0,
    ) -> Unigram:
        """Counts codes.

        Args:
            recordings: codes [G, T] of each.
            num_groups: G.
            codebook_size: K.
            smoothing: is added to the count of each code, so that none is impossible.

        Raises:
            TokenError: codes of another number of groups, or out of range.
        """
        counts = np.full((num_groups, codebook_size), smoothing)
        for codes in recordings:
            checked = check_codes(codes, num_groups=num_groups, codebook_size=codebook_size)
            for group, row in enumerate(checked):
                counts[group] += np.bincount(row, minlength=codebook_size)
        return cls(counts / counts.sum(axis=1, keepdims=True))

    @property
    def entropy(self) -> Bits:
        """[G] bits: what codes cost that have these very frequencies."""
        logs = np.log2(np.where(self.probabilities > 0, self.probabilities, 1.0))
        entropy: Bits = -(self.probabilities * logs).sum(axis=1)
        return entropy

    def bits(self, codes: Integers) -> Bits:
        """[G, T] bits of codes [G, T]: their mean is the cross-entropy.

        Raises:
            TokenError: another number of groups, or a code out of range.
        """
        groups, size = self.probabilities.shape
        checked = check_codes(codes, num_groups=groups, codebook_size=size)
        bits: Bits = -np.log2(np.take_along_axis(self.probabilities, checked, axis=1))
        return bits


def bits_per_code(bits: Sequence[Bits]) -> float:
    """The mean over all codes of all recordings.

    Raises:
        TokenError: there is no code.
    """
    num_codes = sum(each.size for each in bits)
    if not num_codes:
        raise TokenError("there is no code to measure: all recordings are empty")
    return float(sum(each.sum() for each in bits) / num_codes)
