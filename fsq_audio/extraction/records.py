"""Entries as lines of the plan, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fsq_audio.corpus.cuts import cut_from_values
from fsq_audio.corpus.entries import Entry

_FACTS = ("num_samples", "sample_rate", "seconds", "start", "text", "speaker_id", "chapter_id")


def to_line(entry: Entry) -> bytes:
    """A line of JSON; what is not known is left out."""
    values: dict[str, Any] = {"id": entry.id, "path": str(entry.path)}
    values |= {name: value for name in _FACTS if (value := getattr(entry, name))}
    if entry.start is not None:
        values["start"] = entry.start
    if entry.member is not None:
        values["member"] = entry.member
    if entry.cut is not None:
        values["cut"] = entry.cut.to_dict()
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Entry:
    """The entry of a line.

    Raises:
        ConfigError: it is a lhotse cut, and lhotse is not installed.
    """
    values = json.loads(line)
    values["path"] = Path(values["path"])
    if "member" in values:
        first, size = values["member"]
        values["member"] = first, size
    if "cut" in values:
        values["cut"] = cut_from_values(values["cut"])
    return Entry(**values)
