"""What is compared: a system makes something of every recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from fsq_audio import audio
from fsq_audio.audio import AUDIO_EXTENSIONS
from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.evaluation.metric import SAMPLE_RATE, Samples
from fsq_audio.evaluation.recordings import Recording, find_beside

Kind = Literal["model", "degraded", "baseline"]


@dataclass(frozen=True)
class Produced:
    """What a system made of one recording.

    Attributes:
        degraded: the audio file.
        num_bytes: of the compressed file; None where there is none.
        encode_seconds: that compressing took; None where it is not known.
        decode_seconds: that coming back took.
        removed_delay: samples at `SAMPLE_RATE` by which the output was late.
        process_peak_memory: bytes that this process held at most meanwhile, everything in it
            included; None where another process worked, or the system does not count.
    """

    degraded: Path
    num_bytes: int | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    removed_delay: int = 0
    process_peak_memory: int | None = None


@dataclass(frozen=True)
class CodeTable:
    """What is known of a system's codes, for rates and health.

    Attributes:
        codebook_size: K of every group.
        frame_rate: frames per second.
        levels: of each dimension of a group, where the quantizer has any.
    """

    codebook_size: int
    frame_rate: float
    levels: tuple[int, ...] | None = None


class System(Protocol):
    """Makes something of a recording."""

    @property
    def name(self) -> str:
        """Of its rows and folders."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    @property
    def family(self) -> str:
        """Systems of one family differ in their rate."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What must be the same for its results to be used again; JSON."""

    @property
    def nominal_rate(self) -> float | None:
        """Bits per second that it promises."""

    @property
    def codes(self) -> CodeTable | None:
        """Of its codes, if it has any."""

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """Writes what it makes of a recording under OUT/audio/name and OUT/tokens/name.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            FSQAudioError: it cannot.
        """

    def load_codes(self, recording: Recording, *, output: Path) -> torch.Tensor | None:
        """The codes `[1, G, T]` that `produce` has written, if the system has codes.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            TokenError: the file is missing or damaged.
        """

    def cost(self) -> dict[str, float]:
        """`parameters` and `gmac_per_second`, as far as they can be known."""


@dataclass(frozen=True)
class Degraded:
    """Results that are there already.

    Attributes:
        name: of the system.
        find: the audio file for an id; None where there is none.
        place: where they are.
    """

    name: str
    find: Callable[[str], Path | None]
    place: Path

    kind: Kind = "degraded"
    nominal_rate: float | None = None
    codes: CodeTable | None = None

    @property
    def family(self) -> str:
        """Its own."""
        return self.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """Where they are."""
        return {"place": str(self.place.resolve())}

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """Finds the file; tokens beside it, of its name with `.fsq`, count as the compressed file.

        Args:
            recording: the original.
            output: OUT; nothing is written.

        Raises:
            AudioError: there is none.
        """
        path = self.find(recording.id)
        if path is None or not path.is_file():
            raise AudioError(f"{self.place} has no audio file for {recording.id}")
        tokens = path.with_name(f"{path.stem}.fsq")
        return Produced(path, num_bytes=tokens.stat().st_size if tokens.is_file() else None)

    def load_codes(self, recording: Recording, *, output: Path) -> torch.Tensor | None:
        """None: whose they are is not known."""
        return None

    def cost(self) -> dict[str, float]:
        """Nothing is known."""
        return {}


def degraded_folder(folder: Path, name: str) -> Degraded:
    """Results in a folder that mirrors the originals: paired by relative path.

    Args:
        folder: of audio files.
        name: of the system.
    """
    return Degraded(name, lambda id: find_beside(folder, id, AUDIO_EXTENSIONS), folder)


def degraded_files(paths: Mapping[str, Path], name: str, *, place: Path) -> Degraded:
    """Results that are named one by one.

    Args:
        paths: of audio files, by the id of the original.
        name: of the system.
        place: the file that names them, or the only one of them.
    """
    return Degraded(name, paths.get, place)


def place(output: Path, what: str, system: str, recording: Recording, extension: str) -> Path:
    """OUT/what/system/id.extension, its folder made.

    Args:
        output: OUT.
        what: "audio" or "tokens".
        system: its name.
        recording: the original.
        extension: without the dot.
    """
    path = output / what / system / f"{recording.id}.{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def load_samples(path: Path) -> Samples:
    """A recording `[S]` at `SAMPLE_RATE`, channels mixed.

    Args:
        path: of the audio file.

    Raises:
        AudioError: it cannot be read.
    """
    samples: Samples = audio.load(path, sample_rate=SAMPLE_RATE)[0].numpy()
    return samples


def save_samples(path: Path, samples: Samples) -> None:
    """Writes 16-bit samples `[S]` at `SAMPLE_RATE`.

    Args:
        path: of the file.
        samples: in [-1, 1].
    """
    audio.save(path, torch.from_numpy(samples)[None], sample_rate=SAMPLE_RATE)


def check_names(systems: list[System]) -> list[System]:
    """The systems, once it is sure that their names can be folders and differ.

    Args:
        systems: of one evaluation.

    Raises:
        ConfigError: none, a name twice, or a name that is no name for a folder.
    """
    if not systems:
        raise ConfigError("there is no system to evaluate: name a model, a folder or a baseline")
    names = [system.name for system in systems]
    for name in names:
        if not re.fullmatch(r"\w[\w.+@-]*", name):
            raise ConfigError(
                f"{name!r} cannot be the name of a system: use letters, digits, - and ."
            )
        if names.count(name) > 1:
            raise ConfigError(f"two systems are called {name}: rename one, as NAME=PATH")
    return systems
