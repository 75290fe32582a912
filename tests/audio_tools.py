"""Signals, files and kinds of files for the tests of audio."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from hypothesis import strategies as st

# (extension, format, subtype); the decoded audio of the first ones is known exactly.
LOSSLESS = [
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "PCM_32"),
    ("wav", "WAV", "PCM_U8"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "DOUBLE"),
    ("flac", "FLAC", "PCM_16"),
    ("flac", "FLAC", "PCM_24"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("caf", "CAF", "PCM_16"),
    ("w64", "W64", "PCM_16"),
    ("rf64", "RF64", "PCM_16"),
]
LOSSY = [
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("wav", "WAV", "ULAW"),
]
RATES = [8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000, 96000]
_RATES_OF = {
    "OPUS": [8000, 12000, 16000, 24000, 48000],
    "MPEG_LAYER_III": [8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000],
}


def make_signal(num_samples: int, num_channels: int = 1, sample_rate: int = 16000) -> np.ndarray:
    """[S, C] float64: a tone per channel with noise, in multiples of 1/128, so that all PCM
    encodings hold it exactly."""
    generator = np.random.default_rng(num_samples)
    time = np.arange(num_samples)[:, None] / sample_rate
    tones = 0.4 * np.sin(2 * np.pi * (220 + 110 * np.arange(num_channels)) * time + 0.3)
    noise = 0.05 * generator.standard_normal((num_samples, num_channels))
    return np.rint(128 * (tones + noise)) / 128


def write_with_soundfile(
    path: Path, signal: np.ndarray, sample_rate: int, format_: str, subtype: str
) -> Path:
    with soundfile.SoundFile(
        path, "w", sample_rate, signal.shape[1], subtype=subtype, format=format_
    ) as file:
        for start in range(0, len(signal), 4096):
            file.write(signal[start : start + 4096])
    return path


def wav_bytes(signal: np.ndarray, sample_rate: int = 16000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, signal, sample_rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@st.composite
def recordings(draw: st.DrawFn, kinds: list[tuple[str, str, str]]) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(kinds))
    sample_rate = draw(st.sampled_from(_RATES_OF.get(kind[2], RATES)))
    num_channels = draw(st.integers(1, 2 if kind[0] == "mp3" else 3))
    num_samples = draw(st.sampled_from([1, 2, 3]) | st.integers(1, 30000))
    return (*kind, sample_rate, num_channels, num_samples)
