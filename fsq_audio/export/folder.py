"""The folder of an export: the graphs, `config.json`, and `export.json`, which says what they are.

`export.json` is a JSON object of

    layout    1                                  contexts   see `fsq_audio.coder.Contexts`
    kind      "onnx" or "torch"                  opset      of the ONNX graphs
    tokens    see `fsq_audio.tokens.TokenFormat` versions   of the packages that wrote it
    groups    G                                  files      SHA-256 of every other file
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from fsq_audio.checkpoint import CONFIG_FILE
from fsq_audio.coder import Contexts
from fsq_audio.config import from_mapping, to_mapping
from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.tokens import TokenFormat

EXPORT_FILE = "export.json"
LAYOUT = 1
FINGERPRINT = "fsq_audio.fingerprint"
"""Where a graph itself says of which model it is."""
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}

Kind = Literal["onnx", "torch"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """What `export.json` says.

    Attributes:
        layout: of the folder.
        kind: of the graphs.
        tokens: what its tokens need in order to be decoded.
        groups: codes per frame, G.
        contexts: what a window carries beyond its frames.
        opset: of the ONNX graphs; None for others.
        versions: of the packages that wrote it, by name.
        files: SHA-256 of every other file, by name.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    layout: int
    kind: Kind
    tokens: TokenFormat
    groups: int
    contexts: Contexts
    opset: int | None
    versions: dict[str, str]
    files: dict[str, str]


def prepare(folder: Path) -> None:
    """Makes the folder of an export.

    Raises:
        ConfigError: it holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / EXPORT_FILE).is_file():
        raise ConfigError(f"{folder} is not empty and holds no export: name another folder")


def write(folder: Path, export: Export, files: Mapping[str, bytes]) -> Export:
    """Writes an export, each file first under a temporary name.

    Args:
        folder: see `prepare`.
        export: `files` in it are filled in here.
        files: contents by name.

    Returns:
        The export, with `files`.
    """
    export = dataclasses.replace(
        export, files={name: _digest(content) for name, content in files.items()}
    )
    described = json.dumps(to_mapping(export), indent=2) + "\n"
    contents = {**files, EXPORT_FILE: described.encode()}
    for name, content in contents.items():
        (folder / f"{name}.tmp").write_bytes(content)
    # What an earlier export left would not belong to this one.
    for path in folder.iterdir():
        if path.suffix in SUFFIXES.values():
            path.unlink()
    for name in contents:
        os.replace(folder / f"{name}.tmp", folder / name)
    return export


def read(source: str | Path, *, kind: Kind) -> tuple[Export, dict[str, bytes]]:
    """What is in a folder, once it is known to be whole.

    Args:
        source: the folder.
        kind: that is expected.

    Returns:
        The description, and the content of each graph by its name without the suffix.

    Raises:
        CheckpointError: there is no export of this kind and layout, or its files do not belong
            together.
    """
    path = Path(source) / EXPORT_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{source} is no exported model, it holds no {EXPORT_FILE}: make one with "
            f"fsq-audio export {kind} --model {source} -o FOLDER"
        )
    try:
        values: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    layout = values.get("layout") if isinstance(values, dict) else None
    if layout != LAYOUT:
        raise CheckpointError(
            f"{path} has layout {layout!r} and this version reads {LAYOUT}: export the model again"
        )
    try:
        export = from_mapping(Export, values, where=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if export.kind != kind:
        raise CheckpointError(f"{path.parent} was exported for {export.kind}, not for {kind}")
    _read_checked(path.parent / CONFIG_FILE, export)
    names = ["encoder", "decoder", *(["pitch"] if export.contexts.pitch else [])]
    graphs = {
        name: _read_checked(path.parent / f"{name}{SUFFIXES[kind]}", export) for name in names
    }
    return export, graphs


def _read_checked(path: Path, export: Export) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if _digest(content) != export.files.get(path.name):
        raise CheckpointError(
            f"{path} is damaged, or is not the one that {EXPORT_FILE} beside it was written with: "
            f"export the model again"
        )
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
