"""The stopwatch, on work whose cost is known, and the verb that uses it."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
import torch
from conftest import SAMPLES

from fsq_audio.arithmetic import count_arithmetic, count_macs
from fsq_audio.benchmark import costs, loads, stopwatch
from fsq_audio.benchmark.stopwatch import Job, Timing, compare, measure
from fsq_audio.cli import main
from fsq_audio.tokenizer import AudioTokenizer


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
    monkeypatch.setattr(stopwatch, "LEAST_SECONDS", 0.0)
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


@pytest.mark.usefixtures("quick")
def test_the_verb_tells_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", str(SAMPLES[0]), "--rounds", "1", "--num-threads", "1", "--json"]
    assert main(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    speeds = [line for line in lines if "times_real_time" in line]
    ways = {(line["load"], line["way"], line["direction"]) for line in speeds}
    assert len(ways) == len(speeds) == 8
    assert all(line["lowest"] <= line["times_real_time"] <= line["highest"] for line in speeds)
    assert all(line["times_real_time"] > 1 for line in speeds)
    shares = [line for line in lines if "share_of_it" in line]
    assert [line["direction"] for line in shares] == ["encode", "decode"]
    assert all(0 < line["share_of_it"] < 1 for line in shares)
    processes = [line for line in lines if "process" in line]
    assert [line["recording_seconds"] for line in processes] == [1, 20]
    assert all(line["seconds"] > 0 for line in processes)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads of a second or two, each run once."""
    monkeypatch.setattr(stopwatch, "LEAST_SECONDS", 0.0)
    sizes = loads.Sizes(short_seconds=1, long_seconds=2, num_many=2)
    monkeypatch.setattr(loads, "SIZES", sizes)


def test_a_missing_recording_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "nowhere.flac"]) == 1
    assert "nowhere.flac: no such file or folder" in capsys.readouterr().err


def test_a_process_costs_what_it_takes() -> None:
    cost = costs.process_cost(["-c", "import time; a = bytearray(300 << 20); time.sleep(0.2)"])
    assert cost.seconds > 0.2
    assert cost.peak_bytes is None or cost.peak_bytes > 300 << 20
    with pytest.raises(subprocess.CalledProcessError):
        costs.process_cost(["-c", "raise SystemExit(3)"])


def test_short_recordings_are_always_the_same() -> None:
    signal = loads.noise(3, sample_rate=16000)
    first, second = (loads.short_recordings(signal, sample_rate=16000, count=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert [len(a) for a in first] == sorted(len(a) for a in first)
    assert all(16000 <= len(a) <= 64000 for a in first)


def test_multiply_adds_of_a_matrix_product_are_counted() -> None:
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert count_macs(lambda: a @ b) == 3 * 5 * 7


def test_arithmetic_grows_with_the_trunk(tiny: AudioTokenizer) -> None:
    encoder, decoder = count_arithmetic(tiny)
    trunk = tiny.config.encoder.trunk
    block = (
        2 * trunk.channels * trunk.channels * trunk.expansion + trunk.channels * trunk.kernel_size
    )
    least = trunk.num_blocks * block * tiny.frame_rate / 1e9
    assert least < encoder < 10 * least
    assert least < decoder < 10 * least
