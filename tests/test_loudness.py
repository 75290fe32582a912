"""The loss in loudness: what it forgives, and that it follows the score it is modelled on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pesq import pesq
from torch import Tensor

from fsq_audio.training.loudness import LoudnessLoss


@pytest.fixture(scope="module")
def loss() -> LoudnessLoss:
    return LoudnessLoss(sample_rate=16000)


def noise_like(waveform: Tensor, *, share: float) -> Tensor:
    noise = torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0))
    return noise * waveform.square().mean().sqrt() * share


def test_equal_waveforms_do_not_differ(loss: LoudnessLoss, speech: Tensor) -> None:
    assert float(loss(speech[None], speech[None])) < 1e-3


@pytest.mark.parametrize("gain", [0.25, 4.0])
def test_a_gain_is_not_forgiven(loss: LoudnessLoss, speech: Tensor, gain: float) -> None:
    assert float(loss(gain * speech[None], speech[None])) > 0.2


def test_a_steady_whistle_is_not_forgiven(loss: LoudnessLoss, speech: Tensor) -> None:
    whistle = 0.05 * torch.sin(2 * torch.pi * 2900 * torch.arange(len(speech)) / 16000)
    assert float(loss((speech + whistle)[None], speech[None])) > 1
    muffled = noise_like(speech, share=0.1)
    worse = float(loss((speech + muffled + whistle)[None], speech[None]))
    assert worse > float(loss((speech + muffled)[None], speech[None]))


def test_it_grows_with_noise_and_with_what_is_missing(loss: LoudnessLoss, speech: Tensor) -> None:
    noisy = [
        float(loss((speech + noise_like(speech, share=share))[None], speech[None]))
        for share in (0.01, 0.1, 1.0)
    ]
    assert noisy == sorted(noisy)
    assert noisy[0] < noisy[2] / 3
    spectrum = torch.fft.rfft(speech)
    spectrum[len(spectrum) // 4 :] = 0
    muffled = torch.fft.irfft(spectrum, n=len(speech))
    assert float(loss(muffled[None], speech[None])) > 0.2


def test_what_is_added_weighs_more_than_what_is_missing(loss: LoudnessLoss, speech: Tensor) -> None:
    tone = 0.02 * torch.sin(2 * torch.pi * 1000 * torch.arange(len(speech)) / 16000)
    added = float(loss((speech + tone)[None], speech[None]))
    missing = float(loss(speech[None], (speech + tone)[None]))
    assert added > 1.5 * missing


def test_it_follows_pesq(loss: LoudnessLoss, speech: Tensor) -> None:
    scores, values = [], []
    for share in (0.003, 0.01, 0.03, 0.1, 0.3):
        output = speech + noise_like(speech, share=share)
        scores.append(pesq(16000, speech.numpy(), output.numpy(), "wb"))
        values.append(float(loss(output[None], speech[None])))
    assert float(np.corrcoef(np.log(scores), np.log(values))[0, 1]) < -0.9


@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-3, 1.0])
def test_gradients_are_finite_at_any_level(loss: LoudnessLoss, level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    target = level * torch.randn(2, 16000, generator=generator)
    for output in (torch.zeros(2, 16000), target.clone(), torch.randn(2, 16000)):
        output.requires_grad_()
        value = loss(output, target)
        value.backward()
        assert bool(value.isfinite())
        assert output.grad is not None
        assert bool(output.grad.isfinite().all())


def test_a_waveform_can_be_improved_by_it(loss: LoudnessLoss, speech: Tensor) -> None:
    target = speech[None, 16000:48000]
    output = (target + noise_like(target, share=0.3)).requires_grad_()
    optimizer = torch.optim.Adam([output], lr=1e-3)
    before = float(loss(output.detach(), target))
    for _ in range(30):
        optimizer.zero_grad()
        loss(output, target).backward()
        optimizer.step()
    assert float(loss(output.detach(), target)) < 0.5 * before
