"""Sample rates: soxr over blocks of any size, to a length that is known beforehand."""

from __future__ import annotations

import numpy as np
import soxr

from fsq_audio.audio.checks import Block


def resampled_length(num_samples: int, from_rate: int, to_rate: int) -> int:
    """Number of samples after resampling: num_samples x to_rate / from_rate, halves up, at least 1.

    Args:
        num_samples: Samples before, >= 1.
        from_rate: Sample rate before, in Hz.
        to_rate: Sample rate after, in Hz.

    Returns:
        Samples after, >= 1; what `stream`, `load` and `AudioWriter` give, exactly.
    """
    return max(1, (2 * num_samples * to_rate + from_rate) // (2 * from_rate))


class Resampler:
    """soxr (quality HQ) over blocks [n, C], with a total length that the caller decides."""

    def __init__(self, from_rate: int, to_rate: int, num_channels: int) -> None:
        """Begins before the first sample.

        Args:
            from_rate: of the blocks that will be pushed, in Hz.
            to_rate: of what comes out, in Hz; the same rate passes blocks through.
            num_channels: channels C.
        """
        self._from, self._to = from_rate, to_rate
        self._num_channels = num_channels
        self._num_in = self._num_out = 0
        self._soxr = None
        if from_rate != to_rate:
            self._soxr = soxr.ResampleStream(from_rate, to_rate, num_channels, "float32", "HQ")

    def push(self, block: Block) -> Block:
        """Gives the samples that are ready; soxr keeps its filter's delay back."""
        self._num_in += len(block)
        ready: Block = block if self._soxr is None else self._soxr.resample_chunk(block)
        self._num_out += len(ready)
        return ready

    def finish(self, num_samples: int) -> Block:
        """Gives the rest, so that `num_samples` came out in all."""
        missing = num_samples - self._num_out
        tail = np.zeros((0, self._num_channels), np.float32)
        if self._soxr is not None:
            # The signal is zero after its end: one sample more than soxr would round to is the
            # filter's response to these zeros.
            needed = -(-num_samples * self._from // self._to) + 1 - self._num_in
            zeros = np.zeros((max(0, needed), self._num_channels), np.float32)
            tail = self._soxr.resample_chunk(zeros, last=True)
        assert 0 <= missing <= len(tail), (missing, len(tail))
        return tail[:missing]
