"""The plan: all recordings of a corpus in one file, cut into tasks of about equal duration.

A task is a run of consecutive recordings, so it is two offsets into that file, whoever works on it
reads no more than it needs, and shards and chapters stay together. The planner holds 20 bytes a
recording.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsq_audio.corpus.entries import Entry
from fsq_audio.errors import ConfigError
from fsq_audio.extraction.records import from_line, to_line

RECORDINGS_FILE = "recordings.jsonl"
# A task is what a kill loses at most, and its shard is about 11 MB of units at 1 kbit/s.
HOURS_PER_TASK = 25
# What opening a file costs, in seconds of audio; so files whose length is not known count, too.
_SECONDS_PER_FILE = 0.1


@dataclass(frozen=True)
class Plan:
    """What there is to do, in tasks.

    Attributes:
        bounds: bytes of the file of recordings at which tasks begin, and its size at last.
        sizes: recordings of each task.
        seconds: audio of each task, as far as it is known beforehand.
        text_bytes: of the ids, paths and transcripts in all: what rows hold beside codes.
        digest: of the file of recordings and the bounds.
    """

    bounds: tuple[int, ...]
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    text_bytes: int
    digest: str

    @property
    def num_tasks(self) -> int:
        """Tasks, and so shards, N."""
        return len(self.sizes)


def make_plan(entries: Iterable[Entry], path: Path, *, num_tasks: int | None) -> Plan:
    """Writes the file of recordings and cuts it into tasks.

    Args:
        entries: the recordings, in the order that rows will have.
        path: the file that is written.
        num_tasks: tasks, at most as many as recordings; None for one for each 25 hours.

    Raises:
        ConfigError: there is no recording, two have one id, or whatever reading them raises.
    """
    seconds, ends, names = array("d"), array("q"), array("q")
    digest, size = hashlib.blake2b(digest_size=16), 0
    with open(path, "wb") as file:
        for entry in entries:
            line = to_line(entry)
            file.write(line)
            digest.update(line)
            size += len(line)
            seconds.append(entry.seconds)
            ends.append(size)
            names.append(hash(entry.id))
    if not seconds:
        raise ConfigError("there is no recording in the inputs")
    _check_names(np.frombuffer(names, np.int64), path)
    durations = np.frombuffer(seconds, np.float64)
    wanted = num_tasks or int(np.ceil(durations.sum() / 3600 / HOURS_PER_TASK)) or 1
    cuts = pack(durations + _SECONDS_PER_FILE, min(wanted, len(durations)))
    bounds = [0, *(int(ends[cut - 1]) for cut in cuts[1:])]
    digest.update(json.dumps(bounds).encode())
    return Plan(
        bounds=tuple(bounds),
        sizes=tuple(np.diff(cuts).tolist()),
        seconds=tuple(np.add.reduceat(durations, cuts[:-1]).tolist()),
        text_bytes=size,
        digest=digest.hexdigest(),
    )


def pack(weights: NDArray[np.float64], num_tasks: int) -> NDArray[np.int64]:
    """Cuts a row of weights into runs, each as near as it can be to its share of what is left.

    Args:
        weights: `[n]`, above 0.
        num_tasks: N, from 1 to n.

    Returns:
        `[N + 1]` where runs begin, and n: each run has at least one member, and weighs at most
        half of the largest weight more than its share.
    """
    ends = np.cumsum(weights)
    cuts = [0]
    for left in range(num_tasks, 1, -1):
        first = cuts[-1]
        before = float(ends[first - 1]) if first else 0.0
        target = before + (float(ends[-1]) - before) / left
        last = int(np.searchsorted(ends, target))
        start = float(ends[last - 1]) if last else 0.0
        if float(ends[last]) - target <= target - start:
            last += 1
        cuts.append(min(max(last, first + 1), len(weights) - left + 1))
    return np.array([*cuts, len(weights)])


def read_task(path: Path, plan: Plan, task: int) -> list[Entry]:
    """The recordings of one task.

    Args:
        path: the file of recordings.
        plan: of this file.
        task: which one.

    Raises:
        ConfigError: the file is not the one that was planned.
    """
    first, last = plan.bounds[task : task + 2]
    with open(path, "rb") as file:
        file.seek(first)
        lines = file.read(last - first).splitlines()
    if len(lines) != plan.sizes[task]:
        raise ConfigError(f"{path} was changed since it was planned: take another --output")
    return [from_line(line) for line in lines]


def _check_names(hashes: NDArray[np.int64], path: Path) -> None:
    ordered = np.sort(hashes)
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not twice:
        return
    # Equal hashes are equal names but for one chance in a hundred thousand: look.
    seen: dict[str, Any] = {}
    with open(path, "rb") as file:
        for line in file:
            values = json.loads(line)
            if hash(values["id"]) not in twice:
                continue
            other = seen.setdefault(values["id"], values)
            if other is not values:
                raise ConfigError(
                    f"{other['path']} and {values['path']} would both have the id "
                    f"{values['id']!r}: give a manifest with an id for each, or extract them one "
                    f"after the other, each as a --split of its own"
                )
