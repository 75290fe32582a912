"""The stopwatch and the table, on work whose cost is known."""

from __future__ import annotations

import re
import time
from pathlib import Path

import interleaved
import pytest
import torch
from interleaved import Job, Timing, compare, measure
from speed_table import BEGIN, END, put, render


def job(contender: str, direction: str = "encode", **changes: object) -> Job:
    values = {
        "contender": contender,
        "way": "alone",
        "load": "a minute",
        "direction": direction,
        "seconds": 60.0,
        "run": lambda: None,
        "num_threads": 1,
    }
    return Job(**{**values, **changes})  # type: ignore[arg-type]


def test_contenders_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "LEAST_SECONDS", 0.0)
    calls: list[tuple[str, int]] = []

    def note(name: str) -> None:
        calls.append((name, torch.get_num_threads()))

    before = torch.get_num_threads()
    jobs = [job(n, run=lambda n=n: note(n), num_threads=t) for n, t in (("a", 1), ("b", 2))]
    timings = measure(jobs, rounds=3)
    assert calls == [("a", 1), ("b", 2)] * 3
    assert [len(timing.speeds) for timing in timings] == [3, 3]
    assert torch.get_num_threads() == before


def test_quick_work_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    costs = iter([0.3, 0.1, 0.1, 9.0])

    def work() -> None:
        now[0] += next(costs)

    (timing,) = measure([job("a", run=work)], rounds=1)
    assert timing.speeds == [pytest.approx(60 / 0.1)]


def test_ratios_compare_round_with_round() -> None:
    """A slow round halves both speeds and leaves the ratio as it is."""
    own = Timing(job("ours"), [100.0, 50.0, 100.0])
    rivals = [Timing(job("slow"), [5.0, 2.5, 5.0]), Timing(job("fast"), [10.0, 5.0, 8.0])]
    ratio = compare(own, rivals)
    assert ratio.rival.job.contender == "fast"
    assert (ratio.median, ratio.lowest, ratio.highest) == (10.0, 10.0, 12.5)


def test_the_table_has_every_ratio_and_every_speed(tmp_path: Path) -> None:
    timings = [
        Timing(job(name, direction, num_threads=num_threads), [speed * num_threads])
        for name, speed in (("ours", 200.0), ("EnCodec", 10.0), ("Mimi", 8.0))
        for direction in ("encode", "decode")
        for num_threads in (1, 2)
    ]
    table = render(timings, own="ours", facts=["a fact"])
    assert table.count("**20.0** (20.0 to 20.0) EnCodec") == 4
    assert len(re.findall(r"^\| (?:ours|EnCodec|Mimi) \| a minute, alone", table, re.M)) == 3
    assert table.endswith("- a fact")

    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{BEGIN}\nold\n{END}\nrest\n")
    put(page, table)
    put(page, table)
    assert page.read_text() == f"# Title\n{BEGIN}\n\n{table}\n\n{END}\nrest\n"
