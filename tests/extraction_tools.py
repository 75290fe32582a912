"""Corpora of real speech to extract units from, and the stores that come of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import soundfile
from conftest import SAMPLES

from fsq_audio.units.item import UnitItem
from fsq_audio.units.parquet import read_shard
from fsq_audio.units.store import find_shards

WORDS = "GO DO YOU HEAR"


def write_corpus(folder: Path, num_files: int = 12) -> Path:
    """Pieces of the samples, of different lengths, as a LibriSpeech tree."""
    speech = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in SAMPLES])
    cuts = np.linspace(0, 1, num_files + 1) ** 1.5 * len(speech)
    transcripts: dict[Path, list[str]] = {}
    for index, (first, last) in enumerate(itertools.pairwise(cuts)):
        chapter = folder / "84" / str(121 + index // 5)
        name = f"84-{chapter.name}-{index:04d}"
        chapter.mkdir(parents=True, exist_ok=True)
        soundfile.write(chapter / f"{name}.flac", speech[int(first) : int(last)], 16000)
        transcripts.setdefault(chapter, []).append(f"{name} {WORDS} {index}\n")
    for chapter, lines in transcripts.items():
        (chapter / f"84-{chapter.name}.trans.txt").write_text("".join(lines))
    return folder


def write_manifest(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read_store(folder: Path) -> dict[str, UnitItem]:
    """All items of a store, each of which must be there once."""
    items = [item for shard in find_shards(folder) for item in read_shard(shard)]
    by_id = {item.id: item for item in items}
    assert len(by_id) == len(items)
    return by_id


def shards(folder: Path) -> dict[str, bytes]:
    """Every shard, byte by byte; nothing else may be in its folder."""
    return {path.name: path.read_bytes() for path in sorted((folder / "data").iterdir())}
