"""PyTorch datasets over a store of units: by index, as a stream, and packed for language models.

    stream = UnitStream("units", split="train", shuffle_buffer=10_000)
    contexts = PackedUnits(stream, to_ids, context_length=2048, eos_id=eos_id)

A stream goes through the row groups of the store in an order that is a function of (seed, epoch);
that order is cut into equal stretches, one for each worker of each rank. So every item comes once
an epoch, in whatever number of processes; the numbers of items that two of them get differ by one
at most, and those of packed contexts may differ too.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from fsq_audio.errors import ConfigError
from fsq_audio.units.item import UnitItem
from fsq_audio.units.parquet import read_row_group
from fsq_audio.units.store import find_shards, read_info

_GROUPS_IN_MEMORY = 8


@dataclass(frozen=True)
class RowGroup:
    """A part of a store that is read at once.

    Attributes:
        path: The shard.
        index: Of the row group in it.
        num_items: In it.
        modified_ns: When the shard was written, since one may be written in its place.
    """

    path: Path
    index: int
    num_items: int
    modified_ns: int


def find_row_groups(path: str | os.PathLike[str], *, split: str | None = None) -> list[RowGroup]:
    """The row groups of a store, in order.

    Args:
        path: The folder of a store, or one shard.
        split: Only this one.

    Raises:
        TokenError: The store is damaged, not complete, or of several models.
    """
    read_info(path, split=split)
    groups = []
    for shard in find_shards(path, split=split):
        metadata, modified_ns = pq.read_metadata(shard), shard.stat().st_mtime_ns
        for index in range(metadata.num_row_groups):
            num_items = metadata.row_group(index).num_rows
            groups.append(RowGroup(shard, index, num_items, modified_ns))
    return groups


class UnitDataset(Dataset[UnitItem]):
    """The items of a store by index; the last few row groups that were asked for are kept.

    For going through it in order, or for a store of a few row groups; to train, `UnitStream`.
    """

    def __init__(self, path: str | os.PathLike[str], *, split: str | None = None) -> None:
        """Looks at the footers of all shards.

        Args:
            path: The folder of a store, or one shard.
            split: Only this one; None for all.

        Raises:
            TokenError: The store is damaged, not complete, or of several models.
        """
        self.info = read_info(path, split=split)
        self._groups = find_row_groups(path, split=split)
        self._ends = np.cumsum([group.num_items for group in self._groups]).tolist()

    def __len__(self) -> int:
        """Number of items."""
        return int(self._ends[-1]) if self._ends else 0

    def __getitem__(self, index: int) -> UnitItem:
        """One item."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        place = bisect_right(self._ends, index)
        group = self._groups[place]
        item = _read_group(group)[index - int(self._ends[place]) + group.num_items]
        return replace(item, codes=item.codes.copy())  # the caller's own, who may change them


@lru_cache(_GROUPS_IN_MEMORY)
def _read_group(group: RowGroup) -> list[UnitItem]:
    return list(read_row_group(group.path, group.index))


class UnitStream(IterableDataset[UnitItem]):
    """The items of a store, one after another, each once an epoch over all workers and ranks."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        split: str | None = None,
        shuffle_buffer: int = 0,
        seed: int = 0,
        rank: int | None = None,
        num_ranks: int | None = None,
    ) -> None:
        """Looks at the footers of all shards.

        Args:
            path: The folder of a store, or one shard.
            split: Only this one; None for all.
            shuffle_buffer: Items that are held to be drawn from; 0 for the order of the store.
            seed: Of the order.
            rank: Of this process; None for that of torch.distributed, or 0.
            num_ranks: Processes that share the store; None likewise, or 1.

        Raises:
            ConfigError: A number is out of range.
            TokenError: The store is damaged, not complete, or of several models.
        """
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if num_ranks is None:
            num_ranks = torch.distributed.get_world_size() if distributed else 1
        if rank is None:
            rank = torch.distributed.get_rank() if distributed else 0
        if not 0 <= rank < num_ranks:
            raise ConfigError(f"rank must be from 0 to {num_ranks - 1}, got {rank}")
        if shuffle_buffer < 0:
            raise ConfigError(f"shuffle_buffer must be 0 or more, got {shuffle_buffer}")
        self.info = read_info(path, split=split)
        self._groups = find_row_groups(path, split=split)
        self._shuffle_buffer, self._seed = shuffle_buffer, seed
        self._rank, self._num_ranks = rank, num_ranks
        # In shared memory: workers that persist over epochs see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass.

        Args:
            epoch: 0 or more.
        """
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[UnitItem]:
        """The items of this worker of this rank."""
        worker = get_worker_info()
        num_workers, index = (1, 0) if worker is None else (worker.num_workers, worker.id)
        part, num_parts = self._rank * num_workers + index, self._num_ranks * num_workers
        key = (self._seed, int(self._epoch))
        if not self._shuffle_buffer:
            return self._stretch(self._groups, part, num_parts)
        order = np.random.default_rng(key).permutation(len(self._groups))
        items = self._stretch([self._groups[place] for place in order], part, num_parts)
        return _shuffled(items, self._shuffle_buffer, np.random.default_rng((*key, part)))

    def _stretch(self, groups: list[RowGroup], part: int, num_parts: int) -> Iterator[UnitItem]:
        total = sum(group.num_items for group in groups)
        first, stop = total * part // num_parts, total * (part + 1) // num_parts
        start = 0
        for group in groups:
            skipped, taken = max(first - start, 0), min(stop - start, group.num_items)
            if skipped < taken:
                yield from list(read_row_group(group.path, group.index))[skipped:taken]
            start += group.num_items


class PackedUnits(IterableDataset[Tensor]):
    """A stream of items as contexts of one length, for a language model.

    The ids of all items follow each other, each item's with an end of sequence behind them, and are
    cut every `context_length` ids; an item may begin in one context and end in the next. What is
    left at the end of a worker's stretch is less than a context: it is dropped, or kept.
    """

    def __init__(
        self,
        items: UnitStream,
        to_ids: Callable[[UnitItem], NDArray[Any]],
        *,
        context_length: int,
        eos_id: int,
        keep_remainder: bool = False,
    ) -> None:
        """Reads nothing yet.

        Args:
            items: The stream.
            to_ids: The ids [L] of an item, without an end of sequence. Workers that are spawned
                need one that can be pickled: a function of a module, or an object.
            context_length: Ids of a context.
            eos_id: The end of sequence.
            keep_remainder: Whether each worker's last context may be a shorter one; False drops it.

        Raises:
            ConfigError: The length is below 1.
        """
        if context_length < 1:
            raise ConfigError(f"context_length must be 1 or more, got {context_length}")
        self.items = items
        self._to_ids = to_ids
        self._context_length, self._eos_id = context_length, eos_id
        self._keep_remainder = keep_remainder

    def __iter__(self) -> Iterator[Tensor]:
        """Contexts `[context_length]` int64."""
        waiting, num_waiting = [], 0
        for item in self.items:
            ids = np.append(np.asarray(self._to_ids(item), dtype=np.int64), self._eos_id)
            waiting.append(ids)
            num_waiting += len(ids)
            if num_waiting >= self._context_length:
                whole = torch.from_numpy(np.concatenate(waiting))
                num_contexts = num_waiting // self._context_length
                yield from whole[: num_contexts * self._context_length].view(num_contexts, -1)
                waiting = [whole[num_contexts * self._context_length :].numpy()]
                num_waiting = len(waiting[0])
        if num_waiting and self._keep_remainder:
            yield torch.from_numpy(np.concatenate(waiting))


def _shuffled(
    items: Iterator[UnitItem], size: int, random: np.random.Generator
) -> Iterator[UnitItem]:
    buffer: list[UnitItem] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        place = int(random.integers(size))
        yield buffer[place]
        buffer[place] = item
    yield from (buffer[place] for place in random.permutation(len(buffer)))
