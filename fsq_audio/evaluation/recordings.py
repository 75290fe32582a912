"""What is evaluated: recordings, each with an id that names its results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsq_audio.corpus.manifests import read_lines
from fsq_audio.errors import ConfigError


@dataclass(frozen=True)
class Recording:
    """One original.

    Attributes:
        id: path without extension, relative to the folder or manifest it was found through; unique.
        path: of the audio file.
        text: what is said, if known.
        language: its code, such as "en", if known.
    """

    id: str
    path: Path
    text: str | None = None
    language: str | None = None


def read_manifest(path: Path) -> list[Recording]:
    """The recordings of a manifest.

    Args:
        path: one JSON object a line, with `audio_filepath` (relative to the manifest's folder or
            absolute) and optionally `text` and `language`.

    Returns:
        In the order of the lines.

    Raises:
        ConfigError: a line is not such an object, or there is none.
    """
    return [
        Recording(
            id=_name(audio_path, path.parent),
            path=audio_path,
            text=entry.get("text"),
            language=entry.get("language"),
        )
        for entry, audio_path in _read_lines(path, "audio_filepath")
    ]


def read_pairs(path: Path) -> dict[str, Path]:
    """The degraded file of every original of a manifest, by the original's id.

    Args:
        path: a manifest as above whose lines have `degraded_filepath` as well.

    Raises:
        ConfigError: a line has none, or there is no line.
    """
    originals = [
        _name(original, path.parent) for _, original in _read_lines(path, "audio_filepath")
    ]
    degraded = [found for _, found in _read_lines(path, "degraded_filepath")]
    return dict(zip(originals, degraded, strict=True))


def _read_lines(path: Path, key: str) -> list[tuple[dict[str, Any], Path]]:
    """Every entry of a manifest, and the file that it names under a key."""
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not Path(entry[key]).name:
                raise ValueError("it names no file")
            found.append((entry, path.parent / entry[key]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(f"{path}:{number}: expected a JSON object with {key}") from None
    if not found:
        raise ConfigError(f"{path}: the manifest names no recording")
    return found


def _name(audio_path: Path, folder: Path) -> str:
    inside = audio_path.is_relative_to(folder)
    relative = audio_path.relative_to(folder) if inside else Path(audio_path.name)
    return relative.with_suffix("").as_posix()


def check_recordings(recordings: Iterable[Recording]) -> list[Recording]:
    """The recordings, once it is sure that results of two of them cannot meet.

    Args:
        recordings: of one evaluation.

    Raises:
        ConfigError: two have one id, an id leads out of the folder of results, or there are none.
    """
    found: dict[str, Recording] = {}
    for recording in recordings:
        other = found.setdefault(recording.id, recording)
        if other.path != recording.path:
            raise ConfigError(f"{other.path} and {recording.path} would both be {recording.id}")
        if ".." in Path(recording.id).parts or Path(recording.id).is_absolute():
            raise ConfigError(f"{recording.path}: the id {recording.id} leads out of the results")
    if not found:
        raise ConfigError("there is nothing to evaluate")
    return list(found.values())


def find_beside(folder: Path, name: str, extensions: Sequence[str]) -> Path | None:
    """The audio file of an id in a folder that mirrors the originals.

    Args:
        folder: of degraded recordings.
        name: the id.
        extensions: to try, in this order.
    """
    paths = (folder / f"{name}{extension}" for extension in extensions)
    return next((path for path in paths if path.is_file()), None)
