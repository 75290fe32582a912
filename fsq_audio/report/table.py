"""Tables as cells: what a reader sees, and what a column is sorted by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fsq_audio.report.charts import format_value, name_metric
from fsq_audio.report.results import Results, Row

NOTHING = "\u2013"  # a dash as wide as a digit


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes:
        text: what stands there.
        detail: in small print below.
        key: to sort by; None sorts last, in either direction.
        is_failed: whether there should have been a number.
    """

    text: str
    detail: str = ""
    key: float | None = None
    is_failed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows with a name each.

    Attributes:
        caption: what it shows.
        columns: titles of the cells.
        rows: by name.
    """

    caption: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]


@dataclass(frozen=True)
class Failure:
    """Values that are missing for one reason.

    Attributes:
        system: its name.
        metric: its name; "audio" where nothing could be measured.
        reason: why.
        count: of recordings.
    """

    system: str
    metric: str
    reason: str
    count: int


@dataclass(frozen=True)
class _Column:
    title: str
    cells: list[Cell] = field(default_factory=list)


def summary_table(results: Results, systems: Sequence[str]) -> Table:
    """A row for each system: rates, means over all recordings with their intervals, speed.

    Args:
        results: of the evaluation.
        systems: their names.
    """
    summaries = [results.summary["systems"][name] for name in systems]
    columns = [
        _Column("bit/s nominal", [_rate(each, "nominal") for each in summaries]),
        _Column("bit/s written", [_rate(each, "written") for each in summaries]),
        _Column("bit/s entropy", [_rate(each, "entropy") for each in summaries]),
    ]
    for metric in results.metrics:
        cells = [
            _mean(each["metrics"][metric], results, name, metric)
            for name, each in zip(systems, summaries, strict=True)
        ]
        columns.append(_Column(name_metric(metric), cells))
    for title, key in (("encoding", "encode_rtf"), ("decoding", "decode_rtf")):
        cells = [_speed(each["cost"].get(key)) for each in summaries]
        columns.append(_Column(f"{title}, x real time", cells))
    # A column in which nothing can stand says nothing.
    columns = [each for each in columns if any(cell.text != NOTHING for cell in each.cells)]
    caption = f"{results.name}: means over {results.summary['recordings']} recordings"
    rows = {name: [column.cells[index] for column in columns] for index, name in enumerate(systems)}
    return Table(caption, [column.title for column in columns], rows)


def clip_table(results: Results, systems: Sequence[str], id: str) -> Table:
    """A row for each system on one recording.

    Args:
        results: of the evaluation.
        systems: their names.
        id: of the recording.
    """
    rows = {
        name: [clip_cell(results.rows[name, id], metric) for metric in results.metrics]
        for name in systems
    }
    return Table(f"{id}: every metric", [name_metric(each) for each in results.metrics], rows)


def clip_cell(row: Row, metric: str) -> Cell:
    """One metric on one recording.

    Args:
        row: of a system and the recording.
        metric: its name.
    """
    reason = row.failures.get(metric, row.failures.get("audio"))
    if reason is not None:
        return Cell("failed", reason, is_failed=True)
    value = row.values[metric]
    if value is None:
        return Cell(NOTHING, "does not apply")
    return Cell(format_value(value), key=value)


def count_failures(results: Results, systems: Sequence[str]) -> list[Failure]:
    """Every reason for which values are missing, and how often.

    Args:
        results: of the evaluation.
        systems: their names.
    """
    counts = Counter(
        (name, metric, reason)
        for name in systems
        for id in results.ids
        for metric, reason in results.rows[name, id].failures.items()
    )
    return [Failure(*key, count) for key, count in counts.items()]


def _mean(values: Mapping[str, Any], results: Results, system: str, metric: str) -> Cell:
    failed, n = values["n_failed"], values["n"]
    if values["mean"] is None:
        if not failed:
            return Cell(NOTHING, "does not apply")
        own = (results.rows[system, id].failures for id in results.ids)
        reasons = dict.fromkeys(each.get(metric, each.get("audio", "")) for each in own if each)
        return Cell("failed", "; ".join(filter(None, reasons)), is_failed=True)
    detail = f"[{format_value(values['low'])}, {format_value(values['high'])}] n = {n}"
    if "pooled_over" in values:
        detail += f", {values['total']} {values['pooled_over']}"
    if failed:
        detail += f", {failed} failed"
    return Cell(format_value(values["mean"]), detail, key=values["mean"])


def _rate(summary: Mapping[str, Any], name: str) -> Cell:
    rate = summary["rate"][name]
    return Cell(NOTHING) if rate is None else Cell(f"{rate:.0f}", key=rate)


def _speed(factor: float | None) -> Cell:
    """From seconds of computing for a second of audio to how many times that is faster."""
    return Cell(f"{1 / factor:.0f}", key=1 / factor) if factor else Cell(NOTHING)
