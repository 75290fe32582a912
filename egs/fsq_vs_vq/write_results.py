"""The figure, the tables and the verdicts of RESULTS.md, from the results of the cells.

    python egs/fsq_vs_vq/write_results.py

Reads `results/fsq_vs_vq/*.json` and `results/fsq_design/*.json` beside this file, which
`recipes/compare_quantizers.py` wrote, and writes `RESULTS.md` and `figure.svg` there.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from verdicts import Cells, verdicts

HERE = Path(__file__).parent
FRAME_RATE = 50  # of all sweeps
DESIGN_SIZES = (1024, 16384)
PANELS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "mel distance of held-out speech (log10)": lambda cell: cell["mel_distance"],
    "codes used / used by even draws": lambda cell: cell["health"][0]["usage_over_ceiling"],
    "perplexity": lambda cell: cell["health"][0]["perplexity"],
    "compression cost (bits per code)": lambda cell: cell.get("compression_bits"),
}


def read_cells(folder: Path) -> Cells:
    """(arm, size) -> the results of its seeds."""
    cells: Cells = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        cell = json.loads(path.read_text("utf-8"))
        cells[cell["arm"], cell["size"]].append(cell)
    return cells


def draw(cells: Cells, path: Path) -> None:
    """The figure of the paper: four panels against K, a line for each quantizer."""
    mpl.rcParams["svg.hashsalt"] = "fsq_vs_vq"  # the same cells make the same file
    arms = list(dict.fromkeys(arm for arm, _ in sorted(cells, key=lambda key: key[0] != "fsq")))
    figure = Figure(figsize=(11.5, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, (title, value) in zip(axes.flat, PANELS.items(), strict=True):
        for number, arm in enumerate(arms):
            sizes = sorted(size for name, size in cells if name == arm)
            found = [[value(cell) for cell in cells[arm, size]] for size in sizes]
            kept = [
                (s, [v for v in vs if v is not None]) for s, vs in zip(sizes, found, strict=True)
            ]
            points = [(s, float(np.mean(vs)), min(vs), max(vs)) for s, vs in kept if vs]
            if not points:
                continue
            x, mean, low, high = (np.array(column) for column in zip(*points, strict=True))
            bold = (
                {"linewidth": 2.5, "color": "black"}
                if arm == "fsq"
                else {"color": f"C{(number - 1) % 10}"}
            )
            axis.plot(x, mean, marker="o", markersize=3, label=arm, **bold)
            axis.fill_between(x, low, high, alpha=0.2, color=bold["color"], linewidth=0)
        axis.set_xscale("log", base=2)
        if title == "perplexity":
            axis.set_yscale("log", base=2)
        axis.set_xlabel("codebook size K")
        axis.set_title(title)
        axis.grid(alpha=0.3)
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right upper", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def _spread(cells: Sequence[dict[str, Any]], value: Callable[..., float | None], form: str) -> str:
    """The mean; with several seeds their range, too."""
    values = [found for cell in cells if (found := value(cell)) is not None]
    if not values:
        return ""
    mean = format(float(np.mean(values)), form)
    if len(values) == 1:
        return mean
    return f"{mean} [{min(values):{form}}, {max(values):{form}}]"


def _row(name: str, size: int, cells: Sequence[dict[str, Any]]) -> str:
    groups = len(cells[0]["health"])

    def mean(key: str) -> Callable[[dict[str, Any]], float]:
        return lambda cell: float(np.mean([group[key] for group in cell["health"]]))

    bits = "" if groups > 1 else _spread(cells, mean("entropy_bits"), ".2f")
    columns = [
        name,
        str(size),
        str(cells[0]["codebook_size"]) + (f" x {groups}" if groups > 1 else ""),
        f"{cells[0]['bits_per_frame']:.2f}",
        str(len(cells)),
        _spread(cells, lambda cell: cell["mel_distance"], ".4f"),
        _spread(cells, mean("used"), ".0f"),
        _spread(cells, mean("usage_over_ceiling"), ".3f"),
        _spread(cells, mean("perplexity"), ".0f"),
        _spread(cells, mean("normalized_entropy"), ".3f"),
        bits,
        _spread(cells, lambda cell: cell.get("compression_bits"), ".2f"),
    ]
    return "| " + " | ".join(columns) + " |"


def table(cells: Cells) -> list[str]:
    """A line for each arm and size."""
    lines = [
        "| | size | K | bits a frame | seeds | mel distance | codes used | over the ceiling | "
        "perplexity | normalised entropy | entropy, bits | compression cost, bits |",
        "|" + "---|" * 12,
    ]
    keys = sorted(cells, key=lambda key: (key[1], key[0] != "fsq", key[0]))
    return lines + [_row(arm, size, cells[arm, size]) for arm, size in keys]


def information(cells: Cells) -> list[str]:
    """The mutual information of groups, for arms that have several."""
    lines = []
    for (arm, size), results in sorted(cells.items()):
        pairs = [pair["corrected_bits"] for cell in results for pair in cell["mutual_information"]]
        if pairs:
            bits = results[0]["bits_per_frame"] / len(results[0]["health"])
            lines.append(
                f"- {arm}, {size}: {np.mean(pairs):.2f} of {bits:.2f} bits in the mean of all "
                f"pairs of groups (from {min(pairs):.2f} to {max(pairs):.2f})."
            )
    return lines


def losses(cells: Cells) -> list[str]:
    """Whom FSQ loses to, size by size, in reconstruction."""
    lines = []
    for size in sorted({size for _, size in cells}):
        means = {
            arm: float(np.mean([cell["mel_distance"] for cell in cells[arm, size]]))
            for arm, at in cells
            if at == size
        }
        if "fsq" not in means:
            continue
        better = sorted((value, arm) for arm, value in means.items() if value < means["fsq"])
        names = ", ".join(f"{arm} {value:.4f}" for value, arm in better) or "none"
        lines.append(f"- {size}: FSQ has {means['fsq']:.4f}; lower: {names}.")
    return lines


def main() -> int:
    """Writes both files; 1 if there is no result."""
    cells = read_cells(HERE / "results" / "fsq_vs_vq")
    design = read_cells(HERE / "results" / "fsq_design")
    longer = read_cells(HERE / "results" / "longer")
    if not cells:
        print(f"error: no results in {HERE / 'results' / 'fsq_vs_vq'}", file=sys.stderr)
        return 1
    draw(cells, HERE / "figure.svg")
    one = next(iter(cells.values()))[0]
    # What the paper's own design is beside its variants.
    beside = {
        key: cells[key] for key in sorted(cells) if key[0] == "fsq" and key[1] in DESIGN_SIZES
    }
    seconds = one["health"][0]["num_codes"] / FRAME_RATE
    text = (
        (HERE / "results.md.in")
        .read_text("utf-8")
        .format(
            num_cells=sum(map(len, cells.values())),
            seeds=_seeds(cells),
            steps=one["steps"],
            frames=one["frames_trained_on"],
            minutes=one["frames_trained_on"] / FRAME_RATE / 60,
            parameters=one["num_parameters"] / 1e6,
            num_codes=one["health"][0]["num_codes"],
            num_recordings=one["num_recordings"],
            seconds=seconds,
            table="\n".join(table(cells)),
            verdicts="\n".join(verdicts(cells, {**design, **beside})),
            losses="\n".join(losses(cells)),
            longer="\n".join(table(longer)),
            longer_steps=next(iter(longer.values()))[0]["steps"],
            design="\n".join(table({**beside, **design})),
            information="\n".join(information(design)),
        )
    )
    (HERE / "RESULTS.md").write_text(text, "utf-8")
    return 0


def _seeds(cells: Cells) -> str:
    """How many seeds the arms have."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for arm in dict.fromkeys(arm for arm, _ in cells):
        counts = [len(found) for (name, _), found in cells.items() if name == arm]
        by_count[min(counts), max(counts)].append(arm)
    parts = []
    for (low, high), arms in sorted(by_count.items(), reverse=True):
        count = str(low) if low == high else f"{low} to {high}"
        parts.append(f"{count} for {', '.join(sorted(arms))}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
