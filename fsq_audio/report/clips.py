"""Which recordings are heard, and what there is of each: sounds and codes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from fsq_audio import audio
from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.evaluation.neural import read_codes
from fsq_audio.report.results import AGAIN, Results
from fsq_audio.tokens import AudioTokens

HIGHEST_RATE = 48000
"""In Hz: nobody hears what is above, and it would cost room."""


@dataclass(frozen=True)
class Sound:
    """A recording, channels mixed.

    Attributes:
        samples: `[S]` float32 in [-1, 1].
        sample_rate: in Hz.
    """

    samples: NDArray[np.float32]
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Its duration."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Codes:
    """The token stream of a system.

    Attributes:
        codes: `[G, T]`.
        codebook_size: K.
        num_frames: T of the whole recording, of which `codes` may be the beginning.
    """

    codes: NDArray[np.int64]
    codebook_size: int
    num_frames: int


def choose_clips(
    evaluations: Sequence[Results], systems: Sequence[str], *, number: int, names: Sequence[str]
) -> list[list[str]]:
    """Ids of recordings of each evaluation: those that are named, or some spread over all.

    Args:
        evaluations: to choose from.
        systems: that are shown; none for all.
        number: of clips of each evaluation, where none is named.
        names: ids, or their last parts.

    Raises:
        ConfigError: a name fits no recording or several, or there is no such system.
    """
    if not names:
        return [_spread(each, each.choose(systems), number) for each in evaluations]
    chosen: list[list[str]] = [[] for _ in evaluations]
    for name in names:
        fits = [
            (ids, id)
            for results, ids in zip(evaluations, chosen, strict=True)
            for id in results.ids
            if name in (id, Path(id).name)
        ]
        exact = [(ids, id) for ids, id in fits if id == name] or fits
        if len(exact) != 1:
            raise ConfigError(
                f"--clip {name}: {len(exact)} recordings are called that: give an id as in "
                f"rows.csv, such as {evaluations[0].ids[0]}"
            )
        ids, id = exact[0]
        if id not in ids:
            ids.append(id)
    return chosen


def load_sound(path: Path, *, seconds: float = math.inf, sample_rate: int | None = None) -> Sound:
    """The beginning of an audio file.

    Args:
        path: of the file.
        seconds: that are read at most.
        sample_rate: to resample to; None for the file's own, up to `HIGHEST_RATE`.

    Raises:
        AudioError: it cannot be read.
    """
    rate = sample_rate or min(audio.read_info(path).sample_rate, HIGHEST_RATE)
    wanted = seconds * rate
    blocks: list[NDArray[np.float32]] = []
    for block in audio.stream(path, sample_rate=rate):
        blocks.append(block[0].numpy())
        if sum(map(len, blocks)) >= wanted:
            break
    samples = np.concatenate(blocks)
    return Sound(samples if math.isinf(wanted) else samples[: round(wanted)], rate)


def to_integers(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples of 16 bits, clipped."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def to_flac(sound: Sound) -> bytes:
    """A FLAC file of 16 bits, which all current browsers play and nothing is lost in."""
    file = io.BytesIO()
    samples = to_integers(sound.samples)
    soundfile.write(
        file, samples, sound.sample_rate, format="FLAC", subtype="PCM_16", compression_level=1.0
    )
    return file.getvalue()


def load_codes(results: Results, system: str, id: str, *, seconds: float) -> Codes | None:
    """The codes of a system that has any.

    Args:
        results: of the evaluation.
        system: its name.
        id: of the recording.
        seconds: from the beginning.

    Raises:
        TokenError: the file is missing or damaged.
    """
    health = results.summary["systems"][system]["health"]
    if not health or results.rows[system, id].degraded is None:
        return None
    size = int(health[0]["codebook_size"])
    place = results.folder / "tokens" / system
    path = place / f"{id}.fsq"
    if path.is_file():
        codes = AudioTokens.load(path).codes[0].numpy()
    elif (place / f"{id}.bin").is_file():
        codes = read_codes(place / f"{id}.bin", codebook_size=size)[0].numpy()
    else:
        raise TokenError(f"{path} is not there: {AGAIN}")
    num_frames = codes.shape[1]
    duration = results.rows[system, id].duration
    kept = num_frames if not duration else math.ceil(num_frames * min(1, seconds / duration))
    return Codes(codes[:, :kept], size, num_frames)


def begins_with(longer: Codes, shorter: Codes) -> bool:
    """Whether a stream is the first groups, and not all, of another."""
    groups = len(shorter.codes)
    return len(longer.codes) > groups and np.array_equal(longer.codes[:groups], shorter.codes)


def _spread(results: Results, systems: Sequence[str], number: int) -> list[str]:
    """Some recordings from all over the list, of which every system has made something."""
    whole = [
        id
        for id in results.ids
        if all(results.rows[system, id].degraded is not None for system in systems)
    ]
    candidates = whole or list(results.ids)
    count = min(number, len(candidates))
    # The middles of `count` equal parts.
    return [candidates[(2 * part + 1) * len(candidates) // (2 * count)] for part in range(count)]
