"""What to train on: the recordings of an option such as `data.train`, all known beforehand."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fsq_audio.corpus import folders, manifests
from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.headers import with_header
from fsq_audio.corpus.sources import read_entries
from fsq_audio.errors import ConfigError
from fsq_audio.training.recordings import Recording

_LOG = logging.getLogger(__name__)


def read_recordings(source: str | Path) -> list[Recording]:
    """The recordings that an option such as `data.train` names.

    The tar shards are read once to index them; later each crop is one seek. So, unlike a stream
    with a shuffle buffer, a crop stays a function of its index, and a run resumes exactly. What
    cannot be opened is named in the log and left out.

    Args:
        source: a folder; a manifest or a lhotse CutSet; `*.tar`, shards (a pattern is expanded).

    Raises:
        ConfigError: it cannot be read or holds no recording.
    """
    return _some(read_entries(source), source)


def summarize(recordings: Sequence[Recording], source: str | Path) -> str:
    """What `source` holds, in words: how many, hours, and where they are."""
    hours = sum(r.num_samples / r.sample_rate for r in recordings) / 3600
    return f"{len(recordings)} recordings, {hours:.2f} h ({source})"


def read_manifest(path: str | Path) -> list[Recording]:
    """The recordings of a manifest: see `fsq_audio.corpus.manifests`.

    Raises:
        ConfigError: it cannot be read, a line is wrong, or it names no recording.
    """
    return _some(manifests.read_manifest(Path(path)), path)


def scan_folder(folder: Path) -> list[dict[str, Any]]:
    """The manifest entries of every audio file under a folder, sorted by path.

    Returns:
        Entries with `id`, `audio_filepath` (relative), `num_samples`, `sample_rate`, `duration`
        in seconds, and where known `text`, `speaker_id`, `chapter_id`.
    """
    return [
        {
            "id": entry.id,
            "audio_filepath": entry.path.relative_to(folder).as_posix(),
            "num_samples": entry.num_samples,
            "sample_rate": entry.sample_rate,
            "duration": round(entry.seconds, 4),
            **{
                name: value
                for name in ("text", "speaker_id", "chapter_id")
                if (value := getattr(entry, name)) is not None
            },
        }
        for entry in _usable(folders.scan_folder(folder))
    ]


def _some(entries: Iterable[Entry], source: str | Path) -> list[Recording]:
    recordings = [
        Recording(entry.path, entry.num_samples, entry.sample_rate, entry.member, entry.cut)
        for entry in _usable(entries)
    ]
    if not recordings:
        raise ConfigError(f"{source} holds no recording that can be read")
    return recordings


def _usable(entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.start is not None:
            raise ConfigError(f"{entry.path} is to be read from {entry.start} s on: cut it first")
        if not (entry.num_samples and entry.sample_rate) and entry.fault is None:
            entry = with_header(entry)  # the manifest tells seconds, or no rate
        if entry.fault is None:
            yield entry
        else:
            _LOG.warning("left out, %s: %s", entry.fault, entry.audio_path)
