"""Manifests: a JSON object a line, as NeMo and this library write them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.headers import with_header
from fsq_audio.errors import ConfigError


def read_manifest(path: Path) -> Iterator[Entry]:
    """The recordings of a manifest.

    A line has `audio_filepath`, relative to the manifest's folder, and may have `num_samples` and
    `sample_rate`, or `duration` in seconds; `offset`, in seconds, if it is a part of a file that
    begins there; `id`, `text`, `speaker_id` (or `speaker`) and `chapter_id`. Where nothing tells
    the length, the header of the audio file does.

    Args:
        path: the manifest, which may be compressed (`.gz`).

    Raises:
        ConfigError: it cannot be read, or a line is wrong.
    """
    folder, number = os.path.dirname(path), 0
    try:
        with open_lines(path) as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield _entry(folder, json.loads(line))
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the manifest {path}: {reason}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}, line {number}, is no manifest entry: {error!r}") from error


def _entry(folder: str, line: dict[str, Any]) -> Entry:
    audio = line["audio_filepath"]
    start = line.get("offset")
    num_samples, sample_rate = int(line.get("num_samples") or 0), int(line.get("sample_rate") or 0)
    seconds = num_samples / sample_rate if num_samples and sample_rate else 0.0
    entry = Entry(
        id=str(line.get("id") or os.path.splitext(audio)[0]),
        path=Path(os.path.join(folder, audio)),
        num_samples=num_samples,
        sample_rate=sample_rate,
        seconds=seconds or float(line.get("duration") or 0),
        start=None if start is None else float(start),
        text=_text(line.get("text")),
        speaker_id=_text(line.get("speaker_id", line.get("speaker"))),
        chapter_id=_text(line.get("chapter_id")),
    )
    if start is not None and entry.seconds <= 0:
        raise ValueError("a line with an offset needs a duration")
    return entry if entry.seconds > 0 else replace(with_header(entry), fault=None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def open_lines(path: Path) -> Any:
    """Opens a file of lines, which may be compressed."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
