"""The tables of RESULTS.md, from what `fsq-audio evaluate` wrote.

python egs/debian_speech/tables.py runs/speech_16khz/evaluation/test-unseen [...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

COLUMNS = {
    "STOI": "stoi",
    "ESTOI": "estoi",
    "PESQ-WB": "pesq_wb",
    "ViSQOL": "visqol",
    "DNSMOS": "dnsmos_overall",
    "dWER": "difference_wer",
    "voicing F1": "voicing_f1",
    "F0 error, cents": "f0_error",
}


def quality(summary: dict[str, Any]) -> list[str]:
    """A line for each system: its rates, and its means with their intervals."""
    systems = summary["systems"]
    columns = {
        title: key
        for title, key in COLUMNS.items()
        if any(key in system["metrics"] for system in systems.values())
    }
    lines = [
        "| | bit/s: nominal | in the files | " + " | ".join(columns) + " |",
        "|" + "---|" * (3 + len(columns)),
    ]
    for name, system in systems.items():
        rates = [f"{system['rate'][kind]:.0f}" for kind in ("nominal", "written")]
        cells = [_cell(system["metrics"].get(key)) for key in columns.values()]
        lines.append("| " + " | ".join([name, *rates, *cells]) + " |")
    return lines


def health(summary: dict[str, Any]) -> list[str]:
    """A line for each rate of the model: how evenly its codes are used, group by group."""
    lines = [
        "| | normalised entropy | codes used | over the ceiling for N | N |",
        "|---|---|---|---|---|",
    ]
    for name, system in summary["systems"].items():
        groups = system.get("health")
        if groups:
            entropy, used, share = (
                " / ".join(format(group[key], form) for group in groups)
                for key, form in (
                    ("normalized_entropy", ".3f"),
                    ("used", "d"),
                    ("usage_over_ceiling", ".3f"),
                )
            )
            lines.append(f"| {name} | {entropy} | {used} | {share} | {groups[0]['num_codes']} |")
    return lines


def _cell(metric: dict[str, Any] | None) -> str:
    if metric is None or metric["n"] == 0:
        return "-"
    digits = 0 if abs(metric["mean"]) >= 10 else 2 if metric["mean"] > 1 else 3
    mean, low, high = (f"{metric[key]:.{digits}f}" for key in ("mean", "low", "high"))
    failed = f" ({metric['n_failed']} failed)" if metric["n_failed"] else ""
    return f"{mean} [{low}, {high}]{failed}"


def main() -> None:
    """Reads the command line and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="outputs of fsq-audio evaluate")
    for folder in parser.parse_args().folders:
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        print(f"**{folder.name}**, {summary['recordings']} recordings:\n")
        print("\n".join([*quality(summary), "", *health(summary)]), end="\n\n")


if __name__ == "__main__":
    main()
