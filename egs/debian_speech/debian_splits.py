"""Which split an utterance belongs to, so that no recording is in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# Openings are compared at 2 kHz: voices have most of their energy below 1 kHz.
DECIMATION = 8
OPENING_SAMPLES = 900  # 0.45 s at 2 kHz
TRANSFORM = 2048  # at least twice the opening: the correlation does not wrap around
SAME_RECORDING = 0.85


def hash_split(name: str) -> str:
    """Choose the split of a name: train 95 %, valid 2.5 %, test 2.5 %.

    Args:
        name: Any name; the same name always has the same split.

    Returns:
        `train`, `valid` or `test`.
    """
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if share < 0.95:
        return "train"
    return "valid" if share < 0.975 else "test"


def hash_samples(samples: NDArray[np.int16]) -> str:
    """Hash the content of a recording.

    Args:
        samples: 16-bit samples, shape [S].

    Returns:
        SHA-256, as hexadecimal digits.
    """
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def take_opening(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Take the first half second of speech, in the form that `find_shared_openings` compares.

    Args:
        samples: 16-bit samples at 16 kHz, shape [S], not all of them equal.

    Returns:
        Unit-norm samples at 2 kHz, shape [TRANSFORM], zero after `OPENING_SAMPLES`.
    """
    whole = samples[: len(samples) // DECIMATION * DECIMATION].astype(np.float32)
    slow = whole.reshape(-1, DECIMATION).mean(axis=1)
    slow -= slow.mean()
    onset = int(np.argmax(np.abs(slow) > 0.1 * np.abs(slow).max()))
    start = max(0, onset - 50)
    opening = np.zeros(TRANSFORM, dtype=np.float32)
    taken = slow[start : start + OPENING_SAMPLES]
    opening[: len(taken)] = taken / (np.linalg.norm(taken) + 1e-9)
    return opening


def find_shared_openings(openings: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Find pairs of recordings that begin with the same half second.

    A prompt is often stored twice under two names, cut or encoded a little differently, or is
    the beginning of a longer prompt. Their hashes differ, their waveforms correlate.

    Args:
        openings: From `take_opening`, shape [N, TRANSFORM].

    Returns:
        Pairs of indices whose normalized cross-correlation reaches `SAME_RECORDING`.
    """
    spectra = np.fft.rfft(openings, axis=1).astype(np.complex64)
    pairs = []
    for first in range(len(openings) - 1):
        products = spectra[first + 1 :] * spectra[first].conj()
        peaks = np.abs(np.fft.irfft(products, n=TRANSFORM, axis=1)).max(axis=1)
        pairs += [(first, first + 1 + int(k)) for k in np.flatnonzero(peaks >= SAME_RECORDING)]
    return pairs


def group_names(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Join names that are connected by pairs, directly or through others.

    Args:
        names: All names.
        pairs: Names that belong together.

    Returns:
        For every name the smallest name of its group.
    """
    parent = {name: name for name in names}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for first, second in pairs:
        low, high = sorted((find(first), find(second)))
        parent[high] = low
    return {name: find(name) for name in names}


def assign_splits(group_of: Mapping[str, str]) -> dict[str, str]:
    """Choose the split of every utterance: that of its group.

    Args:
        group_of: From `group_names`.

    Returns:
        Name to `train`, `valid` or `test`.
    """
    return {name: hash_split(group) for name, group in group_of.items()}
