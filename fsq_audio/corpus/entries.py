"""One recording, wherever it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One recording.

    Attributes:
        id: its name; without an extension.
        path: the audio file, or the tar shard that holds it; the id of a cut that has none.
        num_samples: its length at `sample_rate`; 0 if its header cannot be read or was not.
        sample_rate: samples per second; 0 likewise.
        seconds: its duration; 0 likewise.
        start: where it begins in its file, in seconds; None for the whole file.
        member: first byte and number of bytes inside a tar shard; None for a file of its own.
        cut: a lhotse cut that reads itself; None for files.
        text: its transcript, if there is one.
        speaker_id: who speaks, if that is known.
        chapter_id: of what it is a part, if that is known.
        fault: why its header cannot be read.
    """

    id: str
    path: Path
    num_samples: int = 0
    sample_rate: int = 0
    seconds: float = 0.0
    start: float | None = None
    member: tuple[int, int] | None = None
    cut: Any = field(default=None, compare=False, repr=False)
    text: str | None = None
    speaker_id: str | None = None
    chapter_id: str | None = None
    fault: str | None = None

    @property
    def audio_path(self) -> str:
        """Where its audio is: the file, or what holds it or all of which it is a part, and its id.

        So no reader takes a part for the whole file.
        """
        is_whole = self.is_file or str(self.path) == self.id
        return str(self.path) if is_whole else f"{self.path}::{self.id}"

    @property
    def is_file(self) -> bool:
        """Whether its audio is all that a file of its own holds."""
        return self.member is None and self.cut is None and self.start is None
