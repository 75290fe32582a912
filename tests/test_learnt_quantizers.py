"""The quantizers that learn a codebook: golden values, the search, what a step changes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from fsq_audio import checkpoint
from fsq_audio.config import TokenizerConfig
from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.quantizers import (
    SQVAE,
    CosineVectorQuantizer,
    EMAVectorQuantizer,
    EntropyVectorQuantizer,
    GumbelVectorQuantizer,
    KMeansVectorQuantizer,
    ResidualVQ,
    RestartVectorQuantizer,
    VectorQuantizer,
    build_quantizer,
)
from fsq_audio.quantizers.exact import best_codes, fixed_linear
from fsq_audio.quantizers.kmeans import Reservoir
from fsq_audio.quantizers.rows import pass_gradient
from fsq_audio.quantizers.statistics import MAX_PASSES, Annealing, MaskedBatchNorm


def column(*values: float) -> Tensor:
    """One scalar a frame: [1, 1, T]."""
    return torch.tensor([[values]])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_book(quantizer: Any, book: list[Any]) -> Any:
    """The quantizer with these vectors for its codebook."""
    values = torch.tensor(book, dtype=torch.float32)
    with torch.no_grad():
        quantizer.codebook.values.copy_(values.view_as(quantizer.codebook.values))
        if hasattr(quantizer, "averages"):
            quantizer.averages.restart(quantizer.codebook.values, torch.ones(len(values)).bool())
    return quantizer


# The search


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=6),
    book=st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=2, max_size=9),
    scale=st.sampled_from([0.1, 1.0, 1e4, 1e-6]),
)
def test_the_nearest_code_is_exact_and_ties_go_to_the_lowest(
    rows: list[list[int]], book: list[list[int]], scale: float
) -> None:
    # Small integers: many ties and equal vectors, which float32 holds exactly times a power of 2.
    scale = 2.0 ** round(math.log2(scale))
    quantizer = with_book(VectorQuantizer(codebook_size=len(book), dim=2), book)
    quantizer.codebook.values.data *= scale
    latents = torch.tensor(rows, dtype=torch.float32).T[None] * scale
    expected = []
    for row in rows:
        distances = [
            sum(Fraction(a - b) ** 2 for a, b in zip(row, vector, strict=True)) for vector in book
        ]
        expected.append(distances.index(min(distances)))
    assert quantizer(latents).codes[0, 0].tolist() == expected


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.0, 1e-15, 1e-12, 1e-7, 1.0]))
def test_near_ties_do_not_see_the_rest_of_the_batch(seed: int, spread: float) -> None:
    # Vectors that only rounding tells apart: what a matrix product of another shape would flip.
    book = noise(1, 6, seed=seed).double() + spread * noise(50, 6, seed=seed + 1).double()
    rows = noise(40, 6, seed=seed + 2).double()
    bias = -(book * book).sum(dim=1)
    whole = best_codes(rows, 2 * book, bias=bias)
    for stop in (1, 2, 3, 17):
        assert torch.equal(best_codes(rows[:stop], 2 * book, bias=bias), whole[:stop])
    order = torch.randperm(40)
    assert torch.equal(best_codes(rows[order], 2 * book, bias=bias), whole[order])


def test_chunks_change_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = VectorQuantizer(codebook_size=300, dim=4)
    latents = noise(3, 4, 50)
    whole = quantizer(latents).codes
    monkeypatch.setattr("fsq_audio.quantizers.exact.CHUNK", 700)
    assert torch.equal(quantizer(latents).codes, whole)


def test_a_fixed_linear_is_a_linear() -> None:
    layer = nn.Linear(7, 3)
    rows = noise(4, 5, 7)
    result = fixed_linear(rows, layer.weight, layer.bias)
    torch.testing.assert_close(result, layer(rows))
    assert torch.equal(fixed_linear(rows[2:3, 1:2], layer.weight, layer.bias), result[2:3, 1:2])


# Gradients and losses


def test_the_rotation_gives_the_golden_gradient() -> None:
    row = torch.tensor([1.0, 2.0, 2.0], requires_grad=True)
    value = torch.tensor([0.0, 3.0, 4.0])
    out = pass_gradient(row, value, "rotation")
    assert torch.equal(out, value)
    out.backward(torch.tensor([1.0, 0.0, 0.0]))
    assert row.grad is not None
    assert row.grad.tolist() == pytest.approx([1.570881, -0.363985, -0.421456], abs=1e-6)


def test_a_row_of_zeros_has_a_finite_rotation() -> None:
    row = torch.zeros(3, requires_grad=True)
    pass_gradient(row, torch.ones(3), "rotation").sum().backward()
    assert row.grad is not None
    assert row.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize("gradient", ["straight_through", "rotation"])
def test_vq_agrees_with_vector_quantize_pytorch(gradient: Any) -> None:
    ours = VectorQuantizer(codebook_size=20, dim=4, gradient=gradient).train()
    theirs = VectorQuantize(
        dim=4,
        codebook_size=20,
        rotation_trick=gradient == "rotation",
        ema_update=False,
        learnable_codebook=True,
        threshold_ema_dead_code=0,
        commitment_weight=0.25,
    )
    theirs._codebook.embed.data.copy_(ours.codebook.values.data[None])
    latents = noise(2, 4, 30)
    gradients = []
    for call in (lambda z: ours(z).quantized, lambda z: theirs(z.transpose(1, 2))[0]):
        leaf = latents.clone().requires_grad_()
        values = call(leaf)
        values = values if values.shape == latents.shape else values.transpose(1, 2)
        (values * noise(2, 4, 30, seed=5)).sum().backward()
        gradients.append((values.detach(), leaf.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(ours(latents).codes[:, 0], theirs(latents.transpose(1, 2))[1])


def test_each_loss_reaches_what_it_should() -> None:
    quantizer = with_book(VectorQuantizer(codebook_size=2, dim=1), [[0.0], [2.0]])
    latents = column(0.5, 1.5).requires_grad_()
    losses = quantizer(latents).losses
    assert losses["codebook"].item() == pytest.approx(0.25)
    assert losses["commitment"].item() == pytest.approx(0.25 * 0.25)
    values = quantizer.codebook.values
    assert torch.autograd.grad(losses["codebook"], latents, allow_unused=True)[0] is None
    assert torch.autograd.grad(losses["commitment"], values, allow_unused=True)[0] is None
    (to_book,) = torch.autograd.grad(quantizer(latents).losses["codebook"], values)
    assert to_book.flatten().tolist() == pytest.approx([-0.5, 0.5])
    (to_encoder,) = torch.autograd.grad(quantizer(latents).losses["commitment"], latents)
    assert to_encoder.flatten().tolist() == pytest.approx([0.125, -0.125])
    (passed,) = torch.autograd.grad(quantizer(latents).quantized.sum(), [latents])
    assert passed.tolist() == [[[1, 1]]]


def test_the_entropy_is_low_where_codes_are_sure_and_even() -> None:
    book = [[0.0], [10.0]]
    quantizer = EntropyVectorQuantizer(codebook_size=2, dim=1, entropy=1.0).train()
    with_book(quantizer, book)
    even = quantizer(column(0.0, 10.0)).losses["entropy"].item()
    uneven = quantizer(column(0.0, 0.0)).losses["entropy"].item()
    unsure = quantizer(column(5.0, 5.0)).losses["entropy"].item()
    assert even == pytest.approx(-math.log(2), abs=1e-6)
    assert uneven == pytest.approx(0, abs=1e-6)
    assert unsure == pytest.approx(0, abs=1e-6)  # sure of nothing: ln 2 - ln 2
    with_book(quantizer, [[0.0], [1.0]])
    latents = noise(2, 1, 9)
    quantizer(latents).losses["entropy"].backward()
    p = (-(latents.flatten()[:, None] - quantizer.codebook.values.T).square()).softmax(dim=1)
    mean = p.mean(dim=0)
    expected = -(p * p.log()).sum(dim=1).mean() + (mean * mean.log()).sum()
    assert quantizer(latents).losses["entropy"].item() == pytest.approx(expected.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(expected, quantizer.codebook.values)
    torch.testing.assert_close(quantizer.codebook.values.grad, gradient)


# Moving averages and restarts


def test_the_moving_averages_are_golden() -> None:
    quantizer = with_book(EMAVectorQuantizer(codebook_size=3, dim=1), [[0.0], [1.0], [2.0]])
    result = quantizer.train()(column(0.1, 0.2, 0.9, 5.0))
    assert result.codes.tolist() == [[[0, 0, 1, 2]]]
    assert quantizer.codebook.values.flatten().tolist() == [0, 1, 2]  # nothing moves in a pass
    quantizer.end_step()
    counts, sums = quantizer.averages.counts, quantizer.averages.sums.flatten()
    assert counts.tolist() == pytest.approx([1.01, 1.0, 1.0])
    assert sums.tolist() == pytest.approx([0.003, 0.999, 2.03])
    total = 3.01
    smooth = [(n + 1e-5) / (total + 3e-5) * total for n in (1.01, 1, 1)]
    expected = [m / n for m, n in zip((0.003, 0.999, 2.03), smooth, strict=True)]
    assert quantizer.codebook.values.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_moving_averages_agree_with_vector_quantize_pytorch() -> None:
    ours = EMAVectorQuantizer(codebook_size=12, dim=3, commitment=0.25).train()
    theirs = VectorQuantize(
        dim=3, codebook_size=12, decay=0.99, eps=1e-5, threshold_ema_dead_code=0,
        commitment_weight=0.25, rotation_trick=False,
    )  # fmt: skip
    book = theirs._codebook
    book.embed.data.copy_(ours.codebook.values[None])
    book.embed_avg.data.copy_(ours.codebook.values[None])
    for step in range(20):
        latents = noise(2, 3, 25, seed=step) + 1
        result = ours(latents)
        ours.end_step()
        values, codes, loss = theirs(latents.transpose(1, 2))
        assert torch.equal(result.codes[:, 0], codes)
        assert result.losses["commitment"].item() == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(result.quantized, values.transpose(1, 2))
    torch.testing.assert_close(ours.codebook.values, book.embed[0])
    torch.testing.assert_close(ours.averages.counts, book.cluster_size[0])


@pytest.mark.parametrize("kind", [EMAVectorQuantizer, RestartVectorQuantizer])
def test_two_passes_count_as_one_of_both(kind: Any) -> None:
    states = []
    for parts in ([noise(4, 3, 20)], noise(4, 3, 20).split(2)):
        torch.manual_seed(0)
        quantizer = kind(codebook_size=8, dim=3).train()
        for part in parts:
            quantizer(part)
        quantizer.end_step()
        states.append(quantizer.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_restarted_codes_are_latents_of_the_step_and_survive_it() -> None:
    quantizer = with_book(
        RestartVectorQuantizer(codebook_size=3, dim=1).train(), [[0.0], [50.0], [90.0]]
    )
    latents = column(-1.0, -0.5, 0.5, 0.75)
    quantizer(latents)
    quantizer.end_step()
    values = quantizer.codebook.values.flatten()
    assert values[0].item() == pytest.approx((0.01 * -0.25) / (0.99 + 0.04))
    assert set(values[1:].tolist()) <= set(latents.flatten().tolist())
    assert quantizer.averages.counts[1:].tolist() == [1, 1]
    assert torch.equal(quantizer.averages.sums[1:, 0], values[1:])
    # Used from now on, they stay where they are: they do not fall back to where they died.
    kept = values.clone()
    quantizer(kept.repeat(1, 1, 3))
    quantizer.end_step()
    assert torch.allclose(quantizer.codebook.values.flatten(), kept, atol=1e-6)


def test_restarts_revive_a_dead_codebook() -> None:
    quantizer = RestartVectorQuantizer(codebook_size=64, dim=4).train()
    quantizer.codebook.values += 100
    used = []
    for step in range(30):
        codes = quantizer(noise(8, 4, 100, seed=step)).codes
        quantizer.end_step()
        used.append(len(codes.unique()))
    assert used[0] < 10
    assert used[-1] > 48


def test_a_codebook_begins_as_latents_of_the_first_batch() -> None:
    quantizer = RestartVectorQuantizer(codebook_size=10, dim=2)
    latents = noise(2, 2, 30)
    mask = torch.arange(30) < torch.tensor([30, 4])[:, None]
    quantizer.initialize(torch.where(mask[:, None], latents, 1e6), mask)
    rows = {tuple(row) for row in latents.transpose(1, 2)[mask].tolist()}
    values = [tuple(row) for row in quantizer.codebook.values.tolist()]
    assert set(values) <= rows
    assert len(set(values)) == 10
    # Too few: tiled, with noise that tells the copies apart.
    with pytest.raises(ConfigError, match="without real frames"):
        quantizer.initialize(latents, torch.zeros_like(mask))
    quantizer.initialize(latents[:1, :, :3])
    assert len({tuple(row) for row in quantizer.codebook.values.tolist()}) == 10
    distances = torch.cdist(quantizer.codebook.values, latents[0, :, :3].T).min(dim=1).values
    assert 0 < distances.max() < 0.1


def test_a_step_without_real_frames_moves_nothing() -> None:
    for kind in (EMAVectorQuantizer, RestartVectorQuantizer):
        quantizer = kind(codebook_size=8, dim=3).train()
        before = quantizer.codebook.values.clone()
        quantizer(noise(1, 3, 5), torch.zeros(1, 5, dtype=torch.bool))
        quantizer.end_step()
        assert torch.equal(quantizer.codebook.values, before)


def test_a_training_that_never_ends_a_step_is_told() -> None:
    quantizer = RestartVectorQuantizer(codebook_size=2, dim=1).train()
    latents = column(1.0)
    for _ in range(MAX_PASSES):
        quantizer(latents)
    with pytest.raises(ConfigError, match="call end_step"):
        quantizer(latents)


# k-means


def test_k_means_finds_the_clusters_at_growing_intervals_and_stops() -> None:
    centers = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 6.0], [0.0, -6.0]])
    quantizer = KMeansVectorQuantizer(
        codebook_size=4, dim=2, reservoir_factor=8, num_estimations=3, growth=2.0
    ).train()
    optimizer = torch.optim.AdamW(quantizer.parameters(), lr=0.0)
    book = quantizer.codebook.values
    jumps = []
    for step in range(1, 25):
        which = torch.arange(16) % 4
        latents = (centers[which] + 0.1 * noise(16, 2, seed=step)).T[None].requires_grad_()
        is_bypassed = quantizer.is_bypassed
        result = quantizer(latents)
        assert torch.equal(quantizer.decode(result.codes), result.quantized) != is_bypassed
        (result.quantized.square().sum() + sum(result.losses.values())).backward()
        assert book.grad is not None
        optimizer.step()
        before = book.detach().clone()
        quantizer.end_step(optimizer)
        quantizer.norm.end_step()
        if not torch.equal(before, book):
            jumps.append(step)
            assert all(not moment.any() for moment in optimizer.state[book].values())
            assert optimizer.state[quantizer.norm.weight]["step"] > 0
    assert jumps == [2, 4, 8]  # 32 latents fill the reservoir in two steps
    assert not quantizer.reservoir.rows.any()
    codes = quantizer.eval()(centers.T[None]).codes.flatten()
    assert sorted(codes.tolist()) == [0, 1, 2, 3]


def test_a_reservoir_with_too_few_latents_is_skipped() -> None:
    quantizer = KMeansVectorQuantizer(codebook_size=8, dim=2, reservoir_factor=1).train()
    quantizer.num_estimated.fill_(1)  # the second time, which the step decides
    quantizer.next_step.fill_(1)
    before = quantizer.codebook.values.detach().clone()
    quantizer(noise(1, 2, 5))
    quantizer.end_step()
    assert torch.equal(quantizer.codebook.values, before)
    assert int(quantizer.num_estimated) == 2


def test_the_reservoir_is_algorithm_r() -> None:
    reservoir, rows = Reservoir(5, 1), torch.arange(40.0)[:, None]
    generator = torch.Generator().manual_seed(3)
    for part in rows.split(9):
        reservoir.add(part, generator=generator)
    generator = torch.Generator().manual_seed(3)
    expected: list[float] = []
    draws = torch.cat([torch.rand(len(p), generator=generator, dtype=torch.float64)
                       for p in rows.split(9)])  # fmt: skip
    for number, draw in enumerate(draws.tolist()):
        place = number if number < 5 else int(draw * (number + 1))
        if number < 5:
            expected.append(float(number))
        elif place < 5:
            expected[place] = float(number)
    assert reservoir.rows.flatten().tolist() == expected
    assert int(reservoir.num_seen) == 40


def test_every_latent_has_the_same_chance_in_a_reservoir() -> None:
    hits = torch.zeros(30)
    for seed in range(600):
        reservoir = Reservoir(6, 1)
        generator = torch.Generator().manual_seed(seed)
        for part in torch.arange(30.0)[:, None].split(7):
            reservoir.add(part, generator=generator)
        hits[reservoir.rows.flatten().long()] += 1
    assert int(hits.sum()) == 3600
    assert hits.min() > 80  # 120 each, give or take 10
    assert hits.max() < 160


def test_batch_norm_is_that_of_real_frames() -> None:
    ours, theirs = MaskedBatchNorm(3).train(), nn.BatchNorm1d(3).train()
    latents = noise(4, 20, 3) * 2 + 1
    mask = torch.arange(20) < torch.tensor([20, 3, 11, 7])[:, None]
    padded = torch.where(mask[..., None], latents, 1e4)
    torch.testing.assert_close(ours(padded, mask)[mask], theirs(latents[mask]))
    ours.end_step()
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(latents)[0], theirs(latents[0]))


# SQ-VAE, Gumbel-softmax, cosine


@pytest.mark.parametrize("variance", ["I", "II", "III", "IV"])
def test_sqvae_probabilities_are_golden(variance: Any) -> None:
    book = [[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0]]
    latents = torch.tensor([[[0.0], [1.0]]])
    for initial, expected in (
        (1.0, [0.383652, 0.383652, 0.232697]),
        (0.1, [0.498321, 0.498321, 0.003358]),
    ):
        options = {"variance": variance, "initial_variance": initial}
        quantizer = with_book(SQVAE(codebook_size=3, dim=2, **options), book)
        p = quantizer.probabilities(latents).flatten()
        assert p.tolist() == pytest.approx(expected, abs=1e-6)
        entropy = quantizer.train()(latents).losses["entropy"].item()
        assert entropy == pytest.approx((p * p.log()).sum().item(), abs=1e-6)
        if initial == 1.0:
            assert entropy == pytest.approx(-1.074368, abs=1e-6)


def test_sqvae_is_soft_in_training_and_hard_after() -> None:
    quantizer = SQVAE(codebook_size=6, dim=2, weight=0.5).train()
    latents = noise(2, 2, 8)
    first, second = quantizer(latents), quantizer(latents)
    assert not torch.equal(first.quantized, second.quantized)
    assert not torch.equal(first.quantized, quantizer.decode(first.codes))
    spread = (latents - first.quantized).square().sum(dim=1).mean() / 2
    assert first.losses["variance"].item() == pytest.approx(0.5 * spread.item(), rel=1e-5)
    quantizer.eval()
    assert torch.equal(quantizer(latents).quantized, quantizer.decode(first.codes))


def test_sqvae_variances_differ_by_item_frame_and_scalar() -> None:
    latents = noise(2, 3, 5)
    mask = torch.arange(5) < torch.tensor([5, 2])[:, None]
    shapes = {}
    for variance in ("II", "III", "IV"):
        quantizer = SQVAE(codebook_size=9, dim=3, variance=variance)
        assert quantizer.variance_head is not None
        nn.init.normal_(quantizer.variance_head.weight)
        rows = latents.transpose(1, 2)
        log_variance = quantizer._log_variance(rows, mask)
        shapes[variance] = tuple(log_variance.shape)
        if variance == "II":
            frames = quantizer.variance_head(rows[1, :2])
            assert log_variance[1].item() == pytest.approx(frames.mean().item(), abs=1e-6)
        if variance == "IV":  # the code is the most probable one, and not the nearest
            codes = quantizer.eval()(latents).codes[:, 0]
            assert torch.equal(codes, quantizer.probabilities(latents).argmax(dim=-1))
            assert not torch.equal(codes, quantizer.codebook.nearest(rows))
    assert shapes == {"II": (2, 1, 1), "III": (2, 5, 1), "IV": (2, 5, 3)}


def test_temperatures_fall_to_their_floor() -> None:
    annealing = Annealing(start=2.0, lowest=0.5, decay=1e-5)
    annealing.end_step(is_taken=False)
    assert annealing.temperature == 2.0
    annealing.end_step()
    assert annealing.temperature == pytest.approx(2 * math.exp(-1e-5))
    annealing.step.steps.fill_(100_000)
    assert annealing.temperature == pytest.approx(2 * math.exp(-1))
    annealing.step.steps.fill_(10**6)
    assert annealing.temperature == 0.5
    with pytest.raises(ConfigError, match="tau_min"):
        Annealing(start=0.1, lowest=0.5, decay=0.0)


def test_gumbel_draws_with_the_probabilities_of_its_logits() -> None:
    torch.manual_seed(0)
    quantizer = GumbelVectorQuantizer(codebook_size=3, dim=2).train()
    latents = noise(1, 2, 1).expand(1, 2, 20000)
    result = quantizer(latents)
    shares = torch.bincount(result.codes.flatten(), minlength=3) / 20000
    p = quantizer.score(latents[0, :, 0]).softmax(dim=0)
    assert torch.allclose(shares, p, atol=0.015)
    assert torch.equal(quantizer.decode(result.codes), result.quantized)
    result.quantized.sum().backward()
    assert quantizer.score.weight.grad is not None
    assert quantizer.score.weight.grad.count_nonzero() > 0
    assert quantizer.codebook.values.grad is not None
    assert quantizer.codebook.values.grad.sum(dim=1).tolist() == pytest.approx(
        (2 * torch.bincount(result.codes.flatten(), minlength=3)).tolist()
    )
    assert bool((quantizer.eval()(latents).codes == p.argmax()).all())


def test_cosine_looks_at_directions_and_keeps_lengths() -> None:
    quantizer = with_book(
        CosineVectorQuantizer(codebook_size=3, dim=2), [[0.1, 0.0], [0.0, 7.0], [3.0, 3.0]]
    )
    latents = torch.tensor([[[9.0, 0.1, 1.0], [0.5, 4.0, 1.1]]])
    result = quantizer(latents)
    assert result.codes.tolist() == [[[0, 1, 2]]]
    assert torch.equal(result.quantized[0].T, quantizer.codebook.values)
    errors = latents - result.quantized
    assert result.losses["codebook"].item() == pytest.approx(errors.square().mean().item())
    book = nn.functional.normalize(quantizer.codebook.values, dim=1)
    many = noise(2, 2, 40)
    expected = torch.einsum("bdt,kd->btk", many, book).argmax(dim=-1)
    assert torch.equal(quantizer(many).codes[:, 0], expected)


def test_factorized_projections_learn_from_the_reconstruction() -> None:
    quantizer = CosineVectorQuantizer(codebook_size=9, dim=2, width=6).train()
    quantizer(noise(2, 6, 10)).quantized.square().sum().backward()
    for layer in (quantizer.project_in, quantizer.project_out):
        assert layer is not None
        assert layer.weight.grad is not None
        assert layer.weight.grad.count_nonzero() > 0


# Residual


STAGE = {"name": "vq", "codebook_size": 16, "dim": 3}


def test_residual_stages_refine_and_pass_the_gradient_once() -> None:
    quantizer = ResidualVQ(stage=STAGE, num_groups=3).train()
    latents = noise(2, 3, 20).requires_grad_()
    result = quantizer(latents)
    weights = noise(2, 3, 20, seed=1)
    (gradient,) = torch.autograd.grad((result.quantized * weights).sum(), [latents])
    torch.testing.assert_close(gradient, weights)
    residual = latents.detach()
    for index in range(3):
        stage = build_quantizer("vq", {"codebook_size": 16, "dim": 3})
        stage.load_state_dict(quantizer.stages[index].state_dict())
        part = stage(residual)
        assert torch.equal(result.codes[:, index], part.codes[:, 0])
        residual = residual - part.quantized
    torch.testing.assert_close(latents - result.quantized, residual)
    torch.testing.assert_close(
        quantizer.decode(result.codes[:, :1]), quantizer.stages[0].decode(result.codes[:, :1])
    )


@pytest.mark.parametrize(
    ("options", "num_committing"),
    [({}, 1), ({"gradient": "rotation"}, 3), ({"name": "cosine_vq", "width": 7}, 3)],
)
def test_stages_that_pass_the_gradient_commit_the_encoder_once(
    options: dict[str, Any], num_committing: int
) -> None:
    quantizer = ResidualVQ(stage={**STAGE, **options}, num_groups=3).train()
    losses: list[Tensor] = []
    for stage in quantizer.stages:
        stage.register_forward_hook(lambda *call: losses.append(call[-1].losses["commitment"]))
    latents = noise(2, quantizer.channels, 20).requires_grad_()
    quantizer(latents)
    gradients = [torch.autograd.grad(loss, latents, retain_graph=True)[0] for loss in losses]
    assert [bool(gradient.abs().max() > 1e-6) for gradient in gradients] == [
        index < num_committing for index in range(3)
    ]


def test_a_dropped_stage_adds_nothing_and_learns_nothing() -> None:
    stage = {"name": "ema_vq", "codebook_size": 16, "dim": 3}
    quantizer = ResidualVQ(stage=stage, num_groups=2, group_dropout=1.0).train()
    torch.manual_seed(1)
    result = quantizer(noise(64, 3, 5))
    is_kept = (result.codes[:, 1] >= 0).all(dim=-1)
    assert 10 < int(is_kept.sum()) < 54
    torch.testing.assert_close(quantizer.decode(result.codes), result.quantized)
    assert float(quantizer.stages[0].averages._counts.sum()) == 64 * 5
    assert float(quantizer.stages[1].averages._counts.sum()) == 5 * int(is_kept.sum())


def test_residual_stages_begin_from_what_is_left() -> None:
    stage = {"name": "restart_vq", "codebook_size": 4, "dim": 2}
    quantizer = ResidualVQ(stage=stage, num_groups=2)
    latents = noise(1, 2, 50)
    quantizer.initialize(latents)
    left = latents - quantizer.eval().decode(quantizer(latents).codes[:, :1])
    rows = {tuple(row) for row in left[0].T.tolist()}
    assert {tuple(row) for row in quantizer.stages[1].codebook.values.tolist()} <= rows


def test_stages_must_have_one_group() -> None:
    with pytest.raises(ConfigError, match="one group"):
        ResidualVQ(stage={"name": "residual_vq", "num_groups": 2, "stage": STAGE}, num_groups=2)
    with pytest.raises(ConfigError, match="name of a quantizer"):
        ResidualVQ(stage={"codebook_size": 4}, num_groups=2)


# What is refused, what is saved


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vq", {"codebook_size": 1}, "codebook_size must be from 2"),
        ("vq", {"codebook_size": 4, "dim": 0}, "dim must be"),
        ("vq", {"codebook_size": 4, "commitment": -1.0}, "commitment must be"),
        ("vq", {"codebook_size": 4, "gradient": "none"}, "gradient"),
        ("ema_vq", {"codebook_size": 4, "decay": 1.0}, "decay must lie"),
        ("entropy_vq", {"codebook_size": 4, "tau": 0.0}, "tau must be above 0"),
        ("kmeans_vq", {"codebook_size": 4, "growth": 1.0}, "growth > 1"),
        ("sqvae", {"codebook_size": 4, "variance": "V"}, "variance"),
        ("sqvae", {"codebook_size": 4, "tau_min": 2.0}, "tau_min"),
        ("cosine_vq", {"codebook_size": 4, "width": 0}, "width"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_quantizer(name, options)


def test_weights_of_another_quantizer_are_refused() -> None:
    vq = build_quantizer("vq", {"codebook_size": 4, "dim": 2})
    for name, options in (
        ("entropy_vq", {"codebook_size": 4, "dim": 2}),
        ("cosine_vq", {"codebook_size": 4, "dim": 2}),
        ("vq", {"codebook_size": 8, "dim": 2}),
    ):
        with pytest.raises(CheckpointError, match="another codebook"):
            build_quantizer(name, options).load_state_dict(vq.state_dict())


def test_counts_beyond_half_precision_are_saved_as_they_are(tmp_path: Any) -> None:
    weights = {"counts": torch.tensor([1.0, 70000.0]), "other": torch.tensor([1.0])}
    checkpoint.save(tmp_path, TokenizerConfig(), weights, dtype=torch.float16)
    stored = checkpoint.load_file(tmp_path / checkpoint.WEIGHTS_FILE)
    assert stored["counts"].tolist() == [1, 70000]
    assert stored["other"].dtype == torch.float16
