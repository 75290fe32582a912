"""The vocabulary of a language model on units: which id is which code, which is special."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.arrays import MOST, Integers, check_counts, check_range

BOS, EOS, PAD = "<|audio_bos|>", "<|audio_eos|>", "<|audio_pad|>"


@dataclass(frozen=True)
class Code:
    """What an id stands for.

    Attributes:
        group: in [0, G).
        code: in [0, K).
    """

    group: int
    code: int


@dataclass(frozen=True)
class UnitVocabulary:
    """Ids of units and of special tokens: one run, from `first_id` to `stop_id - 1`.

    With specials before, id `first_id + i` is special i, and unit u = g K + k follows at
    `first_id + len(specials) + u`; with specials after, units come first.

    Attributes:
        num_groups: G.
        codebook_size: K.
        specials: texts of the special tokens, in the order of their ids.
        specials_first: whether they come before the units, or after.
        first_id: 0, or the size of the text vocabulary that this one follows. Take the size of its
            tokenizer, `len(tokenizer)`: the embedding of a model may have spare rows beyond it.
    """

    num_groups: int
    codebook_size: int
    specials: tuple[str, ...] = (BOS, EOS, PAD)
    specials_first: bool = True
    first_id: int = 0

    def __post_init__(self) -> None:
        check_counts(num_groups=self.num_groups, codebook_size=self.codebook_size)
        faults = [f"special token {text!r} is empty" for text in self.specials if not text]
        if len(set(self.specials)) != len(self.specials):
            faults.append(f"special tokens must differ, got {list(self.specials)}")
        if type(self.first_id) is not int or self.first_id < 0:
            faults.append(f"first_id must be an integer of 0 or more, got {self.first_id!r}")
        elif self.stop_id > MOST:
            faults.append("its ids do not fit int64: keep fewer groups")
        if faults:
            raise ConfigError("the vocabulary cannot be built: " + "; ".join(faults))

    @property
    def num_units(self) -> int:
        """G K."""
        return self.num_groups * self.codebook_size

    @property
    def size(self) -> int:
        """Units and special tokens together."""
        return self.num_units + len(self.specials)

    @property
    def first_unit_id(self) -> int:
        """The id of code 0 of group 0."""
        return self.first_id + (len(self.specials) if self.specials_first else 0)

    @property
    def stop_id(self) -> int:
        """The first id beyond: what the embedding of a model must have rows for."""
        return self.first_id + self.size

    def special_id(self, text: str) -> int:
        """The id of a special token.

        Raises:
            TokenError: there is none of this text.
        """
        if text not in self.specials:
            raise TokenError(f"no special token {text!r}: there are {list(self.specials)}")
        start = self.first_id if self.specials_first else self.first_unit_id + self.num_units
        return start + self.specials.index(text)

    def code_id(self, code: Code) -> int:
        """The id of a code.

        Raises:
            TokenError: its group or its code is out of range.
        """
        if not (0 <= code.group < self.num_groups and 0 <= code.code < self.codebook_size):
            raise TokenError(
                f"{code} is out of range: there are {self.num_groups} groups of "
                f"{self.codebook_size} codes"
            )
        return self.first_unit_id + code.group * self.codebook_size + code.code

    def meaning(self, index: int) -> Code | str:
        """What an id stands for: a code, or the text of a special token.

        Raises:
            TokenError: the id is not of this vocabulary.
        """
        if not self.first_id <= index < self.stop_id:
            raise TokenError(f"id {index} is not in [{self.first_id}, {self.stop_id})")
        unit = index - self.first_unit_id
        if 0 <= unit < self.num_units:
            return Code(*divmod(unit, self.codebook_size))
        return self.specials[unit + len(self.specials) if unit < 0 else unit - self.num_units]

    def to_ids(
        self, units: ArrayLike, *, before: Sequence[str] = (), after: Sequence[str] = ()
    ) -> Integers:
        """Ids [N] of units, with special tokens around them.

        Args:
            units: [L] in [0, G K), as a flat pattern gives them.
            before: special tokens to begin with, such as `[BOS]`.
            after: special tokens to end with, such as `[EOS]`.

        Raises:
            TokenError: a unit is out of range, or there is no such special token.
        """
        units = check_range(units, what="unit", stop=self.num_units)
        start = np.array([self.special_id(text) for text in before], dtype=np.int64)
        stop = np.array([self.special_id(text) for text in after], dtype=np.int64)
        return np.concatenate([start, units + self.first_unit_id, stop])

    def to_units(self, ids: ArrayLike, *, skip_specials: bool = False) -> Integers:
        """Units [L] in [0, G K) of ids; the inverse of `to_ids`.

        Args:
            ids: [N].
            skip_specials: leave special tokens out; they are refused otherwise.

        Raises:
            TokenError: an id is not of this vocabulary, or is a special token.
        """
        ids = check_range(ids, what="id", stop=self.stop_id, first=self.first_id)
        units = ids - self.first_unit_id
        special = (units < 0) | (units >= self.num_units)
        if special.any() and not skip_specials:
            place = int(special.argmax())
            raise TokenError(
                f"position {place} holds the special token {self.meaning(int(ids[place]))!r}: "
                f"take it off, or set skip_specials"
            )
        return units[~special]
