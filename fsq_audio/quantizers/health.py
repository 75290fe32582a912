"""How well a codebook is used: exact counts over a whole set, and what they say.

Usage alone is the wrong boast: even codes drawn evenly reach only 1 - (1 - 1/K)^N of a book, and
a book can be used in full and still carry few bits. So every number comes with its N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import DROPPED, check_codes

MAX_PAIR_CELLS = 2**25
"""Most cells (8 bytes each: 256 MiB) that pair counts may take: 8 groups of 1000 codes fit."""


@dataclass(frozen=True)
class GroupHealth:
    """How the codes of one group are spread.

    Attributes:
        num_codes: N, how many codes were counted.
        codebook_size: K.
        used: how many different codes occurred.
        usage: used / K.
        ceiling: 1 - (1 - 1/K)^N, the usage expected of N even draws.
        usage_over_ceiling: usage / ceiling.
        perplexity: 2^H, the number of even codes that would carry as much.
        entropy_bits: H of the histogram, in bits per code (biased low when N is not >> K).
        normalized_entropy: H / log2 K.
        level_histograms: counts of each level of each dimension, or None without levels.
    """

    num_codes: int
    codebook_size: int
    used: int
    usage: float
    ceiling: float
    usage_over_ceiling: float
    perplexity: float
    entropy_bits: float
    normalized_entropy: float
    level_histograms: list[list[int]] | None


@dataclass(frozen=True)
class PairInformation:
    """What the codes of one group tell about those of another.

    Attributes:
        first: index of a group.
        second: index of a later group.
        num_frames: N, the frames in which both have a code.
        bits: mutual information of the histogram; biased high when N is not >> K^2.
        corrected_bits: the same with the Miller-Madow correction of each entropy, (cells used -
            1) / 2N nats; an estimate, which can fall below 0 and is poor when N < K^2.
    """

    first: int
    second: int
    num_frames: int
    bits: float
    corrected_bits: float


class CodebookCounts:
    """Histograms of codes, exact and additive over batches, shards and ranks.

    Attributes:
        counts: [G, K] int64 on the CPU.
        pair_counts: [G (G-1) / 2, K, K] int64 on the CPU, pairs in the order (0, 1), (0, 2), ..,
            (1, 2), ..; None unless asked for.
    """

    def __init__(
        self,
        num_groups: int,
        codebook_size: int,
        levels: Sequence[int] | None = None,
        *,
        count_pairs: bool = False,
    ) -> None:
        """Starts at zero.

        Args:
            num_groups: G.
            codebook_size: K.
            levels: effective levels of each dimension, for level histograms; their product is K.
            count_pairs: also count pairs of codes, for `mutual_information`; this takes 4 G (G-1)
                K^2 bytes and is refused above 256 MiB.

        Raises:
            ConfigError: sizes that do not fit each other, or pair counts that are too large.
        """
        if num_groups < 1 or codebook_size < 2:
            raise ConfigError(
                f"codebook counts need num_groups >= 1 and codebook_size >= 2, "
                f"got {num_groups} and {codebook_size}"
            )
        if levels is not None and math.prod(levels) != codebook_size:
            raise ConfigError(
                f"levels {list(levels)} make {math.prod(levels)} codes, not {codebook_size}: "
                f"give the effective levels"
            )
        self.num_groups = num_groups
        self.codebook_size = codebook_size
        self.levels = None if levels is None else tuple(levels)
        self.counts = torch.zeros(num_groups, codebook_size, dtype=torch.int64)
        self.pair_counts: Tensor | None = None
        if count_pairs:
            num_pairs = num_groups * (num_groups - 1) // 2
            cells = num_pairs * codebook_size**2
            if cells > MAX_PAIR_CELLS:
                raise ConfigError(
                    f"pair counts of {num_groups} groups of {codebook_size} codes take {cells} "
                    f"cells and at most {MAX_PAIR_CELLS} are allowed: use count_pairs=False"
                )
            shape = (num_pairs, codebook_size, codebook_size)
            self.pair_counts = torch.zeros(shape, dtype=torch.int64)

    def update(self, codes: Tensor, mask: Tensor | None = None) -> None:
        """Counts codes.

        Args:
            codes: [B, g, T] integers with g in 1..G; -1 (dropped) is not counted.
            mask: [B, T] bool, True where a frame is real; the others are not counted.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
            ConfigError: the mask does not fit the codes.
        """
        codes = check_codes(codes, num_groups=self.num_groups, codebook_size=self.codebook_size)
        rows = codes.transpose(0, 1).flatten(1).cpu()
        if mask is not None:
            expected = (codes.shape[0], codes.shape[2])
            if mask.shape != expected or mask.dtype != torch.bool:
                raise ConfigError(
                    f"mask must be bool {list(expected)} to fit the codes, "
                    f"got {mask.dtype} {list(mask.shape)}"
                )
            rows = rows[:, mask.flatten().cpu()]
        for group, row in enumerate(rows):
            kept = row[row != DROPPED]
            self.counts[group] += torch.bincount(kept, minlength=self.codebook_size)
        if self.pair_counts is not None:
            for index, (first, second) in enumerate(self._pairs()):
                if second < len(rows):
                    self._count_pair(self.pair_counts[index], rows[first], rows[second])

    def __add__(self, other: CodebookCounts) -> CodebookCounts:
        """Adds the counts of another shard or rank.

        Raises:
            ConfigError: the other counts another codebook, or pairs where this one does not.
        """
        if self._identity() != other._identity():
            raise ConfigError(
                f"counts of different codebooks cannot be added (groups, size, levels, pairs): "
                f"{self._identity()} and {other._identity()}"
            )
        total = CodebookCounts(self.num_groups, self.codebook_size, self.levels)
        total.counts = self.counts + other.counts
        if self.pair_counts is not None and other.pair_counts is not None:
            total.pair_counts = self.pair_counts + other.pair_counts
        return total

    def summary(self) -> list[GroupHealth]:
        """Computes the health of each group.

        Raises:
            ConfigError: nothing was counted in some group.
        """
        empty = (self.counts.sum(dim=1) == 0).nonzero().flatten().tolist()
        if empty:
            raise ConfigError(f"no codes were counted in groups {empty}: update the counts first")
        return [self._group_health(row) for row in self.counts]

    def mutual_information(self) -> list[PairInformation]:
        """Computes the mutual information of each pair of groups.

        Raises:
            ConfigError: pairs were not counted, or some pair has no frame.
        """
        if self.pair_counts is None:
            raise ConfigError("mutual information needs CodebookCounts(..., count_pairs=True)")
        pairs = zip(self._pairs(), self.pair_counts, strict=True)
        return [_information(first, second, table) for (first, second), table in pairs]

    def _group_health(self, row: Tensor) -> GroupHealth:
        num_codes, used = int(row.sum()), int((row > 0).sum())
        usage = used / self.codebook_size
        ceiling = -math.expm1(num_codes * math.log1p(-1 / self.codebook_size))
        bits = entropy_bits(row)
        return GroupHealth(
            num_codes=num_codes,
            codebook_size=self.codebook_size,
            used=used,
            usage=usage,
            ceiling=ceiling,
            usage_over_ceiling=usage / ceiling,
            perplexity=2**bits,
            entropy_bits=bits,
            normalized_entropy=bits / math.log2(self.codebook_size),
            level_histograms=None if self.levels is None else _level_histograms(row, self.levels),
        )

    def _pairs(self) -> list[tuple[int, int]]:
        groups = range(self.num_groups)
        return [(first, second) for first in groups for second in groups if first < second]

    def _count_pair(self, table: Tensor, first: Tensor, second: Tensor) -> None:
        both = (first != DROPPED) & (second != DROPPED)
        cells = first[both] * self.codebook_size + second[both]
        table.view(-1).index_add_(0, cells, torch.ones_like(cells))

    def _identity(self) -> tuple[int, int, tuple[int, ...] | None, bool]:
        return self.num_groups, self.codebook_size, self.levels, self.pair_counts is not None


def entropy_bits(counts: Tensor) -> float:
    """Entropy in bits of a histogram of any shape, without bias correction."""
    kept = counts[counts > 0].double()
    shares = kept / kept.sum()
    return max(0.0, -float((shares * shares.log2()).sum()))


def _information(first: int, second: int, table: Tensor) -> PairInformation:
    num_frames = int(table.sum())
    if num_frames == 0:
        raise ConfigError(f"no frame has codes in both groups {first} and {second}")
    rows, columns = table.sum(dim=1), table.sum(dim=0)
    bits = entropy_bits(rows) + entropy_bits(columns) - entropy_bits(table)
    used = [int((histogram > 0).sum()) for histogram in (rows, columns, table)]
    correction = (used[0] + used[1] - used[2] - 1) / (2 * num_frames * math.log(2))
    return PairInformation(
        first=first,
        second=second,
        num_frames=num_frames,
        bits=bits,
        corrected_bits=bits + correction,
    )


def _level_histograms(row: Tensor, levels: Sequence[int]) -> list[list[int]]:
    grid = row.reshape(tuple(reversed(levels)))  # dimension 0 is the least significant digit
    last = len(levels) - 1
    return [
        grid.movedim(last - dim, 0).reshape(size, -1).sum(dim=1).tolist()
        for dim, size in enumerate(levels)
    ]
