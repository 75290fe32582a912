from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers import DROPPED, FSQ, ResidualFSQ

levels_lists = st.lists(st.integers(3, 9), min_size=1, max_size=4)


def random_latents(
    num_channels: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(2, num_channels, 50, dtype=dtype, generator=generator)


def test_one_scalar_by_hand() -> None:
    # x = .3 on 5 levels, steps of .5: nearest .5, digit 3; rest -.2, times 4 is -.8: nearest -1,
    # digit 0; rest -.2 + .25 = .05, times 16 is .8: nearest 1, digit 4.
    residual = ResidualFSQ(levels=[5], num_groups=3)
    latents = torch.atanh(torch.tensor([[[0.3]]]))
    result = residual(latents)
    assert result.codes.flatten().tolist() == [3, 0, 4]
    assert result.quantized.item() == 0.5 - 1 / 4 + 1 / 16


@settings(max_examples=40)
@given(levels=levels_lists, num_groups=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_each_prefix_is_within_its_bound_of_the_scalar(
    levels: list[int], num_groups: int, seed: int
) -> None:
    residual = ResidualFSQ(levels=levels, num_groups=num_groups)
    latents = random_latents(len(levels), seed)
    codes = residual(latents).codes
    ratio = torch.tensor([num - 1.0 for num in levels])[:, None]
    for kept in range(1, num_groups + 1):
        error = (residual.decode(codes[:, :kept]) - latents.tanh()).abs()
        assert bool((error <= ratio**-kept + 1e-6).all())


@settings(max_examples=20)
@given(levels=levels_lists)
def test_the_first_stage_is_symmetric_fsq(levels: list[int]) -> None:
    latents = random_latents(len(levels))
    single = FSQ(levels=levels, bound="symmetric")(latents)
    residual = ResidualFSQ(levels=levels, num_groups=3)
    codes = residual(latents).codes
    assert torch.equal(codes[:, :1], single.codes)
    assert torch.equal(residual.decode(codes[:, :1]), single.quantized)


def test_the_gradient_is_counted_once() -> None:
    residual = ResidualFSQ(levels=[8, 5], num_groups=4)
    latents = random_latents(2, dtype=torch.float64).requires_grad_()
    residual(latents).quantized.sum().backward()
    assert latents.grad is not None
    assert torch.allclose(latents.grad, 1 - latents.detach().tanh() ** 2, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_latents_stay_in_range(dtype: torch.dtype) -> None:
    residual = ResidualFSQ(levels=[8, 5, 5, 5], num_groups=8)
    latents = torch.tensor([-1e4, -9.0, 0.0, 9.0, 1e4], dtype=dtype).repeat(1, 4, 1)
    result = residual(latents)
    assert result.quantized.abs().max() <= 1 + 1e-6
    residual.decode(result.codes)  # refuses codes out of range


@pytest.mark.parametrize(("num_levels", "num_groups"), [(2897, 2), (204, 3), (24, 5), (8, 8)])
def test_digits_stay_in_range_at_the_limit_of_float32(num_levels: int, num_groups: int) -> None:
    residual = ResidualFSQ(levels=[num_levels], num_groups=num_groups)
    # The first thresholds, where residuals are largest, and the floats around them.
    steps = torch.arange(num_levels - 1, dtype=torch.float64)
    threshold = torch.atanh((2 * steps + 1) / (num_levels - 1) - 1).float()
    latents = torch.cat([threshold * (1 + ulps * 2**-23) for ulps in range(-4, 5)])[None, None]
    result = residual(latents)
    assert torch.equal(residual.decode(result.codes), result.quantized)
    # Three units in the last place are tanh's own.
    assert (result.quantized - latents.tanh()).abs().max() < (num_levels - 1) ** -num_groups + 2e-7


def test_dropout_keeps_random_prefixes() -> None:
    torch.manual_seed(0)
    residual = ResidualFSQ(levels=[8, 5], num_groups=4, group_dropout=0.5).train()
    latents = torch.randn(500, 2, 3)
    result = residual(latents)
    kept = (result.codes != DROPPED)[:, :, 0]
    assert torch.equal(kept, torch.arange(4) < kept.sum(dim=1, keepdim=True))
    assert set(kept.sum(dim=1).tolist()) == {1, 2, 3, 4}
    assert torch.equal(residual.decode(result.codes), result.quantized)
    full = residual.eval()(latents).codes
    assert torch.equal(result.codes[kept], full[kept])


@pytest.mark.parametrize(
    ("levels", "num_groups", "fault"),
    [([2, 5], 2, ">= 3"), ([8, 5], 9, "finer than float32"), ([8, 5], 0, "num_groups")],
)
def test_stages_that_make_no_sense_are_refused(
    levels: list[int], num_groups: int, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        ResidualFSQ(levels=levels, num_groups=num_groups)
