"""Tokens as lines of one `.jsonl` file, which a run that was cut off continues."""

from __future__ import annotations

import errno
import json
import os
import uuid
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fsq_audio.cli.outputs import ExistsError, Job
from fsq_audio.cli.stores import IfExists, Making
from fsq_audio.cli.tally import Report
from fsq_audio.errors import TokenError
from fsq_audio.locks import only_run
from fsq_audio.tokens import AudioTokens


@dataclass(frozen=True)
class Line:
    """How the tokens of a line were made."""

    fingerprint: str
    num_groups: int
    channels: str | None


@dataclass(frozen=True)
class Lines:
    """What a file of lines holds.

    Attributes:
        by_key: its whole lines.
        num_bytes: that they take; what follows was torn by a kill.
    """

    by_key: dict[str, Line]
    num_bytes: int


def read_lines(path: Path) -> Lines:
    """Reads a file of lines, which may not be there yet.

    Args:
        path: the file.

    Raises:
        TokenError: a line, other than a torn last one, is no record of tokens.
    """
    by_key: dict[str, Line] = {}
    num_bytes = 0
    if path.is_file():
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    by_key[record["key"]] = Line(
                        record["fingerprint"], _num_groups(record), record.get("channels")
                    )
                except (ValueError, LookupError, TypeError, RecursionError):
                    raise TokenError(
                        f"{path}: line {number} is no record of tokens: move the file away"
                    ) from None
                num_bytes += len(line)
    return Lines(by_key, num_bytes)


class TokenLines:
    """Appends a line for each recording, in order; each line is written at once.

    With `--if-exists overwrite` a new file takes the old one's place at the end; the old lines of
    recordings that were not made again move to it.
    """

    def __init__(self, path: Path, making: Making, *, if_exists: IfExists) -> None:
        """Keeps the settings; nothing is read or written before the `with` block is entered.

        Args:
            path: the file.
            making: how tokens are made.
            if_exists: what to do about lines that are there.
        """
        self._path = path
        self._making = making
        self._if_exists = if_exists
        self._written: set[str] = set()

    def __enter__(self) -> TokenLines:
        """Reads what is there, and opens the file that lines go to.

        Raises:
            ConfigError: another run is writing there.
            TokenError: as for `read_lines`.
        """
        with ExitStack() as stack:
            stack.enter_context(only_run(self._path))
            self._there = read_lines(self._path)
            self._open()
            self._lock = stack.pop_all()
        return self

    def _open(self) -> None:
        if self._if_exists == "overwrite":
            self._open_path = self._path.with_name(f".{uuid.uuid4().hex}.tmp")
            self._file = open(self._open_path, "xb", buffering=0)  # noqa: SIM115
        else:
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
            self._file.truncate(self._there.num_bytes)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it; a new file takes its place only if the run came to its end."""
        with self._lock, self._file:
            if self._if_exists != "overwrite":
                return
            try:
                if kind is None:
                    self._move_old_lines()
                    os.replace(self._open_path, self._path)
            finally:
                self._open_path.unlink(missing_ok=True)

    def _move_old_lines(self) -> None:
        if not self._there.by_key:
            return
        with open(self._path, "rb") as old:
            for line in old:
                if line.endswith(b"\n") and json.loads(line)["key"] not in self._written:
                    self._file.write(line)

    def is_done(self, job: Job) -> bool:
        """Whether the line is there, and is the one that this run would write.

        Raises:
            ExistsError: there is one that was made in another way, or none must be there.
        """
        line = self._there.by_key.get(job.key)
        if line is None or self._if_exists == "overwrite":
            return False
        if self._if_exists == "error":
            raise ExistsError(f"{self._path} has a line {job.key!r} (--if-exists error)")
        self._making.check_same(f"{self._path}, line {job.key!r},", **asdict(line))
        return True

    def put(self, job: Job, tokens: AudioTokens) -> Report:
        """Makes the line."""
        record = tokens.to_record(job.key)
        if tokens.source is not None and tokens.source.num_channels > 1:
            record["channels"] = tokens.source.channels
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        return Report.of(tokens, num_bytes=len(line), line=line)

    def commit(self, job: Job, report: Report) -> None:
        """Appends the line, whole or not at all."""
        num_bytes = self._file.seek(0, os.SEEK_END)
        if self._file.write(report.line) < len(report.line):
            self._file.truncate(num_bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._written.add(job.key)


def _num_groups(record: dict[str, Any]) -> int:
    codes = record["codes"]
    return len(codes[0] if isinstance(codes[0][0], list) else codes)
