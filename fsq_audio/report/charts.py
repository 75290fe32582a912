"""Quality over bits as geometry: where points, lines and ticks of a chart stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsq_audio.evaluation.registry import METRICS

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 38
"""Margins around the axes."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in units of the picture."""

    place: float
    text: str


@dataclass(frozen=True)
class Point:
    """A system on a chart; all places in units of the picture.

    Attributes:
        x: its written rate.
        nominal: its nominal rate, where there is one.
        y: its mean.
        low: lower end of the interval.
        high: its upper end.
        text: the same in words.
    """

    x: float
    nominal: float | None
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Curve:
    """The systems of a family.

    Attributes:
        family: its name.
        index: which colour and mark it has, in all charts.
        points: by rising rate.
    """

    family: str
    index: int
    points: Sequence[Point]

    @property
    def line(self) -> str:
        """Through the points, as SVG wants it."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class Chart:
    """One metric over bits.

    Attributes:
        metric: its name.
        title: with its unit and direction.
        curves: one for each family.
        across: ticks of the rates.
        up: ticks of the metric.
    """

    metric: str
    title: str
    curves: Sequence[Curve]
    across: Sequence[Tick]
    up: Sequence[Tick]


def find_families(curves: Mapping[str, Any]) -> list[str]:
    """All families of the curves of `rate_distortion.json`, in their order."""
    return list(dict.fromkeys(name for metric in curves.values() for name in metric))


def draw_charts(
    curves: Mapping[str, Any], systems: Mapping[str, Any], metrics: Sequence[str]
) -> list[Chart]:
    """A chart for each metric that has a point.

    Args:
        curves: of `rate_distortion.json`.
        systems: of `summary.json`, those that are shown.
        metrics: names, in the order of the charts.
    """
    families = find_families(curves)
    charts = []
    for metric in metrics:
        found = curves.get(metric, {})
        shown = {
            family: [point for point in found[family] if point["system"] in systems]
            for family in families
            if family in found
        }
        shown = {family: points for family, points in shown.items() if points}
        if shown:
            charts.append(_draw(metric, shown, systems, families))
    return charts


def name_metric(name: str) -> str:
    """A metric's name, its direction and its unit."""
    metric = METRICS.get(name)
    return name if metric is None else metric.title


def format_value(value: float) -> str:
    """Three decimals, fewer where the number is large."""
    size = abs(value)
    return f"{value:.{3 - (size >= 10) - (size >= 100) - (size >= 1000)}f}"


def _draw(
    metric: str,
    shown: Mapping[str, list[dict[str, Any]]],
    systems: Mapping[str, Any],
    families: Sequence[str],
) -> Chart:
    names = [point["system"] for points in shown.values() for point in points]
    rates = [systems[name]["rate"] for name in names]
    across = [value for rate in rates for value in (rate["written"], rate["nominal"]) if value]
    values = [systems[name]["metrics"][metric] for name in names]
    up = [value for each in values for value in (each["mean"], each["low"], each["high"])]
    first, last = math.log2(min(across)) - 0.2, math.log2(max(across)) + 0.2
    step, low, high = _steps(min(up), max(up))

    def place_x(rate: float) -> float:
        share = (math.log2(rate) - first) / (last - first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def place_y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def place(name: str) -> Point:
        rate, value = systems[name]["rate"], systems[name]["metrics"][metric]
        mean, ends = value["mean"], (value["low"], value["high"])
        return Point(
            x=place_x(rate["written"]),
            nominal=place_x(rate["nominal"]) if rate["nominal"] else None,
            y=place_y(mean),
            low=place_y(ends[0]),
            high=place_y(ends[1]),
            text=f"{name}: {format_value(mean)} [{format_value(ends[0])}, "
            f"{format_value(ends[1])}], n = {value['n']}, {rate['written']:.0f} bit/s written",
        )

    doublings = range(math.floor(first), math.ceil(last) + 1)
    # Powers of two of 1000 bit/s, which are not quite powers of two of 1 bit/s.
    kilobits = [2.0 ** (power - 10) for power in doublings]
    inside = [k for k in kilobits if first <= math.log2(1000 * k) <= last]
    stride = 2 if len(inside) > 6 else 1
    decimals = max(0, -math.floor(math.log10(step)))
    return Chart(
        metric=metric,
        title=name_metric(metric),
        curves=[
            Curve(family, families.index(family), [place(point["system"]) for point in points])
            for family, points in shown.items()
        ],
        across=[Tick(place_x(1000 * k), f"{k:g}") for k in inside[::stride]],
        up=[
            Tick(place_y(low + index * step), f"{low + index * step:.{decimals}f}")
            for index in range(round((high - low) / step) + 1)
        ],
    )


def _steps(lowest: float, highest: float) -> tuple[float, float, float]:
    """Step of the ticks, and the first and last of them, around all values."""
    span = max(highest - lowest, 1e-3 * max(1.0, abs(highest)))
    raw = span / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    low, high = math.floor(lowest / step) * step, math.ceil(highest / step) * step
    return step, low, max(high, low + step)
