"""Bits of a system: written, promised and needed; and how its codebooks are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.system import CodeTable
from fsq_audio.quantizers.health import CodebookCounts


@dataclass(frozen=True)
class Rate:
    """Bits per second; None where it is not known.

    Attributes:
        written: in the files, headers included.
        nominal: that the system promises.
        entropy: of the codes' histograms, as if codes were independent.
    """

    written: float | None
    nominal: float | None
    entropy: float | None


@dataclass(frozen=True)
class Usage:
    """How codebooks are used.

    Attributes:
        groups: one JSON object for each.
        pairs: mutual information of each pair of groups; empty if it would take too much memory.
        entropy: bits per second of the histograms.
    """

    groups: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    entropy: float


def count_usage(codes: Sequence[Tensor], table: CodeTable) -> Usage:
    """Counts codes of a whole set.

    Args:
        codes: `[1, G, T]` of each recording, with one G.
        table: what they are of.

    Raises:
        ConfigError: there are none, or the levels do not fit.
    """
    if not codes:
        raise ConfigError("there are no codes to count")
    num_groups = codes[0].shape[1]
    try:
        counts = CodebookCounts(
            num_groups, table.codebook_size, table.levels, count_pairs=num_groups > 1
        )
    except ConfigError:  # pairs of large books do not fit into memory
        counts = CodebookCounts(num_groups, table.codebook_size, table.levels)
    for item in codes:
        counts.update(item)
    groups = counts.summary()
    pairs = [] if counts.pair_counts is None else counts.mutual_information()
    return Usage(
        groups=[asdict(group) for group in groups],
        pairs=[asdict(pair) for pair in pairs],
        entropy=sum(group.entropy_bits for group in groups) * table.frame_rate,
    )
