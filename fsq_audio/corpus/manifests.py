"""Manifests: a JSON object a line, as NeMo and this library write them."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.headers import with_headers
from fsq_audio.errors import ConfigError

_LONGEST_LINE = 2**24  # bytes


def read_manifest(path: Path) -> Iterator[Entry]:
    """The recordings of a manifest.

    A line has `audio_filepath`, relative to the manifest's folder, and may have `num_samples` and
    `sample_rate`, or `duration` in seconds; `offset`, in seconds, if it is a part of a file that
    begins there; `id` (else the path, without root and extension), `text`, `speaker_id` (or
    `speaker`) and `chapter_id`. Where nothing tells the length, the header of the audio file does.

    Args:
        path: the manifest, which may be compressed (`.gz`).

    Raises:
        ConfigError: it cannot be read, or a line is wrong.
    """
    for entry in with_headers(_entries(path)):
        yield replace(entry, fault=None)


def _entries(path: Path) -> Iterator[Entry]:
    folder = os.path.dirname(path)
    for number, line in enumerate(read_lines(path), start=1):
        try:
            entry = _entry(folder, json.loads(line)) if line.strip() else None
        except (
            ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError,
        ) as error:  # fmt: skip
            raise ConfigError(f"{path}, line {number}, is no manifest entry: {error!r}") from error
        if entry is not None:
            yield entry


def _entry(folder: str, line: dict[str, Any]) -> Entry:
    audio = line["audio_filepath"]
    start = line.get("offset")
    num_samples, sample_rate = int(_number(line, "num_samples")), int(_number(line, "sample_rate"))
    seconds = num_samples / sample_rate if num_samples and sample_rate else 0.0
    entry = Entry(
        id=_id_of(audio) if line.get("id") in (None, "") else str(line["id"]),
        path=Path(os.path.join(folder, audio)),
        num_samples=num_samples,
        sample_rate=sample_rate,
        seconds=seconds or float(_number(line, "duration")),
        start=None if start is None else float(_number(line, "offset")),
        text=_text(line.get("text")),
        speaker_id=_text(line.get("speaker_id", line.get("speaker"))),
        chapter_id=_text(line.get("chapter_id")),
    )
    if start is not None and entry.seconds <= 0:
        raise ValueError("a line with an offset needs a duration")
    return entry


def _id_of(audio: str) -> str:
    """The path without its extension, and below the root: names of files are made of ids."""
    path = Path(audio).with_suffix("")
    return "/".join(part for part in path.parts if part not in (path.anchor, ".."))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(line: dict[str, Any], name: str) -> float:
    value = line.get(name) or 0
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} must be a number from 0, not {value!r}")
    return value if isinstance(value, int) else float(value)


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, which may be compressed; one at a time is in memory.

    Raises:
        ConfigError: it cannot be read, or a line has more than 16 MiB: a few compressed bytes may
            stand for more than any memory holds.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise ConfigError(f"{path} has a line of {_LONGEST_LINE} bytes or more")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path}: {reason}") from error
