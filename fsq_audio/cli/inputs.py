"""From what was typed to the files that are meant, in a fixed order."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fsq_audio.cli.parser import UsageError
from fsq_audio.corpus.walk import Identity, identity, walk
from fsq_audio.errors import AudioError


@dataclass(frozen=True)
class Found:
    """One input file.

    Attributes:
        path: where it is.
        relative: its place in the tree of outputs, with its own extension.
    """

    path: Path
    relative: Path


@dataclass(frozen=True)
class Inputs:
    """What a command line means.

    Attributes:
        files: each once; in the order typed, sorted within folders and patterns.
        passed_over: files of folders that would have to be converted first.
    """

    files: list[Found]
    passed_over: list[Path]


def find_inputs(
    inputs: Sequence[str],
    *,
    filelist: str | None,
    root: Path | None,
    extensions: Collection[str],
    convertible: Collection[str] = (),
    leave_out: Path | None = None,
) -> Inputs:
    """Finds the files that a command line means.

    A file that is named counts whatever its extension is; folders give those with one of
    `extensions`. A path that exists is never taken for a pattern. Paths in lists are literal, and
    a missing one is found out when its turn comes: it must not end a run of many.

    Args:
        inputs: files, folders, glob patterns, "-".
        filelist: a file with a list of paths, or "-".
        root: the folder that outputs are mirrored from; None for the folder that was walked, the
            fixed part of a pattern, and the file's own folder.
        extensions: lower-case, with the dot.
        convertible: those that are worth a word when they are passed over.
        leave_out: a folder that is not walked: the outputs' own.

    Returns:
        The files.

    Raises:
        UsageError: nothing was named, or a file is not under `root`.
        AudioError: nothing is there under a name, or no file of the kind.
    """
    if not inputs and filelist is None:
        raise UsageError("name at least one input, or a --filelist")
    walk = _Walk(extensions, convertible, None if leave_out is None else identity(leave_out))
    files: list[Found] = []
    for name in inputs:
        files += _from_list(name, walk) if name == "-" else _from_name(name, walk)
    if filelist is not None:
        files += _from_list(filelist, walk)
    if not files:
        raise AudioError("the list of inputs is empty")
    if root is not None:
        files = [Found(item.path, _under(root, item.path)) for item in files]
    once = {(os.path.abspath(item.path), item.relative): item for item in files}
    return Inputs(list(once.values()), walk.passed_over)


def _from_name(name: str, walk: _Walk) -> list[Found]:
    path = Path(name)
    if path.is_dir():
        return walk.some_files(path)
    if os.path.lexists(path):
        return [Found(path, Path(path.name))]
    if not glob.has_magic(name):
        raise AudioError(f"{name}: no such file or folder")
    base = Path(*_fixed_part(path))
    files: list[Found] = []
    for match in map(Path, sorted(glob.glob(name, recursive=True))):
        if not match.is_dir():
            if match.suffix.lower() in (*walk.extensions, path.suffix.lower()):
                files.append(Found(match, match.relative_to(base)))
        elif "**" not in path.parts:  # which gives folders along with what is in them
            files += walk.files(match, base=base)
    if not files:
        raise AudioError(f"{name}: the pattern matches {_no_file_of(walk.extensions)}")
    return files


def _fixed_part(pattern: Path) -> Iterator[str]:
    """The folders before the first wildcard."""
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _from_list(name: str, walk: _Walk) -> Iterator[Found]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise AudioError(f"{name}: the list cannot be read: {error.strerror}") from error
    for line in data.split(b"\0") if b"\0" in data else data.splitlines():
        path = Path(os.fsdecode(line))
        if line and path.is_dir():
            yield from walk.some_files(path)
        elif line:
            yield Found(path, Path(path.name))


def _under(root: Path, path: Path) -> Path:
    relative = Path(os.path.relpath(path, root))
    if relative.parts[:1] == ("..",):
        raise UsageError(f"{path} is not under --root {root}")
    return relative


@dataclass(frozen=True)
class _Walk:
    extensions: Collection[str]
    convertible: Collection[str]
    leave_out: Identity | None
    passed_over: list[Path] = field(default_factory=list)

    def some_files(self, folder: Path) -> list[Found]:
        """The files of a folder, of which there must be some."""
        num_before = len(self.passed_over)
        files = list(self.files(folder, base=folder))
        if not files:
            reason = f"{folder}: the folder holds {_no_file_of(self.extensions)}"
            for path in self.passed_over[num_before:][:1]:
                reason += f"; {path}, for one, must be converted first"
            raise AudioError(reason)
        return files

    def files(self, folder: Path, *, base: Path) -> Iterator[Found]:
        """Walks in sorted order."""
        for path in walk(folder, leave_out=self.leave_out):
            if path.suffix.lower() in self.extensions:
                yield Found(path, path.relative_to(base))
            elif path.suffix.lower() in self.convertible:
                self.passed_over.append(path)


def _no_file_of(extensions: Collection[str]) -> str:
    return f"no file that ends in {', '.join(extensions)}"
