"""Watching a run: means between log entries, speed, codebooks, sound and pictures."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import Tensor
from tqdm import tqdm

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.health import CodebookCounts


class Meter:
    """Means over forward passes, processes and steps.

    `add` once a forward pass, `close_step` once a step, `mean` at a log entry.
    """

    def __init__(self) -> None:
        self._passes: dict[str, list[Tensor]] = defaultdict(list)
        self._steps: dict[str, list[float]] = defaultdict(list)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Takes scalars of one forward pass; nothing waits for the device."""
        for name, value in values.items():
            self._passes[name].append(value.detach().float())

    def close_step(self, accelerator: Accelerator) -> dict[str, float]:
        """Means over the passes of this step and over all processes; the one wait of a step."""
        means = torch.stack([torch.stack(values).mean() for values in self._passes.values()])
        reduced: Tensor = accelerator.reduce(means, reduction="mean")
        step = dict(zip(self._passes, reduced.tolist(), strict=True))
        self._passes.clear()
        return step

    def keep(self, step: Mapping[str, float]) -> None:
        """Lets a step count for the next log entry."""
        for name, value in step.items():
            self._steps[name].append(value)

    def mean(self) -> dict[str, float]:
        """Means over the steps that were kept since the last call."""
        means = {name: float(np.mean(values)) for name, values in self._steps.items()}
        self._steps.clear()
        return means


class Clock:
    """How fast a run is, and how much of its time it waits for data."""

    def __init__(self) -> None:
        self._start = self._since = time.perf_counter()
        self._waited = self._audio = 0.0

    def watch(self, loader: Iterable[Tensor]) -> Iterator[Tensor]:
        """The batches of a loader, the time that each takes to come being counted."""
        batches = iter(loader)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def add_audio(self, seconds: float) -> None:
        """Counts audio that was trained on."""
        self._audio += seconds

    @property
    def minutes(self) -> float:
        """Since the start of this process."""
        return (time.perf_counter() - self._start) / 60

    def read(self) -> dict[str, float]:
        """Audio-seconds per second and the share of time waiting (0 to 1) since the last call."""
        now = time.perf_counter()
        elapsed = max(now - self._since, 1e-9)
        values = {
            "audio_seconds_per_second": self._audio / elapsed,
            "waiting_for_data": self._waited / elapsed,
        }
        self._since, self._waited, self._audio = now, 0.0, 0.0
        return values


class Progress:
    """How far a run is: a bar on a terminal, elsewhere a line at each log entry; on stderr.

    Args:
        step: where the run begins or goes on.
        total: steps of the whole run.
        is_shown: only one process shows it.
    """

    def __init__(self, *, step: int, total: int, is_shown: bool) -> None:
        self._bar = tqdm(initial=step, total=total, disable=None if is_shown else True)
        self._writes = is_shown and self._bar.disable
        self._total = total

    def advance(self) -> None:
        """Counts a step."""
        self._bar.update()

    def tell(self, values: Mapping[str, str], *, step: int) -> None:
        """Shows what a log entry says, name -> value."""
        self._bar.set_postfix(values)
        if self._writes:
            words = ", ".join(f"{name} {value}" for name, value in values.items())
            print(f"step {step} of {self._total}: {words}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


@dataclass(frozen=True)
class Example:
    """One recording and what came back, `[S]` each, on the CPU."""

    original: Tensor
    result: Tensor


def check_tracker(name: str | None) -> None:
    """Refuses a tracker that is unknown, or not installed: Accelerate would leave it out silently.

    Raises:
        ConfigError: it is unknown or not installed.
    """
    known = sorted(str(kind) for kind in LOGGER_TYPE_TO_CLASS)
    if name is None:
        return
    if name not in known:
        raise ConfigError(f"tracker: {name!r} is none of {', '.join(known)}")
    if name not in {str(kind) for kind in get_available_trackers()}:
        raise ConfigError(f"tracker: {name} is not installed: pip install {name}, or tracker: null")


def codebook_values(counts: CodebookCounts) -> dict[str, float]:
    """Usage, normalised entropy and saturation of each group.

    Saturation is the share of codes whose scalar lies on an outermost level, a mean over its
    dimensions; 2 / L of a dimension with L levels would be even use.
    """
    values = {}
    for group, health in enumerate(counts.summary()):
        values[f"usage_{group}"] = health.usage
        values[f"entropy_{group}"] = health.normalized_entropy
        if health.level_histograms is not None:
            edges = [(h[0] + h[-1]) / health.num_codes for h in health.level_histograms]
            values[f"saturation_{group}"] = float(np.mean(edges))
    return values


def log_media(
    accelerator: Accelerator,
    examples: Mapping[str, Example],
    counts: CodebookCounts,
    *,
    sample_rate: int,
    step: int,
) -> None:
    """Sound, pictures and level histograms for TensorBoard; pictures for trackers that take them.

    Args:
        accelerator: its trackers get them.
        examples: by name.
        counts: of the codes; with levels there are histograms.
        sample_rate: of the examples.
        step: of the run.
    """
    pictures = {
        f"spectrogram/{name}": torch.cat(
            [spectrogram(example.original), spectrogram(example.result)], dim=0
        )
        for name, example in examples.items()
    }
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            writer: Any = tracker.tracker
            for name, picture in pictures.items():
                writer.add_image(name, picture[None], step)
            for name, example in examples.items():
                for kind in ("original", "result"):
                    sound = getattr(example, kind).clamp(-1, 1)[None]
                    writer.add_audio(f"{name}/{kind}", sound, step, sample_rate=sample_rate)
            for group, health in enumerate(counts.summary()):
                for dim, levels in enumerate(health.level_histograms or []):
                    _add_histogram(writer, f"levels/group_{group}_dim_{dim}", levels, step)
            writer.flush()
        elif hasattr(tracker, "log_images"):
            rows = {
                n: [np.asarray(p.mul(255).byte())[..., None].repeat(3, -1)]
                for n, p in pictures.items()
            }
            tracker.log_images(rows, step=step)


def spectrogram(waveform: Tensor, *, window_length: int = 512) -> Tensor:
    """A picture of `[S]`: `[bins, frames]` in [0, 1], 80 dB, low frequencies at the bottom."""
    window = torch.hann_window(window_length)
    padded = torch.nn.functional.pad(waveform, (0, window_length))
    frames = padded.unfold(0, window_length, window_length // 4) * window
    magnitudes = torch.fft.rfft(frames).abs() * (2 / window.sum())
    decibels = 20 * torch.log10(magnitudes + 1e-8)
    return ((decibels + 90) / 80).clamp(0, 1).T.flip(0)


def _add_histogram(writer: Any, name: str, levels: list[int], step: int) -> None:
    places = np.arange(len(levels))
    writer.add_histogram_raw(
        name,
        min=0,
        max=len(levels) - 1,
        num=sum(levels),
        sum=float((places * levels).sum()),
        sum_squares=float((places**2 * levels).sum()),
        bucket_limits=(places + 0.5).tolist(),
        bucket_counts=levels,
        global_step=step,
    )
