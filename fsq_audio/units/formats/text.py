"""`text`: `{split}.txt`, a line of tokens `<|audio_0_17|>...` a recording, and `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Iterator

from fsq_audio.units.formats.base import Destination, UnitFormat, register_format
from fsq_audio.units.item import UnitItem
from fsq_audio.units.text import UnitText


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the lines of a split and, once, the tokenizer for them.

    Raises:
        ConfigError: The template is wrong, tokenizers is not installed, or there are too many
            tokens to be listed.
    """
    pattern = to.pattern
    text = UnitText(pattern.num_groups, pattern.codebook_size, to.options.template)
    path = to.folder / "tokenizer.json"
    if not path.exists():
        text.build_tokenizer(to.vocabulary).save(str(path))
    with open(to.folder / f"{to.split}.txt", "w", encoding="utf-8") as file:
        for item in items:
            file.write(text.write(pattern.apply(item.codes)) + "\n")


register_format(UnitFormat(name="text", write=write, options=frozenset({"pattern", "template"})))
