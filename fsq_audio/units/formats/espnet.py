"""`espnet`: a Kaldi folder a split: `codes.ark` of int32 vectors, `wav.scp`, `text`, `utt2spk`.

Units carry the offset of their group. Kaldi ends a name at the first white space: it is written
`%20` and so on, and "%" as `%25`. Lines are in the order of the items, which Kaldi's own tools may
want sorted (`utils/fix_data_dir.sh`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import numpy as np

from fsq_audio.errors import ConfigError
from fsq_audio.units.files import one_line
from fsq_audio.units.formats.base import Destination, UnitFormat, register_format
from fsq_audio.units.formats.shards import import_library
from fsq_audio.units.item import UnitItem

_ARK = "codes.ark"


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the folder of a split; `wav.scp` has absolute paths, as Kaldi's readers want them.

    Raises:
        ConfigError: kaldiio is not installed, or units are beyond int32.
    """
    kaldiio = import_library("kaldiio", extra="espnet")
    pattern = to.pattern
    if pattern.vocabulary_size > 2**31:
        raise ConfigError(
            f"units are int32 here, and there are {pattern.vocabulary_size}: keep fewer groups"
        )
    ark = os.path.abspath(to.final / _ARK)
    with (
        open(to.folder / _ARK, "wb") as data,
        open(to.folder / "wav.scp", "w", encoding="utf-8") as scp,
        open(to.folder / "text", "w", encoding="utf-8") as texts,
        open(to.folder / "utt2spk", "w", encoding="utf-8") as speakers,
    ):
        for item in items:
            name = _kaldi_name(item.id)
            place = data.tell() + len(name.encode()) + 1
            units = pattern.apply(item.codes).astype(np.int32)
            kaldiio.save_ark(data, {name: units})
            scp.write(f"{name} {ark}:{place}\n")
            speakers.write(f"{name} {_kaldi_name(item.speaker_id or item.id)}\n")
            if item.text is not None:
                texts.write(f"{name} {one_line(item.text)}\n")


def _kaldi_name(name: str) -> str:
    """White space of any kind, not that of ASCII only, ends a name in Python's `split`."""
    return re.sub(
        r"[\s%]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name
    )


register_format(
    UnitFormat(name="espnet", write=write, options=frozenset({"pattern"}), has_split_folders=True)
)
