"""What many tests share: real speech, and small random models of every kind."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import settings
from torch import Tensor

from fsq_audio.config import TokenizerConfig, from_mapping
from fsq_audio.source import TURN
from fsq_audio.tokenizer import AudioTokenizer

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "egs" / "samples").glob("*.flac"))

TRUNK = {"channels": 32, "num_blocks": 2, "expansion": 2, "kernel_size": 5}
GROUPS = {"name": "group_fsq", "levels": [8, 5, 5, 5], "num_groups": 2}
SPECTRAL = {"name": "spectral", "window_length": 512, "subframes": 2, "bands": 40}
CONV = {"name": "conv", "strides": [4, 5, 4, 4], "base_channels": 4}
ISTFT = {"name": "istft", "window_length": 640, "subframes": 2}
SOURCE = {"name": "harmonic_noise", "window_length": 320, "subframes": 4, "pitch_channels": 16}
PERIODS = {**SPECTRAL, "window_length": 1024, "lags": 24}
TRANSPOSED = {"name": "transposed", "strides": [4, 4, 5, 4], "base_channels": 4}

ARCHITECTURES = {
    f"{front_end['name']}-{head['name']}{'-causal' if causal else ''}": {
        "hop_length": 320,
        "causal": causal,
        "encoder": {"front_end": front_end, "trunk": TRUNK},
        "quantizer": GROUPS,
        "decoder": {"trunk": TRUNK, "head": head},
    }
    for front_end, head, causal in (
        *itertools.product((SPECTRAL, CONV), (ISTFT, TRANSPOSED), (False, True)),
        (PERIODS, SOURCE, False),
    )
}


def build_tiny(name: str = "spectral-istft", **changes: object) -> AudioTokenizer:
    """A small tokenizer with fixed random weights, in evaluation mode."""
    config = from_mapping(TokenizerConfig, {**ARCHITECTURES[name], **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AudioTokenizer.from_config(config)
        # As a training begins: scalars of unit spread, so that many codes occur.
        noise = torch.randn(4, 40 * model.hop_length + sum(model.encoder.context))
        swell = torch.sin(torch.linspace(0, 20, noise.shape[-1])).abs() * 0.3
        model.quantizer.initialize(model.encoder(noise * swell).detach())
    return model.eval()


def hum(model: AudioTokenizer, num_frames: int, *, hertz: float = 200.0) -> Tensor | None:
    """What the source of a decoder does if it hums one tone, context included."""
    if model.decoder.pitch is None:
        return None
    step = model.hop_length // model.decoder.pitch.subframes
    num_subframes = num_frames * model.hop_length // step
    advances = torch.full((1, num_subframes), round(hertz / model.sample_rate * TURN))
    return model.decoder.pitch.source(advances)


@pytest.fixture(params=sorted(ARCHITECTURES))
def any_tiny(request: pytest.FixtureRequest) -> AudioTokenizer:
    return build_tiny(request.param)


@pytest.fixture
def tiny() -> AudioTokenizer:
    return build_tiny()


@pytest.fixture(scope="session")
def speech() -> Tensor:
    """One real recording, `[S]` at 16 kHz."""
    samples, rate = soundfile.read(SAMPLES[0], dtype="float32")
    assert rate == 16000
    return torch.from_numpy(samples)
