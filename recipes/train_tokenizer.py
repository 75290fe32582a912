"""Trains a speech tokenizer: one configuration is one complete run.

    accelerate launch recipes/train_tokenizer.py --config configs/speech_16khz.yaml --output runs/a

Run the same command again to resume. Dotted options override the file: --optimizer.ema_decay 0.99
--dry-run says what the run needs, and stops. One GPU or many, one node or several:
accelerate launch --config_file configs/accelerate/multi_gpu.yaml recipes/train_tokenizer.py ...
Several processes without a GPU, which `accelerate launch` does not start (it asks for mpirun):
ACCELERATE_USE_CPU=true torchrun --standalone --nproc_per_node 2 recipes/train_tokenizer.py ...
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from fsq_audio import checkpoint
from fsq_audio.config import HarmonicNoiseHead, to_mapping
from fsq_audio.evaluation.perceptual import stoi
from fsq_audio.quantizers.health import CodebookCounts
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.augment import build_augmentations
from fsq_audio.training.balancer import GradientBalancer
from fsq_audio.training.command import run_command
from fsq_audio.training.config import (
    AdversarialConfig,
    OptimizerConfig,
    RunConfig,
    read_run_config,
)
from fsq_audio.training.data import CropDataset
from fsq_audio.training.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    frozen,
    random_segment,
    speech_level,
)
from fsq_audio.training.estimate import describe
from fsq_audio.training.guard import Guard
from fsq_audio.training.losses import SourceLoss, SpectralLoss, saturation_loss
from fsq_audio.training.recordings import Recording, read_at_rate, read_span
from fsq_audio.training.schedules import parameter_groups, warmup_cosine
from fsq_audio.training.sources import read_recordings, summarize
from fsq_audio.training.state import Checkpoints, WeightAverage, check_agreement, set_num_threads
from fsq_audio.training.tracking import (
    Clock,
    Example,
    Meter,
    Progress,
    check_tracker,
    codebook_values,
    log_media,
)


def train(run: RunConfig, output: Path) -> None:
    """Runs or resumes one training in a folder of its own; the result is `output/model`."""
    check_tracker(run.tracker)
    accelerator = Accelerator(
        mixed_precision=run.precision,
        gradient_accumulation_steps=run.accumulate,
        log_with=run.tracker,
        project_dir=str(output),
        # Quantizers keep their buffers alike (`end_step`), and no other buffer changes.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    recordings, valid = read_recordings(run.data.train), read_recordings(run.data.valid)
    valid_summary = summarize(valid, run.data.valid)
    valid = valid[:: -(-len(valid) // run.validate_items)]
    for recording in valid:
        read_span(recording, start=0, stop=1)  # rather now than at the first validation
    if accelerator.is_main_process:
        print(f"training:   {summarize(recordings, run.data.train)}", file=sys.stderr)
        print(f"validation: {len(valid)} of {valid_summary}", file=sys.stderr, flush=True)
        resolved = json.dumps(to_mapping(run), indent=2)
        (output / "run.json").write_text(resolved + "\n", "utf-8")
    set_num_threads(accelerator, run.num_threads)

    # The tokenizer and its data. Every process begins with the same weights.
    set_seed(run.seed)
    model = AudioTokenizer.from_config(run.tokenizer)
    context = model.encoder.context
    crops_per_step = run.batch_size * run.accumulate * accelerator.num_processes
    crops = CropDataset(
        recordings,
        sample_rate=model.sample_rate,
        crop_samples=run.data.crop_frames * model.hop_length,
        context=context,
        gain_db=run.data.gain_db,
        speed=run.data.speed,
        augmentations=build_augmentations(run.data, sample_rate=model.sample_rate),
        seed=run.seed,
        num_items=run.max_steps * crops_per_step,
    )
    if run.init_from is not None:
        checkpoint.load_weights(model, checkpoint.find_folder(run.init_from))
    else:
        # The first crops set the scale of the scalars that are rounded (pre-bound std 1).
        with torch.no_grad():
            first = torch.stack([crops[index] for index in range(min(32, len(crops)))])
            model.quantizer.initialize(model.encoder(first))
    if run.compile:
        for trunk in (model.encoder.trunk, model.decoder.trunk):
            trunk.compile()

    # What has state, in the order in which it is saved.
    losses = SpectralLoss(
        sample_rate=model.sample_rate,
        windows=run.loss.mel_windows,
        bands=run.loss.mel_bands,
        magnitudes=run.loss.stft > 0,
    ).to(accelerator.device)
    head, source_loss = run.tokenizer.decoder.head, None
    if isinstance(head, HarmonicNoiseHead):
        source_loss = SourceLoss(
            sample_rate=model.sample_rate, voicing_bands=head.voicing_bands
        ).to(accelerator.device)
    optimizer = build_optimizer(model, run.optimizer)
    schedule = warmup_cosine(optimizer, run.optimizer, max_steps=run.max_steps)
    guard = Guard(run.guard, name="tokenizer")
    balancer = GradientBalancer(average=lambda norms: accelerator.reduce(norms, reduction="mean"))
    model, optimizer = accelerator.prepare(model, optimizer)
    bare: AudioTokenizer = accelerator.unwrap_model(model)
    average = WeightAverage(bare, decay=run.optimizer.ema_decay)
    accelerator.register_for_checkpointing(schedule, average, guard, balancer)
    stage = None if run.adversarial is None else Adversarial(accelerator, run, run.adversarial)
    # From here on each process draws its own noise and group dropout.
    set_seed(run.seed, device_specific=True)
    checkpoints = Checkpoints(output / "checkpoints", keep=run.keep_checkpoints)
    step = checkpoints.load_newest(accelerator)
    if run.tracker is not None:
        accelerator.init_trackers("tensorboard" if run.tracker == "tensorboard" else "fsq_audio")

    # The data position is the step: crops are a function of their index, and n processes draw what
    # one would draw with n times the batch. The generator is one that nobody else reads: starting
    # a loader draws from it, and a resumed run starts one more.
    rest = Subset(crops, range(step * crops_per_step, run.max_steps * crops_per_step))
    loader = accelerator.prepare(
        DataLoader(
            rest,
            batch_size=run.batch_size,
            num_workers=run.data.num_workers,
            generator=torch.Generator(),
        )
    )
    num_failed = crops.num_failed  # of those that set the scale
    progress = Progress(step=step, total=run.max_steps, is_shown=accelerator.is_main_process)
    clock, meter = Clock(), Meter()
    model.train()
    for waveform in clock.watch(loader):
        with accelerator.accumulate(model, *([stage.discriminators] if stage else [])):
            result = model(waveform)
            target = context.crop(waveform)
            distances = losses(result.waveform, target)
            saturation = saturation_loss(result.scalars)
            values = {f"loss/{name}": distance for name, distance in distances.items()}
            values["loss/saturation"] = saturation
            terms = {name: (getattr(run.loss, name), value) for name, value in distances.items()}
            if stage is not None and step >= stage.config.start_step:
                more, judged = stage.judge(result.waveform, target, step=step)
                terms, values = {**terms, **more}, {**values, **judged}

            # What the codes cost stays outside the balance: it never sees the waveform.
            inside = run.loss.saturation * saturation + sum(result.quantized.losses.values())
            values |= {f"loss/{name}": loss for name, loss in result.quantized.losses.items()}
            if source_loss is not None:
                pitch, voicing = source_loss(
                    result.octaves, result.voicing, waveform, context=context
                )
                values |= {"loss/pitch": pitch, "loss/voicing": voicing}
                inside = inside + run.loss.pitch * pitch + run.loss.voicing * voicing
            loss = inside + sum(weight * term for weight, term in terms.values())
            if run.loss.balance:
                accelerator.backward(inside + balancer.combine(terms, result.waveform))
            else:
                accelerator.backward(loss)
            meter.add({**values, "loss/total": loss})
            meter.add({"scalars/std": result.scalars.detach().std()})
            meter.add({"scalars/beyond_2": (result.scalars.abs() > 2).float().mean()})
            if not accelerator.sync_gradients:
                continue

            means = meter.close_step(accelerator)
            norm = float(accelerator.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm))
            means["gradient_norm"] = norm
            is_taken = guard.accepts(step=step, loss=means["loss/total"], norm=norm)
            if is_taken:
                optimizer.step()
            bare.quantizer.end_step(optimizer, is_taken=is_taken)
            if is_taken:
                average.update(bare)
                meter.keep(means)
            optimizer.zero_grad()
            schedule.step()
            if stage is not None:
                meter.keep(stage.close_step(means, step=step))
        step += 1
        clock.add_audio(crops_per_step * run.data.crop_frames / bare.frame_rate)
        progress.advance()

        if step % run.log_every == 0:
            replaced = torch.tensor(crops.num_failed - num_failed, device=accelerator.device)
            entry = {
                **meter.mean(),
                **clock.read(),
                "learning_rate": schedule.get_last_lr()[0],
                "steps_skipped": guard.num_skipped,
                "crops_replaced": int(accelerator.reduce(replaced, reduction="sum")),
            }
            accelerator.log({f"train/{name}": value for name, value in entry.items()}, step=step)
            shown = {n[5:]: f"{v:.3f}" for n, v in entry.items() if n.startswith("loss/")}
            shown["audio_s_per_s"] = f"{entry['audio_seconds_per_second']:.0f}"
            progress.tell(shown, step=step)
            if accelerator.is_main_process:
                with (output / "log.jsonl").open("a") as file:
                    file.write(json.dumps({"step": step, **entry}) + "\n")
        if step % run.save_every == 0 or step == run.max_steps:
            check_agreement(accelerator, model, *([stage.discriminators] if stage else []))
            checkpoints.save(accelerator, step=step)
        if step % run.validate_every == 0 or step == run.max_steps:
            if accelerator.is_main_process:
                found = validate(run, average, valid, losses)
                accelerator.log({f"valid/{k}": v for k, v in found.metrics.items()}, step=step)
                rate = run.tokenizer.sample_rate
                log_media(accelerator, found.examples, found.counts, sample_rate=rate, step=step)
                line = {"step": step, "minutes": clock.minutes, **found.metrics}
                print(json.dumps({k: round(v, 4) for k, v in line.items()}), flush=True)
            accelerator.wait_for_everyone()

    progress.close()
    if accelerator.is_main_process:
        checkpoint.save(output / "model", run.tokenizer, average.weights, dtype=torch.float16)
        print(f"the model after step {step}: {output / 'model'}", file=sys.stderr)
    accelerator.end_training()


class Adversarial:
    """The adversarial stage of a run: discriminators with an optimizer of their own.

    They exist from the first step, so that checkpoints before and after the start are alike.
    """

    def __init__(self, accelerator: Accelerator, run: RunConfig, config: AdversarialConfig) -> None:
        self.accelerator, self.config = accelerator, config
        discriminators = Discriminators(config)
        optimizer = build_optimizer(discriminators, config.optimizer)
        steps = max(run.max_steps - config.start_step, 1)
        self.schedule = warmup_cosine(optimizer, config.optimizer, max_steps=steps)
        self.discriminators, self.optimizer = accelerator.prepare(discriminators, optimizer)
        # Their gradients grow a hundredfold in the moment in which they find what to look at: what
        # is usual says nothing about what is too large.
        self.guard = Guard(replace(run.guard, max_ratio=None), name="discriminators")
        accelerator.register_for_checkpointing(self.schedule, self.guard)
        # The tokenizer hears them outside DistributedDataParallel: their gradients are not wanted
        # there, and it would wait for them.
        self.bare = accelerator.unwrap_model(self.discriminators)

    def judge(
        self, output: Tensor, target: Tensor, *, step: int
    ) -> tuple[dict[str, tuple[float, Tensor]], dict[str, Tensor]]:
        """Trains the discriminators where it is their turn (no step yet), and asks them.

        Args:
            output: `[B, S]`, resynthesized, with gradient.
            target: `[B, S]`, its original.
            step: of the run.

        Returns:
            Terms of the tokenizer's loss, name -> (weight, scalar), and scalars to log.
        """
        level, gain = speech_level(target), self.config.gain(step)
        target, output = random_segment(target, output, length=self.config.segment_samples)
        terms: dict[str, tuple[float, Tensor]] = {}
        values: dict[str, Tensor] = {}
        if self._learns(step):
            both = torch.cat([target, output.detach()])
            judgements = [j.split(len(target)) for j in self.discriminators(both, level.repeat(2))]
            real, fake = [r for r, _ in judgements], [f for _, f in judgements]
            loss = discriminator_loss(real, fake, kind=self.config.loss)
            self.accelerator.backward(loss)
            values["loss/discriminator"] = loss
            # Their step comes with the tokenizer's: until then these stay what they say.
            real = [r.detach() for r in real]
        elif gain > 0:
            with torch.no_grad():
                real = self.bare(target, level)
        if gain > 0:
            with frozen(self.bare):
                fake = self.bare(output, level)
            adversarial = adversarial_loss(fake, kind=self.config.loss)
            matching = feature_matching_loss(real, fake)
            terms["adversarial"] = gain * self.config.weight, adversarial
            terms["feature_matching"] = gain * self.config.feature_matching, matching
            values |= {"loss/adversarial": adversarial, "loss/feature_matching": matching}
        return terms, values

    def close_step(self, means: dict[str, float], *, step: int) -> dict[str, float]:
        """Takes the discriminators' step where they learnt; returns what to log."""
        logged: dict[str, float] = {}
        if self._learns(step):
            parameters, clip = self.discriminators.parameters(), self.config.optimizer.clip_norm
            norm = float(self.accelerator.clip_grad_norm_(parameters, clip))
            if self.guard.accepts(step=step, loss=means["loss/discriminator"], norm=norm):
                self.optimizer.step()
                logged["discriminator/gradient_norm"] = norm
            self.optimizer.zero_grad()
            logged["discriminator/learning_rate"] = self.schedule.get_last_lr()[0]
            logged["discriminator/steps_skipped"] = self.guard.num_skipped
        if step >= self.config.start_step:
            self.schedule.step()
        return logged

    def _learns(self, step: int) -> bool:
        since = step - self.config.start_step
        return since >= 0 and since % self.config.every == 0


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW over all parameters of a module."""
    return torch.optim.AdamW(
        parameter_groups(module, learning_rate=config.learning_rate),
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


@dataclass(frozen=True)
class Validation:
    """What a validation found: numbers, examples to hear and see, the codes."""

    metrics: dict[str, float]
    examples: dict[str, Example]
    counts: CodebookCounts


NUM_EXAMPLES = 3


@torch.no_grad()
def validate(
    run: RunConfig, average: WeightAverage, recordings: list[Recording], losses: SpectralLoss
) -> Validation:
    """Resynthesizes whole recordings with the averaged weights."""
    device = losses.get_buffer(f"window_{losses.windows[0]}").device
    with torch.random.fork_rng():  # the noise of training must not depend on when it validates
        model = AudioTokenizer.from_config(run.tokenizer).to(device).eval()
    model.load_state_dict(average.weights)
    context, hop, rate = model.encoder.context, model.hop_length, model.sample_rate
    levels = model.quantizer.describe().get("effective_levels")
    counts = CodebookCounts(model.num_groups, model.codebook_size, levels)
    mels, intelligibilities, examples = [], [], {}
    for number, recording in enumerate(recordings):
        num_samples = recording.num_samples * rate // recording.sample_rate
        # Silence after a recording makes whole frames of it, and the longest window of the losses.
        length = -(-max(num_samples, *losses.windows) // hop) * hop
        waveform = read_at_rate(
            recording, start=-context.left, stop=length + context.right, sample_rate=rate
        )
        result = model(waveform[None].to(device))
        counts.update(result.quantized.codes.cpu())
        target, output = context.crop(waveform), result.waveform[0].cpu()
        mels.append(losses(result.waveform, target[None].to(device))["mel"].item())
        intelligibilities.append(stoi(target.numpy(), output.numpy(), sample_rate=rate))
        if number < NUM_EXAMPLES:
            examples[f"example_{number}"] = Example(target, output)
    metrics = {"mel": float(np.mean(mels)), "stoi": float(np.nanmean(intelligibilities))}
    return Validation(metrics | codebook_values(counts), examples, counts)


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's, 130 interrupted."""
    return run_command(
        __doc__, configs="configs/", read=read_run_config, describe=describe, train=train
    )


if __name__ == "__main__":
    sys.exit(main())
