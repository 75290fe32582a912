"""Packages to FLAC: download, unpack, decode; nothing half-written has a finished file's name."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from debian_corpus import Source
from numpy.typing import NDArray

SAMPLE_RATE = 16000
# 256 prompts took 8.5 s with one process a file, 1.2 s with 16 files and 0.6 s with 64 files a
# process (two cores).
FILES_PER_PROCESS = 64
TOOLS = (
    ("apt-get", "download packages", "run this on Debian or Ubuntu"),
    ("dpkg", "unpack packages", "run this on Debian or Ubuntu"),
    ("ffmpeg", "decode G.722", "`apt-get install ffmpeg` installs it"),
)


def check_tools() -> None:
    """Leave with one sentence, before anything is downloaded, if a program is missing."""
    for tool, goal, remedy in TOOLS:
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed, and is needed to {goal}: {remedy}.")


def run_tool(command: Sequence[str | Path], *, goal: str, cwd: Path | None = None) -> None:
    """Run a program, or leave with one sentence that says what it complained of."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["it said nothing"]
        raise SystemExit(
            f"{command[0]} could not {goal} (exit code {result.returncode}): {lines[-1]}"
        )


def fetch_package(package: str, downloads: Path) -> None:
    """Download and unpack one package, unless it is there."""
    if (downloads / package).is_dir():
        return
    downloads.mkdir(parents=True, exist_ok=True)
    # Work in a folder of its own: a half-written file never has a finished one's name.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=downloads) as name:
        partial = Path(name)
        if not list(downloads.glob(f"{package}_*.deb")):
            goal = f"download {package} (`apt-get update` fetches the lists it needs)"
            run_tool(["apt-get", "download", package], goal=goal, cwd=partial)
            for archive in partial.glob("*.deb"):
                os.replace(archive, downloads / archive.name)
        archive = sorted(downloads.glob(f"{package}_*.deb"))[-1]
        unpacked = partial / package
        run_tool(["dpkg", "-x", archive, unpacked], goal=f"unpack {archive.name}")
        os.replace(unpacked, downloads / package)


def write_flac(samples: NDArray[np.int16], path: Path) -> None:
    """Write 16 kHz mono, under a temporary name until it is complete."""
    partial = path.with_suffix(".partial")
    sf.write(partial, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    os.replace(partial, path)


def decode_g722(sources: Sequence[Source], folder: Path) -> None:
    """Decode a batch of raw G.722 files with one ffmpeg process into `folder`."""
    with tempfile.TemporaryDirectory() as name:
        command: list[str | Path] = ["ffmpeg", "-nostdin", "-v", "error"]
        for source in sources:
            command += ["-f", "g722", "-i", source.path]
        raws = [Path(name) / f"{index}.raw" for index in range(len(sources))]
        for index, raw in enumerate(raws):
            command += ["-map", f"{index}:a", "-ar", str(SAMPLE_RATE), "-ac", "1"]
            command += ["-f", "s16le", raw]
        run_tool(command, goal="decode G.722")
        for source, raw in zip(sources, raws, strict=True):
            write_flac(np.fromfile(raw, dtype="<i2"), folder / f"{source.utterance_id}.flac")


def find_source_fault(path: Path) -> str | None:
    """Why a recording is not worth decoding, or None."""
    if path.stat().st_size == 0:
        return "empty file"
    if path.suffix == ".g722":  # raw, always 16 kHz
        return None
    info = sf.info(path)
    if info.frames == 0:
        return "empty file"
    if info.samplerate < SAMPLE_RATE:
        return f"recorded at less than {SAMPLE_RATE} Hz"
    return None


def decode_sound(sources: Sequence[Source], folder: Path) -> None:
    """Decode wav, Vorbis or Opus files into `folder`; 16 kHz mono 16-bit comes out as it is."""
    for source in sources:
        samples, sample_rate = sf.read(source.path, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)
        if sample_rate != SAMPLE_RATE:
            mono = soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="VHQ")
        # Vorbis may exceed full scale, up to sixty times in one voice: turn it down, do not clip.
        mono /= max(1.0, float(np.abs(mono).max()))
        whole = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
        write_flac(whole, folder / f"{source.utterance_id}.flac")


def batches(sources: Sequence[Source]) -> Iterator[Sequence[Source]]:
    """Cut a list into batches for one process."""
    for start in range(0, len(sources), FILES_PER_PROCESS):
        yield sources[start : start + FILES_PER_PROCESS]


def decode(sources: Sequence[Source], *, folder: Path, pool: ThreadPoolExecutor) -> None:
    """Decode recordings into `folder`, many at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    g722 = [source for source in sources if source.path.suffix == ".g722"]
    sound = [source for source in sources if source.path.suffix != ".g722"]
    jobs = [pool.submit(decode_g722, batch, folder) for batch in batches(g722)]
    jobs += [pool.submit(decode_sound, batch, folder) for batch in batches(sound)]
    for job in jobs:
        job.result()
