"""Where tokens are kept, a file for each recording; and what is there already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from fsq_audio.cli.outputs import ExistsError, Job, Target
from fsq_audio.cli.tally import Report
from fsq_audio.files import replacing
from fsq_audio.tokens import AudioTokens, TokenFormat

IfExists = Literal["skip", "overwrite", "error"]


def is_there(output: Path, if_exists: IfExists) -> bool:
    """Whether an output is there and is to be left as it is.

    Args:
        output: the file.
        if_exists: what then.

    Raises:
        ExistsError: it must not be there.
    """
    if if_exists == "overwrite" or not output.is_file():
        return False
    if if_exists == "error":
        raise ExistsError(f"{output} exists (--if-exists error)")
    return True


@dataclass(frozen=True)
class Making:
    """How a run makes its tokens.

    Attributes:
        format: of the model.
        num_groups: that are kept.
        channels: "mix" or "split"; None where it makes no difference.
    """

    format: TokenFormat
    num_groups: int
    channels: str | None

    def check_same(
        self, where: object, *, fingerprint: object, num_groups: object, channels: object = None
    ) -> None:
        """Makes sure that tokens which are there were made in this way.

        Args:
            where: they are.
            fingerprint: of the model that made them.
            num_groups: that they keep.
            channels: as the attribute.

        Raises:
            ExistsError: they were made in another.
        """
        if fingerprint != self.format.fingerprint:
            difference = f"of model {fingerprint}, this run is of {self.format.fingerprint}"
        elif num_groups != self.num_groups:
            difference = f"of {num_groups} groups, this run keeps {self.num_groups}"
        elif channels and self.channels and channels != self.channels:
            difference = f"of --channels {channels}, this run is of {self.channels}"
        else:
            return
        raise ExistsError(
            f"{where} holds tokens {difference}: take another --output or --if-exists overwrite"
        )


class Store(Protocol):
    """Keeps the tokens of a run."""

    def is_done(self, job: Job) -> bool:
        """Whether the tokens of a job are there, and are those that this run would make."""

    def put(self, job: Job, tokens: AudioTokens) -> Report:
        """Keeps tokens, or makes them ready for `commit`; called from any thread."""

    def commit(self, job: Job, report: Report) -> None:
        """Keeps what `put` made ready; called in order."""


class TokenFiles:
    """One `.fsq` file for each recording."""

    def __init__(self, making: Making, *, if_exists: IfExists) -> None:
        """Keeps the settings.

        Args:
            making: how tokens are made.
            if_exists: what to do about files that are there.
        """
        self._making = making
        self._if_exists = if_exists

    def is_done(self, job: Job) -> bool:
        """Whether a whole file is there that this run would write again.

        Raises:
            ExistsError: there is one that was made in another way.
            TokenError: it is damaged.
        """
        if not is_there(job.output, self._if_exists):
            return False
        there = AudioTokens.load(job.output)
        is_mono = there.source is None or there.source.num_channels == 1
        self._making.check_same(
            job.output,
            fingerprint=there.format.fingerprint,
            num_groups=there.num_groups,
            channels=None if is_mono else there.source and there.source.channels,
        )
        return True

    def put(self, job: Job, tokens: AudioTokens) -> Report:
        """Writes the file."""
        job.output.parent.mkdir(parents=True, exist_ok=True)
        tokens.save(job.output)
        return Report.of(tokens, num_bytes=job.output.stat().st_size)

    def commit(self, job: Job, report: Report) -> None:
        """Nothing is left to do."""


class NumpyFiles:
    """One `.npy` file for each recording, and `codec_info.json`, which says what they are."""

    def __init__(self, making: Making, target: Target, *, if_exists: IfExists) -> None:
        """Writes `codec_info.json`, unless the one file is named.

        Args:
            making: how tokens are made.
            target: the folder.
            if_exists: what to do about files that are there.

        Raises:
            ExistsError: the folder holds tokens that were made in another way.
        """
        self._if_exists = if_exists
        if target.file is not None:
            return
        path = target.folder / "codec_info.json"
        if path.is_file() and if_exists != "overwrite":
            there = _read_object(path)
            making.check_same(
                path,
                fingerprint=there.get("fingerprint"),
                num_groups=there.get("num_codebooks"),
                channels=there.get("channels"),
            )
        info = {
            "num_codebooks": making.num_groups,
            "codebook_size": making.format.codebook_size,
            "framerate": making.format.frame_rate,
            "sampling_rate": making.format.sample_rate,
            "hop_length": making.format.hop_length,
            "channels": making.channels,
            "fingerprint": making.format.fingerprint,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(info, indent=2) + "\n", "utf-8")

    def is_done(self, job: Job) -> bool:
        """Whether the file is there: of which model is known of the folder only."""
        return is_there(job.output, self._if_exists)

    def put(self, job: Job, tokens: AudioTokens) -> Report:
        """Writes the file."""
        job.output.parent.mkdir(parents=True, exist_ok=True)
        tokens.save_npy(job.output)
        return Report.of(tokens, num_bytes=job.output.stat().st_size)

    def commit(self, job: Job, report: Report) -> None:
        """Nothing is left to do."""


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError:
        values = None
    return values if isinstance(values, dict) else {}
