"""Discriminators, the balance of losses, and the guard."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fsq_audio.errors import TrainingError
from fsq_audio.training.balancer import GradientBalancer
from fsq_audio.training.config import AdversarialConfig, GuardConfig
from fsq_audio.training.discriminators import (
    Discriminators,
    Judgement,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    frozen,
    random_segment,
    speech_level,
)
from fsq_audio.training.guard import Guard

SMALL = AdversarialConfig(
    stft_windows=(256, 512), stft_channels=4, periods=(2, 3), period_channels=2
)


@pytest.fixture
def discriminators() -> Discriminators:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminators(SMALL)


def tone(batch: int = 2) -> Tensor:
    time = torch.arange(3200) / 16000
    return torch.stack([torch.sin(2 * math.pi * 200 * (n + 1) * time) * 0.3 for n in range(batch)])


def judgement(score: float) -> Judgement:
    return Judgement(torch.full((2, 5), float(score)), [torch.ones(2, 3, 4)])


def test_every_member_judges_every_item(discriminators: Discriminators) -> None:
    waveform = tone(3)
    judgements = discriminators(waveform, speech_level(waveform))
    assert len(judgements) == 4
    for one in judgements:
        assert one.scores.shape[0] == 3
        assert all(len(feature) == 3 for feature in one.features)


def test_an_item_is_judged_alone(discriminators: Discriminators) -> None:
    waveform = tone(2)
    level = speech_level(waveform)
    together = discriminators(waveform, level)
    alone = discriminators(waveform[1:], level[1:])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both.split(1)[1].scores, one.scores)


def test_what_is_seen_does_not_depend_on_the_level(discriminators: Discriminators) -> None:
    loud, quiet = tone(), tone() * 0.05
    for a, b in zip(
        discriminators(loud, speech_level(loud)),
        discriminators(quiet, speech_level(quiet)),
        strict=True,
    ):
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-3, atol=1e-4)


def test_a_wrong_level_of_the_output_is_seen(discriminators: Discriminators) -> None:
    level = speech_level(tone())
    right, wrong = discriminators(tone(), level), discriminators(tone() * 0.5, level)
    assert any(not torch.allclose(a.scores, b.scores) for a, b in zip(right, wrong, strict=True))


def test_compression_brings_quiet_partials_near_loud_ones(discriminators: Discriminators) -> None:
    member = discriminators.members[0]
    loud, quiet = (member.spectrum(tone() * gain).abs().amax() for gain in (1.0, 0.001))
    assert 0.1 < float(quiet / loud) < 0.3  # 60 dB become 18


@pytest.mark.parametrize(("kind", "ignorant"), [("hinge", 2.0), ("least_squares", 1.0)])
def test_losses_of_those_who_know_nothing_and_of_those_who_know(kind: str, ignorant: float) -> None:
    zero, one = [judgement(0)], [judgement(1)]
    assert float(discriminator_loss(zero, zero, kind=kind)) == ignorant
    fake = [judgement(-1 if kind == "hinge" else 0)]
    assert float(discriminator_loss(one, fake, kind=kind)) == 0
    assert float(adversarial_loss(one, kind=kind)) < float(adversarial_loss(zero, kind=kind))


def test_feature_matching_is_relative() -> None:
    real = [Judgement(torch.zeros(2, 1), [torch.full((2, 3), 4.0)])]
    fake = [Judgement(torch.zeros(2, 1), [torch.full((2, 3), 5.0)])]
    assert float(feature_matching_loss(real, real)) == 0
    assert float(feature_matching_loss(real, fake)) == pytest.approx(0.25)


def test_frozen_lets_gradients_through_and_keeps_none(discriminators: Discriminators) -> None:
    waveform = tone().requires_grad_()
    with frozen(discriminators):
        fake = discriminators(waveform, speech_level(tone()))
    adversarial_loss(fake, kind="hinge").backward()
    assert waveform.grad is not None
    assert float(waveform.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in discriminators.parameters())
    assert all(parameter.requires_grad for parameter in discriminators.parameters())


def test_a_random_segment_is_the_same_place_of_both() -> None:
    ramp = torch.arange(100.0).expand(2, 100)
    starts = set()
    for _ in range(50):
        first, second = random_segment(ramp, -ramp, length=30)
        assert first.shape == (2, 30)
        assert torch.equal(first, -second)
        assert torch.equal(first[0] - first[0, 0], torch.arange(30.0))
        starts.add(int(first[0, 0]))
    assert len(starts) > 10
    assert max(starts) <= 70
    for length in (None, 100, 200):
        assert torch.equal(random_segment(ramp, length=length)[0], ramp)


def test_gradients_are_finite_in_silence(discriminators: Discriminators) -> None:
    silence = torch.zeros(2, 3200, requires_grad=True)
    judgements = discriminators(silence, speech_level(silence.detach()))
    adversarial_loss(judgements, kind="hinge").backward()
    assert silence.grad is not None
    assert bool(torch.isfinite(silence.grad).all())


def test_discriminators_learn_to_tell_a_tone_from_noise(discriminators: Discriminators) -> None:
    optimizer = torch.optim.AdamW(discriminators.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    level = speech_level(tone()).repeat(2)
    for _ in range(40):
        noise = torch.randn(2, 3200, generator=generator) * 0.2
        parts = [j.split(2) for j in discriminators(torch.cat([tone(), noise]), level)]
        loss = discriminator_loss([r for r, _ in parts], [f for _, f in parts], kind="hinge")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 1


def test_the_stage_begins_leads_and_ramps() -> None:
    config = AdversarialConfig(start_step=10, lead_steps=5, ramp_steps=4)
    gains = [config.gain(step) for step in (0, 10, 14, 15, 16, 18, 100)]
    assert gains == [0, 0, 0, 0.25, 0.5, 1, 1]
    with pytest.raises(ValueError, match="stft_windows or periods"):
        AdversarialConfig(stft_windows=(), periods=())


def test_balanced_weights_are_shares_of_the_gradient() -> None:
    balancer = GradientBalancer(average=lambda norms: norms)
    output = torch.randn(3, 50, requires_grad=True)
    # Two losses on different samples, one of them a thousand times as steep.
    losses = {
        "a": (3.0, output[:, :25].sum(dim=1).mean()),
        "b": (1.0, 1000 * output[:, 25:].sum(dim=1).mean()),
        "off": (0.0, output.sum()),
    }
    balancer.combine(losses, output).backward()
    assert output.grad is not None
    shares = [part.norm(dim=1).mean() * 3 for part in (output.grad[:, :25], output.grad[:, 25:])]
    assert [float(share) for share in shares] == pytest.approx([0.75, 0.25], rel=1e-4)


def test_a_balancer_resumes_and_forgets_what_is_not_finite() -> None:
    def combine(balancer: GradientBalancer, scale: float) -> float:
        output = torch.ones(1, 4, requires_grad=True)
        return float(balancer.combine({"a": (1.0, scale * output.sum())}, output))

    first = GradientBalancer(average=lambda norms: norms)
    combine(first, 1.0)
    assert math.isnan(combine(first, math.nan))
    second = GradientBalancer(average=lambda norms: norms)
    second.load_state_dict(first.state_dict())
    assert combine(first, 3.0) == combine(second, 3.0)
    assert math.isfinite(combine(first, 1.0))


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_the_guard_skips_what_is_not_finite(loss: float, norm: float) -> None:
    guard = Guard(GuardConfig(), name="tokenizer")
    assert guard.accepts(step=0, loss=1.0, norm=1e9)
    assert not guard.accepts(step=1, loss=loss, norm=norm)
    assert guard.num_skipped == guard.num_in_a_row == 1
    assert guard.accepts(step=2, loss=1.0, norm=1.0)
    assert (guard.num_skipped, guard.num_in_a_row) == (1, 0)


def test_the_guard_skips_explosions_once_it_knows_the_usual() -> None:
    guard = Guard(GuardConfig(max_ratio=10, history=4), name="tokenizer")
    assert guard.accepts(step=0, loss=1.0, norm=1000.0)
    assert guard.accepts(step=1, loss=1.0, norm=1.0)
    assert all(guard.accepts(step=step, loss=1.0, norm=1.0) for step in range(4))
    assert guard.accepts(step=6, loss=1.0, norm=9.9)
    assert not guard.accepts(step=7, loss=1.0, norm=10.1)
    restored = Guard(GuardConfig(max_ratio=10, history=4), name="tokenizer")
    restored.load_state_dict(guard.state_dict())
    assert restored.state_dict() == guard.state_dict()
    assert not restored.accepts(step=8, loss=1.0, norm=10.1)
    assert restored.num_in_a_row == 2


def test_the_guard_ends_a_run_that_diverged() -> None:
    guard = Guard(GuardConfig(patience=3), name="tokenizer")
    for step in range(2):
        assert not guard.accepts(step=step, loss=math.nan, norm=1.0)
    with pytest.raises(TrainingError, match="3 steps of the tokenizer in a row"):
        guard.accepts(step=2, loss=math.nan, norm=1.0)
