"""Trains a speech tokenizer: one configuration is one complete run.

    accelerate launch recipes/train_tokenizer.py --config configs/speech_16khz.yaml --output runs/a

Run the same command again to resume. Dotted options override the file: --optimizer.ema_decay 0.99
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from fsq_audio import checkpoint
from fsq_audio.config import to_mapping
from fsq_audio.errors import FSQAudioError
from fsq_audio.evaluation.perceptual import stoi
from fsq_audio.quantizers.health import CodebookCounts
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.config import RunConfig, read_run_config
from fsq_audio.training.data import CropDataset, Recording, read_manifest, read_span
from fsq_audio.training.losses import SpectralLoss, saturation_loss
from fsq_audio.training.state import Checkpoints, WeightAverage


def train(run: RunConfig, output: Path) -> None:
    """Runs or resumes one training; the result is `output/model`."""
    accelerator = Accelerator(
        mixed_precision=run.precision, log_with="tensorboard", project_dir=str(output)
    )
    if accelerator.device.type == "cpu" and torch.get_num_threads() == 1:
        # `accelerate launch` gives a process one thread unless it is told otherwise.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max((cores or 1) // accelerator.num_processes, 1))
    set_seed(run.seed)
    model = AudioTokenizer.from_config(run.tokenizer)
    context = model.encoder.context
    batch_size = run.batch_size * accelerator.num_processes
    crops = CropDataset(
        read_manifest(run.data.train),
        sample_rate=model.sample_rate,
        crop_samples=run.data.crop_frames * model.hop_length,
        context=context,
        gain_db=run.data.gain_db,
        speed=run.data.speed,
        seed=run.seed,
        num_items=run.max_steps * batch_size,
    )
    valid = read_manifest(run.data.valid)
    valid = valid[:: -(-len(valid) // run.validate_items)]

    if run.init_from is not None:
        checkpoint.load_weights(model, checkpoint.find_folder(run.init_from))
    else:
        # The first crops set the scale of the scalars that are rounded (pre-bound std 1).
        with torch.no_grad():
            first = torch.stack([crops[index] for index in range(min(32, len(crops)))])
            model.quantizer.initialize(model.encoder(first))

    losses = SpectralLoss(
        sample_rate=model.sample_rate, windows=run.loss.mel_windows, bands=run.loss.mel_bands
    ).to(accelerator.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=run.optimizer.learning_rate,
        betas=run.optimizer.betas,
        weight_decay=run.optimizer.weight_decay,
        fused=True,
    )
    # Not prepared: Accelerate would step it once per process. A function of the step alone, so that
    # a resumed run may be made longer or shorter.
    schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, run))
    model, optimizer = accelerator.prepare(model, optimizer)
    bare: AudioTokenizer = accelerator.unwrap_model(model)
    average = WeightAverage(bare, decay=run.optimizer.ema_decay)
    accelerator.register_for_checkpointing(schedule, average)
    checkpoints = Checkpoints(output / "checkpoints", keep=run.keep_checkpoints)
    step = checkpoints.load_newest(accelerator)
    accelerator.init_trackers("tensorboard")

    # The data position is the step: crops are a function of their index. The generator is one that
    # nobody else reads: starting a loader draws from it, and a resumed run starts one more.
    rest = Subset(crops, range(step * batch_size, run.max_steps * batch_size))
    loader = accelerator.prepare(
        DataLoader(
            rest,
            batch_size=run.batch_size,
            num_workers=run.data.num_workers,
            generator=torch.Generator(),
        )
    )
    bar = tqdm(
        loader,
        initial=step,
        total=run.max_steps,
        disable=None if accelerator.is_main_process else True,
    )
    start, audio_seconds = time.perf_counter(), 0.0
    model.train()
    for waveform in bar:
        result = model(waveform)
        target = context.crop(waveform)
        mel, stft = losses(result.waveform, target)
        saturation = saturation_loss(result.scalars)
        loss = run.loss.mel * mel + run.loss.stft * stft + run.loss.saturation * saturation
        loss = loss + sum(result.quantized.losses.values())
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        average.update(bare)
        step += 1
        audio_seconds += target.numel() * accelerator.num_processes / bare.sample_rate

        if step % run.log_every == 0:
            speed = audio_seconds / (time.perf_counter() - start)
            values = {
                "loss/mel": mel.item(),
                "loss/stft": stft.item(),
                "loss/saturation": saturation.item(),
                "scalars/std": result.scalars.std().item(),
                "scalars/beyond_2": (result.scalars.abs() > 2).float().mean().item(),
                "gradient_norm": float(norm),
                "learning_rate": schedule.get_last_lr()[0],
                "audio_seconds_per_second": speed,
            }
            accelerator.log({f"train/{name}": value for name, value in values.items()}, step=step)
            bar.set_postfix(mel=f"{mel.item():.3f}", audio_s_per_s=f"{speed:.0f}")
            if accelerator.is_main_process:
                with (output / "log.jsonl").open("a") as file:
                    file.write(json.dumps({"step": step, **values}) + "\n")
        if step % run.save_every == 0 or step == run.max_steps:
            checkpoints.save(accelerator, step=step)
        if step % run.validate_every == 0 or step == run.max_steps:
            if accelerator.is_main_process:
                metrics = validate(run, average, valid, losses)
                accelerator.log({f"valid/{k}": v for k, v in metrics.items()}, step=step)
                line = {"step": step, "minutes": (time.perf_counter() - start) / 60, **metrics}
                print(json.dumps({k: round(v, 4) for k, v in line.items()}), flush=True)
            accelerator.wait_for_everyone()

    if accelerator.is_main_process:
        checkpoint.save(output / "model", run.tokenizer, average.weights, dtype=torch.float16)
    accelerator.end_training()


def learning_rate_factor(step: int, run: RunConfig) -> float:
    """Linear warm-up to 1, then half a cosine to 0 at the last step."""
    warmup = run.optimizer.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(run.max_steps - warmup, 1))


@torch.no_grad()
def validate(
    run: RunConfig, average: WeightAverage, recordings: list[Recording], losses: SpectralLoss
) -> dict[str, float]:
    """Resynthesizes whole recordings with the averaged weights."""
    device = losses.get_buffer("window_256").device
    with torch.random.fork_rng():  # the noise of training must not depend on when it validates
        model = AudioTokenizer.from_config(run.tokenizer).to(device).eval()
    model.load_state_dict(average.weights)
    context, hop = model.encoder.context, model.hop_length
    counts = CodebookCounts(model.num_groups, model.codebook_size)
    mels, intelligibilities = [], []
    for recording in recordings:
        length = -(-recording.num_samples // hop) * hop
        waveform = read_span(recording, start=-context.left, stop=length + context.right)
        result = model(waveform[None].to(device))
        counts.update(result.quantized.codes.cpu())
        target = context.crop(waveform)
        mels.append(losses(result.waveform, target[None].to(device))[0].item())
        intelligibilities.append(
            stoi(target.numpy(), result.waveform[0].cpu().numpy(), sample_rate=model.sample_rate)
        )
    health = counts.summary()
    entropies = {f"entropy_{g}": group.normalized_entropy for g, group in enumerate(health)}
    return {"mel": float(np.mean(mels)), "stoi": float(np.nanmean(intelligibilities)), **entropies}


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a file of configs/")
    parser.add_argument("--output", required=True, type=Path, help="folder of the run")
    arguments, overrides = parser.parse_known_args()
    try:
        run = read_run_config(arguments.config, overrides)
        arguments.output.mkdir(parents=True, exist_ok=True)
        resolved = json.dumps(to_mapping(run), indent=2)
        (arguments.output / "run.json").write_text(resolved + "\n", "utf-8")
        train(run, arguments.output)
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
