"""What a run shows of itself."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.health import CodebookCounts
from fsq_audio.training.tracking import (
    Clock,
    Meter,
    check_tracker,
    codebook_values,
    spectrogram,
)


class OneProcess:
    """As much of an Accelerator as a meter needs."""

    def reduce(self, values: Tensor, *, reduction: str) -> Tensor:
        assert reduction == "mean"
        return values


def test_means_are_over_passes_and_over_kept_steps() -> None:
    meter = Meter()
    for values in ((1.0, 3.0), (math.nan, 1.0), (5.0, 5.0)):
        for value in values:
            meter.add({"a": torch.tensor(value)})
        step = meter.close_step(OneProcess())  # type: ignore[arg-type]
        if math.isfinite(step["a"]):
            meter.keep(step)
    assert meter.mean() == {"a": 3.5}
    assert meter.mean() == {}


def test_the_share_of_time_waiting_is_measured() -> None:
    def slow() -> Iterator[Tensor]:
        for _ in range(3):
            time.sleep(0.02)
            yield torch.zeros(1)

    clock = Clock()
    for _ in clock.watch(slow()):
        clock.add_audio(2.0)
    values = clock.read()
    assert 0.5 < values["waiting_for_data"] <= 1
    assert 0 < values["audio_seconds_per_second"] < 6 / 0.06
    assert clock.read()["audio_seconds_per_second"] == 0


def test_a_tracker_that_is_not_there_is_one_sentence() -> None:
    check_tracker(None)
    check_tracker("tensorboard")
    with pytest.raises(ConfigError, match="'paper' is none of"):
        check_tracker("paper")


def test_codebooks_are_told_by_group() -> None:
    counts = CodebookCounts(2, 6, (2, 3))
    counts.update(torch.stack([torch.arange(6), torch.zeros(6, dtype=torch.int64)])[None])
    values = codebook_values(counts)
    assert values["usage_0"] == 1
    assert values["usage_1"] == pytest.approx(1 / 6)
    assert values["entropy_0"] == pytest.approx(1)
    assert values["entropy_1"] == 0
    # Of two levels both are outermost; of three, two.
    assert values["saturation_0"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["saturation_1"] == 1


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(8000) / 16000)
    picture = spectrogram(tone)
    assert picture.shape[0] == 257
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    # Low frequencies at the bottom: bin 32 of 257 from below.
    assert int(picture[:, 20].argmax()) in range(257 - 1 - 34, 257 - 1 - 29)
