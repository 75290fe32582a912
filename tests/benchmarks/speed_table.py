"""Timings as Markdown, and its place in a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsq_audio.benchmark.stopwatch import Ratio, Timing, compare

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
DIRECTIONS = ("encode", "decode")


def render(timings: Sequence[Timing], *, own: str, facts: Sequence[str], targets: str) -> str:
    """Targets, then ratios, then the speeds that they are of, then the facts.

    Args:
        timings: of all jobs, every one with as many rounds.
        own: the contender whose ratios are wanted.
        facts: sentences for a list.
        targets: their table.
    """
    loads = list(dict.fromkeys(t.job.load for t in timings))
    threads = sorted({t.job.num_threads for t in timings})
    columns = [(n, d) for n in threads for d in DIRECTIONS]
    heads = [f"{d}, {n} thread{'s' if n > 1 else ''}" for n, d in columns]
    ways = list(dict.fromkeys((t.job.contender, t.job.load, t.job.way) for t in timings))
    own_ways = [way for way in ways if way[0] == own]

    ratios = [
        [f"{load}, {way}", *(_ratio(timings, (own, load, way), n, d) for n, d in columns)]
        for _, load, way in own_ways
    ]
    speeds = [
        [name, f"{load}, {way}", *(_speed(timings, (name, load, way), n, d) for n, d in columns)]
        for shown in loads
        for name, load, way in ways
        if load == shown
    ]
    return "\n\n".join(
        [
            targets,
            f"**Times as fast as the fastest peer** (its own best way; median of "
            f"{len(timings[0].speeds)} rounds, lowest and highest in brackets):",
            _table([f"{own}", *heads], ratios),
            "**Multiples of real time** (median, lowest and highest in brackets):",
            _table(["codec", "audio", *heads], speeds),
            "\n".join(f"- {fact}" for fact in facts),
        ]
    )


def put(path: Path, text: str) -> None:
    """Puts a text between a page's markers, in place of what stands there."""
    page = path.read_text("utf-8")
    assert 0 <= page.find(BEGIN) < page.find(END), f"{path} needs {BEGIN} and, after it, {END}"
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def _find(
    timings: Sequence[Timing], way: tuple[str, str, str], num_threads: int, direction: str
) -> Timing:
    (found,) = (
        t
        for t in timings
        if (t.job.contender, t.job.load, t.job.way) == way
        and (t.job.num_threads, t.job.direction) == (num_threads, direction)
    )
    return found


def _ratio(
    timings: Sequence[Timing], way: tuple[str, str, str], num_threads: int, direction: str
) -> str:
    timing = _find(timings, way, num_threads, direction)
    rivals = [
        t
        for t in timings
        if t.job.contender != timing.job.contender
        and (t.job.load, t.job.num_threads, t.job.direction) == (way[1], num_threads, direction)
    ]
    ratio: Ratio = compare(timing, rivals)
    return (
        f"**{ratio.median:.1f}** ({ratio.lowest:.1f} to {ratio.highest:.1f}) "
        f"{ratio.rival.job.contender}"
    )


def _speed(
    timings: Sequence[Timing], way: tuple[str, str, str], num_threads: int, direction: str
) -> str:
    timing = _find(timings, way, num_threads, direction)
    low, high = min(timing.speeds), max(timing.speeds)
    return f"{_number(timing.median)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
