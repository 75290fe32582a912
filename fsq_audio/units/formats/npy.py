"""`npy`: a tree of `.npy` files and `codec_info.json`, as codec-bpe reads them.

`{split}/{id}_c0.npy` is (G, T) int32: codec-bpe's tools cut the name at `_c` and the number of the
channel, and one of them stops at a name without it. `items.jsonl` has what is known of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fsq_audio.units.files import read_npy, relative_path
from fsq_audio.units.formats.base import (
    Description,
    Destination,
    UnitFormat,
    describe_item,
    described_item,
    register_format,
)
from fsq_audio.units.item import UnitItem

_ITEMS = "items.jsonl"


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the tree of a split."""
    info = {
        "num_codebooks": to.info.num_groups,
        "codebook_size": to.info.codebook_size,
        "framerate": to.info.frame_rate,
        "sampling_rate": to.info.sample_rate,
        "hop_length": to.info.hop_length,
        "fingerprint": to.info.fingerprint,
    }
    (to.folder / "codec_info.json").write_text(json.dumps(info, indent=2) + "\n", "utf-8")
    with open(to.folder / _ITEMS, "w", encoding="utf-8") as file:
        for item in items:
            path = _path(to.folder, item.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, item.codes.astype(np.int32), allow_pickle=False)
            record = {"id": item.id, **describe_item(item)}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(folder: Path, split: str, description: Description) -> Iterator[UnitItem]:
    """Reads it back, in the order in which it was written."""
    with open(folder / _ITEMS, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            codes = read_npy(_path(folder, record["id"]).read_bytes())
            yield described_item(record["id"], codes, record)


def _path(folder: Path, name: str) -> Path:
    path = folder / relative_path(name)
    return path.with_name(f"{path.name}_c0.npy")


register_format(UnitFormat(name="npy", write=write, read=read, has_split_folders=True))
