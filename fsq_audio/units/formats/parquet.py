"""`parquet`: the canonical store, `data/{split}-{i:05d}-of-{N:05d}.parquet`; here, cut anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fsq_audio.units.formats.base import Destination, UnitFormat, UnitSource, register_format
from fsq_audio.units.formats.shards import cut_shards
from fsq_audio.units.item import UnitItem
from fsq_audio.units.parquet import count_items, read_shard, write_shard
from fsq_audio.units.store import find_shards, find_splits, read_info, shard_name

_SHARD_SIZE = 10_000


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the shards of a split."""
    folder = to.folder / "data"
    paths: list[Path] = []
    # How many there will be is known, and in their names, at the end.
    for shard in cut_shards(items, to.options.shard_size or _SHARD_SIZE):
        paths.append(folder / f"{to.split}-{len(paths):05d}")
        write_shard(paths[-1], shard, to.info)
    if not paths:
        paths.append(folder / f"{to.split}-00000")
        write_shard(paths[-1], [], to.info)
    for index, path in enumerate(paths):
        os.replace(path, folder / shard_name(to.split, index, len(paths)))


def open_store(path: Path) -> UnitSource:
    """Opens a store, or one shard."""
    splits = find_splits(path)
    shards = {split: find_shards(path, split=split) for split in splits}
    return UnitSource(
        info=read_info(path),
        splits={split: sum(map(count_items, shards[split])) for split in splits},
        read=lambda split: (item for shard in shards[split] for item in read_shard(shard)),
    )


register_format(
    UnitFormat(name="parquet", write=write, open=open_store, options=frozenset({"shard_size"}))
)
