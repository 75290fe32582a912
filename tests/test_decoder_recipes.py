"""The recipes that made the decoder's noise, and that measure what stands in the decoder's way."""

from __future__ import annotations

import sys

import pytest
import torch
from conftest import ROOT
from torch import Tensor

from fsq_audio import AudioTokenizer

sys.path.insert(0, str(ROOT / "recipes"))
from make_noise import make_noise
from measure_limits import Limits


def test_a_few_steps_even_the_noise_out(capsys: pytest.CaptureFixture[str]) -> None:
    noise = make_noise(steps=8)
    assert noise.square().mean().item() == pytest.approx(1)
    before, after = (
        [float(word.strip(",")) for word in line.rpartition(":")[2].split()]
        for line in capsys.readouterr().out.splitlines()
    )
    assert before == pytest.approx([2.6, 2.3, 2.1, 1.7], abs=0.05)
    assert all(one < 0.8 * other for one, other in zip(after, before, strict=True))


def test_gains_fitted_to_a_recording_are_nearer_to_it_and_nothing_stays_changed(
    speech: Tensor,
) -> None:
    model = AudioTokenizer.from_pretrained()
    waveform = speech[None, :24000]
    before = model.decode(model.encode(waveform))
    scores = Limits(model)(waveform, steps=5)
    distance = {name: values[2] for name, values in scores.items()}
    assert distance["fitted"] < distance["codes"]
    assert 0 < distance["itself"] < distance["codes"]
    assert distance["unrounded"] != distance["codes"]
    assert torch.equal(model.decode(model.encode(waveform)), before)
