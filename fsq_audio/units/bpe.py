"""Acoustic byte pair encoding (Shen et al. 2024): frequent runs of units become one token.

Units are written as characters, unit u as `chr(base + u)`, and the tokenizer is a plain
`tokenizer.json` of the library tokenizers: transformers reads it. Characters, their order and the
ids are those of codec-bpe, whose files `load` reads, and whose converter reads ours: base U+4E00
up to 35,328 units, U+E000 beyond (between them are surrogates, which are no characters), which
ends at 1,056,768 units. Every unit is in the alphabet: what was never seen in training is a token
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.arrays import Integers, check_integers, check_range
from fsq_audio.units.optional import import_tokenizers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BASE, BASE_OF_MANY = 0x4E00, 0xE000
_SURROGATES, _END = 0xD800, 0x110000
MOST_UNITS = _END - BASE_OF_MANY


class UnitBPE:
    """Merges of flat units [L] in [0, V), learnt from data; an exact code.

    Attributes:
        tokenizer: the `tokenizers.Tokenizer`.
        num_units: V.
        base: the character of unit 0.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Takes a tokenizer whose alphabet is a run of characters, one for each unit.

        Raises:
            ConfigError: it is no byte pair encoding of units.
        """
        added = tokenizer.get_added_tokens_decoder()
        self.tokenizer = tokenizer
        self._texts: dict[int, str] = {
            index: text for text, index in tokenizer.get_vocab().items() if index not in added
        }
        alphabet = sorted(ord(text) for text in self._texts.values() if len(text) == 1)
        self.base = alphabet[0] if alphabet else 0
        self.num_units = len(alphabet)
        if not alphabet or alphabet[-1] - alphabet[0] != len(alphabet) - 1:
            raise ConfigError(
                "not a byte pair encoding of units: its single characters are no unbroken run"
            )
        stop = self.base + self.num_units
        if any(not self.base <= ord(one) < stop for text in self._texts.values() for one in text):
            raise ConfigError("not a byte pair encoding of units: a token holds other characters")

    @classmethod
    def train(
        cls,
        sequences: Iterable[ArrayLike],
        *,
        num_units: int,
        vocabulary_size: int,
        specials: Sequence[str] = (),
        min_frequency: int = 2,
    ) -> UnitBPE:
        """Learns merges.

        Args:
            sequences: [L] units each; cut long recordings, into half minutes say, because every
                distinct sequence is held in memory.
            num_units: V, G K of a flat pattern.
            vocabulary_size: tokens in all, specials and V units included; fewer come out where
                the data have no more pairs.
            specials: texts of special tokens, which get the first ids.
            min_frequency: how often a pair must occur to become a token.

        Raises:
            ConfigError: more than 1,056,768 units, or a vocabulary too small for them; tokenizers
                is not installed.
            TokenError: a unit is out of range.
        """
        tokenizers = import_tokenizers("acoustic BPE")
        base = character_base(num_units)
        smallest = num_units + len(specials)
        if vocabulary_size < smallest:
            raise ConfigError(
                f"vocabulary_size must be {smallest} or more, to hold {num_units} units and "
                f"{len(specials)} special tokens, got {vocabulary_size}"
            )
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.decoder = tokenizers.decoders.Fuse()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            special_tokens=list(specials),
            initial_alphabet=[chr(base + unit) for unit in range(num_units)],
            show_progress=False,
        )

        def texts() -> Iterator[str]:
            for units in sequences:
                checked = check_range(units, what="unit", stop=num_units)
                yield _to_text(checked + base)

        tokenizer.train_from_iterator(texts(), trainer=trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | Path) -> UnitBPE:
        """Reads a `tokenizer.json`, ours or codec-bpe's.

        Raises:
            ConfigError: it cannot be read, or is no byte pair encoding of units; tokenizers is not
                installed.
        """
        tokenizers = import_tokenizers("acoustic BPE")
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError(f"cannot read {path}: {error}") from error
        return cls(tokenizer)

    def save(self, path: str | Path) -> None:
        """Writes a `tokenizer.json`."""
        self.tokenizer.save(str(path))

    @property
    def size(self) -> int:
        """Tokens in all, specials included."""
        size: int = self.tokenizer.get_vocab_size()
        return size

    def encode(self, units: ArrayLike) -> Integers:
        """Ids [N] of units [L] in [0, V).

        Raises:
            TokenError: a unit is out of range.
        """
        units = check_range(units, what="unit", stop=self.num_units)
        encoding = self.tokenizer.encode(_to_text(units + self.base), add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int64)

    def decode(self, ids: ArrayLike, *, skip_specials: bool = False) -> Integers:
        """Units [L] of ids [N]; the exact inverse of `encode`.

        Args:
            ids: [N].
            skip_specials: leave special tokens out; they are refused otherwise.

        Raises:
            TokenError: an id is unknown, or a special token.
        """
        text = "".join(self._text(index, skip_specials) for index in self._ids(ids))
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64) - self.base

    def counts(self, ids: ArrayLike) -> Integers:
        """Units of each token, [N]; 0 of a special token.

        Raises:
            TokenError: an id is unknown.
        """
        return np.array([len(self._text(index, True)) for index in self._ids(ids)], dtype=np.int64)

    def _ids(self, ids: ArrayLike) -> list[int]:
        found: list[int] = check_integers(ids, what="ids", dimensions=1).tolist()
        return found

    def _text(self, index: int, skip_specials: bool) -> str:
        text: str | None = self._texts.get(index)
        if text is not None:
            return text
        special = self.tokenizer.id_to_token(index) if index >= 0 else None
        if special is None:
            raise TokenError(f"id {index} is not in [0, {self.size})")
        if not skip_specials:
            raise TokenError(
                f"id {index} is the special token {special!r}: take it off, or set skip_specials"
            )
        return ""


def character_base(num_units: int) -> int:
    """The character of unit 0, as a number.

    Raises:
        ConfigError: there are not as many characters.
    """
    if type(num_units) is not int or not 1 <= num_units <= MOST_UNITS:
        raise ConfigError(
            f"acoustic BPE writes units as characters, of which there are {MOST_UNITS}: num_units "
            f"must be from 1 to that, got {num_units!r}; keep fewer groups"
        )
    return BASE if num_units <= _SURROGATES - BASE else BASE_OF_MANY


def _to_text(characters: Integers) -> str:
    return characters.astype("<u4").tobytes().decode("utf-32-le")
