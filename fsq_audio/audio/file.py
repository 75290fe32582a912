"""One audio file as libsndfile opens it, read forwards, with its checks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from fsq_audio.audio.checks import (
    Block,
    check_finite,
    fix_with_ffmpeg,
    libsndfile_errors,
    os_errors,
)
from fsq_audio.audio.containers import Container
from fsq_audio.audio.extensions import UNREADABLE_EXTENSIONS
from fsq_audio.errors import AudioError

_LOWEST_RATE = 100  # Hz; a damaged header may say 1, and a megabyte become hours of audio
_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 for a FLAC that was written to a pipe


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file without seeking.

    soundfile seeks to where it already is after each block, which makes an MP3 decoder land
    somewhere else (a seam at every block) and fails at the end of a FLAC of unknown length.
    """

    def seekable(self) -> bool:
        """Never, so that nobody tries."""
        return False


class AudioFile:
    """One open audio file, read forwards, with its checks at opening, at each block, at the end."""

    def __init__(self, path: str | os.PathLike[str], raw: BinaryIO, file: Any) -> None:
        self.path, self._file = path, file
        self.sample_rate: int = file.samplerate
        self.num_channels: int = file.channels
        self.num_samples: int = file.frames  # at most: see length_is_exact
        self.format: str = file.format
        self.subtype: str = file.subtype
        self._container = Container(path, raw)
        self.length_is_exact = self._check_container()
        if self.num_samples == 0 or self.sample_rate < _LOWEST_RATE:
            raise AudioError(f"{path}: holds {self.num_samples} samples at {self.sample_rate} Hz")

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike[str]) -> Iterator[AudioFile]:
        """Opens by descriptor, so that the content alone, not the name, decides the format."""
        with os_errors(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise AudioError(f"{path}: is a pipe or a device, not a file")
            raw = open(path, "rb", buffering=0)  # noqa: SIM115
        with raw:
            head = raw.read(16)
            raw.seek(0)
            try:
                file = SequentialFile(raw.fileno(), closefd=False)
            except soundfile.SoundFileError as error:
                raise AudioError(_why_unreadable(path, head, error)) from error
            with file:
                yield cls(path, raw, file)

    def blocks(self, num_samples: int) -> Iterator[Block]:
        """Yields [n, C] float32, every n but the last `num_samples`, then checks the end."""
        done = 0
        # One MPEG frame beyond a stated length may be the encoder's padding: consuming it too
        # leaves the descriptor where anything that follows has been left out.
        spare = 1152 if self.format == "MP3" and self.length_is_exact else 0
        while (left := self.num_samples - done) > 0:
            of = "" if self.num_samples > _UNKNOWN_LENGTH else f" of {self.num_samples}"
            wanted = num_samples if left > num_samples else left + spare
            with libsndfile_errors(f"{self.path}: damaged or cut short after sample {done}{of}"):
                block: Block = self._file.read(wanted, dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            check_finite(block, done, self.path)
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
            self._container.check_mp3_end(done)

    def _check_container(self) -> bool:
        """Finds a cut that libsndfile passes over, and says whether the stated length is exact."""
        self._container.check_stated_size(self._file.extra_info, self.format)
        if self.format == "OGG":
            self._container.check_ogg_end()
        if self.format == "MP3":
            return self._container.check_mp3_tag()
        # MPEG inside WAV has an estimate for its length.
        return not self.subtype.startswith("MPEG") and self.num_samples < _UNKNOWN_LENGTH


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
    return f"{path}: {what}: convert it first, {fix_with_ffmpeg(path, 'out.flac')}"
