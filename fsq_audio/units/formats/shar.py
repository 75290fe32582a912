"""`shar`: lhotse Shar, `{split}/cuts.000000.jsonl.gz` and `{split}/codes.000000.tar`.

With the layout "TG", `codes` is a TemporalArray, cut along with its cut. lhotse cuts along the
first axis whatever it is told, so "GT", which NeMo's reader wants, is a plain Array. lhotse rounds
durations to frames: so a cut lasts as long as its frames; `num_samples` is the recording's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fsq_audio.errors import TokenError
from fsq_audio.units.files import relative_path
from fsq_audio.units.formats.base import (
    Description,
    Destination,
    UnitFormat,
    describe_item,
    described_item,
    register_format,
)
from fsq_audio.units.formats.shards import import_library
from fsq_audio.units.item import UnitItem

_SHARD_SIZE = 1000


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the cuts of a split and their codes.

    Raises:
        ConfigError: lhotse is not installed.
    """
    lhotse = import_library("lhotse", extra="lhotse")
    shar = import_library("lhotse.shar", extra="lhotse")
    folder = str(to.folder).replace("%", "%%")  # the writer takes it for a pattern
    size = to.options.shard_size or _SHARD_SIZE
    with shar.SharWriter(folder, fields={"codes": "numpy"}, shard_size=size) as writer:
        for item in items:
            writer.write(_make_cut(item, to, lhotse))


def read(folder: Path, split: str, description: Description) -> Iterator[UnitItem]:
    """Reads it back."""
    lhotse = import_library("lhotse", extra="lhotse")
    if description.splits[split] == 0:
        return
    for cut in lhotse.CutSet.from_shar(in_dir=folder):
        # Lhotse would read them wherever the cut says, from a server, too.
        if not getattr(cut.codes, "array", cut.codes).storage_type.startswith("memory_"):
            raise TokenError(f"{folder}: damaged: the codes of {cut.id!r} are not in the shard")
        codes = cut.codes.load()
        facts = dict(cut.custom)
        for supervision in cut.supervisions:
            facts |= {"text": supervision.text, "speaker_id": supervision.speaker}
        yield described_item(
            cut.id, codes if description.options["layout"] == "GT" else codes.T, facts
        )


def _make_cut(item: UnitItem, to: Destination, lhotse: Any) -> Any:
    relative_path(item.id)  # names of files in the tar, too
    frame_shift = to.info.hop_length / to.info.sample_rate
    facts = describe_item(item)
    text, speaker = facts.pop("text", None), facts.pop("speaker_id", None)
    duration = item.num_frames * frame_shift
    supervisions = []
    if text is not None or speaker is not None:
        supervisions.append(
            lhotse.SupervisionSegment(
                id=item.id,
                recording_id=item.id,
                start=0.0,
                duration=min(item.duration, duration),
                text=text,
                speaker=speaker,
            )
        )
    cut = lhotse.MonoCut(
        id=item.id, start=0.0, duration=duration, channel=0, supervisions=supervisions, custom=facts
    )
    codes = item.codes.astype(np.int32)
    if to.options.layout == "GT":
        return cut.attach_tensor("codes", codes)
    return cut.attach_tensor(
        "codes", np.ascontiguousarray(codes.T), frame_shift=frame_shift, temporal_dim=0
    )


register_format(
    UnitFormat(
        name="shar",
        write=write,
        read=read,
        options=frozenset({"layout", "shard_size"}),
        has_split_folders=True,
    )
)
