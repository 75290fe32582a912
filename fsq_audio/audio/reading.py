"""Audio files to waveforms: always forwards, in blocks, resampled as they come."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fsq_audio.audio.checks import Block, check_finite, check_rate
from fsq_audio.audio.file import AudioFile
from fsq_audio.audio.resampling import Resampler, resampled_length
from fsq_audio.errors import AudioError

Channels = Literal["mix", "split"]
"""`mix`: the mean of all channels as one; `split`: every channel by itself."""

_BLOCK_VALUES = 2**18  # float32 values that one block may hold before or after resampling: 1 MiB


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself.

    Attributes:
        sample_rate: Samples per second of each channel.
        num_channels: Channels C.
        num_samples: Samples S of each channel, exact.
        format: Container, in libsndfile's words: "WAV", "FLAC", "OGG", "MP3", ...
        subtype: Encoding, in libsndfile's words: "PCM_16", "VORBIS", "OPUS", ...
    """

    sample_rate: int
    num_channels: int
    num_samples: int
    format: str
    subtype: str


def read_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Reads the header of an audio file.

    A file whose header does not state its length (an MP3 without a length tag, a FLAC written to
    a pipe) is decoded once to count its samples.

    Args:
        path: Audio file; its content counts, not its extension.

    Returns:
        Rate, channels, exact number of samples, format.

    Raises:
        AudioError: The file cannot be read as audio, is cut short, or holds 0 samples.
    """
    with AudioFile.open(path) as source:
        exact = source.length_is_exact
        num_samples = source.num_samples if exact else sum(len(b) for b in source.blocks(2**16))
        return AudioInfo(
            sample_rate=source.sample_rate,
            num_channels=source.num_channels,
            num_samples=num_samples,
            format=source.format,
            subtype=source.subtype,
        )


def stream(
    path: str | os.PathLike[str], *, sample_rate: int, channels: Channels = "mix"
) -> Iterator[Tensor]:
    """Reads an audio file block by block, resampled, in memory that its length does not change.

    Integer files give samples in [-1, 1); float files beyond +-1 pass unchanged. The file is
    opened at the first block, and its end is checked at the last: only a stream that was read to
    its end is known to be whole.

    Args:
        path: Audio file; its content counts, not its extension.
        sample_rate: Rate of the waveform wanted, in Hz (soxr, quality HQ).
        channels: "mix" for the mean of all channels, "split" for every channel.

    Yields:
        [C, n] float32 with n >= 1, C = 1 for "mix"; `resampled_length` samples in all.

    Raises:
        AudioError: The file is missing, unreadable, not audio, damaged, cut short, empty, or
            holds a NaN or an infinity; or `channels` or `sample_rate` is none.
    """
    check_rate(sample_rate, "sample_rate")
    if channels not in ("mix", "split"):
        raise AudioError(f"channels must be 'mix' or 'split', not {channels!r}")
    with AudioFile.open(path) as source:
        num_channels = 1 if channels == "mix" else source.num_channels
        resampler = Resampler(source.sample_rate, sample_rate, num_channels)
        growth = max(1, math.ceil(sample_rate / source.sample_rate))
        num_read = num_given = 0
        for block in source.blocks(max(1, _BLOCK_VALUES // (source.num_channels * growth))):
            num_read += len(block)
            if channels == "mix":
                block = block.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
            resampled = resampler.push(block)
            if len(resampled):
                check_finite(resampled, num_given, f"{path} at {sample_rate} Hz")
                num_given += len(resampled)
                yield _to_waveform(resampled)
        tail = resampler.finish(resampled_length(num_read, source.sample_rate, sample_rate))
        if len(tail):
            check_finite(tail, num_given, f"{path} at {sample_rate} Hz")
            yield _to_waveform(tail)


def load(path: str | os.PathLike[str], *, sample_rate: int, channels: Channels = "mix") -> Tensor:
    """Reads a whole audio file: the blocks of `stream`, joined, so the same bits.

    Args:
        path: Audio file; its content counts, not its extension.
        sample_rate: Rate of the waveform wanted, in Hz.
        channels: "mix" for the mean of all channels, "split" for every channel.

    Returns:
        [C, S] float32, C = 1 for "mix", S = `resampled_length` of the file's samples.

    Raises:
        AudioError: As for `stream`.
    """
    return torch.cat(list(stream(path, sample_rate=sample_rate, channels=channels)), dim=1)


def _to_waveform(block: Block) -> Tensor:
    """[n, C] -> [C, n], in memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(block.T))
