"""Folders of audio, with the transcripts of LibriSpeech and LibriTTS trees."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from fsq_audio.audio import AUDIO_EXTENSIONS, UNREADABLE_EXTENSIONS
from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.headers import with_headers
from fsq_audio.corpus.walk import identity, walk
from fsq_audio.errors import AudioError

_LOG = logging.getLogger(__name__)


def scan_folder(folder: Path, *, leave_out: Path | None = None) -> Iterator[Entry]:
    """Every audio file under a folder, sorted by path, hidden names left out.

    Transcripts come from LibriSpeech (`*.trans.txt` beside the audio) and LibriTTS
    (`*.normalized.txt`) trees, with speaker and chapter, which are the two folders above a file.
    Then `id` is the name of the file; else it is the path below the folder. Files that would have
    to be converted first, such as .m4a, are counted in the log.

    Args:
        folder: the tree.
        leave_out: a folder in it that is not walked.

    Raises:
        AudioError: a folder cannot be listed, or a transcript cannot be read.
    """
    yield from with_headers(_find(folder, leave_out))


def _find(folder: Path, leave_out: Path | None) -> Iterator[Entry]:
    passed_over: list[Path] = []
    for path in walk(folder, leave_out=None if leave_out is None else identity(leave_out)):
        if path.suffix.lower() in UNREADABLE_EXTENSIONS:
            passed_over.append(path)
        if path.suffix.lower() not in AUDIO_EXTENSIONS:
            continue
        entry = Entry(path.relative_to(folder).with_suffix("").as_posix(), path)
        text = _transcripts(path.parent).get(path.stem)
        normalized = path.with_suffix(".normalized.txt")
        if text is None and normalized.is_file():
            text = _read_text(normalized).strip()
        if text is not None:
            speaker, chapter = path.parent.parent.name, path.parent.name
            entry = replace(entry, id=path.stem, text=text, speaker_id=speaker, chapter_id=chapter)
        yield entry
    if passed_over:
        _LOG.warning(
            "passed over %d files that must be converted first, such as %s",
            len(passed_over),
            passed_over[0],
        )


@lru_cache(maxsize=8)  # of the folders that are being walked
def _transcripts(folder: Path) -> dict[str, str]:
    texts = {}
    for path in sorted(folder.glob("*.trans.txt")):
        for line in _read_text(path).split("\n"):  # a text may hold other ends of lines
            name, _, text = line.partition(" ")
            texts[name] = text
    return texts


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(f"cannot read the transcript {path}: {error}") from error
