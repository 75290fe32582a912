"""The store through the library datasets: streamed, shuffled, packed, resumed, shared out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unit_tools import make_info, make_item

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.datasets import PackedUnits, UnitStream
from fsq_audio.units.hf_datasets import load_units, pack_units
from fsq_audio.units.item import UnitItem
from fsq_audio.units.parquet import write_shard
from fsq_audio.units.patterns import Pattern
from fsq_audio.units.store import shard_name

pytest.importorskip("datasets", reason="datasets is not installed")

INFO = make_info()
PATTERN = Pattern("flatten", INFO.num_groups, INFO.codebook_size)
EOS = PATTERN.vocabulary_size


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 items in 4 shards, some without frames, and another split."""
    folder = tmp_path_factory.mktemp("store")
    for index in range(4):
        items = [make_item(INFO, f"{index}/{n}", (3 * n + index) % 7) for n in range(10)]
        write_shard(folder / "data" / shard_name("train", index, 4), items, INFO)
    items = [make_item(INFO, "other", 5)]
    write_shard(folder / "data" / shard_name("valid", 0, 1), items, INFO)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # Its remedy for a fault of arrow is to sleep three seconds at each end of a shuffled stream.
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)


def test_a_stream_has_the_rows_of_the_store(store: Path) -> None:
    units = load_units(store, split="train")
    rows = list(units)
    items = list(UnitStream(store, split="train"))
    assert [row["id"] for row in rows] == [item.id for item in items]
    for row, item in zip(rows, items, strict=True):
        codes = np.array(row["codes"], dtype=np.int64)
        assert np.array_equal(codes.reshape(item.codes.shape), item.codes)
        assert (row["num_frames"], row["duration"]) == (item.num_frames, item.duration)
    assert [row["id"] for row in load_units(store, split="valid")] == ["other"]
    assert len(list(load_units(store))) == 41


def test_a_shuffled_stream_is_a_function_of_seed_and_epoch(store: Path) -> None:
    def order(seed: int, epoch: int) -> list[str]:
        units = load_units(store, split="train").shuffle(seed=seed, buffer_size=8)
        units.set_epoch(epoch)
        return [row["id"] for row in units]

    assert order(0, 0) == order(0, 0)
    orders = [order(0, 0), order(0, 1), order(1, 0), [row["id"] for row in load_units(store)][:40]]
    assert len({tuple(each) for each in orders}) == 4
    assert len({tuple(sorted(each)) for each in orders}) == 1


def to_ids(item: UnitItem) -> np.ndarray:
    return PATTERN.apply(item.codes)


@pytest.mark.parametrize("context_length", [1, 7, 64, 1000])
def test_contexts_are_those_of_the_other_view(store: Path, context_length: int) -> None:
    units = load_units(store, split="train")
    stream = UnitStream(store, split="train")
    for keep in (False, True):
        packed = pack_units(
            units, PATTERN.apply, context_length=context_length, eos_id=EOS, keep_remainder=keep
        )
        expected = PackedUnits(
            stream, to_ids, context_length=context_length, eos_id=EOS, keep_remainder=keep
        )
        found = [row["input_ids"] for row in packed]
        assert found == [each.tolist() for each in expected]
        assert keep is False or sum(map(len, found)) == sum(
            item.codes.size + 1 for item in UnitStream(store, split="train")
        )


def test_what_is_packed_together_drops_its_own_remainder(store: Path) -> None:
    units = load_units(store, split="train")
    packed = pack_units(units, PATTERN.apply, context_length=16, eos_id=EOS, items_at_once=10)
    sizes = [
        sum(item.codes.size + 1 for item in UnitStream(shard))
        for shard in sorted((store / "data").glob("train-*"))
    ]
    assert len(list(packed)) == sum(size // 16 for size in sizes)


def test_packing_after_shuffling_batches_and_resumes(store: Path) -> None:
    from torch.utils.data import DataLoader

    units = load_units(store, split="train").shuffle(seed=1, buffer_size=8)
    packed = pack_units(units, PATTERN.apply, context_length=16, eos_id=EOS, items_at_once=10)
    every = [row["input_ids"] for row in packed]
    assert len(every) > 8
    batches = list(DataLoader(packed.with_format("torch"), batch_size=3, drop_last=True))
    assert {tuple(batch["input_ids"].shape) for batch in batches} == {(3, 16)}
    assert [row.tolist() for batch in batches for row in batch["input_ids"]] == every[
        : 3 * len(batches)
    ]
    plain = pack_units(
        load_units(store, split="train"), PATTERN.apply, context_length=16, eos_id=EOS,
        items_at_once=10,
    )  # fmt: skip
    whole = [row["input_ids"] for row in plain]
    rows = iter(plain)
    for _ in range(5):
        next(rows)
    state = plain.state_dict()
    plain.load_state_dict(state)
    assert [row["input_ids"] for row in plain] == whole[5:]


def test_nodes_and_workers_share_the_shards(store: Path) -> None:
    from datasets.distributed import split_dataset_by_node
    from torch.utils.data import DataLoader

    ids: list[str] = []
    for rank in range(2):
        units = load_units(store, split="train").select_columns(["id"])
        part = split_dataset_by_node(units, rank=rank, world_size=2)
        ids += [
            row for batch in DataLoader(part, batch_size=4, num_workers=2) for row in batch["id"]
        ]
    assert sorted(ids) == sorted(item.id for item in UnitStream(store, split="train"))


def test_what_is_wrong_is_told(store: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="no split 'test'"):
        load_units(store, split="test")
    with pytest.raises(TokenError, match="no such file"):
        load_units(tmp_path / "nothing")
    units = load_units(store)
    for wrong in ({"context_length": 0}, {"context_length": 4, "items_at_once": 0}):
        with pytest.raises(ConfigError, match="must be 1 or more"):
            pack_units(units, PATTERN.apply, eos_id=EOS, **wrong)
