"""Prepare real speech from Debian's archive: FLAC tree, manifests and licences.

    python egs/debian_speech/prepare.py --output egs/debian_speech/data

Run again after an interruption: what is finished is kept, and the manifests come out the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from debian_corpus import CORPUS, NOT_SPEECH, Source, list_sources, packages
from debian_decode import SAMPLE_RATE, check_tools, decode, fetch_package, find_source_fault
from debian_splits import (
    assign_splits,
    find_shared_openings,
    group_names,
    hash_samples,
    take_opening,
)
from numpy.typing import NDArray

MIN_SAMPLES = SAMPLE_RATE // 4
SILENCE_DBFS = -50.0
RUMBLE_HZ = 70.0  # no voice of the corpus is lower
SPLITS = ("train", "valid", "valid-unseen", "test", "test-unseen", "test-commands")
# The recordings of `train` but for the package that came last: results that are on record, and go
# on cell by cell, were trained on these.
FIRST, LAST_PACKAGE = "train-first", "tuxpaint-stamps-default"
DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A decoded recording and what decides its fate.

    Attributes:
        source: Where it comes from.
        flac: Its file.
        num_samples: Length at 16 kHz.
        content: Hash of the samples.
        fault: Why it is dropped, or None.
        opening: Its first half second, None if it is dropped.
        ending: Its last half second, backwards, None if it is dropped.
    """

    source: Source
    flac: Path
    num_samples: int
    content: str
    fault: str | None
    opening: NDArray[np.float32] | None
    ending: NDArray[np.float32] | None


def level_dbfs(samples: NDArray[np.int16]) -> float:
    """The loudest 20 ms, in dB relative to full scale; at least one frame is needed."""
    frame = SAMPLE_RATE // 50
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame) / 32768.0
    return float(10 * np.log10(np.square(frames).mean(axis=1).max() + 1e-12))


def rumble_share(samples: NDArray[np.int16]) -> float:
    """Share of the energy that is below `RUMBLE_HZ`: mains hum, an offset."""
    energy = np.square(np.abs(np.fft.rfft(samples / 32768.0)))
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(energy[frequencies < RUMBLE_HZ].sum() / energy.sum())


def find_fault(name: str, samples: NDArray[np.int16]) -> str | None:
    """Why a recording cannot be used, or None."""
    if name.rsplit("-", maxsplit=1)[-1] in NOT_SPEECH:
        return "no speech (a tone, or monkeys)"
    if len(samples) < MIN_SAMPLES:
        return f"shorter than {MIN_SAMPLES / SAMPLE_RATE:g} s"
    if level_dbfs(samples) < SILENCE_DBFS:
        return f"silence (below {SILENCE_DBFS:g} dBFS throughout)"
    if rumble_share(samples) > 0.5:
        return f"hum (half of the energy below {RUMBLE_HZ:g} Hz)"
    return None


def examine(source: Source, flac: Path) -> Recording:
    """Read a decoded recording back and decide whether it can be used."""
    samples, _ = sf.read(flac, dtype="int16")
    fault = find_fault(source.utterance_id, samples)
    return Recording(
        source=source,
        flac=flac,
        num_samples=len(samples),
        content=hash_samples(samples),
        fault=fault,
        opening=None if fault else take_opening(samples),
        ending=None if fault else take_opening(samples[::-1]),
    )


def choose_splits(recordings: Sequence[Recording]) -> dict[str, str]:
    """Split of every usable recording; what sounds the same goes the same way."""
    by_speaker: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.source.recordings.split is None:
            by_speaker[recording.source.recordings.speaker_id].append(recording)
    pairs = []
    for voice in by_speaker.values():
        openings = np.stack([r.opening for r in voice if r.opening is not None])
        endings = np.stack([r.ending for r in voice if r.ending is not None])
        pairs += [
            (voice[a].source.utterance_id, voice[b].source.utterance_id)
            for a, b in find_shared_openings(openings) + find_shared_openings(endings)
        ]
    splits = assign_splits(group_names([r.source.utterance_id for r in recordings], pairs))
    for recording in recordings:
        if recording.source.recordings.split is not None:
            splits[recording.source.utterance_id] = recording.source.recordings.split
    return splits


def precedence(recording: Recording) -> tuple[bool, str]:
    """Order of the manifests, and which of two copies is kept: never a train-only one."""
    late = recording.source.recordings.split in ("train", "valid-unseen")
    return late, recording.source.utterance_id


def final_path(output: Path, split: str, name: str) -> Path:
    """Place of an utterance in the LibriSpeech-style tree."""
    speaker_id, chapter, _ = name.split("-")
    return output / split / speaker_id / chapter / f"{name}.flac"


def move(flac: Path, path: Path) -> None:
    """Move a file within the output folder, if it is not there already."""
    if flac != path:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(flac, path)


def make_line(recording: Recording, audio_filepath: str) -> dict[str, object]:
    """One line of the manifest."""
    source = recording.source
    line: dict[str, object] = {
        "id": source.utterance_id,
        "audio_filepath": audio_filepath,
        "num_samples": recording.num_samples,
        "sample_rate": SAMPLE_RATE,
        "duration": round(recording.num_samples / SAMPLE_RATE, 4),
        "speaker_id": source.recordings.speaker_id,
        "language": source.recordings.language,
    }
    if source.text is not None:
        line["text"] = source.text
    line["licence"] = source.recordings.licence
    line["package"] = source.recordings.package
    return line


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_licences(output: Path, downloads: Path) -> None:
    """Name each package's licence and authors, and copy its copyright file."""
    lines = [
        "# Licences of the recordings",
        "",
        "The full copyright file of each package is in `licences/`. The recordings were decoded,",
        "mixed to mono, resampled to 16 kHz, turned down where they exceeded full scale and stored",
        "as FLAC; nothing else was changed.",
        "",
        "| package | speaker | language | licence | attribution |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.package} | {r.speaker_id} | {r.language} | {r.licence} | {r.attribution} |"
        for r in CORPUS
    ]
    (output / "licences").mkdir(exist_ok=True)
    for package in packages():
        notice = downloads / package / "usr/share/doc" / package / "copyright"
        shutil.copyfile(notice, output / "licences" / f"{package}.txt")
    write_text(output / "LICENCES.md", "\n".join(lines) + "\n")


def print_summary(manifests: dict[str, list[dict[str, object]]], drops: dict[str, str]) -> None:
    """Say what there is and what was left out."""
    print(f"{'split':<14}{'utterances':>11}{'hours':>8}{'speakers':>10}")
    for split, lines in manifests.items():
        hours = sum(int(str(line["num_samples"])) for line in lines) / SAMPLE_RATE / 3600
        num_speakers = len({line["speaker_id"] for line in lines})
        print(f"{split:<14}{len(lines):>11}{hours:>8.3f}{num_speakers:>10}")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in sorted(drops.items()):
        by_reason[reason].append(name)
    for reason, names in sorted(by_reason.items()):
        print(f"\ndropped, {reason}: {len(names)}\n  {' '.join(names)}")


def prepare(output: Path, *, downloads: Path, num_workers: int) -> None:
    """Fetch, decode, sort into splits, write the manifests."""
    check_tools()
    for package in packages():
        fetch_package(package, downloads)
    drops: dict[str, str] = {}
    sources: dict[str, Source] = {}
    for source in list_sources(downloads):
        if source.utterance_id in sources:
            raise SystemExit(f"two recordings have the name {source.utterance_id}.")
        if fault := find_source_fault(source.path):
            drops[source.utterance_id] = fault
        else:
            sources[source.utterance_id] = source
    # A finished FLAC is found wherever it lies: the split is known only when all are decoded.
    undecided = output / "undecided"
    finished = {path.stem: path for path in sorted(output.rglob("*.flac"))}
    missing = [source for name, source in sources.items() if name not in finished]
    with ThreadPoolExecutor(num_workers) as pool:
        print(f"{len(sources)} recordings, {len(missing)} of them to decode", flush=True)
        decode(missing, folder=undecided, pool=pool)
        finished |= {s.utterance_id: undecided / f"{s.utterance_id}.flac" for s in missing}
        recordings = list(pool.map(examine, sources.values(), (finished[name] for name in sources)))

    usable: list[Recording] = []
    first_with: dict[str, str] = {}
    for recording in sorted(recordings, key=precedence):
        name = recording.source.utterance_id
        if recording.fault is not None:
            drops[name] = recording.fault
        elif (first := first_with.setdefault(recording.content, name)) != name:
            drops[f"{name}={first}"] = "same samples"
        else:
            usable.append(recording)
            continue
        move(recording.flac, output / DROPPED / f"{name}.flac")

    splits = choose_splits(usable)
    manifests: dict[str, list[dict[str, object]]] = {split: [] for split in SPLITS}
    for recording in usable:
        name = recording.source.utterance_id
        path = final_path(output, splits[name], name)
        move(recording.flac, path)
        line = make_line(recording, path.relative_to(output).as_posix())
        manifests[splits[name]].append(line)
    shutil.rmtree(undecided)
    write_licences(output, downloads)
    first = [line for line in manifests["train"] if line["package"] != LAST_PACKAGE]
    for split, lines in {**manifests, FIRST: first}.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(output / f"{split}.jsonl", text)
    print_summary(manifests, drops)


def main() -> None:
    """Read the command line."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=here / "data", help="folder to write")
    parser.add_argument(
        "--downloads", type=Path, default=here / "downloads", help="folder for the packages"
    )
    parser.add_argument(
        "--num-workers", type=int, default=os.cpu_count() or 1, help="decode so many at a time"
    )
    arguments = parser.parse_args()
    if arguments.num_workers < 1:
        parser.error(f"--num-workers must be at least 1, not {arguments.num_workers}")
    prepare(
        arguments.output.resolve(),
        downloads=arguments.downloads.resolve(),
        num_workers=arguments.num_workers,
    )


if __name__ == "__main__":
    main()
