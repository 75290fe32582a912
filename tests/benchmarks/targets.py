"""What was aimed at, and what is reached: of two threads on two cores, in float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fsq_audio import audio
from fsq_audio.arithmetic import count_macs
from fsq_audio.benchmark import costs
from fsq_audio.benchmark.loads import SIZES, cut
from fsq_audio.benchmark.stopwatch import Timing, compare
from fsq_audio.blocks import WINDOW_FRAMES, run_blocks
from fsq_audio.layers import Trunk
from fsq_audio.tokenizer import AudioTokenizer

SPEED, RATIO, SHARE, START = 200.0, 10.0, 0.5, 3.0
FOLDER = "a folder, by the command line"
NUM_THREADS = 2
_WINDOWS, _ROUNDS = 16, 3


@dataclass(frozen=True)
class Target:
    """One line: `aim` and `reached` in words; `by` is reached over aimed at, above 1 met."""

    aim: str
    reached: str
    by: float

    @property
    def verdict(self) -> str:
        """Whether it is met, or how much is missing."""
        return "met" if self.by >= 1 else f"missed by {1 - self.by:.0%}"


def targets(
    timings: Sequence[Timing], model: AudioTokenizer, *, own: str, folder: Path
) -> list[Target]:
    """All of them, in the order of the table.

    Args:
        timings: of all contenders; of ours also the way `FOLDER`.
        model: ours.
        own: its name in the timings.
        folder: for a recording.
    """
    found = []
    ours = {
        t.job.direction: t
        for t in timings
        if (t.job.contender, t.job.way, t.job.num_threads) == (own, FOLDER, NUM_THREADS)
    }
    for direction, timing in ours.items():
        aim = f"{direction} a folder of FLAC, files included: {SPEED:.0f} times real time"
        low, high = min(timing.speeds), max(timing.speeds)
        reached = f"{timing.median:.0f} ({low:.0f} to {high:.0f})"
        found.append(Target(aim, reached, timing.median / SPEED))
    for direction, timing in ours.items():
        rivals = [
            t
            for t in timings
            if t.job.contender != own
            and (t.job.load, t.job.direction, t.job.num_threads)
            == (timing.job.load, direction, NUM_THREADS)
        ]
        ratio = compare(timing, rivals)
        aim = f"{direction} it {RATIO:.0f} times as fast as the fastest peer does in memory"
        reached = f"{ratio.median:.1f} ({ratio.lowest:.1f} to {ratio.highest:.1f})"
        reached += f" times {ratio.rival.job.contender}"
        found.append(Target(aim, reached, ratio.median / RATIO))
    for num_threads in (1, NUM_THREADS):
        for name, trunk in ("encoder", model.encoder.trunk), ("decoder", model.decoder.trunk):
            assert isinstance(trunk, Trunk)
            shares = sorted(trunk_share(trunk, num_threads=num_threads) for _ in range(_ROUNDS))
            aim = f"{SHARE:.0%} of the rate of large matrix products in the {name}'s trunk, "
            aim += f"{num_threads} thread{'s' if num_threads > 1 else ''}"
            reached = f"{shares[_ROUNDS // 2]:.0%} ({shares[0]:.0%} to {shares[-1]:.0%})"
            found.append(Target(aim, reached, shares[_ROUNDS // 2] / SHARE))
    return [*found, cold_start(model, folder)]


def trunk_share(trunk: Trunk, *, num_threads: int) -> float:
    """Multiply-adds per second in a trunk over full windows, by those of large products then."""
    channels = trunk.blocks[0].norm.normalized_shape[0]  # type: ignore[union-attr]
    num_frames = WINDOW_FRAMES + sum(trunk.context)
    windows = [(n, torch.randn(num_frames, channels)) for n in range(_WINDOWS)]

    def run() -> object:
        return list(run_blocks(windows, call, windows_per_call=1, num_threads=num_threads))

    def call(block: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = trunk(block.transpose(1, 2))  # channels run last, as in the model
        return result

    macs = _WINDOWS * count_macs(lambda: call(windows[0][1][None]))
    run()
    spent = _least(run)
    rate = costs.matrix_product_rate(device="cpu", num_threads=num_threads)
    return macs / spent / rate


def cold_start(model: AudioTokenizer, folder: Path) -> Target:
    """A fresh process, from its start to the tokens of one file."""
    recording = folder / "cold.flac"
    speech = cut(torch.randn(model.sample_rate) * 0.1, SIZES.short_seconds * model.sample_rate)
    audio.save(recording, speech[None], sample_rate=model.sample_rate)
    command = ["-m", "fsq_audio", "tokenize", str(recording), "-o", str(folder / "cold"), "-q"]
    command += ["--if-exists", "overwrite"]
    spent = sorted(costs.process_cost(command).seconds for _ in range(_ROUNDS))
    return Target(
        f"a file of {SIZES.short_seconds} s to tokens, from a cold start: under {START:.0f} s",
        f"{spent[_ROUNDS // 2]:.2f} s ({spent[0]:.2f} to {spent[-1]:.2f})",
        START / spent[_ROUNDS // 2],
    )


def render(found: Sequence[Target]) -> str:
    """The table, in Markdown."""
    rows = [f"| {t.aim} | {t.reached} | {t.verdict} |" for t in found]
    return "\n".join(["| target | reached | |", "| --- | --- | --- |", *rows])


def _least(run: Callable[[], object]) -> float:
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        run()
        spent.append(time.perf_counter() - started)
    return min(spent)
