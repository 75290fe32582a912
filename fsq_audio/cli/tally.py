"""What came of one file, and of all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsq_audio.tokens import AudioTokens


@dataclass(frozen=True)
class Report:
    """What came of one file.

    Attributes:
        seconds: of audio.
        num_tokens: codes, of all groups and channels.
        num_bits: the information in them, `num_tokens * log2 K`.
        num_bytes: that their file takes, everything included; None if none was written.
        details: more for `--json`.
        line: what is still to be appended to a file of lines.
    """

    seconds: float
    num_tokens: int
    num_bits: float
    num_bytes: int | None
    details: Mapping[str, Any]
    line: bytes = b""

    @classmethod
    def of(
        cls,
        tokens: AudioTokens,
        *,
        num_bytes: int | None = None,
        details: Mapping[str, Any] | None = None,
        line: bytes = b"",
    ) -> Report:
        """The report on a recording with these tokens; the rest is as in the attributes."""
        num_frames = int(tokens.num_frames[0])
        return cls(
            seconds=float(tokens.duration[0]),
            num_tokens=len(tokens) * tokens.num_groups * num_frames,
            num_bits=tokens.num_bits,
            num_bytes=num_bytes,
            details={
                "num_channels": len(tokens),
                "num_groups": tokens.num_groups,
                "num_frames": num_frames,
                **(details or {}),
            },
            line=line,
        )

    @property
    def sentence(self) -> str:
        """For people."""
        written = "" if self.num_bytes is None else f", {self.num_bytes} bytes"
        clipped = self.details.get("num_clipped", 0)
        return (
            f"{self.seconds:.2f} s, {self.num_tokens} tokens, {self.num_bits:.0f} bits, "
            f"{self.num_bits / self.seconds:.0f} bit/s{written}"
            + (f", {clipped} samples clipped" if clipped else "")
        )

    @property
    def values(self) -> dict[str, Any]:
        """For programs."""
        written = {} if self.num_bytes is None else {"num_bytes": self.num_bytes}
        return {
            "seconds": self.seconds,
            "num_tokens": self.num_tokens,
            "num_bits": self.num_bits,
            "bits_per_second": self.num_bits / self.seconds,
            **written,
            **self.details,
        }


@dataclass
class Tally:
    """The counts of a run; the clock starts when it is made.

    Attributes:
        num_jobs: files in all.
        num_done: files that were done in this run.
        num_skipped: files that had been done before.
        num_failed: files that could not be done.
        seconds: of audio that were done.
        num_bits: the information in their tokens.
        num_bytes: that the files of these tokens take; None if none was written.
        start: when the clock started.
    """

    num_jobs: int
    num_done: int = 0
    num_skipped: int = 0
    num_failed: int = 0
    seconds: float = 0.0
    num_bits: float = 0.0
    num_bytes: int | None = None
    start: float = field(default_factory=time.monotonic)

    def add(self, report: Report) -> None:
        """Counts a file that was done."""
        self.num_done += 1
        self.seconds += report.seconds
        self.num_bits += report.num_bits
        if report.num_bytes is not None:
            self.num_bytes = (self.num_bytes or 0) + report.num_bytes

    @property
    def expected_seconds(self) -> float:
        """Audio in the whole run, if what is left is like what was done."""
        num_expected = self.num_jobs - self.num_skipped - self.num_failed
        return self.seconds * num_expected / max(1, self.num_done)

    def values(self) -> dict[str, Any]:
        """For programs; what cannot be said of no audio is left out."""
        elapsed = time.monotonic() - self.start
        values: dict[str, Any] = {
            "status": "summary",
            "num_done": self.num_done,
            "num_skipped": self.num_skipped,
            "num_failed": self.num_failed,
            "seconds": self.seconds,
            "elapsed_seconds": elapsed,
        }
        if self.seconds:
            values["times_real_time"] = self.seconds / elapsed
            values["bits_per_second"] = self.num_bits / self.seconds
        if self.seconds and self.num_bytes is not None:
            values["bits_per_second_written"] = 8 * self.num_bytes / self.seconds
        return values

    @staticmethod
    def sentence(values: dict[str, Any]) -> str:
        """The same for people."""
        text = (
            f"{values['num_done']} done, {values['num_skipped']} skipped, "
            f"{values['num_failed']} failed; {values['seconds']:.1f} s of audio "
            f"in {values['elapsed_seconds']:.1f} s"
        )
        if "times_real_time" in values:
            text += f", {values['times_real_time']:.1f} x real time"
            text += f"; {values['bits_per_second']:.0f} bit/s in codes"
        if "bits_per_second_written" in values:
            text += f", {values['bits_per_second_written']:.0f} bit/s written"
        return text
