"""How large units will be, before there are any."""

from __future__ import annotations

import math

from fsq_audio.extraction.plan import Plan
from fsq_audio.units.item import StoreInfo

# Of `docs/scale.md`: dictionary pages hold whole bits, and a little is lost to levels and headers.
_OVERHEAD = 1.02
_BYTES_PER_SHARD = 4000  # footer and dictionaries
_TEXT_COMPRESSION = 0.35  # ids, paths and transcripts under zstd


def expected_bytes(plan: Plan, info: StoreInfo) -> int:
    """Bytes of all shards, to some percent.

    Args:
        plan: of the run.
        info: of the model.
    """
    frames = sum(plan.seconds) * info.frame_rate + sum(plan.sizes) / 2
    bits = frames * info.num_groups * math.ceil(math.log2(info.codebook_size)) * _OVERHEAD
    return round(bits / 8 + plan.num_tasks * _BYTES_PER_SHARD + plan.text_bytes * _TEXT_COMPRESSION)
