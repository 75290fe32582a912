"""Quantizers: latents [B, C, T] to codes [B, G, T] and back."""

from __future__ import annotations

from fsq_audio.quantizers.base import (
    DROPPED,
    LatentsError,
    Quantized,
    Quantizer,
    build_quantizer,
    quantizer_names,
    register_quantizer,
)
from fsq_audio.quantizers.bounds import Bound
from fsq_audio.quantizers.fsq import FSQ
from fsq_audio.quantizers.group import GroupFSQ
from fsq_audio.quantizers.health import CodebookCounts, GroupHealth, PairInformation
from fsq_audio.quantizers.projected import Projected
from fsq_audio.quantizers.residual import ResidualFSQ

__all__ = [
    "DROPPED",
    "FSQ",
    "Bound",
    "CodebookCounts",
    "GroupFSQ",
    "GroupHealth",
    "LatentsError",
    "PairInformation",
    "Projected",
    "Quantized",
    "Quantizer",
    "ResidualFSQ",
    "build_quantizer",
    "quantizer_names",
    "register_quantizer",
]
