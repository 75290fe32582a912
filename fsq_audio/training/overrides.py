"""Reading a run from YAML, with dotted overrides of the command line."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fsq_audio.errors import ConfigError

_MOST_VALUES = 100_000


def read_mapping(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Plain values of a YAML file; overrides such as `--a.b 3` or `--a.b=3` replace some.

    Raises:
        ConfigError: the file cannot be read or holds no mapping, or an override is malformed.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    values = _parse(text, f"cannot read {path}")
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of options, got {type(values).__name__}")
    words = [word for pair in overrides for word in _split_pair(pair)]
    for key in words[::2]:
        if not key.startswith("--"):
            raise ConfigError(f"overrides come as --key value, got {key!r} where a key should be")
    if len(words) % 2:
        raise ConfigError(f"overrides come as --key value, the last has no value: {words[-1]}")
    for key, value in zip(words[::2], words[1::2], strict=True):
        *parents, last = key[2:].split(".")
        place: dict[str, Any] = values
        for parent in parents:
            # A section that the file leaves at null is begun by the first of its options.
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {parent} is a value, it has no {last}")
        place[last] = _parse(value, f"cannot read the value of {key}")
    return values


def name_source(path: str | Path, overrides: Sequence[str]) -> str:
    """Where the values of `read_mapping` came from, for messages about them."""
    return f"{path} and the command line" if overrides else str(path)


def _parse(text: str, sentence: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    # PyYAML lets through whatever its constructors meet in `!!int x` or `2001-13-45`.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{sentence}: {' '.join(str(error).split())}") from error


def _split_pair(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--") and "=" in word else [word]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 6e-4 as a string; people mean the number.

    A few lines of aliases may stand for more values than any memory holds: these are refused.
    """

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _count_values(node, {}) > _MOST_VALUES:
            problem = f"its aliases stand for more than {_MOST_VALUES} values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return node


def _count_values(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """The values of a node, aliases written out; without end if it holds itself."""
    if node not in known:
        known[node] = math.inf
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        parts = node.value if isinstance(node, yaml.SequenceNode) else itertools.chain(*pairs)
        known[node] = 1 + sum(_count_values(part, known) for part in parts)
    return known[node]


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
