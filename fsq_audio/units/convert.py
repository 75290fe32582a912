"""From one format of units to another, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.files import replacing_folder
from fsq_audio.units.formats import UnitFormat, UnitSource, WriteOptions, get_format
from fsq_audio.units.formats.base import DESCRIPTION, Description, Destination
from fsq_audio.units.item import UnitItem

ERRORS = "errors.jsonl"
# Of other formats, all files of the folder.
_INPUTS = {"parquet": "*.parquet", "fsq": "*.fsq"}
IfExists = Literal["skip", "overwrite", "error"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A conversion that can be done.

    Attributes:
        source: What is read.
        splits: Which of it.
        output: The folder that is written.
        format: How.
        options: With which.
        is_done: Whether it was done before, and nothing is left to do.
        input: What tells whether the input is still the same.
    """

    source: UnitSource
    splits: tuple[str, ...]
    output: Path
    format: UnitFormat
    options: WriteOptions
    is_done: bool
    input: str

    @property
    def num_items(self) -> int | None:
        """Items that will be read, where that is known."""
        numbers = [self.source.splits[split] for split in self.splits]
        known = [number for number in numbers if number is not None]
        return sum(known) if len(known) == len(numbers) else None


def plan_conversion(
    path: Path,
    output: Path,
    *,
    read_as: str,
    write_as: str,
    options: WriteOptions | None = None,
    splits: Sequence[str] = (),
    if_exists: IfExists = "error",
) -> Plan:
    """Looks at what is there, and writes nothing.

    Args:
        path: What is to be converted.
        output: Folder that is to be written.
        read_as: Format of `path`.
        write_as: Format of `output`.
        options: How to write; those that the format does not take must have their defaults.
        splits: Which splits; none for all.
        if_exists: What to do about units that are in `output`: leave them if they are of this
            format, model and options, replace them, or refuse.

    Raises:
        ConfigError: The format cannot be read or written, or does not take an option; or `output`
            holds something else.
        TokenError: The input is missing or damaged.
    """
    options = options or WriteOptions()
    unit_format = get_format(write_as)
    if unit_format.write is None:
        raise ConfigError(f"units cannot be written as {write_as!r}: only read")
    _check_options(unit_format, options)
    if not path.exists():
        raise TokenError(f"{path}: no such file or folder")
    if path.resolve().is_relative_to(output.resolve()):
        raise ConfigError(f"{output} holds the input: choose another folder")
    if read_as == "parquet" and _holds(path, "*.fsq") and not _holds(path, "*.parquet"):
        raise ConfigError(f"{path} holds token files and no store of units: add --from fsq")
    source = get_format(read_as).open_source(path)
    for split in splits:
        if split not in source.splits:
            raise ConfigError(f"{path}: no split {split!r}; there are {', '.join(source.splits)}")
    plan = Plan(
        source=source,
        splits=tuple(splits) or tuple(source.splits),
        output=output,
        format=unit_format,
        options=options,
        is_done=False,
        input=_digest(path, _INPUTS.get(read_as, "*"), leave_out=output),
    )
    return replace(plan, is_done=_is_done(plan, if_exists))


def convert(
    plan: Plan,
    *,
    stop_at_failure: bool = False,
    progress: Callable[[UnitItem], None] = lambda item: None,
) -> int:
    """Does what was planned; the output appears when all of it is there.

    Inputs that could not be read are noted in `errors.jsonl` of the output.

    Args:
        plan: What `plan_conversion` gave.
        stop_at_failure: Raise the error of the first input that cannot be read.
        progress: Called with each item that was read.

    Returns:
        Number of items.

    Raises:
        FSQAudioError: The input is damaged, or cannot be held by the format.
        OSError: The output cannot be written.
    """
    assert plan.format.write is not None
    source, counts = plan.source, dict.fromkeys(plan.splits, 0)

    def checked(split: str) -> Iterator[UnitItem]:
        seen: set[str] = set()  # some 150 bytes an item
        for item in source.read(split):
            source.info.check_item(item)
            if item.id in seen:
                raise TokenError(f"two items are called {item.id!r}")
            seen.add(item.id)
            counts[split] += 1
            progress(item)
            yield item
            if stop_at_failure and source.failures:
                break

    with replacing_folder(plan.output) as folder:
        for split in plan.splits:
            place = plan.format.folder(folder, split)
            place.mkdir(parents=True, exist_ok=True)
            to = Destination(
                folder=place,
                final=plan.format.folder(plan.output, split),
                split=split,
                info=source.info,
                options=plan.options,
            )
            plan.format.write(checked(split), to)
        if stop_at_failure and source.failures:
            raise source.failures[0].error
        _note_failures(folder / ERRORS, source)
        Description(
            format=plan.format.name,
            options=_taken(plan.format, plan.options),
            splits=counts,
            info=source.info,
            input=plan.input,
            files=sorted(each.name for each in folder.iterdir()),
        ).write(folder)
    return sum(counts.values())


def _holds(path: Path, pattern: str) -> bool:
    return next(path.rglob(pattern), None) is not None


def _note_failures(path: Path, source: UnitSource) -> None:
    if source.failures:
        with open(path, "w", encoding="utf-8") as file:
            for failure in source.failures:
                values = {"path": str(failure.path), "error": str(failure.error)}
                file.write(json.dumps(values) + "\n")


def _taken(unit_format: UnitFormat, options: WriteOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(options).items() if name in unit_format.options}


def _check_options(unit_format: UnitFormat, options: WriteOptions) -> None:
    for each in fields(WriteOptions):
        is_given = getattr(options, each.name) != each.default
        if is_given and each.name not in unit_format.options:
            takes = ", ".join(sorted(unit_format.options)) or "no option"
            raise ConfigError(f"the format {unit_format.name} takes {takes}, and not {each.name}")
    if options.shard_size is not None and options.shard_size < 1:
        raise ConfigError(f"shard_size must be 1 or more, got {options.shard_size}")
    if options.layout not in ("TG", "GT"):
        raise ConfigError(f"layout must be 'TG' or 'GT', got {options.layout!r}")


def _digest(path: Path, pattern: str, *, leave_out: Path) -> str:
    """Of the names and sizes of the files that are read, but for the output, if it lies there."""
    digest = hashlib.blake2b(digest_size=16)
    for file in [path] if path.is_file() else sorted(path.rglob(pattern)):
        if file.is_file() and not file.absolute().is_relative_to(leave_out.absolute()):
            name = os.fsencode(file.relative_to(path))
            digest.update(name + b"\0%d\0" % file.stat().st_size)
    return digest.hexdigest()


def _is_done(plan: Plan, if_exists: IfExists) -> bool:
    """Whether the units are there.

    Raises:
        ConfigError: What is there must not be replaced.
    """
    output = plan.output
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not (output / DESCRIPTION).is_file():
        raise ConfigError(f"{output} holds something else than converted units: choose another")
    if if_exists == "error":
        raise ConfigError(f"{output} exists: choose another folder, or overwrite it")
    there = Description.read(output)
    if if_exists == "skip":
        _check_same(plan, there)
        is_whole = set(plan.splits) <= set(there.splits) and not (output / ERRORS).is_file()
        if is_whole and there.input in (None, plan.input):
            return True
        if is_whole:
            raise ConfigError(
                f"{output} holds units of another input, or the input has changed: choose another "
                f"folder, or overwrite them"
            )
    _check_replaceable(plan, there)
    return False


def _check_same(plan: Plan, there: Description) -> None:
    """Refuses units of another kind, and other numbers of them."""
    output, info = plan.output, plan.source.info
    wanted = (plan.format.name, _taken(plan.format, plan.options), info)
    if (there.format, there.options, there.info) != wanted:
        raise ConfigError(
            f"{output} holds units as {there.format} {there.options} of model "
            f"{there.info.fingerprint}, this run writes {wanted[0]} {wanted[1]} of "
            f"{info.fingerprint}: choose another folder, or overwrite them"
        )
    for split, number in plan.source.splits.items():
        if number is not None and there.splits.get(split, number) != number:
            raise ConfigError(
                f"{output} holds {there.splits[split]} items of {split!r}, the input {number}: "
                f"choose another folder, or overwrite them"
            )


def _check_replaceable(plan: Plan, there: Description) -> None:
    """Refuses to remove what this run does not write again."""
    others = sorted(set(there.splits) - set(plan.splits))
    if others:
        raise ConfigError(
            f"{plan.output} holds {', '.join(map(repr, others))}, too, which would be lost: choose "
            f"another folder, or convert all splits at once"
        )
    if there.files is not None:
        names = {each.name for each in plan.output.iterdir() if not each.name.startswith(".")}
        strange = sorted(names - {DESCRIPTION, *there.files})
        if strange:
            raise ConfigError(
                f"{plan.output} holds {', '.join(strange[:3])}, not of a conversion, which would "
                f"be lost: move it away, or choose another folder"
            )
