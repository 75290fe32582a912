"""Recordings, and reading a span of one by seeking: files, members of tar shards, lhotse cuts."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fsq_audio.errors import AudioError


@dataclass(frozen=True)
class Recording:
    """A recording to train on.

    Attributes:
        path: the audio file, or the tar shard that holds it.
        num_samples: its length at `sample_rate`.
        sample_rate: samples per second.
        member: first byte and number of bytes inside a tar shard; None for a file of its own.
        cut: a lhotse cut that reads itself; None for files.
    """

    path: Path
    num_samples: int
    sample_rate: int
    member: tuple[int, int] | None = None
    cut: Any = field(default=None, compare=False, repr=False)


def read_span(recording: Recording, *, start: int, stop: int) -> Tensor:
    """Samples `[stop - start]` of a recording; zeros beyond its ends; channels are averaged.

    Raises:
        AudioError: the file cannot be read, is shorter than the manifest says, or holds NaN or
            infinity.
    """
    span = torch.zeros(stop - start)
    first, last = max(start, 0), min(stop, recording.num_samples)
    if first >= last:
        return span
    try:
        samples = _read(recording, first, last)
    # Lhotse raises what its readers raise; whatever it was, this recording cannot be read.
    except Exception as error:
        lost = recording.cut is None and not recording.path.exists()  # libsndfile: "System error"
        reason = "no such file" if lost else error
        raise AudioError(f"cannot read {recording.path}: {reason}") from error
    if len(samples) != last - first:
        raise AudioError(
            f"{recording.path} ends before sample {last}, its manifest says "
            f"{recording.num_samples} samples: prepare the data again"
        )
    if not np.isfinite(samples).all():
        raise AudioError(f"{recording.path} holds NaN or infinity")
    span[first - start : last - start] = torch.from_numpy(samples)
    return span


def read_at_rate(recording: Recording, *, start: int, stop: int, sample_rate: int) -> Tensor:
    """The same with `start` and `stop` in samples at another rate: `[stop - start]`."""
    if recording.sample_rate == sample_rate:
        return read_span(recording, start=start, stop=stop)
    ratio = recording.sample_rate / sample_rate
    first = round(start * ratio)
    span = read_span(recording, start=first, stop=first + round((stop - start) * ratio))
    return stretch(span, stop - start)


def stretch(waveform: Tensor, num_samples: int) -> Tensor:
    """Resamples `[S]` to `[num_samples]`."""
    changed = soxr.resample(waveform.numpy(), len(waveform), num_samples)
    waveform = torch.from_numpy(changed)[:num_samples]
    return F.pad(waveform, (0, num_samples - len(waveform)))


def _read(recording: Recording, first: int, last: int) -> NDArray[np.float32]:
    if recording.cut is not None:
        rate = recording.sample_rate
        piece = recording.cut.truncate(offset=first / rate, duration=(last - first) / rate)
        return np.asarray(piece.load_audio().mean(axis=0), np.float32)
    source: Any = str(recording.path)
    if recording.member is not None:
        offset, size = recording.member
        with recording.path.open("rb") as shard:
            shard.seek(offset)
            source = io.BytesIO(shard.read(size))
    samples, _ = soundfile.read(source, start=first, stop=last, dtype="float32", always_2d=True)
    return np.asarray(samples.mean(axis=1), np.float32)
