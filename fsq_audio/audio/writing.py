"""Waveforms to audio files, which appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray
from torch import Tensor

from fsq_audio.audio.checks import Block, check_finite, check_rate, libsndfile_errors, os_errors
from fsq_audio.audio.file import SequentialFile
from fsq_audio.audio.resampling import Resampler, resampled_length
from fsq_audio.errors import AudioError

# Extension -> (container, encoding used unless the caller names another).
_WRITABLE = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
}
_PCM_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_UNBOUNDED = ("FLOAT", "DOUBLE")  # encodings that keep samples beyond +-1

_WRITE_SAMPLES = 4096  # libsndfile's Vorbis encoder overflows its stack when given minutes at once
_PROBE_BYTES = 2**16
_WAV_LIMIT = 2**32 - 2**12  # bytes of audio that the 32-bit sizes of a WAV header can state


@cache
def _subtypes(container: str) -> tuple[str, ...]:
    """Encodings that a container may hold; asking libsndfile takes a while for every file."""
    return tuple(soundfile.available_subtypes(container))


def save(
    path: str | os.PathLike[str], waveform: Tensor, *, sample_rate: int, subtype: str | None = None
) -> int:
    """Writes a waveform to an audio file in one go; see `AudioWriter`.

    Args:
        path: File to write; the extension decides the format.
        waveform: [C, S] float, S >= 1.
        sample_rate: Its rate, and the file's, in Hz.
        subtype: Encoding in libsndfile's words, such as "FLOAT"; None for the format's usual one.

    Returns:
        Number of samples that were clipped to [-1, 1].

    Raises:
        AudioError: As for `AudioWriter`.
    """
    num_channels = waveform.shape[0] if waveform.ndim == 2 else 0
    with AudioWriter(
        path, sample_rate=sample_rate, num_channels=num_channels, subtype=subtype
    ) as writer:
        writer.write(waveform)
    return writer.num_clipped


class AudioWriter:
    """Writes an audio file block by block; the file appears, whole, when the `with` block ends.

    Until then the audio is under a temporary name in the same folder; an exception removes it and
    leaves a file that was there before as it was. PCM encodings are rounded to nearest, so 16-bit
    audio that was read by `load` is written back bit for bit. Encodings other than FLOAT and
    DOUBLE are clipped to [-1, 1]. The file does not depend on how the samples were cut in blocks.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int,
        num_channels: int = 1,
        file_sample_rate: int | None = None,
        num_samples: int | None = None,
        subtype: str | None = None,
    ) -> None:
        """Checks what is wanted; nothing is opened before the `with` block is entered.

        Args:
            path: File to write; .wav, .flac, .ogg (Vorbis), .opus, .mp3, .aiff, .caf, .w64, .rf64.
            sample_rate: Rate of the blocks that will be written, in Hz.
            num_channels: Channels C of the blocks and of the file.
            file_sample_rate: Rate of the file, in Hz; None for the blocks' own.
            num_samples: Exact samples S that the file shall have, for undoing a resampling whose
                rounding is known; None for `resampled_length` of what is written.
            subtype: Encoding in libsndfile's words, such as "PCM_24" or "FLOAT"; None for the
                format's usual one (PCM_16 where there is a choice).

        Raises:
            AudioError: The extension or the combination of format, encoding and channels is none
                that can be written.
        """
        self._path = Path(path)
        self._file_rate = sample_rate if file_sample_rate is None else file_sample_rate
        check_rate(sample_rate, "sample_rate")
        check_rate(self._file_rate, "file_sample_rate")
        if self._path.suffix.lower() not in _WRITABLE:
            raise AudioError(
                f"{path}: cannot write the extension {self._path.suffix!r}: "
                f"use one of {', '.join(_WRITABLE)}"
            )
        self._format, usual = _WRITABLE[self._path.suffix.lower()]
        self._subtype = usual if subtype is None else subtype.upper()
        if self._subtype not in _subtypes(self._format):
            raise AudioError(
                f"{path}: {self._format} has no encoding {subtype!r}: use one of "
                f"{', '.join(_subtypes(self._format))}"
            )
        if num_channels < 1:
            raise AudioError(f"{path}: a waveform must be [C, S] with C >= 1")
        if num_samples is not None and num_samples < 1:
            raise AudioError(f"{path}: num_samples must be >= 1, not {num_samples}")
        self._num_channels = num_channels
        self._num_samples = num_samples
        self._rate = sample_rate
        self._num_pushed = 0
        self._num_written = 0
        self._num_clipped = 0

    @property
    def num_clipped(self) -> int:
        """Samples (of all channels) beyond +-1 that were clipped so far."""
        return self._num_clipped

    def __enter__(self) -> AudioWriter:
        """Opens the temporary file beside the target."""
        if self._path.is_dir():
            raise AudioError(f"{self._path}: is a folder, so no audio file can take its place")
        if not self._path.parent.is_dir():
            raise AudioError(f"{self._path}: there is no folder {self._path.parent}")
        self._temporary = self._path.with_name(f".{uuid.uuid4().hex}.tmp")
        self._resampler = Resampler(self._rate, self._file_rate, self._num_channels)
        self._pending = np.zeros((0, self._num_channels), np.float32)
        self._file: Any = None
        with os_errors(self._path):
            self._raw: BinaryIO = open(self._temporary, "x+b", buffering=0)
        try:
            with self._written(f"cannot be written as {self._subtype}"):
                self._file = SequentialFile(
                    self._raw.fileno(),
                    "w",
                    samplerate=self._file_rate,
                    channels=self._num_channels,
                    format=self._format,
                    subtype=self._subtype,
                    closefd=False,
                )
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, waveform: Tensor) -> None:
        """Appends one block.

        Args:
            waveform: [C, n] float in [-1, 1], n >= 0.

        Raises:
            AudioError: The shape or type is wrong, a sample is NaN or infinite, or the disk is
                full.
        """
        shape = tuple(waveform.shape)
        if len(shape) != 2 or shape[0] != self._num_channels:
            raise AudioError(f"{self._path}: expected [{self._num_channels}, S], got {list(shape)}")
        if not waveform.is_floating_point():
            raise AudioError(f"{self._path}: a waveform is float in [-1, 1], not {waveform.dtype}")
        block = np.ascontiguousarray(waveform.detach().cpu().float().numpy().T)
        check_finite(block, self._num_pushed, self._path)
        self._num_pushed += len(block)
        self._append(self._resampler.push(block))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finishes the file and moves it into place, or removes it after an exception."""
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        if self._num_pushed == 0:
            raise AudioError(f"{self._path}: no samples were written")
        natural = resampled_length(self._num_pushed, self._rate, self._file_rate)
        wanted = natural if self._num_samples is None else self._num_samples
        # Rounding n samples to the other rate and back moves the end by less than one sample of
        # the lower rate; anything beyond is somebody's mistake, not to be padded over.
        slack = 0 if self._rate == self._file_rate else self._file_rate // self._rate + 1
        if abs(wanted - natural) > slack:
            raise AudioError(
                f"{self._path}: {self._num_pushed} samples at {self._rate} Hz make {natural} "
                f"at {self._file_rate} Hz, not the {wanted} wanted"
            )
        self._append(self._resampler.finish(wanted))
        self._flush(len(self._pending))
        with self._written("cannot be written"):
            self._file.close()
        self._raw.close()
        with os_errors(self._path):
            os.replace(self._temporary, self._path)

    def _append(self, block: Block) -> None:
        self._pending = np.concatenate([self._pending, block])
        self._flush(len(self._pending) // _WRITE_SAMPLES * _WRITE_SAMPLES)

    def _flush(self, num_samples: int) -> None:
        """Writes the first `num_samples` pending samples, in the encoder's own block size."""
        ready, self._pending = self._pending[:num_samples], self._pending[num_samples:]
        self._num_written += len(ready)
        bits = {**_PCM_BITS, "FLOAT": 32, "DOUBLE": 64}.get(self._subtype, 8)
        num_bytes = self._num_written * self._num_channels * bits // 8
        if self._format == "WAV" and num_bytes > _WAV_LIMIT:
            raise AudioError(f"{self._path}: too long for WAV (4 GiB): write .flac, .w64 or .rf64")
        if self._subtype not in _UNBOUNDED:
            self._num_clipped += int(np.count_nonzero(np.abs(ready) > 1))
            ready = np.clip(ready, -1, 1)
        with self._written("cannot be written"):
            for start in range(0, len(ready), _WRITE_SAMPLES):
                self._file.write(self._quantized(ready[start : start + _WRITE_SAMPLES]))

    def _quantized(self, block: Block) -> NDArray[Any]:
        """Rounds to nearest for PCM; libsndfile's own conversion truncates towards -inf."""
        bits = _PCM_BITS.get(self._subtype)
        if bits is None:
            return block
        scale = 2.0 ** (bits - 1)
        integers = np.clip(np.rint(block.astype(np.float64) * scale), -scale, scale - 1)
        return integers.astype(np.int32) << (32 - bits)  # libsndfile keeps the upper bits of int32

    @contextmanager
    def _written(self, refusal: str) -> Iterator[None]:
        """Turns libsndfile's refusal into one sentence, with the system's reason if it has one."""
        try:
            with libsndfile_errors(f"{self._path}: {refusal}"):
                yield
        except AudioError:
            # Of a full disk libsndfile says "System error"; who writes there is told more.
            try:
                os.lseek(self._raw.fileno(), 0, os.SEEK_END)
                for _ in range(2):  # the first may find room for a part
                    self._raw.write(bytes(_PROBE_BYTES))
            except OSError as error:
                raise AudioError(f"{self._path}: {refusal} ({error.strerror})") from error
            raise

    def _discard(self) -> None:
        """Closes and removes whatever is left under the temporary name."""
        with suppress(soundfile.SoundFileError):
            if self._file is not None:
                self._file.close()
        self._raw.close()
        self._temporary.unlink(missing_ok=True)
