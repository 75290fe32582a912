from __future__ import annotations

import math

import numpy as np
import pytest
from torch import Tensor

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.perceptual import stoi
from fsq_audio.evaluation.summary import summarize


def test_speech_against_itself(speech: Tensor) -> None:
    samples = speech.numpy()
    assert stoi(samples, samples, sample_rate=16000) == pytest.approx(1, abs=1e-6)
    assert stoi(samples, samples, sample_rate=16000, extended=True) == pytest.approx(1, abs=1e-6)


def test_noise_costs(speech: Tensor) -> None:
    samples = speech.numpy()
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    mild, strong = samples + 0.003 * noise, samples + 0.03 * noise
    clean, a_little, much = (
        stoi(samples, degraded, sample_rate=16000) for degraded in (samples, mild, strong)
    )
    assert clean > a_little > much


@pytest.mark.parametrize("length", [800, 3000])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_what_cannot_be_measured_is_nan(length: int, level: float) -> None:
    noise = np.random.default_rng(0).standard_normal(length).astype(np.float32) * level
    assert math.isnan(stoi(noise, noise, sample_rate=16000))


def test_wrong_use_is_refused(speech: Tensor) -> None:
    samples = speech.numpy()
    with pytest.raises(ConfigError, match="align first"):
        stoi(samples, samples[1:], sample_rate=16000)


def test_summary_counts_failures_and_never_scores_them() -> None:
    summary = summarize([1.0, math.nan, 3.0])
    assert (summary.mean, summary.num_values, summary.num_failed) == (2.0, 2, 1)
    assert summary.low == 1
    assert summary.high == 3
    assert "1 failed" in str(summary)
    empty = summarize([math.nan])
    assert math.isnan(empty.mean)
    assert (empty.num_values, empty.num_failed) == (0, 1)


def test_weights_pool_what_is_counted() -> None:
    shares, words = [1.0, 0.0, math.nan, 0.5], [1.0, 7.0, 0.0, 2.0]
    summary = summarize(shares, weights=words)
    assert summary.mean == pytest.approx(2 / 10)  # two errors in ten words
    assert (summary.num_values, summary.num_failed) == (3, 1)
    assert summary.low < 0.2 < summary.high
    even = summarize([0.1, 0.4], weights=[3, 3])
    assert (even.mean, even.low, even.high) == pytest.approx((0.25, 0.1, 0.4))
    assert summarize([0.5, 0.0], weights=[1, 9]).high == 0.5  # both draws are the bad recording


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        summary = summarize(list(rng.normal(5, 1, size=40)), seed=seed)
        covered += summary.low <= 5 <= summary.high
    assert 0.88 < covered / 200 < 0.99
