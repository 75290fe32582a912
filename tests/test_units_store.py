"""The parquet store: what goes in comes out, the same bytes, and what is wrong is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_tools import make_format
from unit_tools import HOP, RATE, make_info, make_item, make_items

from fsq_audio.errors import TokenError
from fsq_audio.units import parquet
from fsq_audio.units.item import StoreInfo, UnitItem
from fsq_audio.units.parquet import count_items, read_shard, write_shard
from fsq_audio.units.store import find_shards, find_splits, read_info, shard_name


def write_split(folder: Path, split: str, num_shards: int, info: StoreInfo | None = None) -> None:
    info = info or make_info()
    for index in range(num_shards):
        path = folder / "data" / shard_name(split, index, num_shards)
        write_shard(path, [make_item(info, f"{split}-{index}", index)], info)


# What goes in comes out


@pytest.mark.parametrize("codebook_size", [2, 1000, 2**16, 2**16 + 1, 70000, 2**31])
@pytest.mark.parametrize("num_groups", [1, 3])
def test_items_come_back(tmp_path: Path, codebook_size: int, num_groups: int) -> None:
    info = make_info(codebook_size=codebook_size, num_groups=num_groups)
    items = make_items(info)
    path = tmp_path / "new" / "units.parquet"
    assert write_shard(path, iter(items), info) == len(items)
    assert list(read_shard(path)) == items
    assert {item.codes.dtype for item in read_shard(path)} == {np.dtype("int64")}
    assert read_info(path) == info
    assert count_items(path) == len(items)
    wide = codebook_size > 2**16
    code = pq.read_schema(path).field("codes").type.value_type.value_type
    assert code == (pa.int32() if wide else pa.uint16())
    assert [entry.name for entry in path.parent.iterdir()] == ["units.parquet"]


def test_the_columns_are_what_others_expect(tmp_path: Path) -> None:
    info = make_info()
    item = make_item(info, "a", 2, num_samples=HOP + 1, text="hello", speaker_id="7")
    write_shard(tmp_path / "a.parquet", [item], info)
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert row == {
        "id": "a",
        "audio_path": None,
        "codes": item.codes.tolist(),
        "num_frames": 2,
        "num_samples": HOP + 1,
        "duration": (HOP + 1) / RATE,
        "sampling_rate": RATE,
        "text": "hello",
        "speaker_id": "7",
        "chapter_id": None,
    }


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "a.parquet", [], make_info()) == 0
    assert list(read_shard(tmp_path / "a.parquet")) == []
    assert read_info(tmp_path / "a.parquet") == make_info()


@settings(max_examples=30)
@given(
    texts=st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=1, max_size=5),
    frames=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    rows=st.integers(1, 3),
)
def test_any_items_come_back_whatever_the_row_groups(
    tmp_path_factory: pytest.TempPathFactory, texts: list[Any], frames: list[int], rows: int
) -> None:
    info = make_info()
    items = [
        make_item(info, f"{n}", frames[n % len(frames)], text=text) for n, text in enumerate(texts)
    ]
    path = tmp_path_factory.mktemp("any") / "a.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_ROWS_AT_ONCE", rows)
        write_shard(path, items, info)
        assert list(read_shard(path)) == items
    assert pq.read_metadata(path).num_row_groups == -(-len(items) // rows)


def test_long_items_end_a_row_group(tmp_path: Path) -> None:
    info = make_info(num_groups=1)
    long = [make_item(info, f"{n}", 2**19 + 1) for n in range(3)]
    write_shard(tmp_path / "a.parquet", long, info)
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 2
    assert list(read_shard(tmp_path / "a.parquet")) == long


# The same bytes, and few of them


def test_the_same_items_give_the_same_bytes(tmp_path: Path) -> None:
    info = make_info()
    items = make_items(info)
    narrow = [replace(item, codes=item.codes.astype(np.uint16)) for item in items]
    for name, given_items in (("a", items), ("b", narrow), ("b", items)):
        write_shard(tmp_path / name, given_items, info)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_codes_take_little_more_than_their_information(tmp_path: Path) -> None:
    info = make_info(num_groups=4)
    items = [make_item(info, f"{n}", 500) for n in range(400)]
    write_shard(tmp_path / "a.parquet", items, info)
    bits = 8 * (tmp_path / "a.parquet").stat().st_size / sum(item.codes.size for item in items)
    assert bits < np.log2(1000) * 1.03


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    info = make_info()
    path = tmp_path / "a.parquet"
    write_shard(path, [make_item(info, "old", 2)], info)
    before = path.read_bytes()

    def broken() -> Iterator[UnitItem]:
        yield make_item(info, "new", 2)
        raise TokenError("input.fsq: damaged")

    with pytest.raises(TokenError, match=r"^input\.fsq: damaged$"):
        write_shard(path, broken(), info)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]


# Shards


def test_shards_are_found_in_order(tmp_path: Path) -> None:
    write_split(tmp_path, "valid", 1)
    write_split(tmp_path, "train-clean", 12)
    (tmp_path / "data" / ".half.parquet").write_text("of a run that was killed")
    names = [path.name for path in find_shards(tmp_path)]
    train = [shard_name("train-clean", index, 12) for index in range(12)]
    assert names == [*train, "valid-00000-of-00001.parquet"]
    assert find_shards(tmp_path / "data") == find_shards(tmp_path)
    assert [path.name for path in find_shards(tmp_path, split="train-clean")] == train
    assert find_shards(tmp_path / "data" / train[3]) == [tmp_path / "data" / train[3]]
    assert find_splits(tmp_path) == ["train-clean", "valid"]
    assert read_info(tmp_path) == make_info()


def break_missing(data: Path) -> None:
    (data / shard_name("train", 1, 3)).unlink()


def break_two_runs(data: Path) -> None:
    write_split(data.parent, "train", 2)


def break_beyond(data: Path) -> None:
    (data / "train-00003-of-00003.parquet").write_bytes(b"")


def break_name(data: Path) -> None:
    (data / "mine.parquet").write_bytes(b"")


def break_all(data: Path) -> None:
    for path in data.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (break_missing, r"1 of 3 shards of 'train' are missing, such as train-00001-of-00003"),
        (break_two_runs, r"numbered of 2 and of 3: two runs wrote here"),
        (break_beyond, r"train-00003-of-00003.parquet: there is no such shard of 3"),
        (break_name, r"mine.parquet: a shard must be named like train-00000-of-00001.parquet"),
        (break_all, r"the folder holds no shard of units"),
    ],
)
def test_a_store_that_is_not_complete_is_refused(
    tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    write_split(tmp_path, "train", 3)
    break_it(tmp_path / "data")
    with pytest.raises(TokenError, match=message):
        find_shards(tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 1)
    with pytest.raises(TokenError, match="no split 'test'; there are train"):
        find_shards(tmp_path, split="test")
    with pytest.raises(TokenError, match="nowhere: no such file or folder"):
        find_shards(tmp_path / "nowhere")


@pytest.mark.parametrize("change", [{"fingerprint": "ffff"}, {"num_groups": 1}])
def test_shards_of_two_models_are_no_store(tmp_path: Path, change: dict[str, Any]) -> None:
    write_split(tmp_path, "train", 1)
    write_split(tmp_path, "valid", 1, make_info(**change))
    with pytest.raises(TokenError, match=r"valid-00000-of-00001.parquet: holds units of model"):
        read_info(tmp_path)


# What is wrong is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": np.zeros((3, 5), int)}, "'a' has 3 groups of codes, not 2"),
        ({"codes": np.full((2, 5), 1000)}, r"'a' has codes outside \[0, 1000\)"),
        ({"codes": np.full((2, 5), -1)}, r"'a' has codes outside \[0, 1000\)"),
        ({"num_samples": 5 * HOP + 1}, "'a' has 5 frames, but 1601 samples make 6"),
        ({"num_samples": 4 * HOP}, "'a' has 5 frames, but 1280 samples make 4"),
        ({"sampling_rate": 24000}, "'a' has a sampling rate of 24000 Hz, not the model's 16000"),
    ],
)
def test_an_item_of_another_model_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    item = make_item(make_info(), "a", 5, **changes)
    with pytest.raises(TokenError, match=message):
        write_shard(tmp_path / "a.parquet", [item], make_info())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": None},
        {"id": "bytes\udcff"},
        {"text": 5},
        {"codes": [[1, 2]]},
        {"codes": np.zeros(5, int)},
        {"codes": np.zeros((2, 5))},
        {"num_samples": -1},
        {"num_samples": 1.0},
    ],
)
def test_an_item_must_be_one(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        make_item(make_info(), "a", 5, **changes)


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def replaced(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = table.schema.field(name)
    return table.set_column(place, field, pa.array(values, field.type))


DAMAGES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "metadata": (lambda t: t.replace_schema_metadata(None), "no metadata 'fsq_audio'"),
    "not json": (lambda t: t.replace_schema_metadata({"fsq_audio": "{"}), "cannot be read"),
    "version": (lambda t: t.replace_schema_metadata({"fsq_audio": '{"version":2}'}), "version 2"),
    "keys": (lambda t: t.replace_schema_metadata({"fsq_audio": '{"version":1}'}), "must have"),
    "foreign column": (lambda t: t.append_column("more", [[1]]), "units: it has more int64$"),
    "missing column": (lambda t: t.drop_columns(["text"]), "lacks text string"),
    "column type": (
        lambda t: t.cast(t.schema.set(3, pa.field("num_frames", pa.int32()))),
        "lacks num_frames int64 and it has num_frames int32",
    ),
    "order": (lambda t: t.select(t.column_names[::-1]), "their order is another"),
    "no id": (lambda t: replaced(t, "id", [None]), "its column id has empty cells"),
    "no codes": (lambda t: replaced(t, "codes", [None]), "its column codes has empty cells"),
    "no group": (lambda t: replaced(t, "codes", [[[1], None]]), "its column codes has empty"),
    "no code": (lambda t: replaced(t, "codes", [[[1], [None]]]), "its column codes has empty"),
    "one group": (lambda t: replaced(t, "codes", [[[1, 2]]]), "'a' has 1 groups of codes, not 2"),
    "no groups": (lambda t: replaced(t, "codes", [[]]), "'a' has 0 groups of codes, not 2"),
    "ragged": (lambda t: replaced(t, "codes", [[[1, 2], [1]]]), "'a' has no 2 codes in each"),
    "num_frames": (lambda t: replaced(t, "num_frames", [3]), "'a' has no 3 codes in each"),
    "too large": (lambda t: replaced(t, "codes", [[[1, 2], [1, 1000]]]), "'a' has codes outside"),
    "num_samples": (lambda t: replaced(t, "num_samples", [9999]), "9999 samples make 32"),
    "negative": (lambda t: replaced(t, "num_samples", [-1]), "num_samples must be an integer"),
    "rate": (lambda t: replaced(t, "sampling_rate", [8000]), "not the model's 16000"),
    "duration": (lambda t: replaced(t, "duration", [7.0]), "'a' does not last 7.0 s"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_shard_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    path = tmp_path / "a.parquet"
    write_shard(path, [make_item(make_info(), "a", 2)], make_info())
    rewritten(path, damage)
    with pytest.raises(TokenError, match=message) as caught:
        list(read_shard(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 100, -9])
def test_a_torn_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, [make_item(make_info(), "a", 2)], make_info())
    path.write_bytes(path.read_bytes()[:keep])
    for read in (lambda: list(read_shard(path)), lambda: read_info(path)):
        with pytest.raises(TokenError, match=r"a\.parquet: is no parquet file, or damaged"):
            read()


def test_flipped_bytes_are_noticed_or_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    item = make_item(make_info(), "a", 200, text="hello")
    write_shard(path, [item], make_info())
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    num_noticed = 0
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            items = list(read_shard(path))
            assert items == [item] or place >= footer  # which has no checksum
        except TokenError:
            num_noticed += 1
    assert num_noticed > 20


# The info


def test_info_comes_from_a_model_and_goes_through_json() -> None:
    form = make_format()
    info = StoreInfo.from_format(form, 1)
    assert info.format == form
    assert info.frame_rate == form.frame_rate
    assert StoreInfo.from_json(info.to_json()) == info
    assert "\n" not in info.to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_groups": 0},
        {"codebook_size": 2**31 + 1},
        {"codebook_size": 1},
        {"fingerprint": ""},
        {"hop_length": 0},
        {"quantizer": {"levels": (8, 5)}},
    ],
)
def test_an_info_must_be_one(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        make_info(**changes)
