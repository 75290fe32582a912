"""What a format is: how it is written, how it is read back, and the registry of all.

A folder of units has one part for each split (train, valid, ...) and `fsq_audio.json`, which says
which model they are of and how they were written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fsq_audio.errors import ConfigError, FSQAudioError, TokenError
from fsq_audio.units.files import relative_path
from fsq_audio.units.item import StoreInfo, UnitItem
from fsq_audio.units.patterns import Pattern
from fsq_audio.units.vocabulary import UnitVocabulary

DESCRIPTION = "fsq_audio.json"
_TEXTS = ("audio_path", "text", "speaker_id", "chapter_id")
_VERSION = 1

Layout: TypeAlias = Literal["TG", "GT"]


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How units are written; a format takes some of these.

    Attributes:
        pattern: How codes become one sequence: "flatten" or "coarse_first".
        layout: Of arrays: "TG", [T, G], or "GT".
        shard_size: Items of a shard; None for what is usual in the format.
        template: The text of a unit, as in `UnitText`; "" for the default.
        audio_root: Folder that paths of audio files are told relative to; None for "/".
    """

    pattern: str = "flatten"
    layout: Layout = "TG"
    shard_size: int | None = None
    template: str = ""
    audio_root: str | None = None


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where one split goes.

    Attributes:
        folder: That is there and written to.
        final: What this folder will be called.
        split: Name of the split.
        info: The model that all items are of.
        options: Those that the format takes; the others have their defaults.
    """

    folder: Path
    final: Path
    split: str
    info: StoreInfo
    options: WriteOptions

    @property
    def pattern(self) -> Pattern:
        """How codes become one sequence.

        Raises:
            ConfigError: There is no such pattern, or it gives G rows.
        """
        info = self.info
        pattern = Pattern(self.options.pattern, info.num_groups, info.codebook_size)
        if not pattern.is_flat:
            raise ConfigError(
                f"the pattern {pattern.name!r} gives rows, and the format holds one sequence: "
                f"take 'flatten' or 'coarse_first'"
            )
        return pattern

    @property
    def vocabulary(self) -> UnitVocabulary:
        """The ids of units and special tokens: as in the tokenizer of the format `text`."""
        return UnitVocabulary(self.info.num_groups, self.info.codebook_size)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An input that could not be read.

    Attributes:
        path: Its file.
        error: Why.
    """

    path: Path
    error: Exception


@dataclass(frozen=True, kw_only=True)
class UnitSource:
    """Units that can be read.

    Attributes:
        info: The model that all items are of.
        splits: Number of items of each split, None where it is not known.
        read: The items of a split.
        failures: What could not be read; grows while items are.
    """

    info: StoreInfo
    splits: dict[str, int | None]
    read: Callable[[str], Iterator[UnitItem]]
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        for split in self.splits:
            if relative_path(split).name != split:  # files and folders are named after it
                raise TokenError(f"a split must have a plain name, not {split!r}")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `fsq_audio.json` says of a folder of units.

    Attributes:
        format: Its name.
        options: That it was written with.
        splits: Number of items of each split.
        info: The model.
        input: What tells whether the input is still the same; None if it was not noted.
        files: The names in the folder, this file's left out; None if they were not noted.
    """

    format: str
    options: dict[str, Any]
    splits: dict[str, int]
    info: StoreInfo
    input: str | None = None
    files: list[str] | None = None

    def write(self, folder: Path) -> None:
        """Puts it into a folder."""
        values = {
            "version": _VERSION,
            "format": self.format,
            "options": self.options,
            "splits": self.splits,
            "store": json.loads(self.info.to_json()),
            "input": self.input,
            "files": self.files,
        }
        (folder / DESCRIPTION).write_text(json.dumps(values, indent=2) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Reads that of a folder.

        Raises:
            TokenError: There is none, or it is damaged or of a later version.
        """
        path = folder / DESCRIPTION
        try:
            values = json.loads(path.read_text("utf-8"))
            if values["version"] != _VERSION:
                raise TokenError(
                    f"{path}: is of version {values['version']}; this release reads version "
                    f"{_VERSION}: upgrade fsq_audio"
                )
            return cls(
                format=values["format"],
                options=dict(values["options"]),
                splits={str(name): int(number) for name, number in values["splits"].items()},
                info=StoreInfo.from_json(json.dumps(values["store"])),
                input=values.get("input"),
                files=values.get("files"),
            )
        except OSError:
            raise TokenError(
                f"{folder}: is no folder of units that fsq_audio wrote: {DESCRIPTION} is missing"
            ) from None
        except TokenError:
            raise
        except (
            ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
        ) as error:  # fmt: skip
            raise TokenError(f"{path}: damaged: {error}") from error


@dataclass(frozen=True, kw_only=True)
class UnitFormat:
    """A format of units.

    Attributes:
        name: In the registry, and on the command line.
        write: Writes the items of a split.
        options: The fields of `WriteOptions` that `write` heeds.
        has_split_folders: Whether each split has a folder of its own, or files named after it.
        read: Reads what `write` wrote, exactly: (the folder of the split, split, description).
            None where something is lost.
        open: Opens what does not describe itself by `fsq_audio.json`.
    """

    name: str
    write: Callable[[Iterator[UnitItem], Destination], None] | None = None
    options: frozenset[str] = frozenset()
    has_split_folders: bool = False
    read: Callable[[Path, str, Description], Iterator[UnitItem]] | None = None
    open: Callable[[Path], UnitSource] | None = None

    def folder(self, root: Path, split: str) -> Path:
        """Where a split is, in a folder of this format."""
        return root / split if self.has_split_folders else root

    def open_source(self, path: Path) -> UnitSource:
        """Opens units of this format.

        Args:
            path: What was written; or a file or folder of the format's own kind.

        Raises:
            ConfigError: The format cannot be read back.
            TokenError: It is something else.
        """
        if self.open is not None:
            return self.open(path)
        if self.read is None:
            raise ConfigError(
                f"units cannot be read back from {self.name!r}, which does not keep all of them"
            )
        description = Description.read(path)
        if description.format != self.name:
            raise TokenError(f"{path}: is of the format {description.format}, not {self.name}")
        return UnitSource(
            info=description.info,
            splits=dict(description.splits),
            read=lambda split: self._read_all(path, split, description),
        )

    def _read_all(self, path: Path, split: str, description: Description) -> Iterator[UnitItem]:
        assert self.read is not None
        folder = self.folder(path, split)
        missing = description.splits[split]
        try:
            for item in self.read(folder, split, description):
                yield item
                missing -= 1
        except (FSQAudioError, MemoryError):
            raise
        # Libraries let through whatever their parsers meet: NumPy's even a SyntaxError.
        except Exception as error:
            raise TokenError(f"{folder}: damaged: {' '.join(str(error).split())}") from error
        if missing:
            total = description.splits[split]
            raise TokenError(f"{folder}: damaged: holds {total - missing} items instead of {total}")


_REGISTRY: dict[str, UnitFormat] = {}


def register_format(unit_format: UnitFormat) -> UnitFormat:
    """Makes a format known by its name.

    Raises:
        ConfigError: The name is taken.
    """
    if unit_format.name in _REGISTRY:
        raise ConfigError(f"format name {unit_format.name!r} is taken: register it under another")
    _REGISTRY[unit_format.name] = unit_format
    return unit_format


def format_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_REGISTRY)


def get_format(name: str) -> UnitFormat:
    """A format by its name.

    Raises:
        ConfigError: There is none.
    """
    if name not in _REGISTRY:
        raise ConfigError(f"unknown format of units {name!r}: choose from {format_names()}")
    return _REGISTRY[name]


def describe_item(item: UnitItem) -> dict[str, Any]:
    """What is known of an item beside its name and its codes, in JSON types."""
    values = {"num_samples": item.num_samples, "sampling_rate": item.sampling_rate}
    texts = {name: getattr(item, name) for name in _TEXTS}
    return values | {name: text for name, text in texts.items() if text is not None}


def described_item(name: str, codes: Any, facts: dict[str, Any]) -> UnitItem:
    """The item that `describe_item` told of; other entries are passed over."""
    texts = {each: facts.get(each) for each in _TEXTS}
    return UnitItem(
        id=name,
        codes=codes,
        num_samples=facts["num_samples"],
        sampling_rate=facts["sampling_rate"],
        **texts,
    )
