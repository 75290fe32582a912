"""The recipes that made the decoder's noise, and that measure what stands in the model's way."""

from __future__ import annotations

import sys

import pytest
import torch
from conftest import ROOT
from torch import Tensor

from fsq_audio import AudioTokenizer

sys.path.insert(0, str(ROOT / "recipes"))
import measure_rate
from make_noise import make_noise
from measure_limits import Limits
from measure_rate import BLOCKS, RATES, LinearCode, measure, resynthesize


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


def test_an_ideal_linear_code_needs_as_many_bits_as_theory_says() -> None:
    torch.manual_seed(0)
    deviations = torch.tensor([8.0, 4.0, 1.0, 0.1])
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    blocks = torch.randn(40_000, 4) * deviations @ turn + 3
    code = LinearCode.of(blocks)
    # A level of 1 keeps log2(8) + log2(4) bits, and the two weakest directions go unsent.
    made = code.transmit(blocks, bits=5)
    error = float((made - blocks).square().sum(1).mean())
    assert error == pytest.approx(1 + 1 + 1 + 0.01, rel=0.03)
    assert float((code.transmit(blocks, bits=50) - blocks).abs().max()) < 1e-2
    silent = code.transmit(blocks, bits=0)
    assert float((silent - blocks.mean(0)).abs().max()) < 0.2


def test_rates_are_measured_for_the_code_and_for_the_model(speech: Tensor) -> None:
    model = AudioTokenizer.from_pretrained()
    heard = [speech[:48_000], speech[48_000:96_000]]
    *linear, last = [line.split(" | ") for line in measure(model, [speech], heard)]
    assert len(linear) == len(BLOCKS) * len(RATES)
    for block in range(len(BLOCKS)):
        found = [float(row[2]) for row in linear[block * len(RATES) : (block + 1) * len(RATES)]]
        assert found == sorted(found, reverse=True)
    assert last[:2] == ["the model", "997"]
    total, strongest, next_, others, mean = (float(value) for value in last[2:])
    assert 1 < mean < total < 8
    assert total**2 == pytest.approx(strongest**2 + next_**2 + others**2, abs=0.1)


def test_what_a_linear_code_sends_is_heard(speech: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_rate, "FIT_STEPS", 30)
    monkeypatch.setattr(measure_rate, "RESYNTHESIZED", ((1, 0.1), (1, 2.0)))
    model = AudioTokenizer.from_pretrained()
    lines = resynthesize(model, [speech], [speech[:32_000]])
    rows = [line.split(" | ") for line in lines]
    names = ["the model", "the original's spectra", "linear, 40 ms", "linear, 40 ms"]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == ["997", "-", "100", "1993"]
    of_model, of_original, few, many = (float(row[4]) for row in rows)
    assert of_original < many < few
    assert of_original < of_model
