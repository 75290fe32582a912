"""`jsonl`: `{split}.jsonl`, one object a recording: key, code [G][T], and what is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fsq_audio.units.formats.base import (
    Description,
    Destination,
    UnitFormat,
    describe_item,
    described_item,
    register_format,
)
from fsq_audio.units.item import UnitItem


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the file of a split."""
    with open(to.folder / f"{to.split}.jsonl", "w", encoding="utf-8") as file:
        for item in items:
            record = {"key": item.id, "code": item.codes.tolist(), **describe_item(item)}
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")


def read(folder: Path, split: str, description: Description) -> Iterator[UnitItem]:
    """Reads it back."""
    with open(folder / f"{split}.jsonl", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            codes = np.array(record["code"], dtype=np.int64)
            yield described_item(record["key"], codes, record)


register_format(UnitFormat(name="jsonl", write=write, read=read))
