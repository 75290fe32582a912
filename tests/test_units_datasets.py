"""Views of the store: every item once, in any number of processes; contexts that lose nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from unit_tools import make_info, make_item

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units import parquet
from fsq_audio.units.datasets import PackedUnits, UnitDataset, UnitStream, find_row_groups
from fsq_audio.units.item import UnitItem
from fsq_audio.units.parquet import read_shard, write_shard
from fsq_audio.units.patterns import Pattern
from fsq_audio.units.store import find_shards, shard_name

INFO = make_info()
PATTERN = Pattern("flatten", INFO.num_groups, INFO.codebook_size)
EOS = PATTERN.vocabulary_size


def to_ids(item: UnitItem) -> np.ndarray:
    return PATTERN.apply(item.codes)


def same(items: list[UnitItem]) -> list[UnitItem]:
    """A batch as it is; at the top level, so that workers can be spawned."""
    return items


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """57 items in 3 shards, row groups of 5."""
    folder = tmp_path_factory.mktemp("store")
    frames = iter([*range(7)] * 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_ROWS_AT_ONCE", 5)
        for index, size in enumerate((20, 3, 34)):
            items = [make_item(INFO, f"{index}/{n}", next(frames)) for n in range(size)]
            write_shard(folder / "data" / shard_name("train", index, 3), items, INFO)
    write_shard(folder / "data" / shard_name("valid", 0, 1), [], INFO)
    return folder


@pytest.fixture(scope="module")
def items(store: Path) -> list[UnitItem]:
    shards = find_shards(store)
    return [item for shard in shards for item in read_shard(shard)]


def test_items_by_index(store: Path, items: list[UnitItem]) -> None:
    dataset = UnitDataset(store)
    assert dataset.info == INFO
    assert len(dataset) == len(items) == 57
    assert [dataset[index] for index in range(57)] == items
    assert dataset[-1] == items[-1]
    assert len(find_row_groups(store)) == 4 + 1 + 7
    for index in (57, -58):
        with pytest.raises(IndexError):
            dataset[index]
    empty = UnitDataset(store, split="valid")
    assert len(empty) == 0
    with pytest.raises(IndexError):
        empty[0]
    loaded = DataLoader(dataset, batch_size=10, collate_fn=same, num_workers=0)
    assert [item for batch in loaded for item in batch] == items


def test_items_are_the_callers_own(store: Path, items: list[UnitItem]) -> None:
    dataset = UnitDataset(store)
    dataset[3].codes[:] = 0
    assert dataset[3] == UnitDataset(store)[3] == items[3]
    # One that is kept, in a buffer to be shuffled, keeps no others in memory.
    for item in (dataset[3], items[3], next(iter(UnitStream(store)))):
        assert item.codes.base is None


def test_a_store_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "data" / shard_name("train", 0, 1)
    for name in ("first", "other"):
        write_shard(path, [make_item(INFO, name, 3)], INFO)
        assert UnitDataset(tmp_path)[0].id == name


def test_row_groups_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_CODES_AT_ONCE", 30)
    items = [make_item(INFO, str(n), 10) for n in range(6)]
    write_shard(tmp_path / "shard.parquet", items, INFO)
    seen = []
    read = parquet._items
    monkeypatch.setattr(
        parquet, "_items", lambda batch, info: (seen.append(len(batch)), read(batch, info))[1]
    )
    assert list(read_shard(tmp_path / "shard.parquet")) == items
    assert seen == [2] * 3


def test_a_stream_is_the_store(store: Path, items: list[UnitItem]) -> None:
    stream = UnitStream(store, split="train")
    assert list(stream) == items
    assert list(stream) == items
    assert list(UnitStream(store, split="valid")) == []


@settings(max_examples=8)
@given(num_ranks=st.sampled_from([1, 2, 3, 5, 12]), shuffle_buffer=st.sampled_from([0, 1, 7, 1000]))
def test_ranks_share_a_store(
    store: Path, items: list[UnitItem], num_ranks: int, shuffle_buffer: int
) -> None:
    parts = [
        list(UnitStream(store, shuffle_buffer=shuffle_buffer, rank=rank, num_ranks=num_ranks))
        for rank in range(num_ranks)
    ]
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    there = Counter(item.id for part in parts for item in part)
    assert there == Counter(item.id for item in items)


@pytest.mark.parametrize("shuffle_buffer", [0, 8])
def test_workers_of_ranks_share_a_store(
    store: Path, items: list[UnitItem], shuffle_buffer: int
) -> None:
    ids: list[str] = []
    for rank in range(2):
        stream = UnitStream(store, shuffle_buffer=shuffle_buffer, rank=rank, num_ranks=2)
        loader = DataLoader(stream, batch_size=4, num_workers=2, collate_fn=same)
        ids += [item.id for batch in loader for item in batch]
    assert sorted(ids) == sorted(item.id for item in items)


def test_the_order_is_a_function_of_seed_and_epoch(store: Path, items: list[UnitItem]) -> None:
    def order(seed: int, epoch: int) -> list[str]:
        stream = UnitStream(store, shuffle_buffer=20, seed=seed)
        stream.set_epoch(epoch)
        return [item.id for item in stream]

    assert order(0, 0) == order(0, 0)
    orders = [order(0, 0), order(0, 1), order(1, 0), [item.id for item in items]]
    assert len({tuple(each) for each in orders}) == 4
    assert len({tuple(sorted(each)) for each in orders}) == 1


def test_persistent_workers_see_the_epoch_change(store: Path) -> None:
    stream = UnitStream(store, shuffle_buffer=20)
    loader = DataLoader(
        stream, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=same
    )
    seen = []
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        seen.append([item.id for batch in loader for item in batch])
        assert seen[-1] == [item.id for item in stream]
    assert seen[0] != seen[1]


@settings(max_examples=6)
@given(context_length=st.integers(1, 400), num_ranks=st.integers(1, 3))
def test_contexts_hold_all_ids_in_order(store: Path, context_length: int, num_ranks: int) -> None:
    for rank in range(num_ranks):
        stream = UnitStream(store, rank=rank, num_ranks=num_ranks)
        expected = [index for item in stream for index in (*to_ids(item), EOS)]
        packed: dict[bool, list[torch.Tensor]] = {
            keep: list(
                PackedUnits(
                    stream, to_ids, context_length=context_length, eos_id=EOS, keep_remainder=keep
                )
            )
            for keep in (False, True)
        }
        assert [int(index) for each in packed[True] for index in each] == expected
        whole = len(expected) // context_length
        assert [each.tolist() for each in packed[False]] == [
            each.tolist() for each in packed[True][:whole]
        ]
        assert all(each.shape == (context_length,) for each in packed[False])
        assert all(each.dtype == torch.int64 for each in packed[False])
        assert 0 <= len(packed[True]) - whole <= 1


def test_contexts_make_batches(store: Path) -> None:
    packed = PackedUnits(UnitStream(store), to_ids, context_length=16, eos_id=EOS)
    batches = list(DataLoader(packed, batch_size=3, drop_last=True))
    assert {tuple(batch.shape) for batch in batches} == {(3, 16)}
    inverse = torch.cat(list(packed)).tolist()
    first = to_ids(UnitDataset(store)[1]).tolist()
    assert inverse[: 2 + len(first)] == [EOS, *first, EOS]  # the first item has no frame


@pytest.mark.parametrize(
    "arguments", [{"rank": 2, "num_ranks": 2}, {"rank": -1}, {"shuffle_buffer": -1}]
)
def test_wrong_numbers_are_refused(store: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        UnitStream(store, **arguments)
    with pytest.raises(ConfigError, match="context_length must be 1 or more"):
        PackedUnits(UnitStream(store), to_ids, context_length=0, eos_id=EOS)


def test_a_store_that_is_not_whole_is_refused(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / shard_name("train", 0, 2)
    path.parent.mkdir()
    path.write_bytes(find_shards(store)[0].read_bytes())
    for view in (UnitDataset, UnitStream):
        with pytest.raises(TokenError, match="1 of 2 shards"):
            view(tmp_path)


def test_a_split_is_read_while_another_is_written(tmp_path: Path) -> None:
    for split, num_shards in ("train", 2), ("valid", 1):
        path = tmp_path / "data" / shard_name(split, 0, num_shards)
        write_shard(path, [make_item(INFO, split, 3)], INFO)
    for view in (UnitDataset, UnitStream):
        assert [item.id for item in view(tmp_path, split="valid")] == ["valid"]
        with pytest.raises(TokenError, match="1 of 2 shards of 'train'"):
            view(tmp_path, split="train")


def test_more_ranks_than_items(store: Path) -> None:
    sizes = [len(list(UnitStream(store, rank=rank, num_ranks=60))) for rank in range(60)]
    assert Counter(sizes) == {1: 57, 0: 3}
