"""Units as text: one token `<|audio_0_17|>` a unit, its parser, and a tokenizer for it."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.units.arrays import Integers, check_counts, check_range
from fsq_audio.units.optional import import_tokenizers
from fsq_audio.units.vocabulary import UnitVocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEFAULT_TEMPLATE = "<|audio_{g}_{i}|>"
DEFAULT_TEMPLATE_OF_ONE = "<|audio_{i}|>"
TEMPLATES = {
    "s": "<|s_{i}|>",
    "custom_token": "<custom_token_{n}>",
    "un": "<Un{i}>",
}
"""Templates of others, by name; the first and the last have no place for the group."""

MOST_LISTED = 4_000_000  # of a tokenizer.json, which names every unit: some hundred MB
_NUMBER = "(0|[1-9][0-9]{0,18})"  # what int64 holds


@dataclass(frozen=True)
class UnitText:
    """Writes and reads units of G groups of K codes.

    Attributes:
        num_groups: G.
        codebook_size: K.
        template: the text of a unit; `{g}` is its group, `{i}` its code, `{n}` its number g K + i
            (+ `first`). It needs `{n}`, or `{i}` and, of several groups, `{g}`. A name out of
            `TEMPLATES` counts as what it stands for; "" is the default.
        first: the `{n}` of code 0 of group 0: 10 for Orpheus' `<custom_token_{n}>`.
    """

    num_groups: int
    codebook_size: int
    template: str = ""
    first: int = 0

    def __post_init__(self) -> None:
        check_counts(num_groups=self.num_groups, codebook_size=self.codebook_size)
        default = DEFAULT_TEMPLATE if self.num_groups > 1 else DEFAULT_TEMPLATE_OF_ONE
        template = TEMPLATES.get(self.template, self.template) or default
        object.__setattr__(self, "template", template)
        if type(self.first) is not int or self.first < 0:
            raise ConfigError(f"first must be an integer of 0 or more, got {self.first!r}")
        _check_template(template, needs_group=self.num_groups > 1)

    def token(self, unit: int) -> str:
        """The text of one unit in [0, G K), such as `<|audio_0_17|>`."""
        group, code = divmod(unit, self.codebook_size)
        return self.template.format(g=group, i=code, n=unit + self.first)

    def write(self, units: ArrayLike) -> str:
        """The text of flat units [L] in [0, G K), one token after the other without spaces.

        Raises:
            TokenError: a unit is out of range.
        """
        stop = self.num_groups * self.codebook_size
        return "".join(map(self.token, check_range(units, what="unit", stop=stop).tolist()))

    def parse(self, text: str) -> Integers:
        """The units [L] of a text; the exact inverse of `write`.

        Args:
            text: tokens; white space may stand around them.

        Raises:
            TokenError: something else than tokens, or a number out of range; with its place.
        """
        token = re.compile(rf"\s*{self.pattern}\s*")
        fields = _fields(self.template)
        units, place = [], 0
        while place < len(text):
            found = token.match(text, place)
            if found is None:
                raise TokenError(
                    f"no token like {self.template} at character {place}: "
                    f"{text[place : place + 40]!r}"
                )
            units.append(self._unit(dict(zip(fields, map(int, found.groups()), strict=True))))
            if units[-1] is None:
                raise TokenError(
                    f"{found[0].strip()} at character {place} is none of {self.num_groups} groups "
                    f"of {self.codebook_size} codes"
                )
            place = found.end()
        return np.array(units, dtype=np.int64)

    @property
    def pattern(self) -> str:
        """The regular expression of a token: a group for each field, decimal without zeros."""
        parts = string.Formatter().parse(self.template)
        return "".join(
            re.escape(literal) + (_NUMBER if field is not None else "")
            for literal, field, _, _ in parts
        )

    def _unit(self, numbers: dict[str, int]) -> int | None:
        """The unit of a token's numbers; None if they contradict each other or are out of range."""
        if "n" in numbers:
            unit = numbers["n"] - self.first
        else:
            unit = numbers.get("g", 0) * self.codebook_size + numbers["i"]
        group, code = divmod(unit, self.codebook_size)
        known = {"g": group, "i": code, "n": unit + self.first}
        agrees = all(known[field] == number for field, number in numbers.items())
        return unit if agrees and 0 <= group < self.num_groups else None

    def build_tokenizer(self, vocabulary: UnitVocabulary) -> Tokenizer:
        """A tokenizer for these texts, with the ids of a vocabulary; `.save("tokenizer.json")`.

        Args:
            vocabulary: of the same groups and codes, and with `first_id` 0.

        Raises:
            ConfigError: another vocabulary, more than 4,000,000 tokens, or tokenizers is not
                installed.
        """
        tokenizers = import_tokenizers("a tokenizer.json")
        self._check_vocabulary(vocabulary)
        if vocabulary.first_id != 0:
            raise ConfigError(
                f"a tokenizer of its own begins at id 0, this vocabulary at {vocabulary.first_id}: "
                f"use extend_tokenizer"
            )
        ids = {text: vocabulary.special_id(text) for text in vocabulary.specials}
        for unit in range(vocabulary.num_units):
            ids[self.token(unit)] = vocabulary.first_unit_id + unit
        # No unknown token: what is no unit is an error, not a guess.
        tokenizer: Tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids))
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(self.pattern), "isolated")
        spaces = tokenizers.pre_tokenizers.WhitespaceSplit()
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([spaces, split])
        tokenizer.decoder = tokenizers.decoders.Fuse()
        tokenizer.add_special_tokens(list(vocabulary.specials))
        return tokenizer

    def extend_tokenizer(self, tokenizer: Tokenizer, vocabulary: UnitVocabulary) -> None:
        """Adds units and special tokens to the tokenizer of a text model, in place.

        Args:
            tokenizer: a `tokenizers.Tokenizer`; of a tokenizer of transformers, its
                `backend_tokenizer`.
            vocabulary: of the same groups and codes, with `first_id` the size of the tokenizer.

        Raises:
            ConfigError: another vocabulary, more than 4,000,000 tokens, or the tokenizer has some
                of the tokens already.
        """
        tokenizers = import_tokenizers("a tokenizer.json")
        self._check_vocabulary(vocabulary)
        ids = tokenizer.get_vocab(with_added_tokens=True)
        if len(ids) != vocabulary.first_id:
            raise ConfigError(
                f"the tokenizer has {len(ids)} tokens, and the vocabulary begins at id "
                f"{vocabulary.first_id}: build it with first_id={len(ids)}"
            )
        if max(ids.values(), default=-1) != len(ids) - 1:
            raise ConfigError("the ids of the tokenizer have gaps: what is added would fill them")
        units = [self.token(unit) for unit in range(vocabulary.num_units)]
        there = [text for text in (*vocabulary.specials, *units) if text in ids]
        if there:
            raise ConfigError(f"the tokenizer has the token {there[0]!r} already")
        added = [tokenizers.AddedToken(text, normalized=False) for text in units]
        specials = list(vocabulary.specials)
        if vocabulary.specials_first:
            tokenizer.add_special_tokens(specials)
            tokenizer.add_tokens(added)
        else:
            tokenizer.add_tokens(added)
            tokenizer.add_special_tokens(specials)
        assert tokenizer.token_to_id(units[0]) == vocabulary.first_unit_id

    def _check_vocabulary(self, vocabulary: UnitVocabulary) -> None:
        if (vocabulary.num_groups, vocabulary.codebook_size) != (
            self.num_groups,
            self.codebook_size,
        ):
            raise ConfigError(
                f"the vocabulary is of {vocabulary.num_groups} groups of "
                f"{vocabulary.codebook_size} codes, the texts of {self.num_groups} of "
                f"{self.codebook_size}"
            )
        if vocabulary.size > MOST_LISTED:
            raise ConfigError(
                f"a tokenizer names each of its tokens, and {vocabulary.size} are too many "
                f"(of {MOST_LISTED}): keep fewer groups, or use the ids of the vocabulary"
            )


def _fields(template: str) -> list[str]:
    return [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]


def _check_template(template: str, *, needs_group: bool) -> None:
    """Refuses what could not be read back."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"the template {template!r} is no format: {error}") from None
    fields = _fields(template)
    faults = [
        f"has the field {{{field}}}: only {{g}}, {{i}} and {{n}} have a meaning"
        for _, field, style, conversion in parts
        if field is not None and (field not in ("g", "i", "n") or style or conversion)
    ]
    if len(set(fields)) != len(fields):
        faults.append("has a field twice")
    if not ("n" in fields or ("i" in fields and ("g" in fields or not needs_group))):
        faults.append("needs {n}, or {i} and, with several groups, {g}")
    if any(character.isspace() for character in template):
        faults.append("has white space, which stands between tokens")
    # After each number, in this token or where the next begins, something must end it.
    marked = "".join(literal + "\0" * (field is not None) for literal, field, _, _ in parts)
    first, *after = marked.split("\0")
    after[-1:] = [text + first for text in after[-1:]]
    if any(not text or text[0].isdigit() for text in after):
        faults.append("must have something else than a digit after each number")
    if faults:
        raise ConfigError(f"the template {template!r} " + ", and ".join(faults))
