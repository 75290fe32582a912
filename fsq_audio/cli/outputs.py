"""Where outputs go: a tree like that of the inputs, or one named file; clashes found early."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsq_audio.cli.inputs import Found
from fsq_audio.cli.options.files import AUDIO_FORMATS, TOKEN_FORMATS
from fsq_audio.cli.parser import UsageError
from fsq_audio.errors import FSQAudioError


class ExistsError(FSQAudioError):
    """An output is there already and may neither be replaced nor taken for this run's."""


@dataclass(frozen=True)
class Target:
    """What `--output` and `--format` mean together.

    Attributes:
        format: of what is written, such as "fsq".
        folder: that holds the outputs.
        file: the one output, when `--output` names it.
    """

    format: str
    folder: Path
    file: Path | None = None

    @property
    def errors(self) -> Path:
        """Where failed files are noted."""
        if self.file is None:
            return self.folder / "errors.jsonl"
        return self.file.with_name(f"{self.file.name}.errors.jsonl")


@dataclass(frozen=True)
class Job:
    """One input and its output.

    Attributes:
        path: the input.
        output: the file that is written, or written to.
        key: the output's place in the tree, with "/" and without the format's extension.
    """

    path: Path
    output: Path
    key: str


def choose_target(output: Path, *, requested: str | None, formats: Sequence[str]) -> Target:
    """Decides whether `--output` is a folder or a file, and the format.

    Args:
        output: as typed; a folder unless its name ends in one of `formats`.
        requested: `--format`.
        formats: that the verb writes, the default one first.

    Returns:
        The target.

    Raises:
        UsageError: the name and `--format` differ, or it is the name of something else.
    """
    named = output.suffix[1:].lower()
    if output.is_dir() or named not in (*TOKEN_FORMATS, *AUDIO_FORMATS):
        if output.exists() and not output.is_dir():
            raise UsageError(f"--output {output} is a file: name a folder")
        return Target(requested or formats[0], folder=output)
    if named not in formats:
        raise UsageError(f"--output {output}: this verb writes {', '.join(formats)}, not {named}")
    if requested not in (None, named):
        raise UsageError(f"--output {output} does not go with --format {requested}")
    return Target(named, folder=output.parent, file=output)


def plan_jobs(
    files: Sequence[Found],
    target: Target,
    *,
    extensions: Collection[str],
    keep_extension: bool,
    beside: Sequence[str] = (),
) -> list[Job]:
    """Gives every input its output.

    Args:
        files: the inputs.
        target: where to.
        extensions: of inputs, lower-case; another one ("v1.2") is part of the name and stays.
        keep_extension: keep those, too.
        beside: suffixes of what is written next to each output.

    Returns:
        One job a file, in order.

    Raises:
        UsageError: two inputs have one output, an output is an input, or many inputs are to go
            into one file that holds one.
    """
    if target.format == "jsonl":
        lines = target.file or target.folder / "tokens.jsonl"
        jobs = [Job(file.path, lines, _key(file, extensions, keep_extension)) for file in files]
    elif target.file is not None:
        if len(files) > 1:
            raise UsageError(f"{len(files)} inputs, but --output {target.file} is one file")
        jobs = [Job(files[0].path, target.file, target.file.stem)]
    else:
        keys = [_key(file, extensions, keep_extension) for file in files]
        jobs = [
            Job(file.path, target.folder / f"{key}.{target.format}", key)
            for file, key in zip(files, keys, strict=True)
        ]
    _check_keys(jobs)
    _check_inputs(jobs, beside)
    return jobs


def _key(file: Found, extensions: Collection[str], keep_extension: bool) -> str:
    strip = not keep_extension and file.relative.suffix.lower() in extensions
    return (file.relative.with_suffix("") if strip else file.relative).as_posix()


def _check_keys(jobs: Sequence[Job]) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(os.path.normcase(job.key), job)
        if other is not job:
            raise UsageError(
                f"{other.path} and {job.path} would both become {job.key!r}: --keep-extension "
                f"tells a.wav from a.flac, --root FOLDER keeps the folders of files"
            )


def _check_inputs(jobs: Sequence[Job], beside: Sequence[str]) -> None:
    inputs = {os.path.abspath(job.path) for job in jobs}
    for job in jobs:
        for output in (job.output, *(job.output.with_suffix(suffix) for suffix in beside)):
            is_own = output.exists() and job.path.exists() and output.samefile(job.path)
            if is_own or os.path.abspath(output) in inputs:
                raise UsageError(f"{output} is an input: choose another --output")
