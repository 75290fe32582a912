"""Opus and Codec 2 as baselines, through the programs that Debian packages."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from torch import Tensor

from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.evaluation.align import correlate, envelope, take_out
from fsq_audio.evaluation.metric import SAMPLE_RATE
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.system import (
    CodeTable,
    Kind,
    Produced,
    load_samples,
    place,
    save_samples,
)

CODEC2_RATE = 8000
CODEC2_FRAME = CODEC2_RATE // 25
"""Samples that every mode divides into whole frames: 40 ms."""
CODEC2_MODES = {"3200": 3200, "2400": 2400, "1600": 1600, "1400": 1400, "1300": 1300,
                "1200": 1200, "700C": 700, "450": 450}  # fmt: skip
LONGEST_DELAY = SAMPLE_RATE // 10
"""No codec here is later than 100 ms."""
PACKAGES = {"opusenc": "opus-tools", "opusdec": "opus-tools", "c2enc": "codec2", "c2dec": "codec2"}
TIMEOUT = 600
"""Seconds after which a program is taken for stuck."""


@dataclass(frozen=True)
class Opus:
    """Opus at a bitrate (variable, as is its default), tuned for speech.

    Attributes:
        kbps: that is asked for, from 6 on.
    """

    kbps: float

    kind: Kind = "baseline"
    family: str = "opus"
    codes: CodeTable | None = None

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"opus-{self.kbps:g}k"

    @property
    def identity(self) -> Mapping[str, Any]:
        """The rate."""
        return {"codec": "opus", "kbps": self.kbps}

    @property
    def nominal_rate(self) -> float:
        """Bits per second that are asked for."""
        return 1000 * self.kbps

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """Through opusenc and opusdec.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            FSQAudioError: a program is missing or fails.
        """
        encoder, decoder = find_program("opusenc"), find_program("opusdec")
        samples = load_samples(recording.path)
        packed = place(output, "tokens", self.name, recording, "opus")
        with tempfile.TemporaryDirectory() as folder:
            given, back = Path(folder) / "given.wav", Path(folder) / "back.wav"
            save_samples(given, samples)
            options = ["--quiet", "--speech", "--discard-comments", "--padding", "0"]
            encode_seconds = run_program(
                [encoder, *options, "--bitrate", f"{self.kbps:g}", str(given), str(packed)]
            )
            decode_seconds = run_program(
                [decoder, "--quiet", "--rate", str(SAMPLE_RATE), str(packed), str(back)]
            )
            result = load_samples(back)
        found = correlate(samples, result, max_delay=LONGEST_DELAY)
        path = place(output, "audio", self.name, recording, "wav")
        save_samples(path, take_out(result, delay=found.delay, length=len(samples)))
        return Produced(
            path,
            num_bytes=packed.stat().st_size,
            encode_seconds=encode_seconds,
            decode_seconds=decode_seconds,
            removed_delay=found.delay,
        )

    def load_codes(self, recording: Recording, *, output: Path) -> Tensor | None:
        """None: it has none."""
        return None

    def cost(self) -> dict[str, float]:
        """Nothing is known."""
        return {}


@dataclass(frozen=True)
class Codec2:
    """Codec 2, a vocoder for radio, at 8 kHz.

    Attributes:
        mode: of `CODEC2_MODES`.
    """

    mode: str

    kind: Kind = "baseline"
    family: str = "codec2"
    codes: CodeTable | None = None

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"codec2-{self.mode}"

    @property
    def identity(self) -> Mapping[str, Any]:
        """The mode."""
        return {"codec": "codec2", "mode": self.mode}

    @property
    def nominal_rate(self) -> float:
        """Bits per second of the mode."""
        return float(CODEC2_MODES[self.mode])

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """Through c2enc and c2dec.

        A vocoder keeps no waveform: its delay is measured on envelopes.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            FSQAudioError: a program is missing or fails.
        """
        encoder, decoder = find_program("c2enc"), find_program("c2dec")
        samples = load_samples(recording.path)
        narrow = soxr.resample(samples, SAMPLE_RATE, CODEC2_RATE)
        # c2enc drops a last frame that is not full, and the decoder is late by up to two.
        missing = -len(narrow) % CODEC2_FRAME + 2 * CODEC2_FRAME
        integers = np.clip(np.round(np.pad(narrow, (0, missing)) * 32767), -32768, 32767)
        packed = place(output, "tokens", self.name, recording, "c2")
        with tempfile.TemporaryDirectory() as folder:
            given, back = Path(folder) / "given.raw", Path(folder) / "back.raw"
            given.write_bytes(integers.astype("<i2").tobytes())
            encode_seconds = run_program([encoder, self.mode, str(given), str(packed)])
            decode_seconds = run_program([decoder, self.mode, str(packed), str(back)])
            decoded = np.frombuffer(back.read_bytes(), "<i2").astype(np.float32) / 32768
        result = soxr.resample(decoded, CODEC2_RATE, SAMPLE_RATE)
        found = correlate(envelope(samples), envelope(result), max_delay=LONGEST_DELAY)
        path = place(output, "audio", self.name, recording, "wav")
        save_samples(path, take_out(result, delay=found.delay, length=len(samples)))
        return Produced(
            path,
            num_bytes=packed.stat().st_size,
            encode_seconds=encode_seconds,
            decode_seconds=decode_seconds,
            removed_delay=found.delay,
        )

    def load_codes(self, recording: Recording, *, output: Path) -> Tensor | None:
        """None: its files have another form."""
        return None

    def cost(self) -> dict[str, float]:
        """Nothing is known."""
        return {}


def find_program(name: str) -> str:
    """Where a program is.

    Args:
        name: of `PACKAGES`.

    Raises:
        ConfigError: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise ConfigError(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return path


def run_program(command: Sequence[str]) -> float:
    """Runs a program to its end.

    Args:
        command: and its arguments.

    Returns:
        Seconds that it took.

    Raises:
        FSQAudioError: it failed, or did not end.
    """
    start = time.perf_counter()
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise FSQAudioError(f"{Path(command[0]).name} did not end in {TIMEOUT} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise FSQAudioError(
            f"{Path(command[0]).name} failed ({error.returncode}): {said[-1] if said else ''}"
        ) from None
    return time.perf_counter() - start
