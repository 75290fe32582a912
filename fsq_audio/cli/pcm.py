"""Raw PCM on standard input and output: samples of one channel without a header, as they come."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsq_audio.audio import Resampler, resampled_length
from fsq_audio.errors import AudioError
from fsq_audio.token_stream import write_now

_READ_BYTES = 2**16
_DTYPES: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


class PCMReader:
    """Samples at the model's rate from PCM at another; Ctrl-C ends them like the end of the input.

    Attributes:
        num_samples: read so far, at the input's rate.
        was_interrupted: whether Ctrl-C ended them.
    """

    def __init__(self, file: BinaryIO, encoding: str, *, from_rate: int, to_rate: int) -> None:
        """Reads nothing yet.

        Args:
            file: buffered.
            encoding: "s16le" or "f32le".
            from_rate: of the input, in Hz.
            to_rate: of the samples wanted, in Hz.
        """
        self._file, self._encoding = file, encoding
        self._from_rate, self._to_rate = from_rate, to_rate
        self._resampler = Resampler(from_rate, to_rate, 1)
        self._rest = b""
        self._is_waiting = False
        self.num_samples = 0
        self.was_interrupted = False

    def __iter__(self) -> Iterator[Tensor]:
        """Yields `[n]` float32 as soon as they are there.

        Raises:
            AudioError: nothing came.
        """
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            while data := self._read():
                yield self._samples(data)
        finally:
            signal.signal(signal.SIGINT, before)
        if self.num_samples == 0:
            raise AudioError("standard input has no samples")
        length = resampled_length(self.num_samples, self._from_rate, self._to_rate)
        yield torch.from_numpy(self._resampler.finish(length)[:, 0])

    def check_end(self) -> None:
        """Complains, once all that came is dealt with, if it did not end as it should.

        Raises:
            AudioError: within a sample.
            KeyboardInterrupt: by Ctrl-C.
        """
        if self.was_interrupted:
            raise KeyboardInterrupt("what was heard until then is complete")
        if self._rest:
            raise AudioError(
                f"standard input ends within a sample ({len(self._rest)} bytes are left over): "
                f"is it {self._encoding}?"
            )

    def _read(self) -> bytes:
        try:
            self._is_waiting = True
            return b"" if self.was_interrupted else self._file.read1(_READ_BYTES)  # type: ignore
        except KeyboardInterrupt:
            return b""
        finally:
            self._is_waiting = False

    def _interrupt(self, *_: object) -> None:
        # Within a block it must wait for the end of that; a second one does not.
        is_second, self.was_interrupted = self.was_interrupted, True
        if self._is_waiting or is_second:
            raise KeyboardInterrupt

    def _samples(self, data: bytes) -> Tensor:
        data = self._rest + data
        dtype = _DTYPES[self._encoding]
        size = len(data) - len(data) % dtype.itemsize
        self._rest = data[size:]
        values = np.frombuffer(data[:size], dtype).astype(np.float32)
        if dtype.kind == "i":
            values /= 2**15
        self.num_samples += len(values)
        return torch.from_numpy(self._resampler.push(values[:, None])[:, 0].copy())


class PCMWriter:
    """PCM at any rate from samples at the model's; each call hands them on at once."""

    def __init__(self, file: BinaryIO, encoding: str, *, from_rate: int, to_rate: int) -> None:
        """Writes nothing yet.

        Args:
            file: where to; it stays open.
            encoding: "s16le", rounded to nearest and clipped, or "f32le".
            from_rate: of the samples, in Hz.
            to_rate: of the output, in Hz.
        """
        self._file, self._dtype = file, _DTYPES[encoding]
        self._from_rate, self._to_rate = from_rate, to_rate
        self._resampler = Resampler(from_rate, to_rate, 1)
        self._num_pushed = 0

    def write(self, samples: Tensor) -> None:
        """Appends samples `[n]` float32, any n."""
        self._num_pushed += len(samples)
        self._write(self._resampler.push(samples.numpy()[:, None]))

    def end(self, num_samples: int | None = None) -> None:
        """Appends what the resampling has kept back.

        Args:
            num_samples: of the whole output; None: those that fit what was written.
        """
        if self._num_pushed == 0:
            return
        natural = resampled_length(self._num_pushed, self._from_rate, self._to_rate)
        self._write(self._resampler.finish(natural if num_samples is None else num_samples))

    def _write(self, block: NDArray[Any]) -> None:
        if self._dtype.kind == "i":
            block = np.clip(np.rint(block.astype(np.float64) * 2**15), -(2**15), 2**15 - 1)
        write_now(self._file, block.astype(self._dtype).tobytes())
