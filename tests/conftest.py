"""What many tests share: real speech, and small random models of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from fsq_audio.config import TokenizerConfig, from_mapping
from fsq_audio.tokenizer import AudioTokenizer

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "egs" / "samples").glob("*.flac"))

TRUNK = {"channels": 32, "num_blocks": 2, "expansion": 2, "kernel_size": 5}
GROUPS = {"name": "group_fsq", "levels": [8, 5, 5, 5], "num_groups": 2}
SPECTRAL = {"name": "spectral", "window_length": 512, "subframes": 2, "bands": 40}
CONV = {"name": "conv", "strides": [4, 5, 4, 4], "base_channels": 4}
ISTFT = {"name": "istft", "window_length": 640, "subframes": 2}
TRANSPOSED = {"name": "transposed", "strides": [4, 4, 5, 4], "base_channels": 4}

ARCHITECTURES = {
    f"{front_end['name']}-{head['name']}{'-causal' if causal else ''}": {
        "hop_length": 320,
        "causal": causal,
        "encoder": {"front_end": front_end, "trunk": TRUNK},
        "quantizer": GROUPS,
        "decoder": {"trunk": TRUNK, "head": head},
    }
    for front_end in (SPECTRAL, CONV)
    for head in (ISTFT, TRANSPOSED)
    for causal in (False, True)
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
