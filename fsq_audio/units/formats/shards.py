"""What formats share: a stream of items cut into shards, and which library is missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import groupby
from types import ModuleType

from fsq_audio.errors import ConfigError
from fsq_audio.units.item import UnitItem


def cut_shards(items: Iterator[UnitItem], size: int) -> Iterator[Iterator[UnitItem]]:
    """Cuts a stream into streams of `size` items; each must be read before the next is asked for.

    Args:
        items: The stream.
        size: Items of a shard, >= 1; the last one may have fewer.
    """
    for _, numbered in groupby(enumerate(items), key=lambda pair: pair[0] // size):
        yield (item for _, item in numbered)


def import_library(name: str, *, extra: str) -> ModuleType:
    """A library that only one format needs.

    Args:
        name: Of the module.
        extra: Of this package that installs it.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"this format of units needs {name.partition('.')[0]}: "
            f"pip install 'fsq-audio[{extra}]' ({error})"
        ) from None
