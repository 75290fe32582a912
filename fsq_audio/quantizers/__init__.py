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
from fsq_audio.quantizers.cosine import CosineVectorQuantizer
from fsq_audio.quantizers.ema import EMAVectorQuantizer
from fsq_audio.quantizers.entropy import EntropyVectorQuantizer
from fsq_audio.quantizers.fsq import FSQ
from fsq_audio.quantizers.group import GroupFSQ
from fsq_audio.quantizers.gumbel import GumbelVectorQuantizer
from fsq_audio.quantizers.health import CodebookCounts, GroupHealth, PairInformation
from fsq_audio.quantizers.kmeans import KMeansVectorQuantizer
from fsq_audio.quantizers.projected import Projected
from fsq_audio.quantizers.residual import ResidualFSQ
from fsq_audio.quantizers.residual_vq import ResidualVQ
from fsq_audio.quantizers.restart import RestartVectorQuantizer
from fsq_audio.quantizers.sqvae import SQVAE
from fsq_audio.quantizers.vq import VectorQuantizer

__all__ = [
    "DROPPED",
    "FSQ",
    "SQVAE",
    "Bound",
    "CodebookCounts",
    "CosineVectorQuantizer",
    "EMAVectorQuantizer",
    "EntropyVectorQuantizer",
    "GroupFSQ",
    "GroupHealth",
    "GumbelVectorQuantizer",
    "KMeansVectorQuantizer",
    "LatentsError",
    "PairInformation",
    "Projected",
    "Quantized",
    "Quantizer",
    "ResidualFSQ",
    "ResidualVQ",
    "RestartVectorQuantizer",
    "VectorQuantizer",
    "build_quantizer",
    "quantizer_names",
    "register_quantizer",
]
