"""How long recordings are, from their headers alone; many at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import soundfile

from fsq_audio.corpus.entries import Entry

_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 for a FLAC that was written to a pipe
_AHEAD = 1000  # files looked at before they are asked for: a network answers many at once


def with_header(entry: Entry, file: Any = None) -> Entry:
    """The entry with length and rate, or with the fault that keeps them from being read.

    Args:
        entry: a recording.
        file: its audio, if that is not all of the file at its path.
    """
    if file is None and os.path.exists(entry.path) and not os.path.isfile(entry.path):
        return replace(entry, fault="is a pipe or a device, not a file")  # opening would wait
    try:
        info = soundfile.info(str(entry.path) if file is None else file)
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: what no path can be
        return replace(entry, fault=f"cannot be opened ({error})")
    if not 0 < info.frames < _UNKNOWN_LENGTH:
        return replace(entry, fault="holds no sample" if info.frames < 1 else "of unknown length")
    seconds = info.frames / info.samplerate
    return replace(entry, num_samples=info.frames, sample_rate=info.samplerate, seconds=seconds)


def with_headers(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same for many, in order, on threads; entries whose length is known stay as they are."""
    waiting: deque[Entry | Future[Entry]] = deque()

    def first() -> Entry:
        entry = waiting.popleft()
        return entry if isinstance(entry, Entry) else entry.result()

    with ThreadPoolExecutor() as threads:
        for entry in entries:
            is_known = entry.seconds > 0
            waiting.append(entry if is_known else threads.submit(with_header, entry))
            if len(waiting) > _AHEAD:
                yield first()
        while waiting:
            yield first()
