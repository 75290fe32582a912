"""Audio files to waveforms and back: soundfile decodes and encodes, soxr resamples.

A file is always read forwards, in blocks, so ten hours need no more memory than ten seconds, and
what is wrong with it is said in one sentence (`AudioError`) instead of being read as less audio.
Shapes: C channels, S samples of a whole file, n samples of one block.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsq_audio.errors import AudioError

Channels = Literal["mix", "split"]
"""`mix`: the mean of all channels as one; `split`: every channel by itself."""

AUDIO_EXTENSIONS: tuple[str, ...] = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".snd", ".caf", ".rf64", ".w64"),
)
"""Lower-case extensions that a walk over a folder takes as audio."""

UNREADABLE_EXTENSIONS: tuple[str, ...] = (
    *(".m4a", ".aac", ".mp4", ".m4b", ".mov", ".mkv", ".mka", ".webm", ".avi", ".wma", ".wmv"),
    *(".ac3", ".amr", ".3gp", ".spx", ".ape", ".wv", ".tta", ".ts"),
)
"""Lower-case extensions of audio and video that must be converted first (libsndfile reads none)."""

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

_BLOCK_VALUES = 2**18  # float32 values that one block may hold before or after resampling: 1 MiB
_WRITE_SAMPLES = 4096  # libsndfile's Vorbis encoder overflows its stack when given minutes at once
_WAV_LIMIT = 2**32 - 2**12  # bytes of audio that the 32-bit sizes of a WAV header can state
_LOWEST_RATE = 100  # Hz; a damaged header may say 1, and a megabyte become hours of audio
_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 for a FLAC that was written to a pipe

_Block = NDArray[np.float32]  # [n, C], the layout of soundfile and soxr


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
    with _Source.open(path) as source:
        exact = source.length_is_exact
        num_samples = source.num_samples if exact else sum(len(b) for b in source.blocks(2**16))
        return AudioInfo(
            sample_rate=source.sample_rate,
            num_channels=source.num_channels,
            num_samples=num_samples,
            format=source.format,
            subtype=source.subtype,
        )


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
    _check_rate(sample_rate, "sample_rate")
    if channels not in ("mix", "split"):
        raise AudioError(f"channels must be 'mix' or 'split', not {channels!r}")
    with _Source.open(path) as source:
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
                _check_finite(resampled, num_given, f"{path} at {sample_rate} Hz")
                num_given += len(resampled)
                yield _to_waveform(resampled)
        tail = resampler.finish(resampled_length(num_read, source.sample_rate, sample_rate))
        if len(tail):
            _check_finite(tail, num_given, f"{path} at {sample_rate} Hz")
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
        _check_rate(sample_rate, "sample_rate")
        _check_rate(self._file_rate, "file_sample_rate")
        if self._path.suffix.lower() not in _WRITABLE:
            raise AudioError(
                f"{path}: cannot write the extension {self._path.suffix!r}: "
                f"use one of {', '.join(_WRITABLE)}"
            )
        self._format, usual = _WRITABLE[self._path.suffix.lower()]
        self._subtype = usual if subtype is None else subtype.upper()
        if self._subtype not in soundfile.available_subtypes(self._format):
            raise AudioError(
                f"{path}: {self._format} has no encoding {subtype!r}: use one of "
                f"{', '.join(soundfile.available_subtypes(self._format))}"
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
        with _os_errors(self._path):
            self._raw: BinaryIO = open(self._temporary, "x+b", buffering=0)
        try:
            with _libsndfile_errors(f"{self._path}: cannot be written as {self._subtype}"):
                self._file = _Sequential(
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
        _check_finite(block, self._num_pushed, self._path)
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
        with _libsndfile_errors(f"{self._path}: cannot be written"):
            self._file.close()
        self._raw.close()
        with _os_errors(self._path):
            os.replace(self._temporary, self._path)

    def _append(self, block: _Block) -> None:
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
        with _libsndfile_errors(f"{self._path}: cannot be written"):
            for start in range(0, len(ready), _WRITE_SAMPLES):
                self._file.write(self._quantized(ready[start : start + _WRITE_SAMPLES]))

    def _quantized(self, block: _Block) -> NDArray[Any]:
        """Rounds to nearest for PCM; libsndfile's own conversion truncates towards -inf."""
        bits = _PCM_BITS.get(self._subtype)
        if bits is None:
            return block
        scale = 2.0 ** (bits - 1)
        integers = np.clip(np.rint(block.astype(np.float64) * scale), -scale, scale - 1)
        return integers.astype(np.int32) << (32 - bits)  # libsndfile keeps the upper bits of int32

    def _discard(self) -> None:
        """Closes and removes whatever is left under the temporary name."""
        with suppress(soundfile.SoundFileError):
            if self._file is not None:
                self._file.close()
        self._raw.close()
        self._temporary.unlink(missing_ok=True)


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file without seeking.

    soundfile seeks to where it already is after each block, which makes an MP3 decoder land
    somewhere else (a seam at every block) and fails at the end of a FLAC of unknown length.
    """

    def seekable(self) -> bool:
        return False


class _Source:
    """One open audio file, read forwards, with its checks at opening, at each block, at the end."""

    def __init__(self, path: str | os.PathLike[str], raw: BinaryIO, file: Any) -> None:
        self.path, self._raw, self._file = path, raw, file
        self.sample_rate: int = file.samplerate
        self.num_channels: int = file.channels
        self.num_samples: int = file.frames  # at most: see length_is_exact
        self.format: str = file.format
        self.subtype: str = file.subtype
        self._num_bytes = os.fstat(raw.fileno()).st_size
        self.length_is_exact = self._check_container()
        if self.num_samples == 0 or self.sample_rate < _LOWEST_RATE:
            raise AudioError(f"{path}: holds {self.num_samples} samples at {self.sample_rate} Hz")

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike[str]) -> Iterator[_Source]:
        """Opens by descriptor, so that the content alone, not the name, decides the format."""
        with _os_errors(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise AudioError(f"{path}: is a pipe or a device, not a file")
            raw = open(path, "rb", buffering=0)  # noqa: SIM115
        with raw:
            head = raw.read(16)
            raw.seek(0)
            try:
                file = _Sequential(raw.fileno(), closefd=False)
            except soundfile.SoundFileError as error:
                raise AudioError(_why_unreadable(path, head, error)) from error
            with file:
                yield cls(path, raw, file)

    def blocks(self, num_samples: int) -> Iterator[_Block]:
        """Yields [n, C] float32, every n but the last `num_samples`, then checks the end."""
        done = 0
        # One MPEG frame beyond a stated length may be the encoder's padding: consuming it too
        # leaves the descriptor where anything that follows has been left out.
        spare = 1152 if self.format == "MP3" and self.length_is_exact else 0
        while (left := self.num_samples - done) > 0:
            of = "" if self.num_samples > _UNKNOWN_LENGTH else f" of {self.num_samples}"
            wanted = num_samples if left > num_samples else left + spare
            with _libsndfile_errors(f"{self.path}: damaged or cut short after sample {done}{of}"):
                block: _Block = self._file.read(wanted, dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            _check_finite(block, done, self.path)
            done += len(block)
            yield block
        if done == 0:
            raise AudioError(f"{self.path}: holds 0 samples")
        if self.length_is_exact and done < self.num_samples:
            raise AudioError(
                f"{self.path}: damaged or cut short: its header announces {self.num_samples} "
                f"samples, {done} can be read"
            )
        if self.format == "MP3":
            self._check_mp3_end(done)

    def _check_container(self) -> bool:
        """Finds a cut that libsndfile passes over, and says whether the stated length is exact."""
        self._check_stated_size()
        if self.format == "OGG":
            self._check_ogg_end()
        if self.format == "MP3":
            return self._check_mp3_tag()
        # MPEG inside WAV has an estimate for its length.
        return not self.subtype.startswith("MPEG") and self.num_samples < _UNKNOWN_LENGTH

    def _check_stated_size(self) -> None:
        """WAV and its kin: libsndfile shortens what the header says, and only its log tells."""
        names = r"data|SSND|Data Size"
        if self.format in ("W64", "RF64"):
            names += r"|riff|Riff size"
        pattern = rf"^\s*(?:{names})\s*:\s*(\d+) \(should be (\d+)\)"
        for found in re.finditer(pattern, self._file.extra_info, re.MULTILINE):
            stated, actual = int(found[1]), int(found[2])
            # Programs that write to a pipe cannot know the size and state about 2**31 or 2**32.
            of_unknown_size = any(abs(stated - limit) <= 2**13 for limit in (2**31, 2**32))
            if stated > actual and not of_unknown_size:
                raise AudioError(
                    f"{self.path}: cut short: its header announces {stated} bytes, {actual} "
                    f"are there ({_fix_with_ffmpeg(self.path, 'fixed.wav')} keeps those)"
                )

    def _check_ogg_end(self) -> None:
        """The last page must be whole, marked as the end, and of the stream that is read.

        Ogg pages: RFC 3533, section 6. libsndfile ends silently where pages stop, and after the
        first of several streams.
        """
        first = self._at(0, 27)
        tail = self._at(max(0, self._num_bytes - 2 * 65307), 2 * 65307)
        page = tail[max(0, tail.rfind(b"OggS")) :]
        lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
        is_whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(lacing)
        if not (is_whole and page[5] & 4):
            raise AudioError(
                f"{self.path}: cut short: its last Ogg page is missing "
                f"({_fix_with_ffmpeg(self.path, '-c copy fixed.ogg')} keeps what is there)"
            )
        if page[14:18] != first[14:18]:
            raise AudioError(
                f"{self.path}: holds several Ogg streams, of which only the first would be read: "
                f"convert it first, {_fix_with_ffmpeg(self.path, 'joined.flac')}"
            )

    def _check_mp3_tag(self) -> bool:
        """Compares the size in an MP3's Xing tag; without a tag its length is an estimate."""
        start = self._after_id3(0)
        head = self._at(start, 64)
        tag = max(head.find(b"Xing"), head.find(b"Info"))
        if tag < 0 or len(head) < tag + 16:
            return False
        if not head[tag + 7] & 1:  # flags: 1 = number of frames, 2 = number of bytes
            return False
        stated = int.from_bytes(head[tag + 12 : tag + 16], "big") if head[tag + 7] & 2 else 0
        if stated > self._num_bytes - start:
            raise AudioError(
                f"{self.path}: cut short: its header announces {stated} bytes, "
                f"{self._num_bytes - start} are there "
                f"({_fix_with_ffmpeg(self.path, '-c copy fixed.mp3')} keeps those)"
            )
        return True

    def _check_mp3_end(self, num_read: int) -> None:
        """Refuses MPEG frames after the stated or estimated length, which libsndfile leaves out."""
        end = self._after_id3(self._raw.tell())
        following = self._at(end, 2)
        if len(following) == 2 and following[0] == 0xFF and following[1] & 0xE0 == 0xE0:
            raise AudioError(
                f"{self.path}: its header is wrong or missing, so only {num_read} samples could "
                f"be read: rewrite it first, {_fix_with_ffmpeg(self.path, '-c copy fixed.mp3')}"
            )

    def _after_id3(self, offset: int) -> int:
        """Offset after any ID3v2 tags at `offset` (sizes have 7 bits a byte)."""
        while (head := self._at(offset, 10))[:3] == b"ID3" and len(head) == 10:
            size = sum((byte & 127) << (7 * (3 - i)) for i, byte in enumerate(head[6:10]))
            offset += 10 + size
        return offset

    def _at(self, offset: int, num_bytes: int) -> bytes:
        """Bytes from anywhere, leaving the descriptor where libsndfile has it."""
        here = self._raw.tell()
        try:
            self._raw.seek(offset)
            return self._raw.read(num_bytes)
        finally:
            self._raw.seek(here)


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

    def push(self, block: _Block) -> _Block:
        """Gives the samples that are ready; soxr keeps its filter's delay back."""
        self._num_in += len(block)
        ready: _Block = block if self._soxr is None else self._soxr.resample_chunk(block)
        self._num_out += len(ready)
        return ready

    def finish(self, num_samples: int) -> _Block:
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


def _to_waveform(block: _Block) -> Tensor:
    """[n, C] -> [C, n], in memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(block.T))


def _check_finite(block: _Block, first: int, where: object) -> None:
    """Refuses NaN and infinities, naming the earliest; `first` is the index of block[0]."""
    finite = np.isfinite(block)
    if not finite.all():
        sample, channel = np.argwhere(~finite)[0]
        raise AudioError(
            f"{where}: sample {first + int(sample)} of channel {int(channel)} is "
            f"{block[sample, channel]}, not a finite number"
        )


def _check_rate(rate: int, name: str) -> None:
    if rate < 1:
        raise AudioError(f"{name} must be a positive number of Hz, not {rate}")


def _fix_with_ffmpeg(path: str | os.PathLike[str], output: str) -> str:
    return f"`ffmpeg -i {shlex.quote(os.fspath(path))} {output}`"


def _why_unreadable(path: str | os.PathLike[str], head: bytes, error: Exception) -> str:
    """Names what the first bytes or else the extension give away, and what to do."""
    if not head:
        return f"{path}: is empty (0 bytes)"
    kinds = {
        "MP4 (m4a, AAC or video)": head[4:8] == b"ftyp",
        "Matroska or WebM": head[:4] == b"\x1a\x45\xdf\xa3",
        "AAC": head[0] == 0xFF and head[1:2] and head[1] & 0xF6 == 0xF0,
        "AVI video": head[:4] == b"RIFF" and head[8:12] == b"AVI ",
    }
    kind = next((name for name, is_it in kinds.items() if is_it), None)
    if kind is None and Path(path).suffix.lower() in UNREADABLE_EXTENSIONS:
        kind = Path(path).suffix.lower()
    what = f"{kind} cannot be read"
    if kind is None:
        reason = getattr(error, "error_string", str(error)).strip(". ")
        what = f"is not audio in a format that can be read ({reason})"
    return f"{path}: {what}: convert it first, {_fix_with_ffmpeg(path, 'out.flac')}"


@contextmanager
def _os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the operating system refuses into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise AudioError(f"{path}: is a folder, not an audio file") from error
    except PermissionError as error:
        raise AudioError(f"{path}: permission denied") from error
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _libsndfile_errors(sentence: str) -> Iterator[None]:
    """Turns libsndfile's refusal into one sentence."""
    try:
        yield
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).strip(". ")
        raise AudioError(f"{sentence} ({reason})") from error
