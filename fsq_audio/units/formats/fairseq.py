"""`fairseq`: what its HuBERT and unit language model recipes read.

`{split}.tsv`: a root folder, then `path<TAB>samples`; `{split}.km`: the units of each line, with
spaces (`{split}_{rank}_{shards}.km` with a size of shards); `dict.km.txt`: every unit and how often
it occurs; and, of transcripts, `{split}.wrd`, `{split}.ltr` and `dict.ltr.txt`. A recording without
a transcript has an empty line there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.files import one_line
from fsq_audio.units.formats.base import Destination, UnitFormat, register_format
from fsq_audio.units.formats.shards import cut_shards
from fsq_audio.units.item import UnitItem
from fsq_audio.units.text import MOST_LISTED


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the files of a split.

    Raises:
        ConfigError: The vocabulary is too large to be listed, or audio is outside the root.
        TokenError: A path has a tab or a line break.
    """
    pattern = to.pattern
    if pattern.vocabulary_size > MOST_LISTED:
        raise ConfigError(
            f"dict.km.txt names every unit, and {pattern.vocabulary_size} are too many "
            f"(of {MOST_LISTED}): keep fewer groups"
        )
    counts = np.zeros(pattern.vocabulary_size, dtype=np.int64)
    letters: Counter[str] = Counter()
    root = os.path.abspath(to.options.audio_root or "/")
    paths: list[Path] = []
    stem = to.folder / to.split
    with (
        _open(stem.with_name(f"{to.split}.tsv")) as tsv,
        _open(stem.with_name(f"{to.split}.wrd")) as words,
        _open(stem.with_name(f"{to.split}.ltr")) as spelled,
    ):
        tsv.write(f"{root}\n")
        for shard in cut_shards(items, to.options.shard_size or 2**62):
            paths.append(stem.with_name(f"{to.split}_{len(paths)}.km"))
            with _open(paths[-1]) as units_file:
                for item in shard:
                    units = pattern.apply(item.codes)
                    counts += np.bincount(units, minlength=len(counts))
                    tsv.write(f"{_path(item, root)}\t{item.num_samples}\n")
                    units_file.write(" ".join(map(str, units.tolist())) + "\n")
                    words.write(f"{one_line(item.text or '')}\n")
                    symbols = _letters(item.text)
                    letters.update(symbols)
                    spelled.write(" ".join(symbols) + "\n")
    if not paths:
        paths.append(stem.with_name(f"{to.split}_0.km"))
        paths[0].touch()
    is_sharded = to.options.shard_size is not None
    for rank, path in enumerate(paths):
        name = f"{to.split}_{rank}_{len(paths)}.km" if is_sharded else f"{to.split}.km"
        os.replace(path, path.with_name(name))
    _add_counts(
        to.folder / "dict.km.txt", zip(map(str, range(len(counts))), counts.tolist(), strict=True)
    )
    if letters:
        _add_counts(to.folder / "dict.ltr.txt", letters.most_common())
    else:
        stem.with_name(f"{to.split}.wrd").unlink()
        stem.with_name(f"{to.split}.ltr").unlink()


def _path(item: UnitItem, root: str) -> str:
    """Relative to the root; the name of an item stands for audio that is not known."""
    path = item.id
    if item.audio_path is not None:
        path = os.path.relpath(os.path.abspath(item.audio_path), root)
        if path.split(os.sep)[0] == os.pardir:
            raise ConfigError(f"{item.audio_path} is not under --audio-root {root}")
    if path != path.strip() or any(c in path for c in "\t\n\r"):
        raise TokenError(f"fairseq cannot name {path!r}: a tab, a line break or a space at an end")
    return path


def _letters(text: str | None) -> list[str]:
    """As fairseq's libri_labels.py spells: "|" ends a word."""
    words = one_line(text or "")
    return [*words.replace(" ", "|"), "|"] if words else []


def _add_counts(path: Path, counts: Iterable[tuple[str, int]]) -> None:
    """Writes a dictionary, or adds what another split counts to the one that is there.

    Symbols stand in the order of their units, or of how often the first split has them: their
    order is their number.
    """
    total: dict[str, int] = {}
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            symbol, _, count = line.rpartition(" ")
            total[symbol] = int(count)
    for symbol, number in counts:
        total[symbol] = total.get(symbol, 0) + number
    with _open(path) as file:
        file.writelines(f"{symbol} {count}\n" for symbol, count in total.items())


def _open(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", newline="\n")


register_format(
    UnitFormat(
        name="fairseq",
        write=write,
        options=frozenset({"pattern", "shard_size", "audio_root"}),
    )
)
