from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.quantizers import CodebookCounts, GroupFSQ, health


def codes_of(*groups: list[int]) -> Tensor:
    """[1, G, T] from one list per group."""
    return torch.tensor(groups)[None]


def test_golden_counts() -> None:
    counts = CodebookCounts(1, 4)
    counts.update(codes_of([0, 0, 2, 3, 0, 3, 2, 0]))
    assert counts.counts.tolist() == [[4, 0, 2, 2]]
    (group,) = counts.summary()
    assert (group.num_codes, group.codebook_size, group.used) == (8, 4, 3)
    assert group.usage == 0.75
    assert group.entropy_bits == 1.5
    assert group.perplexity == pytest.approx(2.828427, abs=1e-6)
    assert group.normalized_entropy == 0.75
    assert group.ceiling == pytest.approx(1 - 0.75**8)
    assert group.usage_over_ceiling == pytest.approx(0.75 / (1 - 0.75**8))
    assert group.level_histograms is None


def test_one_code_only_has_no_entropy() -> None:
    counts = CodebookCounts(1, 1000)
    counts.update(codes_of([7, 7, 7]))
    (group,) = counts.summary()
    assert (group.used, group.entropy_bits, group.perplexity) == (1, 0.0, 1.0)


def test_even_draws_reach_the_ceiling_and_not_the_whole_book() -> None:
    counts = CodebookCounts(1, 16384)
    counts.update(torch.randint(16384, (1, 1, 16384), generator=torch.Generator().manual_seed(0)))
    (group,) = counts.summary()
    assert group.usage == pytest.approx(1 - 1 / math.e, abs=0.02)
    assert group.usage_over_ceiling == pytest.approx(1, abs=0.02)


def test_dropped_codes_and_padding_are_not_counted() -> None:
    counts = CodebookCounts(2, 4, count_pairs=True)
    codes = torch.tensor([[[0, 1, 2, 3], [3, -1, -1, 3]], [[1, 1, 1, 1], [0, 0, 0, 0]]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    counts.update(codes, mask)
    assert counts.counts.tolist() == [[1, 2, 1, 0], [1, 0, 0, 1]]
    assert counts.pair_counts is not None
    assert counts.pair_counts.nonzero().tolist() == [[0, 0, 3], [0, 1, 0]]


def test_missing_groups_are_not_counted() -> None:
    counts = CodebookCounts(3, 4, count_pairs=True)
    counts.update(codes_of([0, 1], [2, 3]))
    assert counts.counts.sum(dim=1).tolist() == [2, 2, 0]
    with pytest.raises(ConfigError, match=r"groups \[2\]"):
        counts.summary()
    with pytest.raises(ConfigError, match="groups 0 and 2"):
        counts.mutual_information()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), num_shards=st.integers(1, 5))
def test_shards_add_up_to_the_whole(seed: int, num_shards: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-1, 6, (7, 3, 11), generator=generator)
    mask = torch.rand(7, 11, generator=generator) < 0.8
    whole = CodebookCounts(3, 6, [3, 2], count_pairs=True)
    whole.update(codes, mask)
    total = CodebookCounts(3, 6, [3, 2], count_pairs=True)
    for shard, real in zip(
        codes.tensor_split(num_shards), mask.tensor_split(num_shards), strict=True
    ):
        part = CodebookCounts(3, 6, [3, 2], count_pairs=True)
        part.update(shard, real)
        total = total + part
    assert torch.equal(total.counts, whole.counts)
    assert total.pair_counts is not None
    assert whole.pair_counts is not None
    assert torch.equal(total.pair_counts, whole.pair_counts)
    assert total.summary() == whole.summary()


@pytest.mark.parametrize(
    "other",
    [
        CodebookCounts(1, 6, [3, 2]),
        CodebookCounts(2, 6, [2, 3]),
        CodebookCounts(2, 6),
        CodebookCounts(2, 6, [3, 2], count_pairs=True),
    ],
)
def test_counts_of_another_codebook_cannot_be_added(other: CodebookCounts) -> None:
    with pytest.raises(ConfigError, match="cannot be added"):
        CodebookCounts(2, 6, [3, 2]) + other


@pytest.mark.parametrize("bound", ["paper", "note"])
def test_level_histograms_are_those_of_the_digits(bound: str) -> None:
    quantizer = GroupFSQ(levels=[8, 5, 4], num_groups=2, bound=bound)
    generator = torch.Generator().manual_seed(0)
    codes = quantizer(torch.randn(3, 6, 100, generator=generator)).codes
    counts = CodebookCounts(2, quantizer.codebook_size, quantizer.effective_levels)
    counts.update(codes)
    digits = quantizer.fsq.codes_to_digits(codes)
    for group, facts in enumerate(counts.summary()):
        expected = [
            digits[:, group, dim].flatten().bincount(minlength=size).tolist()
            for dim, size in enumerate(quantizer.effective_levels)
        ]
        assert facts.level_histograms == expected


# Mutual information


def test_information_of_equal_and_of_independent_groups() -> None:
    grid = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T.repeat(1, 50)
    codes = torch.stack([grid[0], grid[0], grid[1]])[None]
    counts = CodebookCounts(3, 4, count_pairs=True)
    counts.update(codes)
    same, apart, also_apart = counts.mutual_information()
    assert [(pair.first, pair.second) for pair in (same, apart, also_apart)] == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    assert same.num_frames == 800
    assert same.bits == pytest.approx(2)
    assert apart.bits == pytest.approx(0, abs=1e-12)
    # cells used: 4 + 4 - 4 - 1 = 3 for the equal pair, 4 + 4 - 16 - 1 = -9 for the others
    assert same.corrected_bits == pytest.approx(2 + 3 / (1600 * math.log(2)))
    assert apart.corrected_bits == pytest.approx(-9 / (1600 * math.log(2)))


def test_the_correction_removes_most_of_the_small_sample_bias() -> None:
    codes = torch.randint(16, (1, 2, 2000), generator=torch.Generator().manual_seed(0))
    counts = CodebookCounts(2, 16, count_pairs=True)
    counts.update(codes)
    (pair,) = counts.mutual_information()
    assert pair.bits > 0.05
    assert abs(pair.corrected_bits) < 0.02


def test_pair_counts_are_asked_for_and_bounded() -> None:
    with pytest.raises(ConfigError, match="count_pairs=True"):
        CodebookCounts(2, 4).mutual_information()
    assert CodebookCounts(8, 16384).pair_counts is None
    with pytest.raises(ConfigError, match="count_pairs=False"):
        CodebookCounts(2, 16384, count_pairs=True)
    assert health.MAX_PAIR_CELLS >= 28 * 1000**2


# Refusals


def test_codes_and_masks_that_do_not_fit_are_refused() -> None:
    counts = CodebookCounts(2, 4)
    with pytest.raises(TokenError, match="from 0 to 4"):
        counts.update(codes_of([0, 4]))
    with pytest.raises(ConfigError, match="mask"):
        counts.update(codes_of([0, 1]), torch.ones(1, 3, dtype=torch.bool))
    assert counts.counts.sum() == 0


@pytest.mark.parametrize(
    ("num_groups", "codebook_size", "levels"), [(0, 4, None), (1, 1, None), (1, 1000, [8, 5, 5])]
)
def test_sizes_that_do_not_fit_are_refused(
    num_groups: int, codebook_size: int, levels: list[int] | None
) -> None:
    with pytest.raises(ConfigError, match=str(codebook_size)):
        CodebookCounts(num_groups, codebook_size, levels)
