"""What an evaluation leaves in its folder, and the table that people read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsq_audio.evaluation.journal import relative_to
from fsq_audio.evaluation.metric import is_installed
from fsq_audio.evaluation.outcome import Evaluation
from fsq_audio.evaluation.rate_distortion import draw, rate_distortion
from fsq_audio.evaluation.registry import METRICS
from fsq_audio.evaluation.rows import Row
from fsq_audio.evaluation.summary import or_none
from fsq_audio.evaluation.system import System
from fsq_audio.files import replacing


def write(evaluation: Evaluation, systems: Sequence[System], output: Path) -> None:
    """Writes rows, summary, rate-distortion curves, and what other tools read.

    Args:
        evaluation: the results.
        systems: they are of.
        output: the folder.
    """
    summary = evaluation.summary
    records = [_record(row, summary["settings"]["metrics"], output) for row in evaluation.rows]
    _write_csv(records, output / "rows.csv")
    if is_installed("pyarrow"):
        _write_parquet(records, output / "rows.parquet")
    else:
        summary["missing"]["rows.parquet"] = "needs pyarrow: pip install 'fsq-audio[eval]'"
    if evaluation.unit_edits:
        edits = [asdict(each) for each in evaluation.unit_edits]
        for each in edits:
            each["unit_edit_distance"] = or_none(each["unit_edit_distance"])
        _write_csv(edits, output / "robustness.csv")
    _write_versa(evaluation, output / "versa.jsonl")
    for system in systems:
        _write_scp([row for row in evaluation.rows if row.system == system.name], output)
    found = rate_distortion(summary, {system.name: system.family for system in systems})
    _write_text(output / "rate_distortion.json", json.dumps(found, indent=2))
    if is_installed("matplotlib"):
        if found["curves"]:
            draw(found["curves"], output / "rate_distortion.png")
    else:
        missing = "needs matplotlib: pip install 'fsq-audio[report]'"
        summary["missing"]["rate_distortion.png"] = missing
    _write_text(output / "summary.json", json.dumps(summary, indent=2, allow_nan=False))


def format_table(summary: Mapping[str, Any]) -> str:
    """A row for each metric, a column for each system: mean [low, high], n failed.

    Args:
        summary: as in `summary.json`.
    """
    systems = summary["systems"]
    rows = [["", *systems]]
    for metric in summary["settings"]["metrics"]:
        cells = [_cell(system["metrics"][metric]) for system in systems.values()]
        rows.append([METRICS[metric].title, *cells])
    for name in ("written", "nominal", "entropy"):
        cells = [_number(system["rate"][name], 0) for system in systems.values()]
        rows.append([f"bit/s {name}", *cells])
    for name in ("encode_rtf", "decode_rtf"):
        cells = [_number(system["cost"].get(name), 4) for system in systems.values()]
        rows.append([name, *cells])
    tables = {name: system.get("robustness") for name, system in systems.items()}
    known = [each["unit_edit_distance"] for each in tables.values() if each is not None]
    for change in dict.fromkeys(change for each in known for change in each):
        rows.append([f"unit edits, {change}", *(_edits(each, change) for each in tables.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.append(f"{summary['recordings']} recordings, 95 % bootstrap intervals over them")
    if known:
        lines.append("unit edits: share of the codes, by group")
    if summary["recogniser"]:
        lines.append(f"words read by {summary['recogniser']}")
    lines += [f"left out: {name} {why}" for name, why in summary["missing"].items()]
    return "\n".join(lines)


def _cell(values: Mapping[str, Any]) -> str:
    failed = f" ({values['n_failed']} failed)" if values["n_failed"] else ""
    if values["mean"] is None:
        return f"-{failed}"
    return f"{values['mean']:.3f} [{values['low']:.3f}, {values['high']:.3f}]{failed}"


def _edits(robustness: Mapping[str, Any] | None, change: str) -> str:
    if robustness is None:
        return "-"
    return " / ".join(_number(e["mean"], 3) for e in robustness["unit_edit_distance"][change])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _record(row: Row, names: Sequence[str], output: Path) -> dict[str, Any]:
    values: dict[str, float | None] = {}
    for name in names:
        values[name] = or_none(row.values.get(name, math.nan))
        if (pooled_over := METRICS[name].pooled_over) is not None:
            values[f"{name}_{pooled_over}"] = row.totals.get(name)
    return {
        "system": row.system,
        "id": row.recording.id,
        "reference": relative_to(output, row.recording.path),
        "degraded": None if row.degraded is None else relative_to(output, row.degraded),
        "duration": row.duration,
        **values,
        "failures": json.dumps(row.failures, ensure_ascii=False),
    }


def _write_csv(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    with (
        replacing(path) as beside,
        open(beside, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def _write_parquet(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = {"system", "id", "reference", "degraded", "failures"}
    schema = pa.schema(
        [(name, pa.string() if name in texts else pa.float64()) for name in records[0]]
    )
    # Parquet holds Unicode only: bytes of a file name that are none are written as escapes.
    clean = [
        {
            name: value.encode("utf-8", "backslashreplace").decode()
            if isinstance(value, str)
            else value
            for name, value in record.items()
        }
        for record in records
    ]
    with replacing(path) as beside:
        pq.write_table(pa.Table.from_pylist(clean, schema=schema), beside)


def _write_versa(evaluation: Evaluation, path: Path) -> None:
    """One object a row: `key`, `system`, and numbers under the names that VERSA gives them."""
    lines = []
    for row in evaluation.rows:
        shared = {
            METRICS[name].versa: value
            for name, value in row.values.items()
            if METRICS[name].versa is not None and not math.isnan(value)
        }
        lines.append(json.dumps({"key": row.recording.id, "system": row.system, **shared}))
    _write_text(path, "\n".join(lines) + "\n")


def _write_scp(rows: Sequence[Row], output: Path) -> None:
    """Kaldi's list of the degraded files; a key has no space."""
    lines = [
        f"{'_'.join(row.recording.id.split())} {row.degraded.resolve()}\n"
        for row in rows
        if row.degraded is not None
    ]
    _write_text(output / "audio" / rows[0].system / "wav.scp", "".join(sorted(lines)))


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text, "utf-8", errors="surrogateescape")
