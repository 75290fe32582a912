"""`megatron`: `{split}.bin` and `{split}.idx`, a document of ids for each recording.

Ids are those of `UnitVocabulary` with special tokens first, and each document ends with its end of
sequence: `vocabulary.json` has the numbers. As in Megatron-LM, ids are uint16 where the vocabulary
is below 65,500, else int32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from fsq_audio.errors import ConfigError
from fsq_audio.units.formats.base import Destination, UnitFormat, register_format
from fsq_audio.units.formats.shards import import_library
from fsq_audio.units.item import UnitItem
from fsq_audio.units.vocabulary import EOS

_LARGEST_OF_UINT16 = 65_500  # megatron.core.datasets.indexed_dataset.DType.optimal_dtype


def write(items: Iterator[UnitItem], to: Destination) -> None:
    """Writes the two files of a split.

    Raises:
        ConfigError: datatrove is not installed, or ids are beyond int32.
    """
    library = import_library("datatrove.pipeline.tokens.megatron_tokenizer", extra="cluster")
    pattern, vocabulary = to.pattern, to.vocabulary
    if vocabulary.size > 2**31:
        raise ConfigError(f"ids are int32, and there are {vocabulary.size}: keep fewer groups")
    token_size = 2 if vocabulary.size < _LARGEST_OF_UINT16 else 4
    file = library.MegatronTokenizedFile(str(to.folder), to.split, token_size=token_size)
    try:
        for item in items:
            file.write(vocabulary.to_ids(pattern.apply(item.codes), after=[EOS]))
    finally:
        file.close()
    values = {
        "size": vocabulary.size,
        "first_unit_id": vocabulary.first_unit_id,
        "special_ids": {text: vocabulary.special_id(text) for text in vocabulary.specials},
        "pattern": pattern.name,
        "num_groups": pattern.num_groups,
        "codebook_size": pattern.codebook_size,
    }
    (to.folder / "vocabulary.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")


register_format(UnitFormat(name="megatron", write=write, options=frozenset({"pattern"})))
