"""One shard of the store of units, a parquet file; `store.py` has what shards make together.

A row is an item. Its codes are plain lists [G][T] of uint16 (int32 where K > 65536), which
dictionary encoding packs to within a few percent of log2 K bits. The file's metadata has the entry
`fsq_audio`: the JSON of `StoreInfo`. Whoever knows nothing of this package reads the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fsq_audio.errors import TokenError
from fsq_audio.files import replacing
from fsq_audio.tokens.file import naming
from fsq_audio.units.item import StoreInfo, UnitItem

METADATA_KEY = b"fsq_audio"
_TEXTS = ("audio_path", "text", "speaker_id", "chapter_id")
_ROWS_AT_ONCE = 1024
_CODES_AT_ONCE = 2**20


def write_shard(path: str | os.PathLike[str], items: Iterable[UnitItem], info: StoreInfo) -> int:
    """Writes a shard, whole or not at all, and never holds more than a row group.

    The same items give the same bytes.

    Args:
        path: The file; replaced if it exists. Its folder is made.
        items: In the order of the rows.
        info: The model that all of them belong to.

    Returns:
        Number of items.

    Raises:
        TokenError: An item is none of this model.
        OSError: The file cannot be written.
    """
    schema = _schema(info)
    num_items = 0
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for group in _row_groups(items, info):
            writer.write_table(_table(group, schema), row_group_size=_ROWS_AT_ONCE)
            num_items += len(group)
    return num_items


def read_shard(path: str | os.PathLike[str]) -> Iterator[UnitItem]:
    """Reads the items of a shard one by one.

    Args:
        path: A parquet file.

    Yields:
        Items; their codes are int64 [G, T].

    Raises:
        TokenError: The file is missing, damaged, no shard of units, or an item in it is wrong.
    """
    with _naming(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        info = _info(file)
        missing = file.metadata.num_rows
        # One at a time: batches would join row groups, which are cut by how much is in them.
        for index in range(file.num_row_groups):
            for item in _row_group(file, index, info):
                yield item
                missing -= 1
        if missing:
            raise TokenError(f"damaged: {missing} of its rows are missing")


def read_row_group(path: str | os.PathLike[str], index: int) -> Iterator[UnitItem]:
    """Reads the items of one row group of a shard.

    Args:
        path: A parquet file.
        index: Of the row group, from 0.

    Yields:
        Items, as `read_shard`.

    Raises:
        TokenError: As for `read_shard`.
    """
    with _naming(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield from _row_group(file, index, _info(file))


def read_info(path: str | os.PathLike[str]) -> StoreInfo:
    """The model that the items of a shard belong to.

    Raises:
        TokenError: The file is no shard of units.
    """
    with _naming(path), pq.ParquetFile(path) as file:
        return _info(file)


def count_items(path: str | os.PathLike[str]) -> int:
    """Number of items of a shard, from its footer.

    Raises:
        TokenError: The file is no parquet file.
    """
    with _naming(path):
        return int(pq.read_metadata(path).num_rows)


def read_num_frames(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """[items] frames of each item of a shard; nothing else of the rows is read.

    Raises:
        TokenError: The file is no shard of units.
    """
    with _naming(path), pq.ParquetFile(path) as file:
        _info(file)
        num_frames: NDArray[np.int64] = file.read(columns=["num_frames"]).column(0).to_numpy()
        return num_frames


def _schema(info: StoreInfo) -> Any:
    code = pa.uint16() if info.codebook_size <= 2**16 else pa.int32()
    return pa.schema(
        [
            ("id", pa.string()),
            ("audio_path", pa.string()),
            ("codes", pa.list_(pa.list_(code))),
            ("num_frames", pa.int64()),
            ("num_samples", pa.int64()),
            ("duration", pa.float64()),
            ("sampling_rate", pa.int32()),
            ("text", pa.string()),
            ("speaker_id", pa.string()),
            ("chapter_id", pa.string()),
        ],
        metadata={METADATA_KEY: info.to_json()},
    )


def _row_groups(items: Iterable[UnitItem], info: StoreInfo) -> Iterator[list[UnitItem]]:
    """Cuts where the items say, so that equal items make equal files."""
    group: list[UnitItem] = []
    num_codes = 0
    for item in items:
        info.check_item(item)
        group.append(item)
        num_codes += item.codes.size
        if len(group) == _ROWS_AT_ONCE or num_codes >= _CODES_AT_ONCE:
            yield group
            group, num_codes = [], 0
    if group:
        yield group


def _table(group: list[UnitItem], schema: Any) -> Any:
    code = schema.field("codes").type.value_type.value_type
    rows = [row for item in group for row in item.codes]
    values = np.concatenate(rows).astype(code.to_pandas_dtype())
    inner = pa.ListArray.from_arrays(_offsets([len(row) for row in rows]), pa.array(values))
    columns = {
        name: [getattr(item, name) for item in group] for name in schema.names if name != "codes"
    }
    columns["codes"] = pa.ListArray.from_arrays(_offsets([len(i.codes) for i in group]), inner)
    return pa.table(columns, schema=schema)


def _offsets(lengths: list[int]) -> Any:
    return pa.array(_ends(np.array(lengths)), pa.int32())


def _ends(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """[n] lengths -> [n + 1] where each begins and, at last, where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _info(file: Any) -> StoreInfo:
    metadata = file.metadata.metadata or {}
    if METADATA_KEY not in metadata:
        raise TokenError(
            "does not say which model made its units (no metadata 'fsq_audio'): it is no shard "
            "written by fsq_audio"
        )
    info = StoreInfo.from_json(metadata[METADATA_KEY])
    expected, found = _schema(info), file.schema_arrow
    if found.remove_metadata() != expected.remove_metadata():
        wanted, there = list(expected), list(found)
        lacks = [f"{field.name} {field.type}" for field in wanted if field not in there]
        extra = [f"{field.name} {field.type}" for field in there if field not in wanted]
        raise TokenError(f"its columns are not those of units: {_differences(lacks, extra)}")
    return info


def _differences(lacks: list[str], extra: list[str]) -> str:
    parts = [f"it lacks {', '.join(lacks)}"] * bool(lacks) + [f"it has {', '.join(extra)}"] * bool(
        extra
    )
    return " and ".join(parts) or "their order is another"


def _row_group(file: Any, index: int, info: StoreInfo) -> Iterator[UnitItem]:
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[index], use_threads=False):
        yield from _items(batch, info)


def _items(batch: Any, info: StoreInfo) -> Iterator[UnitItem]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    codes = columns.pop("codes")
    groups = codes.flatten()
    values = groups.flatten()
    nested = [("codes", codes), ("codes", groups), ("codes", values)]
    for name, column in (*columns.items(), *nested):
        if column.null_count and name not in _TEXTS:
            raise TokenError(f"damaged: its column {name} has empty cells")
    rows = {name: column.to_pylist() for name, column in columns.items()}
    values = values.to_numpy().astype(np.int64)
    starts = _ends(codes.value_lengths().to_numpy())
    lengths = groups.value_lengths().to_numpy()
    ends = _ends(lengths)
    for row in range(len(codes)):
        first, last = int(starts[row]), int(starts[row + 1])
        num_frames, duration = rows["num_frames"][row], rows["duration"][row]
        if (lengths[first:last] != num_frames).any():
            raise TokenError(
                f"damaged: {rows['id'][row]!r} has no {num_frames} codes in each group"
            )
        item = UnitItem(
            id=rows["id"][row],
            # Of its own: an item that is kept must not keep its whole row group in memory.
            codes=values[ends[first] : ends[last]].reshape(last - first, num_frames).copy(),
            num_samples=rows["num_samples"][row],
            sampling_rate=rows["sampling_rate"][row],
            **{name: rows[name][row] for name in _TEXTS},
        )
        info.check_item(item)
        if duration != item.duration:
            raise TokenError(f"damaged: {item.id!r} does not last {duration} s")
        yield item


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    with naming(path):
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = " ".join(str(error).split())
            raise TokenError(f"is no parquet file, or damaged: {reason}") from error
