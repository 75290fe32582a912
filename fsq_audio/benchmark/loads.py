"""What is timed: recordings long and short, in memory and as files."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fsq_audio import audio
from fsq_audio.benchmark.stopwatch import Job
from fsq_audio.tokenizer import AudioTokenizer


@dataclass(frozen=True)
class Sizes:
    """How much is timed.

    Attributes:
        short_seconds: of a recording that is loaded alone.
        long_seconds: of another.
        num_many: recordings of 1 to 4 s.
    """

    short_seconds: int = 5
    long_seconds: int = 60
    num_many: int = 64

    @property
    def many(self) -> str:
        """The load in words."""
        return f"{self.num_many} recordings of 1 to 4 s"


SIZES = Sizes()

Verb = Callable[[Path, Path], None]


@dataclass(frozen=True)
class FileVerbs:
    """How files are worked through: each from a folder into another, over what is there.

    Attributes:
        encode: audio files to token files.
        decode: token files to audio files.
    """

    encode: Verb
    decode: Verb


def noise(seconds: float, *, sample_rate: int) -> Tensor:
    """`[S]`, for want of speech: what is heard does not change what it costs."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(round(seconds * sample_rate), generator=generator)


def speech(paths: Sequence[str], *, sample_rate: int) -> Tensor:
    """`[S]`, the recordings in a row, up to the longest load.

    Raises:
        AudioError: one cannot be read.
    """
    pieces: list[Tensor] = []
    while paths and sum(map(len, pieces)) < SIZES.long_seconds * sample_rate:
        pieces.append(audio.load(paths[0], sample_rate=sample_rate)[0])
        paths = paths[1:]
    return torch.cat(pieces)


def short_recordings(signal: Tensor, *, sample_rate: int, count: int) -> list[Tensor]:
    """Pieces of 1 to 4 s of a signal that goes round and round, the shortest first.

    Args:
        signal: `[S]`.
        sample_rate: its rate, in Hz.
        count: how many.
    """
    draw = random.Random(0)
    sizes = sorted(int(draw.uniform(1, 4) * sample_rate) for _ in range(count))
    return [cut(signal, size, start=draw.randrange(10 * sample_rate)) for size in sizes]


def cut(signal: Tensor, num_samples: int, *, start: int = 0) -> Tensor:
    """`[num_samples]` of a signal `[S]` that goes round and round."""
    return signal[(torch.arange(num_samples) + start) % len(signal)]


def make_jobs(
    model: AudioTokenizer,
    signal: Tensor,
    *,
    name: str,
    threads: Sequence[int],
    folder: Path,
    verbs: FileVerbs,
) -> list[Job]:
    """Everything that is timed, encoding and decoding in turns.

    Args:
        model: the tokenizer.
        signal: `[S]` at its rate, what the recordings are cut from.
        name: of the contender.
        threads: numbers of threads.
        folder: empty; files are written into it.
        verbs: how files are worked through.
    """
    rate = model.sample_rate
    ones = {
        f"one recording of {seconds} s": [cut(signal, seconds * rate)]
        for seconds in (SIZES.short_seconds, SIZES.long_seconds)
    }
    many = short_recordings(signal, sample_rate=rate, count=SIZES.num_many)
    jobs: list[Job] = []
    for load, items in [*ones.items(), (SIZES.many, many)]:
        batch = pad_sequence(items, batch_first=True)
        lengths = [len(item) for item in items]
        runs: dict[str, Callable[[], object]] = {
            "encode": partial(model.encode, batch, lengths),
            "decode": partial(model.decode, model.encode(batch, lengths)),
        }
        way = "alone" if len(items) == 1 else "in a batch"
        jobs += _jobs(name, way, load, runs, seconds=sum(lengths) / rate, threads=threads)

    recordings, tokens, results = (folder / part for part in ("audio", "tokens", "results"))
    recordings.mkdir()
    for number, item in enumerate(many):
        audio.save(recordings / f"{number:02}.flac", item[None], sample_rate=rate)
    verbs.encode(recordings, tokens)
    runs = {
        "encode": partial(verbs.encode, recordings, tokens),
        "decode": partial(verbs.decode, tokens, results),
    }
    seconds = sum(map(len, many)) / rate
    return jobs + _jobs(
        name, "a folder of FLAC", SIZES.many, runs, seconds=seconds, threads=threads
    )


def _jobs(
    name: str,
    way: str,
    load: str,
    runs: dict[str, Callable[[], object]],
    *,
    seconds: float,
    threads: Sequence[int],
) -> list[Job]:
    return [
        Job(name, way, load, direction, seconds, run, num_threads)
        for num_threads in threads
        for direction, run in runs.items()
    ]
