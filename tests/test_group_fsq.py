from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.quantizers import DROPPED, FSQ, Bound, GroupFSQ

LEVELS = [8, 5, 5, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_groups_give_the_golden_codes(dtype: torch.dtype) -> None:
    latents = torch.tensor([0.5, -0.5, 1, -1, -0.3, 0.2, -0.9, 2], dtype=dtype)
    codes = GroupFSQ(levels=LEVELS, num_groups=2)(latents[None, :, None]).codes
    assert codes.tolist() == [[[173], [859]]]


@settings(max_examples=30)
@given(
    levels=st.lists(st.integers(3, 9), min_size=1, max_size=4),
    num_groups=st.integers(1, 5),
    bound=st.sampled_from(["paper", "note", "symmetric"]),
    seed=st.integers(0, 10**6),
)
def test_groups_are_independent_fsqs(
    levels: list[int], num_groups: int, bound: Bound, seed: int
) -> None:
    group = GroupFSQ(levels=levels, num_groups=num_groups, bound=bound)
    single = FSQ(levels=levels, bound=bound)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, group.channels, 11, generator=generator)
    result = group(latents)
    parts = [single(block) for block in latents.chunk(num_groups, dim=1)]
    assert torch.equal(result.codes, torch.cat([part.codes for part in parts], dim=1))
    assert torch.equal(result.quantized, torch.cat([part.quantized for part in parts], dim=1))
    assert group.bits_per_frame == pytest.approx(num_groups * single.bits_per_frame)


@settings(max_examples=20)
@given(order=st.permutations(range(5)))
def test_permuting_blocks_permutes_rows(order: list[int]) -> None:
    group = GroupFSQ(levels=LEVELS, num_groups=5)
    latents = torch.randn(2, 20, 9, generator=torch.Generator().manual_seed(1))
    permuted = latents.unflatten(1, (5, 4))[:, order].flatten(1, 2)
    assert torch.equal(group(permuted).codes, group(latents).codes[:, order])


def test_no_gradient_crosses_groups() -> None:
    group = GroupFSQ(levels=LEVELS, num_groups=3)
    latents = torch.randn(2, 12, 9, requires_grad=True)
    group(latents).quantized[:, 4:8].sum().backward()
    assert latents.grad is not None
    assert bool((latents.grad[:, 4:8] != 0).all())
    assert latents.grad[:, :4].count_nonzero() == latents.grad[:, 8:].count_nonzero() == 0


def test_a_channels_last_view_is_quantized_without_a_copy() -> None:
    group = GroupFSQ(levels=LEVELS, num_groups=3)
    latents = torch.randn(2, 50, 12).transpose(1, 2)
    result = group(latents)
    assert result.quantized.stride() == latents.stride()
    assert torch.equal(result.quantized, group(latents.contiguous()).quantized)


# Group dropout


def test_dropout_keeps_random_prefixes() -> None:
    torch.manual_seed(0)
    group = GroupFSQ(levels=LEVELS, num_groups=4, group_dropout=0.6).train()
    latents = torch.randn(4000, 16, 3)
    result = group(latents)
    kept = result.codes != DROPPED
    num_kept = kept[:, :, 0].sum(dim=1)
    assert torch.equal(kept, (torch.arange(4) < num_kept[:, None])[:, :, None].expand(-1, -1, 3))
    shares = (num_kept.bincount(minlength=5) / 4000).tolist()
    assert shares == pytest.approx([0, 0.15, 0.15, 0.15, 0.55], abs=0.03)
    full = group.eval()(latents)
    assert bool((full.codes != DROPPED).all())
    assert torch.equal(result.codes[kept], full.codes[kept])
    wide = kept.repeat_interleave(4, dim=1)
    assert torch.equal(result.quantized, full.quantized * wide)
    assert torch.equal(group.decode(result.codes), result.quantized)


def test_a_dropped_group_gets_no_gradient() -> None:
    torch.manual_seed(0)
    group = GroupFSQ(levels=LEVELS, num_groups=4, group_dropout=1.0).train()
    latents = torch.randn(50, 16, 3, requires_grad=True)
    result = group(latents)
    result.quantized.sum().backward()
    assert latents.grad is not None
    wide = (result.codes != DROPPED).repeat_interleave(4, dim=1)
    assert torch.equal(latents.grad != 0, wide)
    assert not bool(wide.all())


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_any_prefix_decodes_like_the_dropped_rest(kept: int) -> None:
    group = GroupFSQ(levels=LEVELS, num_groups=3)
    codes = group(torch.randn(2, 12, 7)).codes
    marked = codes.clone()
    marked[:, kept:] = DROPPED
    decoded = group.decode(codes[:, :kept])
    assert decoded.shape == (2, 12, 7)
    assert torch.equal(decoded, group.decode(marked))
    assert torch.equal(decoded[:, : 4 * kept], group.decode(codes)[:, : 4 * kept])
    assert decoded[:, 4 * kept :].count_nonzero() == 0


@pytest.mark.parametrize("shape", [(1, 0, 3), (1, 4, 3), (3, 3)])
def test_codes_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TokenError, match=r"1\.\.3"):
        GroupFSQ(levels=LEVELS, num_groups=3).decode(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"num_groups": 0}, "num_groups"),
        ({"num_groups": 1.0}, "num_groups"),
        ({"num_groups": 2, "group_dropout": 1.5}, "group_dropout"),
        ({"num_groups": 2, "noise": 0.9}, "noise"),
        ({"num_groups": 2, "bound": "ifsq"}, "odd"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        GroupFSQ(levels=LEVELS, **options)  # type: ignore[arg-type]
