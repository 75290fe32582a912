"""Small images: spectrograms, and codes as colours."""

from __future__ import annotations

import functools
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsq_audio.report.clips import Codes, Sound

WIDTH, HEIGHT = 400, 128
"""Pixels of a spectrogram."""
RANGE_DB = 80.0
"""Between the darkest colour and the loudest point of the original."""
QUIET_DB = -40.0
WINDOW_SECONDS = 0.025

Bytes = NDArray[np.uint8]


def loudest(sound: Sound) -> float:
    """The largest level of a spectrogram in dB, to which others are compared."""
    # Beside silence, nothing should look as loud as can be.
    return max(float(_levels(sound).max()), QUIET_DB)


def draw_spectrogram(sound: Sound, *, seconds: float, highest: float, top_db: float) -> bytes:
    """A spectrogram as WebP, frequencies from 0 (below) to `highest`.

    Args:
        sound: any rate; above its own half the picture is dark.
        seconds: that the width stands for.
        highest: in Hz.
        top_db: level of the brightest colour.
    """
    from PIL import Image

    levels = _levels(sound)
    shade = np.clip((levels - top_db) / RANGE_DB + 1, 0, 1)
    # [bins, frames], padded to what the picture stands for, the highest bin on top.
    num_bins = max(1, round(len(levels) * highest * 2 / sound.sample_rate))
    num_frames = max(1, round(levels.shape[1] * seconds / max(sound.seconds, 1e-9)))
    canvas = np.zeros((num_bins, num_frames))
    part = shade[:num_bins, :num_frames]
    canvas[: part.shape[0], : part.shape[1]] = part
    grey = Image.fromarray((canvas[::-1] * 255).astype(np.uint8))
    pixels = np.asarray(grey.resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    return _save(Image.fromarray(_colours("magma")[pixels]), "WEBP", quality=45, method=6)


def draw_codes(codes: Codes) -> bytes:
    """Codes as PNG, a pixel for each: groups from above, colours from code 0 to K - 1."""
    from PIL import Image

    shade = np.floor(np.maximum(codes.codes, 0) * 256 / codes.codebook_size).astype(np.uint8)
    image = Image.new("P", (shade.shape[1], shade.shape[0]))
    image.putdata(shade.flatten().tolist())
    image.putpalette(_colours("viridis").flatten().tolist())
    return _save(image, "PNG", optimize=True)


def draw_scale() -> bytes:
    """The colours of codes, as PNG, from left to right."""
    from PIL import Image

    return _save(Image.fromarray(_colours("viridis")[None]), "PNG", optimize=True)


def _levels(sound: Sound) -> NDArray[np.float64]:
    """Power in dB, `[bins, frames]`."""
    length = 2 * math.ceil(WINDOW_SECONDS * sound.sample_rate / 2)
    hop = max(1, min(length // 2, math.ceil(len(sound.samples) / WIDTH)))
    padded = np.pad(sound.samples, (length // 2, length))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    frames = frames[: max(1, math.ceil(len(sound.samples) / hop))]
    window = np.hanning(length)
    power = np.abs(np.fft.rfft(frames * (window * 2 / window.sum()), axis=1)) ** 2
    levels: NDArray[np.float64] = 10 * np.log10(power.T + 1e-12)
    return levels


@functools.cache
def _colours(name: str) -> Bytes:
    """A map of colours, `[256, 3]`."""
    import matplotlib

    colours = matplotlib.colormaps[name](np.arange(256))[:, :3]
    return np.asarray(np.round(colours * 255), np.uint8)


def _save(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
