"""Fixed linear maps of spectra: mel bands, and lags that are evenly spaced to the ear.

They are computed on the CPU also where a model is built without memory (see `checkpoint`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fsq_audio.errors import ConfigError


def mel_filters(*, sample_rate: int, window_length: int, bands: int) -> Tensor:
    """Triangular filters on Slaney's mel scale, from 0 Hz to half the sample rate.

    The shapes of `librosa.filters.mel`, whose import alone would double the start-up time. Rows sum
    to one: a band's value is a mean power, whatever its width.

    Args:
        sample_rate: of the waveform, in Hz.
        window_length: of the spectra, in samples.
        bands: number of filters.

    Returns:
        `[bands, window_length // 2 + 1]` float32.

    Raises:
        ConfigError: so many bands that one of them holds no bin.
    """
    # Linear below 1000 Hz, where 15 mel are reached; 27 mel for each factor of 6.4 above.
    top = sample_rate / 2
    top_mel = 3 * top / 200 if top < 1000 else 15 + 27 * math.log(top / 1000) / math.log(6.4)
    mels = torch.linspace(0, top_mel, bands + 2, dtype=torch.float64, device="cpu")
    edges = torch.where(mels < 15, 200 / 3 * mels, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = torch.arange(window_length // 2 + 1, dtype=torch.float64, device="cpu")
    bins = bins * sample_rate / window_length
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    totals = filters.sum(1, keepdim=True)
    if not bool((totals > 0).all()):
        raise ConfigError(
            f"{bands} mel bands are too many for a window of {window_length} samples at "
            f"{sample_rate} Hz: some hold no bin; take fewer bands or a longer window"
        )
    return (filters / totals).float()


def band_shares(filters: Tensor) -> Tensor:
    """How each bin is shared among its bands: mel filters whose columns sum to one.

    Transposed, it interpolates: from values of the bands to values of the bins.

    Args:
        filters: `[bands, bins]`, of `mel_filters`.

    Returns:
        The same shape.
    """
    triangles = filters / filters.amax(1, keepdim=True)
    # Beyond the centres of the outermost bands, these hold alone.
    triangles[0, 0] = triangles[-1, -1] = 1.0
    return triangles / triangles.sum(0)


def lag_filters(*, lowest: float, highest: float, sample_rate: int, lags: int) -> Tensor:
    """Reads an autocorrelation at lags that are evenly spaced in octaves, between two samples each.

    Args:
        lowest: frequency of the longest lag, in Hz.
        highest: of the shortest.
        sample_rate: of the waveform, in Hz.
        lags: how many.

    Returns:
        `[lags, n]` float32, for the autocorrelation at lags of 0 to n - 1 samples.
    """
    shortest, longest = sample_rate / highest, sample_rate / lowest
    steps = torch.linspace(0, 1, lags, dtype=torch.float64, device="cpu")
    wanted = shortest * (longest / shortest) ** steps
    samples = torch.arange(round(longest) + 2, dtype=torch.float64, device="cpu")
    return (1 - (samples - wanted[:, None]).abs()).clamp(min=0).float()
