"""The table of speeds, and its place in a page."""

from __future__ import annotations

import re
from pathlib import Path

import targets
from speed_table import BEGIN, END, put, render
from targets import Target

from fsq_audio.benchmark.stopwatch import Job, Timing
from fsq_audio.tokenizer import AudioTokenizer


def job(contender: str, direction: str, *, num_threads: int) -> Job:
    return Job(contender, "alone", "a minute", direction, 60.0, lambda: None, num_threads)


def test_the_table_has_every_ratio_and_every_speed(tmp_path: Path) -> None:
    timings = [
        Timing(job(name, direction, num_threads=num_threads), [speed * num_threads])
        for name, speed in (("ours", 200.0), ("EnCodec", 10.0), ("Mimi", 8.0))
        for direction in ("encode", "decode")
        for num_threads in (1, 2)
    ]
    table = render(timings, own="ours", facts=["a fact"], targets="| aims |")
    assert table.startswith("| aims |")
    assert table.count("**20.0** (20.0 to 20.0) EnCodec") == 4
    assert len(re.findall(r"^\| (?:ours|EnCodec|Mimi) \| a minute, alone", table, re.M)) == 3
    assert table.endswith("- a fact")

    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{BEGIN}\nold\n{END}\nrest\n")
    put(page, table)
    put(page, table)
    assert page.read_text() == f"# Title\n{BEGIN}\n\n{table}\n\n{END}\nrest\n"


def test_a_target_is_met_or_missed_by_so_much() -> None:
    found = [Target("far", "250", 1.25), Target("farther", "150", 0.75)]
    assert targets.render(found).splitlines()[2:] == [
        "| far | 250 | met |",
        "| farther | 150 | missed by 25% |",
    ]


def test_the_share_of_a_trunk_is_one() -> None:
    trunk = AudioTokenizer.from_pretrained().decoder.trunk
    assert 0 < targets.trunk_share(trunk, num_threads=1) < 1.5
