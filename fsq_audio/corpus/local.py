"""A file of its own for any recording, so that all are read in the one way that files are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundfile

from fsq_audio.corpus.entries import Entry
from fsq_audio.errors import AudioError

_SAMPLES_AT_ONCE = 2**20


@contextmanager
def local_file(entry: Entry, *, folder: Path) -> Iterator[Path]:
    """A file with the audio of this entry and no other.

    It is the entry's own file where there is one; else a temporary one holds the bytes of a member
    of a shard, or the samples of a cut or a part, as floats: so they stay what they are.

    Args:
        entry: the recording.
        folder: for the temporary file.

    Raises:
        AudioError: the audio cannot be read; whatever is said of the temporary file while it is
            there names the recording instead.
    """
    if entry.is_file:
        yield entry.path
        return
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".audio") as file:
        try:
            _fill(entry, file)
            file.flush()
        # Lhotse raises what its readers raise; whatever it was, this recording cannot be read.
        except Exception as error:
            raise AudioError(f"cannot read {entry.audio_path}: {error}") from error
        try:
            yield Path(file.name)
        except AudioError as error:
            raise AudioError(str(error).replace(file.name, entry.audio_path)) from error


def _fill(entry: Entry, file: Any) -> None:
    if entry.member is not None:
        offset, size = entry.member
        with entry.path.open("rb") as shard:
            shard.seek(offset)
            file.write(shard.read(size))
        return
    floats = {"format": "RF64", "subtype": "FLOAT"}
    if entry.cut is not None:
        samples, rate = entry.cut.load_audio().T, entry.cut.sampling_rate
        soundfile.write(file.name, samples, rate, **floats)
        return
    assert entry.start is not None
    with soundfile.SoundFile(entry.path) as source:
        rate = source.samplerate
        source.seek(min(round(entry.start * rate), source.frames))
        part = source.blocks(
            _SAMPLES_AT_ONCE, frames=round(entry.seconds * rate), dtype="float32", always_2d=True
        )
        with soundfile.SoundFile(file.name, "w", rate, source.channels, **floats) as target:
            for samples in part:
                target.write(samples)
