"""What a system comes to over all recordings: an entry of `summary.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsq_audio.evaluation.journal import Journal, Key
from fsq_audio.evaluation.metric import Metric
from fsq_audio.evaluation.rates import Rate, Usage, count_usage
from fsq_audio.evaluation.rows import Row
from fsq_audio.evaluation.summary import summarize, to_json
from fsq_audio.evaluation.system import Produced, System


def sum_up(
    system: System,
    rows: Sequence[Row],
    journal: Journal,
    output: Path,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    """Metrics, rates, health of codebooks and cost of a system; JSON.

    Args:
        system: that was evaluated.
        rows: of the evaluation.
        journal: of the run.
        output: OUT.
        metrics: that were computed.
    """
    own = [row for row in rows if row.system == system.name]
    made = [row for row in own if Key(system.name, row.recording.id) in journal.produced]
    produced = [journal.produced[Key(system.name, row.recording.id)] for row in made]
    seconds = sum(row.duration or 0.0 for row in made)
    usage = _count_usage(system, made, output)
    sizes = [each.num_bytes for each in produced if each.num_bytes is not None]
    is_whole = bool(sizes) and len(sizes) == len(produced) and seconds > 0
    rate = Rate(
        written=8 * sum(sizes) / seconds if is_whole else None,
        nominal=system.nominal_rate,
        entropy=None if usage is None else usage.entropy,
    )
    result: dict[str, Any] = {
        "kind": system.kind,
        "metrics": {metric.name: _sum_up_metric(metric, own) for metric in metrics},
        "rate": asdict(rate),
        "health": [] if usage is None else usage.groups,
        "cost": {**_cost(produced, seconds), **system.cost()},
    }
    if usage is not None and usage.pairs:
        result["mutual_information"] = usage.pairs
    return result


def _sum_up_metric(metric: Metric, rows: Sequence[Row]) -> dict[str, Any]:
    # What does not apply to a recording is in no row's values, and counts neither way.
    asked = [row for row in rows if metric.name in row.values]
    values = [row.values[metric.name] for row in asked]
    if metric.pooled_over is None:
        return to_json(summarize(values))
    totals = [row.totals.get(metric.name, 0) for row in asked]
    return {
        **to_json(summarize(values, weights=totals)),
        "pooled_over": metric.pooled_over,
        "total": sum(totals),
    }


def _count_usage(system: System, made: Sequence[Row], output: Path) -> Usage | None:
    if system.codes is None or not made:
        return None
    codes = [system.load_codes(row.recording, output=output) for row in made]
    return count_usage([each for each in codes if each is not None], system.codes)


def _cost(produced: Sequence[Produced], seconds: float) -> dict[str, float | None]:
    """Seconds of computing for a second of audio; memory of the process that computed."""
    parts: dict[str, float | None] = {}
    for name, spent in (
        ("encode_rtf", [each.encode_seconds for each in produced]),
        ("decode_rtf", [each.decode_seconds for each in produced]),
    ):
        known = [value for value in spent if value is not None]
        parts[name] = sum(known) / seconds if known and seconds else None
    peaks = [each.process_peak_memory for each in produced if each.process_peak_memory is not None]
    if peaks:
        parts["process_peak_memory_bytes"] = float(max(peaks))
    return parts
