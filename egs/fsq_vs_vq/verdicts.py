"""The seven expectations that were written down before the runs, and whether they held.

Each is a rule on the cells. A difference in mel distance counts where it exceeds the largest range
that seeds of one cell have; with single seeds that range is unknown, and taken as `TOLERANCE`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import spearmanr

Cells = dict[tuple[str, int], list[dict[str, Any]]]
TOLERANCE = 0.003
RECOVERING = ("restart_vq", "kmeans_vq", "sqvae")


def verdicts(cells: Cells, design: Cells) -> list[str]:
    """A paragraph for each expectation: held, failed or undecided, with its numbers.

    Args:
        cells: of the sweep over quantizers.
        design: of the sweep over FSQ's design, with the paper's own among them.
    """
    lines = []
    for title, rule in EXPECTATIONS.items():
        try:
            held, why = rule(cells, design)
        except KeyError as error:
            held, why = None, f"the cell {error.args[0]} is missing"
        word = {True: "held", False: "failed", None: "undecided"}[held]
        lines.append(f"- **{title}: {word}.** {why[0].upper()}{why[1:]}.")
    return lines


Verdict = tuple[bool | None, str]


def _mean(cells: Cells, arm: str, size: int, value: Callable[[dict[str, Any]], float]) -> float:
    if not cells.get((arm, size)):
        raise KeyError(f"{arm} {size}")
    return float(np.mean([value(cell) for cell in cells[arm, size]]))


def _error(cells: Cells, arm: str, size: int) -> float:
    return _mean(cells, arm, size, lambda cell: cell["mel_distance"])


def _usage(cells: Cells, arm: str, size: int) -> float:
    return _mean(cells, arm, size, lambda cell: cell["health"][0]["usage_over_ceiling"])


def _sizes(cells: Cells) -> list[int]:
    if not cells:
        raise KeyError("of any size")
    return sorted({size for _, size in cells})


def _tolerance(cells: Cells) -> float:
    """The largest range of seeds of one cell."""
    ranges = [
        float(np.ptp([cell["mel_distance"] for cell in found]))
        for found in cells.values()
        if len(found) > 1
    ]
    return max([TOLERANCE, *ranges])


def _falls(values: list[float]) -> bool:
    return all(after < before for before, after in itertools.pairwise(values))


def _series(sizes: list[int], values: list[float], form: str = ".3f") -> str:
    return ", ".join(f"{value:{form}} at {size}" for size, value in zip(sizes, values, strict=True))


def fsq_uses_its_codes(cells: Cells, _: Cells) -> Verdict:
    """H1."""
    sizes = _sizes(cells)
    usage = [_usage(cells, "fsq", size) for size in sizes]
    return min(usage) >= 0.95, f"over the ceiling: {_series(sizes, usage)}"


def vq_usage_falls(cells: Cells, _: Cells) -> Verdict:
    """H2."""
    sizes = _sizes(cells)
    usage = [_usage(cells, "vq", size) for size in sizes]
    large = [value for size, value in zip(sizes, usage, strict=True) if size >= 2**11]
    falls = _falls(usage)
    return falls and max(large) < 0.5, f"over the ceiling: {_series(sizes, usage)}"


def fsq_gains_where_vq_stops(cells: Cells, _: Cells) -> Verdict:
    """H3."""
    sizes, slack = _sizes(cells), _tolerance(cells)
    errors = {arm: [_error(cells, arm, size) for size in sizes] for arm in ("fsq", "vq")}
    falls = _falls(errors["fsq"])
    middle = sizes.index(1024)
    gains = {arm: values[middle] - values[-1] for arm, values in errors.items()}
    why = (
        f"from 1024 to {sizes[-1]} the error falls by {gains['fsq']:.4f} for FSQ and by "
        f"{gains['vq']:.4f} for VQ (FSQ: {_series(sizes, errors['fsq'], '.4f')}; "
        f"VQ: {_series(sizes, errors['vq'], '.4f')})"
    )
    if falls and abs(gains["fsq"] - gains["vq"]) <= slack:
        return None, why
    return falls and gains["vq"] < gains["fsq"] / 2, why


def vq_wins_small_books(cells: Cells, _: Cells) -> Verdict:
    """H4."""
    sizes, slack = [size for size in _sizes(cells) if size <= 256], _tolerance(cells)
    ahead = [_error(cells, "fsq", size) - _error(cells, "vq", size) for size in sizes]
    why = f"the error of FSQ less that of VQ: {_series(sizes, ahead, '+.4f')}"
    if all(abs(value) <= slack for value in ahead):
        return None, why
    return all(value >= -slack for value in ahead), why


def others_recover_usage(cells: Cells, _: Cells) -> Verdict:
    """H5."""
    sizes = [size for size in _sizes(cells) if size >= 2**10]
    parts, held = [], []
    for arm in RECOVERING:
        more = [_usage(cells, arm, size) - _usage(cells, "vq", size) for size in sizes]
        held.append(all(value > 0.05 for value in more))
        parts.append(f"{arm} {'does' if held[-1] else 'does not'} ({_series(sizes, more, '+.3f')})")
    return all(held), "usage over the ceiling, less that of VQ: " + "; ".join(parts)


def cost_rises_with_usage(cells: Cells, _: Cells) -> Verdict:
    """H6."""
    parts, signs = [], []
    for size in _sizes(cells):
        pairs = [
            (cell["health"][0]["perplexity"], cell["compression_bits"])
            for (_arm, at), found in cells.items()
            for cell in found
            if at == size and "compression_bits" in cell
        ]
        if len(pairs) < 4:
            continue
        rank = float(spearmanr(*zip(*pairs, strict=True)).statistic)
        signs.append(rank > 0.5)
        parts.append(f"{rank:.2f} at {size} ({len(pairs)} cells)")
    if not parts:
        return None, "no size has enough cells"
    return all(signs), "rank correlation of perplexity and compression cost: " + ", ".join(parts)


def many_levels_beat_few(_: Cells, design: Cells) -> Verdict:
    """H7."""
    slack, parts, ahead = _tolerance(design), [], []
    for size in (1024, 16384):
        own = _error(design, "fsq", size)
        for arm in ("fsq_levels_4", "fsq_levels_2"):
            ahead.append(_error(design, arm, size) - own)
            parts.append(f"{arm} {ahead[-1]:+.4f} at {size}")
    why = "error, less that of five levels or more: " + ", ".join(parts)
    if all(abs(value) <= slack for value in ahead):
        return None, why
    return all(value > 0 for value in ahead), why


EXPECTATIONS: dict[str, Callable[[Cells, Cells], Verdict]] = {
    "H1, FSQ uses .95 of what even draws would, up to 2^14": fsq_uses_its_codes,
    "H2, the usage of plain VQ falls with K, below .5 by 2^11 or later": vq_usage_falls,
    "H3, FSQ's error falls with K while plain VQ's flattens or turns": fsq_gains_where_vq_stops,
    "H4, VQ is at least as good as FSQ up to 2^8": vq_wins_small_books,
    "H5, restarts, k-means and SQ-VAE recover usage": others_recover_usage,
    "H6, compression cost rises with usage": cost_rises_with_usage,
    "H7, five levels or more beat fewer": many_levels_beat_few,
}
