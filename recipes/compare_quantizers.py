"""Compares quantizers: a small tokenizer is trained and measured for each cell of a sweep.

    accelerate launch --cpu recipes/compare_quantizers.py --config CONFIG --output OUTPUT

A cell is a quantizer, a codebook size and a seed; all else is the same for all: network, crops,
their order, steps, optimizer. Its result is OUTPUT/ARM-SIZE-SEED.json. Cells that have one are
skipped: run the same command again to go on, and as many at once as there are processors (also on
several machines that share the folder): each cell is done by one of them. Under a launcher that
starts several processes, these share out the cells, not the batches. --arms, --sizes and --seeds
choose some of the cells; dotted options override the file's: --run.max_steps 1000
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from torch import Tensor
from torch.nn import functional as F
from train_tokenizer import train

from fsq_audio.config import from_mapping
from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.evaluation.metric import SAMPLE_RATE, Pair, Voice
from fsq_audio.evaluation.rates import count_usage
from fsq_audio.evaluation.signals import mel_distance
from fsq_audio.evaluation.system import CodeTable
from fsq_audio.files import replacing
from fsq_audio.language_model.model import build_llama
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.overrides import name_source, read_mapping
from fsq_audio.training.recordings import Recording, read_at_rate
from fsq_audio.training.sources import read_recordings
from fsq_audio.training.sweep import Cell, LanguageModelConfig, SweepConfig, find_cells

# What a launcher tells a process of the others. A cell is one process's own.
DISTRIBUTED = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Speech:
    """What every cell is measured on, read once.

    Attributes:
        held_out: whole recordings, `[1, S]` each, and what the metric has found out about them.
        train: recordings that the language model learns the codes of.
    """

    held_out: list[tuple[Tensor, Voice]]
    train: list[Tensor]


def read_speech(sweep: SweepConfig) -> Speech:
    """Reads what cells are measured on."""
    held_out = [each for path in sweep.held_out for each in read_recordings(path)]
    waveforms = [_read(recording) for recording in held_out]
    train: list[Tensor] = []
    if sweep.language_model is not None:
        recordings = read_recordings(sweep.run["data"]["train"])
        train = [_read(each) for each in _minutes(recordings, sweep.language_model.train_minutes)]
    return Speech([(waveform, Voice(waveform[0].numpy())) for waveform in waveforms], train)


def run_cell(cell: Cell, sweep: SweepConfig, speech: Speech, folder: Path) -> dict[str, Any]:
    """Trains and measures; JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    train(cell.run, folder)
    trained = time.process_time()
    model = AudioTokenizer.from_pretrained(folder / "model").eval()
    if model.sample_rate != SAMPLE_RATE:
        raise ConfigError(f"cells are compared at {SAMPLE_RATE} Hz, got {model.sample_rate} Hz")
    codes, distances = resynthesize(model, speech)
    table = CodeTable(codebook_size=model.codebook_size, frame_rate=model.frame_rate)
    usage = count_usage([item[None] for item in codes], table)
    log = (folder / "log.jsonl").read_text("utf-8").splitlines()
    result: dict[str, Any] = {
        "arm": cell.arm,
        "size": cell.size,
        "seed": cell.seed,
        "quantizer": cell.run.tokenizer.quantizer,
        "codebook_size": model.codebook_size,
        "bits_per_frame": model.quantizer.bits_per_frame,
        "num_parameters": sum(weight.numel() for weight in model.parameters()),
        "steps": cell.run.max_steps,
        "frames_trained_on": cell.run.max_steps
        * (cell.run.batch_size * cell.run.accumulate * cell.run.data.crop_frames),
        "train_mel": float(np.mean([json.loads(line)["loss/mel"] for line in log[-2:]])),
        "num_recordings": len(codes),
        "mel_distance": float(np.nanmean(distances)),
        "mel_distance_failed": int(np.isnan(distances).sum()),
        "health": usage.groups,
        "mutual_information": usage.pairs,
        "train_cpu_seconds": trained - started,
    }
    if sweep.language_model is not None:
        result |= compression_cost(
            [model.encode(waveform).codes[0] for waveform in speech.train],
            codes,
            vocabulary=model.codebook_size,
            config=sweep.language_model,
            seed=cell.seed,
        )
    return result


def resynthesize(model: AudioTokenizer, speech: Speech) -> tuple[list[Tensor], list[float]]:
    """Codes `[G, T]` of each held-out recording, and its mel distance; NaN where there is none."""
    codes, distances = [], []
    for waveform, original in speech.held_out:
        tokens = model.encode(waveform)
        codes.append(tokens.codes[0])
        made = Voice(model.decode(tokens)[0].numpy())
        try:
            distances.append(mel_distance(Pair(original, made)))
        except FSQAudioError:  # too short, or silent
            distances.append(math.nan)
    return codes, distances


def compression_cost(
    train_codes: Sequence[Tensor],
    held_out: Sequence[Tensor],
    *,
    vocabulary: int,
    config: LanguageModelConfig,
    seed: int,
) -> dict[str, float]:
    """Bits that a small causal language model needs for each held-out code.

    Args:
        train_codes: `[G, T]` of each recording; groups are read frame by frame.
        held_out: likewise.
        vocabulary: K.
        config: of the language model.
        seed: of its weights and batches.
    """
    set_seed(seed)
    num_groups = train_codes[0].shape[0]
    separator = num_groups * vocabulary
    streams = [_stream(codes, vocabulary, separator) for codes in (train_codes, held_out)]
    learnt, unseen = (_contexts(stream, config.context, separator) for stream in streams)
    model = build_llama(
        separator + 1,
        eos_id=separator,
        width=config.width,
        layers=config.layers,
        context=config.context + 1,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, fused=True)
    warmup = max(config.steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        ),
    )
    order = torch.randint(len(learnt), (config.steps, config.batch_size))
    for rows in order:
        loss = _nats(model, learnt[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        nats = torch.cat([_nats(model, rows).flatten() for rows in unseen.split(16)])
    counted = nats[unseen[:, 1:].flatten() != separator]
    return {
        "compression_bits": float(counted.double().mean() / math.log(2)),
        "compression_num_codes": len(counted),
    }


def _nats(model: Any, contexts: Tensor) -> Tensor:
    # `next_id_nats` is faster, and rounds otherwise: results that are there would not come again.
    logits = model(input_ids=contexts[:, :-1]).logits
    return F.cross_entropy(logits.transpose(1, 2), contexts[:, 1:], reduction="none")


def _stream(codes: Sequence[Tensor], vocabulary: int, separator: int) -> Tensor:
    """Codes frame by frame, each group with its own ids, a separator before each recording."""
    parts = []
    for item in codes:
        offsets = vocabulary * torch.arange(len(item))[:, None]
        parts += [torch.tensor([separator]), (item + offsets).T.flatten()]
    return torch.cat(parts)


def _contexts(stream: Tensor, length: int, separator: int) -> Tensor:
    """`[N, length + 1]`: each begins with the last code of the one before; filled up at the end."""
    stream = F.pad(stream, (0, -(len(stream) - 1) % length), value=separator)
    return stream.unfold(0, length + 1, length).contiguous()


def _minutes(recordings: Sequence[Recording], minutes: float) -> list[Recording]:
    """Recordings spread over the list, as many as it takes."""
    order = np.random.default_rng(0).permutation(len(recordings))
    kept, seconds = [], 0.0
    for index in order:
        if seconds >= 60 * minutes:
            break
        kept.append(recordings[index])
        seconds += recordings[index].num_samples / recordings[index].sample_rate
    return kept


def _read(recording: Recording) -> Tensor:
    length = recording.num_samples * SAMPLE_RATE // recording.sample_rate
    return read_at_rate(recording, start=0, stop=max(length, 1), sample_rate=SAMPLE_RATE)[None]


def sweep_over(chosen: Sequence[Cell], sweep: SweepConfig, *, output: Path, runs: Path) -> int:
    """Does what nobody else has done or is doing; returns how many cells that were."""
    output.mkdir(parents=True, exist_ok=True)
    runs.mkdir(parents=True, exist_ok=True)
    done, speech = 0, read_speech(sweep)
    for cell in chosen:
        result = output / f"{cell.name}.json"
        if result.exists():
            continue
        try:
            with FileLock(runs / f"{cell.name}.lock", timeout=0):
                if result.exists():
                    continue
                print(f"cell {cell.name}", file=sys.stderr, flush=True)
                found = run_cell(cell, sweep, speech, runs / cell.name)
                with replacing(result) as temporary:
                    temporary.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
                shutil.rmtree(runs / cell.name)
                done += 1
        except Timeout:  # another process is at it
            continue
    return done


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a file of configs/compare_quantizers/")
    parser.add_argument("--output", required=True, type=Path, help="folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare_quantizers"))
    parser.add_argument("--arms", nargs="+", metavar="ARM")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="SIZE")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--dry-run", action="store_true", help="list the cells, and stop")
    arguments, overrides = parser.parse_known_args()
    _stand_alone()
    try:
        values = read_mapping(arguments.config, overrides)
        where = name_source(arguments.config, overrides)
        sweep = from_mapping(SweepConfig, values, where=where)
        unknown = sorted(set(arguments.arms or ()) - set(sweep.arms))
        if unknown:
            raise ConfigError(
                f"{arguments.config} has no arm {', '.join(unknown)}: "
                f"it has {', '.join(sweep.arms)}"
            )
        chosen = list(
            find_cells(
                sweep,
                arms=arguments.arms,
                sizes=arguments.sizes,
                seeds=arguments.seeds,
                where=arguments.config,
            )
        )
        if not chosen:
            raise ConfigError(
                f"no arm of {arguments.config} that was asked for has any of the sizes: it has "
                f"{list(sweep.sizes)}"
            )
        if arguments.dry_run:
            for cell in chosen:
                state = "done" if (arguments.output / f"{cell.name}.json").exists() else "to do"
                print(f"{cell.name}\t{state}")
            return 0
        done = sweep_over(chosen, sweep, output=arguments.output, runs=arguments.runs)
        left = sum(not (arguments.output / f"{cell.name}.json").exists() for cell in chosen)
        print(f"{done} cells done, {left} of {len(chosen)} left to others", file=sys.stderr)
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _stand_alone() -> None:
    """Forgets the processes beside this one, but for the device that is its own."""
    local = os.environ.pop("LOCAL_RANK", None)
    if local is not None and torch.cuda.is_available():
        torch.cuda.set_device(int(local))
    for name in DISTRIBUTED:
        os.environ.pop(name, None)


if __name__ == "__main__":
    sys.exit(main())
