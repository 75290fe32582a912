"""Audio inside uncompressed tar shards, as WebDataset writes them, found and read by seeking."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fsq_audio.audio import AUDIO_EXTENSIONS
from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.headers import with_header
from fsq_audio.errors import ConfigError


def read_shard(shard: Path) -> Iterator[Entry]:
    """The audio of one shard, with the `.txt` or the `.json` (text, speaker_id) of the same name.

    A sample is what stands together under one name: all but the last extension.

    Raises:
        ConfigError: the shard cannot be read.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            yield from _samples(shard, archive)
    # tarfile lets through what its numbers and names of damaged headers cause.
    except (OSError, tarfile.TarError, ValueError, ArithmeticError, LookupError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"cannot read the tar shard {shard}: {reason}") from error


def _samples(shard: Path, archive: tarfile.TarFile) -> Iterator[Entry]:
    num_bytes = os.stat(shard).st_size
    waiting: list[Entry] = []
    facts: dict[str, str | None] = {}
    current = ""
    for member in archive:
        if not member.isfile() or member.issparse():
            continue
        if not 0 <= member.size <= num_bytes - member.offset_data:
            raise tarfile.ReadError(f"{member.name!r} is cut short")
        name, extension = os.path.splitext(member.name)
        if name != current:
            yield from (replace(entry, **facts) for entry in waiting)  # type: ignore[arg-type]
            waiting, facts, current = [], {}, name
        file = archive.extractfile(member)
        assert file is not None
        if extension.lower() in AUDIO_EXTENSIONS:
            place = (member.offset_data, member.size)
            waiting.append(with_header(Entry(name, shard, member=place), file))
        elif extension == ".txt":
            facts["text"] = file.read().decode("utf-8", "replace").strip()
        elif extension == ".json":
            facts = {**_described(file.read()), **facts}
    yield from (replace(entry, **facts) for entry in waiting)  # type: ignore[arg-type]


def _described(data: bytes) -> dict[str, str | None]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    names = ("text", "speaker_id", "chapter_id")
    return {name: str(values[name]) for name in names if values.get(name) is not None}
