"""The folder of an evaluation, read back."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.evaluation.journal import Journal

AGAIN = "run the same fsq-audio evaluate again, which makes what is missing"

KEY_METRICS = ("stoi", "pesq_wb", "visqol", "mel_distance", "difference_wer", "voicing_f1")
"""Shown first, where they were computed: in tables, charts, and beside the players."""


@dataclass(frozen=True)
class Row:
    """One system on one recording.

    Attributes:
        duration: of the original in seconds; None where it could not be read.
        degraded: path, relative to the folder or absolute; None where there is none.
        values: by metric; None where there is none.
        failures: why, by metric; "audio" where nothing could be measured at all.
    """

    duration: float | None
    degraded: str | None
    values: Mapping[str, float | None]
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        name: of its folder.
        folder: where it is.
        summary: as in `summary.json`.
        curves: as in `rate_distortion.json`.
        ids: of the recordings, in the order of the rows.
        systems: names, in the order of the summary.
        rows: by system and id.
        journal: of the run.
    """

    name: str
    folder: Path
    summary: Mapping[str, Any]
    curves: Mapping[str, Any]
    ids: Sequence[str]
    systems: Sequence[str]
    rows: Mapping[tuple[str, str], Row]
    journal: Journal

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that were computed, those that are looked at first in front."""
        names = list(self.summary["settings"]["metrics"])
        front = [name for name in KEY_METRICS if name in names]
        return front + [name for name in names if name not in front]

    def original(self, id: str) -> Path:
        """The audio file of a recording.

        Args:
            id: of the recording.

        Raises:
            AudioError: it is not there.
        """
        path = Path(self.journal.settled(f"recording {id}").get("path", ""))
        if not path.is_file():
            raise AudioError(
                f"{self.folder}: the original of {id} is not at {path}: put it back there, or "
                f"choose other recordings with --clip"
            )
        return path

    def degraded(self, system: str, id: str) -> Path | None:
        """What a system made of a recording; None where it failed.

        Args:
            system: its name.
            id: of the recording.

        Raises:
            AudioError: it was made, and is not there.
        """
        noted = self.rows[system, id].degraded
        if noted is None:
            return None
        path = self.folder / noted  # which is relative to it, or absolute
        if not path.is_file():
            raise AudioError(f"{self.folder}: what {system} made of {id} is not there: {AGAIN}")
        return path

    def choose(self, systems: Sequence[str]) -> list[str]:
        """The systems that were asked for, in that order; all if none was.

        Args:
            systems: names.

        Raises:
            ConfigError: there is no such system.
        """
        unknown = [name for name in systems if name not in self.systems]
        if unknown:
            raise ConfigError(
                f"{self.folder} has no system {', '.join(unknown)}: there are "
                f"{', '.join(self.systems)}"
            )
        return list(systems or self.systems)


def read_results(folder: Path) -> Results:
    """Reads what `fsq-audio evaluate` wrote.

    Args:
        folder: its OUT.

    Raises:
        ConfigError: there is no evaluation, it is not finished, or it is damaged.
    """
    path = folder / "summary.json"
    if not path.is_file():
        if (folder / "journal.jsonl").is_file():
            raise ConfigError(f"the evaluation in {folder} is not finished: {AGAIN}")
        raise ConfigError(
            f"{folder} holds no evaluation (no summary.json): make one with "
            f"fsq-audio evaluate RECORDINGS -o {folder}"
        )
    try:
        summary = json.loads(path.read_text("utf-8", errors="surrogateescape"))
        systems = list(summary["systems"])
        rows = _read_rows(folder / "rows.csv", summary["settings"]["metrics"])
        curves = json.loads((folder / "rate_distortion.json").read_text("utf-8"))
        ids = list(dict.fromkeys(id for _, id in rows))
        whole = all((system, id) in rows for system in systems for id in ids)
        whole = whole and bool(ids) and all(re.fullmatch(r"\w[\w.+@-]*", each) for each in systems)
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} is not there: {AGAIN}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the evaluation in {folder} is damaged ({error!r}): {AGAIN}") from None
    if not whole:
        raise ConfigError(f"rows.csv and summary.json in {folder} do not fit each other: {AGAIN}")
    journal = Journal(folder / "journal.jsonl")
    name = folder.resolve().name
    return Results(name, folder, summary, curves, ids, systems, rows, journal)


def _read_rows(path: Path, metrics: Sequence[str]) -> dict[tuple[str, str], Row]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {
            (line["system"], line["id"]): Row(
                duration=_number(line["duration"]),
                degraded=line["degraded"] or None,
                values={name: _number(line[name]) for name in metrics},
                failures=json.loads(line["failures"]),
            )
            for line in csv.DictReader(file)
        }


def _number(text: str) -> float | None:
    return float(text) if text else None
