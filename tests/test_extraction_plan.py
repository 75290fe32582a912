"""The planner: tasks of equal duration, every recording once, any number of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from fsq_audio.corpus.entries import Entry
from fsq_audio.errors import ConfigError
from fsq_audio.extraction.plan import make_plan, pack, read_task
from fsq_audio.extraction.records import from_line, to_line

DURATIONS = st.lists(st.floats(0.1, 1e5), min_size=1, max_size=60)


@given(DURATIONS, st.integers(1, 60))
def test_tasks_hold_everything_once_and_weigh_the_same(weights: list[float], tasks: int) -> None:
    tasks = min(tasks, len(weights))
    cuts = pack(np.array(weights), tasks)
    assert (cuts[0], cuts[-1], len(cuts)) == (0, len(weights), tasks + 1)
    assert (np.diff(cuts) >= 1).all()
    loads = np.add.reduceat(weights, cuts[:-1])
    assert loads.max() <= (sum(weights) / tasks + max(weights)) * (1 + 1e-9)


def test_tasks_of_alike_recordings_are_equal() -> None:
    assert pack(np.ones(12), 4).tolist() == [0, 3, 6, 9, 12]
    assert pack(np.array([1.0, 1, 10, 1, 1]), 3).tolist() == [0, 2, 3, 5]


@given(
    st.builds(
        Entry,
        id=st.text(min_size=1),
        path=st.text(st.characters(exclude_characters="\0/."), min_size=1).map(Path),
        num_samples=st.integers(0, 2**50),
        sample_rate=st.integers(0, 10**6),
        seconds=st.floats(0, 1e9),
        start=st.none() | st.floats(0, 1e9),
        member=st.none() | st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)),
        text=st.none() | st.text(min_size=1),
        speaker_id=st.none() | st.text(min_size=1),
        chapter_id=st.none() | st.text(min_size=1),
    )
)
def test_an_entry_comes_back_from_its_line(entry: Entry) -> None:
    line = to_line(entry)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line) == entry


def test_each_task_reads_its_own_recordings(tmp_path: Path) -> None:
    entries = [Entry(f"{n}", Path(f"/x/{n}.wav"), seconds=float(n % 7)) for n in range(100)]
    path = tmp_path / "recordings.jsonl"
    plan = make_plan(iter(entries), path, num_tasks=9)
    assert [e for task in range(9) for e in read_task(path, plan, task)] == entries
    assert sum(plan.seconds) == pytest.approx(sum(e.seconds for e in entries))
    again = make_plan(iter(entries), tmp_path / "again.jsonl", num_tasks=9)
    assert again == plan
    assert make_plan(iter(entries), path, num_tasks=8).digest != plan.digest
    assert make_plan(iter(entries[:5]), path, num_tasks=9).num_tasks == 5
    with pytest.raises(ConfigError, match="was changed"):
        read_task(path, plan, 8)
    with pytest.raises(ConfigError, match="no recording"):
        make_plan(iter(()), path, num_tasks=None)


def test_a_task_for_each_25_hours(tmp_path: Path) -> None:
    entries = (Entry(f"{n}", Path("x"), seconds=3600.0) for n in range(51))
    plan = make_plan(entries, tmp_path / "recordings.jsonl", num_tasks=None)
    assert plan.sizes == (17, 17, 17)


@pytest.mark.slow
def test_ten_million_recordings_are_planned_in_little_memory(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    from planner import report

    done = report(10_000_000, 4000, tmp_path)
    assert done.peak < 2e9
    assert done.cpu < 600
    assert max(done.plan.seconds) < 1.01 * min(done.plan.seconds)
