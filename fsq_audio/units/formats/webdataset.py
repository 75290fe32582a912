"""`webdataset`: `{split}/000000.tar` of `key.codes.npy` (G, T) int32, `key.json`, `key.txt`.

A dot in a key would be taken for the beginning of the extension, and a key with one for another:
dots are written `%2E`, and the item's own name is `id` in `key.json`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fsq_audio.units.files import escape, read_npy
from fsq_audio.units.formats.base import (
    Description,
    Destination,
    UnitFormat,
    describe_item,
    described_item,
    register_format,
)
from fsq_audio.units.formats.shards import cut_shards, import_library
from fsq_audio.units.item import UnitItem

_SHARD_SIZE = 10_000


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the shards of a split.

    Raises:
        ConfigError: webdataset is not installed.
    """
    webdataset = import_library("webdataset", extra="webdataset")
    for index, shard in enumerate(cut_shards(items, to.options.shard_size or _SHARD_SIZE)):
        with (
            open(to.folder / f"{index:06d}.tar", "wb") as file,
            # PAX, for names of any length; no time, so that equal items make equal bytes.
            webdataset.TarWriter(file, format="PAX_FORMAT", mtime=0) as tar,
        ):
            for item in shard:
                codes = io.BytesIO()
                np.save(codes, item.codes.astype(np.int32), allow_pickle=False)
                sample: dict[str, Any] = {
                    "__key__": escape(item.id, "."),
                    "codes.npy": codes.getvalue(),
                    "json": {"id": item.id, **describe_item(item)},
                }
                if item.text is not None:
                    sample["txt"] = item.text
                tar.write(sample)


def read(folder: Path, split: str, description: Description) -> Iterator[UnitItem]:
    """Reads it back."""
    webdataset = import_library("webdataset", extra="webdataset")
    for path in sorted(folder.glob("*.tar")):
        # Not `decode`, which unpickles whatever is called `.pyd`. Absolute, since the library would
        # run what follows "pipe:" in a name. All of it, under a launcher, too.
        url = str(path.resolve())
        for sample in webdataset.WebDataset([url], shardshuffle=False, nodesplitter=None):
            facts = json.loads(sample["json"])
            yield described_item(facts["id"], read_npy(sample["codes.npy"]), facts)


register_format(
    UnitFormat(
        name="webdataset",
        write=write,
        read=read,
        options=frozenset({"shard_size"}),
        has_split_folders=True,
    )
)
