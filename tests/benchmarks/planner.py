"""Plans a corpus that is not there, and prints the time and the memory that it took.

    python tests/benchmarks/planner.py --recordings 10000000 --tasks 4000 --folder /tmp/plan

The manifest has paths, durations, transcripts and speakers as those of LibriSpeech; it and the
plan stay in the folder if one is given, some 4 GB for ten million recordings.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fsq_audio.corpus.sources import read_entries
from fsq_audio.extraction.plan import RECORDINGS_FILE, Plan, make_plan, read_task

SENTENCE = "he hoped there would be stew for dinner turnips and carrots and bruised potatoes"


@dataclass(frozen=True)
class Planning:
    """What planning gave and took.

    Attributes:
        plan: the plan.
        elapsed: seconds by the clock.
        cpu: seconds of computation.
        peak: bytes of memory that the process has held at most.
    """

    plan: Plan
    elapsed: float
    cpu: float
    peak: int


def write_manifest(path: Path, num_recordings: int) -> None:
    """Durations from 1 to 71 s: ten million make 100,000 hours."""
    choose = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for index in range(num_recordings):
            speaker, chapter = index // 2000, index // 100
            name = f"{speaker}-{chapter}-{index:08d}"
            line = {
                "id": name,
                "audio_filepath": f"train/{speaker}/{chapter}/{name}.flac",
                "duration": round(choose.uniform(1, 71), 3),
                "text": SENTENCE[: choose.randrange(20, len(SENTENCE))],
                "speaker_id": str(speaker),
            }
            file.write(json.dumps(line) + "\n")


def plan_manifest(manifest: Path, folder: Path, num_tasks: int) -> Planning:
    """Plans it as `fsq-audio extract` does."""
    start, cpu = time.monotonic(), time.process_time()
    plan = make_plan(read_entries(manifest), folder / RECORDINGS_FILE, num_tasks=num_tasks)
    elapsed, cpu = time.monotonic() - start, time.process_time() - cpu
    return Planning(plan, elapsed, cpu, peak_memory())


def peak_memory() -> int:
    """The largest resident size of this process, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def report(num_recordings: int, num_tasks: int, folder: Path) -> Planning:
    """Makes a manifest, plans it, and prints what that took."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        write_manifest(manifest, num_recordings)
    done = plan_manifest(manifest, folder, num_tasks)
    seconds = done.plan.seconds
    start = time.monotonic()
    entries = read_task(folder / RECORDINGS_FILE, done.plan, num_tasks // 2)
    print(
        f"{sum(done.plan.sizes)} recordings, {sum(seconds) / 3600:.0f} h, {len(seconds)} tasks of "
        f"{min(seconds) / 3600:.3f} to {max(seconds) / 3600:.3f} h\n"
        f"planned in {done.elapsed:.0f} s by the clock, {done.cpu:.0f} s of one core; "
        f"peak memory {done.peak / 1e9:.2f} GB; "
        f"plan on disk {(folder / RECORDINGS_FILE).stat().st_size / 1e9:.2f} GB\n"
        f"one task, {len(entries)} recordings, read in {time.monotonic() - start:.2f} s"
    )
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=int, default=10_000_000)
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        report(arguments.recordings, arguments.tasks, place)
