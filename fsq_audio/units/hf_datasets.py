"""The store of units as datasets of Hugging Face: streamed, shuffled, packed for language models.

    units = load_units("units", split="train").shuffle(seed=0, buffer_size=10_000)
    contexts = pack_units(units, to_ids, context_length=2048, eos_id=eos_id)

Both are `datasets.IterableDataset`s, with all that goes with these: `set_epoch`, `state_dict` to
resume, `split_dataset_by_node`, workers of a DataLoader, training loops that take them.
`fsq_audio.units.datasets` has the views of PyTorch, in which packing drops less.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsq_audio.errors import ConfigError
from fsq_audio.units.store import find_shards, read_info

_ITEMS_AT_ONCE = 1000


def load_units(path: str | os.PathLike[str], *, split: str | None = None) -> Any:
    """A stream of the rows of a store; a shard is the least that a worker or a rank can have.

    Args:
        path: The folder of a store, or one shard.
        split: Only this one; None for all.

    Returns:
        A `datasets.IterableDataset` with the columns of the store.

    Raises:
        ConfigError: datasets is not installed.
        TokenError: The store is damaged, not complete, or of several models.
    """
    datasets = _import_datasets()
    read_info(path, split=split)
    shards = [str(shard) for shard in find_shards(path, split=split)]
    return datasets.load_dataset("parquet", data_files=shards, split="train", streaming=True)


def pack_units(
    units: Any,
    to_ids: Callable[[NDArray[Any]], NDArray[Any]],
    *,
    context_length: int,
    eos_id: int,
    items_at_once: int = _ITEMS_AT_ONCE,
    keep_remainder: bool = False,
) -> Any:
    """Contexts of one length.

    The ids of so many items follow each other, each item's with an end of sequence behind them, and
    are cut every `context_length` ids. What is left of them is less than a context: it is dropped,
    or kept. More items at once drop less, and take more memory.

    Args:
        units: What `load_units` gives, shuffled or split as you like.
        to_ids: Codes [G, T] -> the ids [L] of an item, without an end of sequence.
        context_length: Ids of a context.
        eos_id: The end of sequence.
        items_at_once: That are packed together.
        keep_remainder: Whether the last context of each so many items may be a shorter one.

    Returns:
        A `datasets.IterableDataset` with the column `input_ids`.

    Raises:
        ConfigError: A number is below 1, or datasets is not installed.
    """
    for name, value in (("context_length", context_length), ("items_at_once", items_at_once)):
        if value < 1:
            raise ConfigError(f"{name} must be 1 or more, got {value}")
    datasets = _import_datasets()

    def pack(rows: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        items = [to_ids(np.array(codes, dtype=np.int64)) for codes in rows["codes"]]
        ids = np.concatenate([each for item in items for each in (item, [eos_id])]).tolist()
        stop = len(ids) if keep_remainder else len(ids) - len(ids) % context_length
        starts = range(0, stop, context_length)
        return {"input_ids": [ids[start : start + context_length] for start in starts]}

    return units.map(
        pack,
        batched=True,
        batch_size=items_at_once,
        remove_columns=units.column_names,
        features=datasets.Features({"input_ids": datasets.List(datasets.Value("int64"))}),
    )


def _import_datasets() -> ModuleType:
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            "this view needs the package datasets: pip install 'fsq-audio[datasets]'"
        ) from None
    module: ModuleType = datasets
    return module
