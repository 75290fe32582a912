"""`nemo`: a NeMo manifest, `{split}.jsonl`: audio_filepath, duration, text, codes [G][T], ..."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from fsq_audio.units.formats.base import (
    Destination,
    UnitFormat,
    describe_item,
    register_format,
)
from fsq_audio.units.item import UnitItem


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the manifest of a split.

    Paths are absolute, since NeMo takes others as relative to the manifest; the name of an item
    stands for audio that is not known.
    """
    with open(to.folder / f"{to.split}.jsonl", "w", encoding="utf-8") as file:
        for item in items:
            facts = describe_item(item)
            path = facts.pop("audio_path", None)
            record = {
                "audio_filepath": item.id if path is None else os.path.abspath(path),
                "duration": item.duration,
                "offset": 0.0,
                **facts,
                "id": item.id,
                "codes": item.codes.tolist(),
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


register_format(UnitFormat(name="nemo", write=write))
