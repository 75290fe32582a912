"""From a name to its recordings: folders, manifests, lhotse cut sets, tar shards, audio files.

All are read as streams, so ten million recordings take no more memory than ten.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path

from fsq_audio.audio import AUDIO_EXTENSIONS
from fsq_audio.corpus.cuts import read_cuts
from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.folders import scan_folder
from fsq_audio.corpus.headers import with_header
from fsq_audio.corpus.manifests import read_lines, read_manifest
from fsq_audio.corpus.shards import read_shard
from fsq_audio.errors import ConfigError


def read_entries(source: str | Path, *, leave_out: Path | None = None) -> Iterator[Entry]:
    """The recordings that a name stands for.

    Args:
        source: a folder; a manifest or a lhotse CutSet (`*.jsonl`, `*.json`, `*.jsonl.gz`, told
            apart by their first line); `*.tar`, shards; an audio file. A pattern is expanded.
        leave_out: a folder that is not walked.

    Raises:
        ConfigError: there is nothing of the kind, it cannot be read, or a line is wrong.
    """
    for path in expand(source):
        if path.is_dir():
            yield from scan_folder(path, leave_out=leave_out)
        elif path.suffix == ".tar":
            yield from read_shard(path)
        elif path.suffix.lower() in AUDIO_EXTENSIONS:
            yield with_header(Entry(path.stem, path))
        elif is_cut_set(path):
            yield from read_cuts(path)
        else:
            yield from read_manifest(path)


def expand(source: str | Path) -> list[Path]:
    """The path that a name is, or the paths that it is a pattern of, sorted.

    Raises:
        ConfigError: nothing is there, or something that is no file.
    """
    is_there = os.path.lexists(source)
    matches = sorted(map(Path, [source] if is_there else glob.glob(str(source), recursive=True)))
    for path in matches:
        if path.is_fifo() or path.is_char_device():  # opening one would wait
            raise ConfigError(f"{path} is a pipe or a device, not a file")
    if not matches:
        kind = "tar shard" if str(source).endswith(".tar") else "file or folder"
        raise ConfigError(f"no {kind} at {source}")
    return matches


def is_cut_set(path: Path) -> bool:
    """Whether the first line of a file is a lhotse cut.

    Raises:
        ConfigError: it cannot be read.
    """
    line = next(read_lines(path), b"")
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and str(first.get("type", "")).endswith("Cut")
