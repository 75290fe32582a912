"""Quality over bits: the points of each family, what they differ by, and a picture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsq_audio.evaluation.metric import is_installed
from fsq_audio.evaluation.registry import METRICS

FEWEST_RATES = 4
"""That a curve needs (Bjontegaard 2001)."""


def rate_distortion(summary: Mapping[str, Any], families: Mapping[str, str]) -> dict[str, Any]:
    """Curves and Bjontegaard deltas of every metric that has a direction.

    Args:
        summary: of a run, as in `summary.json`.
        families: of each system.

    Returns:
        JSON: `curves[metric][family]` with points `system, rate (bit/s written), value`, and
        `deltas[metric]` with `anchor, test, rate` (percent of bits that the test needs more for
        the same quality), or `reason` where there is none.
    """
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, system in summary["systems"].items():
        rate = system["rate"]["written"]
        for metric, values in system["metrics"].items():
            has_point = rate is not None and values["mean"] is not None
            if has_point and METRICS[metric].higher_is_better is not None:
                family = curves.setdefault(metric, {}).setdefault(families[name], [])
                family.append({"system": name, "rate": rate, "value": values["mean"]})
    for points in (points for curve in curves.values() for points in curve.values()):
        points.sort(key=lambda point: float(point["rate"]))
    deltas = {metric: _deltas(metric, curve) for metric, curve in curves.items()}
    return {"curves": curves, "deltas": {name: found for name, found in deltas.items() if found}}


def _deltas(metric: str, curve: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    long = {name: points for name, points in curve.items() if len(points) >= FEWEST_RATES}
    pairs = [(anchor, test) for anchor in long for test in long if anchor < test]
    sign = 1 if METRICS[metric].higher_is_better else -1
    return [
        {"anchor": anchor, "test": test, **_delta(long[anchor], long[test], sign)}
        for anchor, test in pairs
    ]


def _delta(anchor: list[dict[str, Any]], test: list[dict[str, Any]], sign: int) -> dict[str, Any]:
    if not is_installed("bjontegaard"):
        return {"reason": "needs bjontegaard: pip install 'fsq-audio[eval]'"}
    import bjontegaard

    axes = [[p["rate"] for p in anchor], [sign * p["value"] for p in anchor],
            [p["rate"] for p in test], [sign * p["value"] for p in test]]  # fmt: skip
    if any(values != sorted(set(values)) for values in (axes[1], axes[3])):
        return {"reason": "the quality does not rise with every rate"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            rate = float(bjontegaard.bd_rate(*axes, method="akima", require_matching_points=False))
        except (ValueError, AssertionError) as error:
            return {"reason": str(error)}
    if not math.isfinite(rate):
        return {"reason": "the curves do not overlap"}
    # Where the curves hardly overlap the library warns: the figure is then of little worth.
    return {"rate": rate, **({"warning": str(said[0].message)} if said else {})}


def draw(curves: Mapping[str, Mapping[str, list[dict[str, Any]]]], path: Path) -> None:
    """Draws all curves into one picture.

    Args:
        curves: as above; not empty.
        path: of the PNG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(4.5 * columns, 3.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (metric, families) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for family, points in families.items():
            axes.plot(
                [point["rate"] / 1000 for point in points],
                [point["value"] for point in points],
                marker="o",
                label=family,
            )
        axes.set_xscale("log")
        axes.set_xlabel("kbit/s written")
        axes.set_ylabel(f"{metric} {METRICS[metric].unit}".strip())
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend()
    figure.savefig(path, dpi=120)
