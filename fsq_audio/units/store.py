"""The canonical store of units: parquet shards `data/{split}-{i:05d}-of-{N:05d}.parquet`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fsq_audio.errors import TokenError
from fsq_audio.units import parquet
from fsq_audio.units.item import StoreInfo

_SHARD_NAME = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<total>\d{5,})\.parquet")


def shard_name(split: str, index: int, num_shards: int) -> str:
    """The name of a shard, such as `train-00003-of-00010.parquet`.

    Args:
        split: Part of the data: train, valid, ...
        index: Of the shard, from 0.
        num_shards: Of the split.
    """
    assert 0 <= index < num_shards
    return f"{split}-{index:05d}-of-{num_shards:05d}.parquet"


def find_shards(path: str | os.PathLike[str], *, split: str | None = None) -> list[Path]:
    """The shards of a store, in order.

    Args:
        path: The folder of a store (or its folder `data`), or one parquet file.
        split: Only those of this split; None for those of all, one split after another.

    Raises:
        TokenError: There are none, a shard is missing, or a file is named otherwise.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    folder = path / "data" if (path / "data").is_dir() else path
    if not folder.is_dir():
        raise TokenError(f"{path}: no such file or folder")
    splits: dict[str, dict[int, set[Path]]] = {}
    for file in sorted(folder.glob("[!.]*.parquet")):
        parts = _SHARD_NAME.fullmatch(file.name)
        if parts is None:
            raise TokenError(f"{file}: a shard must be named like {shard_name('train', 0, 1)}")
        splits.setdefault(parts["split"], {}).setdefault(int(parts["total"]), set()).add(file)
    if not splits:
        raise TokenError(f"{folder}: the folder holds no shard of units (*.parquet)")
    if split is not None and split not in splits:
        raise TokenError(f"{folder}: no split {split!r}; there are {', '.join(sorted(splits))}")
    names = [split] if split is not None else sorted(splits)
    return [file for name in names for file in _complete(folder, name, splits[name])]


def find_splits(path: str | os.PathLike[str]) -> list[str]:
    """The names of the splits of a store, sorted; of a single file, its own or its stem.

    Raises:
        TokenError: As for `find_shards`.
    """
    names = [_SHARD_NAME.fullmatch(shard.name) for shard in find_shards(path)]
    return sorted({Path(path).stem if name is None else name["split"] for name in names})


def _complete(folder: Path, split: str, totals: dict[int, set[Path]]) -> list[Path]:
    if len(totals) > 1:
        raise TokenError(
            f"{folder}: shards of {split!r} are numbered of {' and of '.join(map(str, totals))}: "
            f"two runs wrote here, remove the one that is not meant"
        )
    ((total, found),) = totals.items()
    shards = [folder / shard_name(split, index, total) for index in range(total)]
    missing = [shard for shard in shards if shard not in found]
    if missing:
        raise TokenError(
            f"{folder}: {len(missing)} of {total} shards of {split!r} are missing, such as "
            f"{missing[0].name}: let the run that writes them come to its end"
        )
    foreign = found.difference(shards)
    if foreign:
        raise TokenError(f"{min(foreign)}: there is no such shard of {total}")
    return shards


def read_info(path: str | os.PathLike[str], *, split: str | None = None) -> StoreInfo:
    """The model that the items of a shard, or of all shards of a store, belong to.

    Args:
        path: A parquet file, or the folder of a store.
        split: Only the shards of this one; others may still be written. None for all.

    Raises:
        TokenError: A file is no shard of units, or two shards are of different models.
    """
    first: StoreInfo | None = None
    for shard in find_shards(path, split=split):
        info = parquet.read_info(shard)
        first = first or info
        if info != first:
            raise TokenError(
                f"{shard}: holds units of model {info.fingerprint} with {info.num_groups} groups; "
                f"the shards before it, of {first.fingerprint} with {first.num_groups}"
            )
    assert first is not None
    return first


@dataclass(frozen=True)
class Count:
    """What a store holds.

    Attributes:
        num_items: recordings.
        num_frames: of all of them.
    """

    num_items: int
    num_frames: int


def count_frames(path: str | os.PathLike[str], *, split: str | None = None) -> Count:
    """Counts what a store holds; of the rows only the numbers of frames are read.

    Args:
        path: The folder of a store, or one shard.
        split: Only this one; None for all.

    Raises:
        TokenError: As for `find_shards`, or a file is no shard of units.
    """
    num_items = num_frames = 0
    for shard in find_shards(path, split=split):
        frames = parquet.read_num_frames(shard)
        num_items, num_frames = num_items + len(frames), num_frames + int(frames.sum())
    return Count(num_items, num_frames)
