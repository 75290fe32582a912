"""Extracts a corpus and prints hours of audio per hour, by the clock and of one core's work.

    python tests/benchmarks/extraction_rate.py egs/debian_speech/data/valid.jsonl
    python tests/benchmarks/extraction_rate.py corpus/ --device cuda --batch-seconds 1200

It is the rate that `docs/scale.md` needs. Where other programs compute at the same time, the work
tells more than the clock; importing and loading, which a task of 25 hours pays once, are left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from fsq_audio.extraction.executors import run_local
from fsq_audio.extraction.progress import Watch
from fsq_audio.extraction.run import Settings, open_run
from fsq_audio.extraction.work import Step
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.units.item import StoreInfo


def measure(source: str, *, model: str, device: str, batch_seconds: float) -> str:
    """Extracts one corpus into a folder that is removed again; what is to be told."""
    tokenizer = AudioTokenizer.from_pretrained(model)
    info = StoreInfo.from_format(tokenizer.format, tokenizer.num_groups)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model, info, torch.device(device).type, "train")
        run = open_run(Path(folder), settings, [os.path.abspath(source)], num_tasks=1)
        step = Step(Path(folder), "train", device, None, 2, batch_seconds)
        start, work = time.monotonic(), time.process_time()
        run_local(run, step, range(1), devices=[device], workers=1)
        elapsed, work = time.monotonic() - start, time.process_time() - work
        done = Watch(run, range(1)).look()
        num_bytes = run.shard(0).stat().st_size
    num_codes = done.seconds * tokenizer.frame_rate * tokenizer.num_groups
    return (
        f"{done.num_done} recordings, {done.seconds / 3600:.3f} h on {device}, "
        f"{torch.get_num_threads()} threads: {done.seconds / elapsed:.0f} h per hour by the clock, "
        f"{done.seconds / work:.0f} h per hour of one core's work\n"
        f"{num_bytes} bytes, {8 * num_bytes / num_codes:.2f} bits a code, names and transcripts "
        f"included"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-seconds", type=float, default=300.0)
    arguments = parser.parse_args()
    print(
        measure(
            arguments.source,
            model=arguments.model,
            device=arguments.device,
            batch_seconds=arguments.batch_seconds,
        )
    )
