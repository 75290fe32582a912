"""Opus and Codec 2 as baselines, through the programs that Debian packages."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from torch import Tensor

from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.evaluation.align import LONGEST_CODEC_DELAY, correlate, envelope, take_out
from fsq_audio.evaluation.cost import timed
from fsq_audio.evaluation.metric import SAMPLE_RATE, Samples
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
PACKAGES = {"opusenc": "opus-tools", "opusdec": "opus-tools", "c2enc": "codec2", "c2dec": "codec2"}
TIMEOUT = 600
"""Seconds after which a program is taken for stuck."""


@dataclass(frozen=True)
class Coded:
    """What came back from the programs of a codec.

    Attributes:
        samples: `[S']` at `SAMPLE_RATE`, late by the codec's delay.
        encode_seconds: that the encoder took.
        decode_seconds: that the decoder took.
    """

    samples: Samples
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class Classic:
    """A codec of two programs.

    Attributes:
        name: of the system.
        family: of codecs that differ in their rate.
        setting: what its rate was asked for with; JSON.
        nominal_rate: bits per second that it promises.
        extension: of its files.
        code: samples `[S]` at `SAMPLE_RATE` to a file, and what is decoded from that.
        keeps_waveform: whether its delay shows in the waveform; a vocoder's in the envelope only.
    """

    name: str
    family: str
    setting: Mapping[str, Any]
    nominal_rate: float
    extension: str
    code: Callable[[Samples, Path], Coded]
    keeps_waveform: bool = True

    kind: Kind = "baseline"
    codes: CodeTable | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """The codec and its rate."""
        return {"codec": self.family, **self.setting}

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """To a compressed file and back, the delay taken out.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            FSQAudioError: a program is missing or fails.
        """
        samples = load_samples(recording.path)
        packed = place(output, "tokens", self.name, recording, self.extension)
        coded = self.code(samples, packed)
        shape = (lambda each: each) if self.keeps_waveform else envelope
        found = correlate(shape(samples), shape(coded.samples), max_delay=LONGEST_CODEC_DELAY)
        path = place(output, "audio", self.name, recording, "wav")
        save_samples(path, take_out(coded.samples, delay=found.delay, length=len(samples)))
        return Produced(
            path,
            num_bytes=packed.stat().st_size,
            encode_seconds=coded.encode_seconds,
            decode_seconds=coded.decode_seconds,
            removed_delay=found.delay,
        )

    def load_codes(self, recording: Recording, *, output: Path) -> Tensor | None:
        """None: its files have another form."""
        return None

    def cost(self) -> dict[str, float]:
        """Nothing is known."""
        return {}


def opus(kbps: float) -> Classic:
    """Opus at a bitrate (variable, as is its default), tuned for speech.

    Args:
        kbps: that is asked for, from 6 on.

    Raises:
        ConfigError: a program is missing.
    """
    find_program("opusenc")
    find_program("opusdec")
    code = functools.partial(_code_opus, kbps=kbps)
    return Classic(f"opus-{kbps:g}k", "opus", {"kbps": kbps}, 1000 * kbps, "opus", code)


def codec2(mode: str) -> Classic:
    """Codec 2, a vocoder for radio, at 8 kHz.

    Args:
        mode: of `CODEC2_MODES`.

    Raises:
        ConfigError: a program is missing.
    """
    find_program("c2enc")
    find_program("c2dec")
    code = functools.partial(_code_codec2, mode=mode)
    rate = float(CODEC2_MODES[mode])
    return Classic(
        f"codec2-{mode}", "codec2", {"mode": mode}, rate, "c2", code, keeps_waveform=False
    )


def _code_opus(samples: Samples, packed: Path, *, kbps: float) -> Coded:
    encoder, decoder = find_program("opusenc"), find_program("opusdec")
    options = ["--quiet", "--speech", "--discard-comments", "--padding", "0"]
    with tempfile.TemporaryDirectory() as folder:
        given, back = Path(folder) / "given.wav", Path(folder) / "back.wav"
        save_samples(given, samples)
        encode_seconds = run_program(
            [encoder, *options, "--bitrate", f"{kbps:g}", str(given), str(packed)]
        )
        decode_seconds = run_program(
            [decoder, "--quiet", "--rate", str(SAMPLE_RATE), str(packed), str(back)]
        )
        return Coded(load_samples(back), encode_seconds, decode_seconds)


def _code_codec2(samples: Samples, packed: Path, *, mode: str) -> Coded:
    encoder, decoder = find_program("c2enc"), find_program("c2dec")
    narrow = soxr.resample(samples, SAMPLE_RATE, CODEC2_RATE)
    # c2enc drops a last frame that is not full, and the decoder is late by up to two.
    missing = -len(narrow) % CODEC2_FRAME + 2 * CODEC2_FRAME
    integers = np.clip(np.round(np.pad(narrow, (0, missing)) * 32767), -32768, 32767)
    with tempfile.TemporaryDirectory() as folder:
        given, back = Path(folder) / "given.raw", Path(folder) / "back.raw"
        given.write_bytes(integers.astype("<i2").tobytes())
        encode_seconds = run_program([encoder, mode, str(given), str(packed)])
        decode_seconds = run_program([decoder, mode, str(packed), str(back)])
        decoded = np.frombuffer(back.read_bytes(), "<i2").astype(np.float32) / 32768
    wide: Samples = soxr.resample(decoded, CODEC2_RATE, SAMPLE_RATE)
    return Coded(wide, encode_seconds, decode_seconds)


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
    run = functools.partial(
        subprocess.run, command, check=True, capture_output=True, timeout=TIMEOUT
    )
    try:
        return timed(run)[1]
    except subprocess.TimeoutExpired:
        raise FSQAudioError(f"{Path(command[0]).name} did not end in {TIMEOUT} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise FSQAudioError(
            f"{Path(command[0]).name} failed ({error.returncode}): {said[-1] if said else ''}"
        ) from None
