"""How much a tokenizer computes: multiply-adds of its matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from fsq_audio.tokenizer import AudioTokenizer


class Arithmetic(NamedTuple):
    """Billions of multiply-adds per second of audio.

    Fourier transforms and elementwise work are not counted; nor is what windows compute twice.
    """

    encoder: float
    decoder: float


def count_arithmetic(model: AudioTokenizer) -> Arithmetic:
    """What a tokenizer computes for each second of audio; measured on noise, on its device."""
    hop, context = model.hop_length, model.encoder.context
    device = next(model.parameters()).device
    frames = round(model.frame_rate)
    seconds = frames / model.frame_rate

    def encode(count: int) -> Callable[[], object]:
        noise = torch.randn(1, count * hop + sum(context), device=device)
        return lambda: model.encoder(noise)

    channels = model.config.encoder.trunk.channels

    def decode(count: int) -> Callable[[], object]:
        latents = torch.randn(1, channels, count, device=device)
        return lambda: model.decoder.resynthesize(latents)

    # Of two lengths the difference: what context costs is paid once, not per second.
    encoder = (count_macs(encode(2 * frames)) - count_macs(encode(frames))) / seconds
    decoder = (count_macs(decode(2 * frames)) - count_macs(decode(frames))) / seconds
    return Arithmetic(encoder / 1e9, decoder / 1e9)


def count_macs(call: Callable[[], object]) -> float:
    """Multiply-adds of the matrix products and convolutions in one call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 2
