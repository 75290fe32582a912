"""What is done already: lines that are only ever appended, so that a stopped run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.metric import Measured
from fsq_audio.evaluation.system import Produced


@dataclass(frozen=True)
class Key:
    """One row.

    Attributes:
        system: name.
        id: of the recording.
    """

    system: str
    id: str


def relative_to(folder: Path, path: Path) -> str:
    """How a path is written into a folder's files, so that the folder can be moved.

    Args:
        folder: OUT.
        path: of any file.

    Returns:
        Relative to the folder for what lies inside, absolute for the rest.
    """
    whole, inside = path.absolute(), folder.absolute()
    if whole.is_relative_to(inside):
        return whole.relative_to(inside).as_posix()
    return str(whole)


class Journal:
    """`OUT/journal.jsonl`: what was settled, produced and measured.

    Attributes:
        produced: by row.
        failed: why nothing could be produced or compared, by row; tried again by another run.
        measured: by row and metric.
    """

    def __init__(self, path: Path) -> None:
        """Reads what is there; a last line that was cut off is left out.

        Raises:
            ConfigError: a line is none that a run wrote.
        """
        self._path = path
        self._settings: dict[str, Any] = {}
        self.produced: dict[Key, Produced] = {}
        self.failed: dict[Key, str] = {}
        self.measured: dict[Key, dict[str, Measured]] = {}
        text = path.read_text("utf-8", "replace") if path.is_file() else ""
        # A run that was killed may have left half a line: begin on a fresh one.
        self._separator = "" if text.endswith("\n") or not text else "\n"
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            try:
                self._take(entry)
            except (AttributeError, LookupError, TypeError) as error:
                raise ConfigError(
                    f"{path}: {error!r} in a line that no run has written: give another folder"
                ) from error

    def settle(self, name: str, values: Mapping[str, Any]) -> None:
        """Makes sure that a run goes on as it began.

        Args:
            name: of what is settled: "run", or a system.
            values: JSON.

        Raises:
            ConfigError: an earlier run in this folder had other values.
        """
        values = json.loads(json.dumps(values))
        known = self._settings.get(name)
        if known is None:
            self._append({"settings": name, "values": values})
        elif known != values:
            differing = [k for k in {**known, **values} if known.get(k) != values.get(k)]
            was = {k: known.get(k) for k in differing}
            now = {k: values.get(k) for k in differing}
            raise ConfigError(
                f"{self._path.parent} holds results of {name} with {was}, and not with {now}: "
                f"give another folder"
            )

    def settled(self, name: str) -> Mapping[str, Any]:
        """What `settle` noted under a name; empty where nothing was."""
        values: Mapping[str, Any] = self._settings.get(name, {})
        return values

    def add_produced(self, key: Key, produced: Produced) -> None:
        """Notes what a system made."""
        values = asdict(produced)
        values["degraded"] = relative_to(self._path.parent, produced.degraded)
        self._append({"system": key.system, "id": key.id, "produced": values})

    def add_failed(self, key: Key, reason: str) -> None:
        """Remembers, for this run only, that a recording could not be processed."""
        self.failed[key] = reason

    def add_measured(self, key: Key, results: Mapping[str, Measured]) -> None:
        """Notes metrics of a row."""
        rows = {name: _to_json(result) for name, result in results.items()}
        self._append({"system": key.system, "id": key.id, "measured": rows})

    def _append(self, entry: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(self._separator + json.dumps(entry) + "\n")
        self._separator = ""
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        if "settings" in entry:
            self._settings[entry["settings"]] = entry["values"]
            return
        key = Key(entry["system"], entry["id"])
        if "produced" in entry:
            values = entry["produced"]
            place = self._path.parent / values["degraded"]
            self.produced[key] = Produced(**values | {"degraded": place})
        for name, values in entry.get("measured", {}).items():
            value = math.nan if values["value"] is None else values["value"]
            row = self.measured.setdefault(key, {})
            row[name] = Measured(value, values["failure"], values["skipped"], values.get("total"))


def _to_json(result: Measured) -> dict[str, Any]:
    value = None if math.isnan(result.value) else result.value
    entry = {"value": value, "failure": result.failure, "skipped": result.skipped}
    return entry if result.total is None else {**entry, "total": result.total}
