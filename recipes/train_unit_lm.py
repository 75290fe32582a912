"""Trains a language model on units: one configuration is one complete run.

    accelerate launch recipes/train_unit_lm.py --config configs/unit_lm/small.yaml --output runs/a

Run the same command again to resume. Dotted options override the file: --model.dropout 0.1
--dry-run says what the run needs, and stops. The model with the best validation is OUTPUT/model;
recipes/evaluate_unit_lm.py measures it, recipes/sample_unit_lm.py lets it speak.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed

from fsq_audio.config import to_mapping
from fsq_audio.language_model.bits import bits_per_code, model_bits
from fsq_audio.language_model.model import UnitLanguage, UnitLanguageModel, next_id_nats
from fsq_audio.training.command import run_command
from fsq_audio.training.contexts import ContextBatches
from fsq_audio.training.guard import Guard
from fsq_audio.training.schedules import warmup_cosine
from fsq_audio.training.state import (
    Checkpoints,
    EarlyStopping,
    WeightAverage,
    check_agreement,
    set_num_threads,
)
from fsq_audio.training.tracking import Clock, Meter, Progress, check_tracker
from fsq_audio.training.unit_lm import UnitLMConfig, describe_unit_lm, read_unit_lm_config
from fsq_audio.units.datasets import PackedUnits, UnitDataset, UnitStream


def train(run: UnitLMConfig, output: Path) -> None:
    """Runs or resumes one training in a folder of its own; the result is `output/model`."""
    check_tracker(run.tracker)
    accelerator = Accelerator(
        mixed_precision=run.precision,
        gradient_accumulation_steps=run.accumulate,
        log_with=run.tracker,
        project_dir=str(output),
    )
    set_num_threads(accelerator, run.num_threads)

    # The units: every process reads its own stretch of each epoch.
    data = run.data
    stream = UnitStream(
        data.store, split=data.train, shuffle_buffer=data.shuffle_buffer, seed=run.seed
    )
    language = UnitLanguage(stream.info)
    contexts = PackedUnits(
        stream,
        language.item_to_ids,
        context_length=run.model.context,
        eos_id=language.eos_id,
    )
    valid = UnitDataset(data.store, split=data.valid)
    batches = ContextBatches(
        contexts,
        batch_size=run.batch_size,
        num_workers=data.num_workers,
        agree=lambda has: _all_have(accelerator, has),
    )
    if accelerator.is_main_process:
        resolved = json.dumps(to_mapping(run), indent=2)
        (output / "run.json").write_text(resolved + "\n", "utf-8")

    # What has state, in the order in which it is saved. Every process begins with the same weights.
    set_seed(run.seed)
    model = run.model.build(language)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=run.optimizer.learning_rate,
        betas=run.optimizer.betas,
        weight_decay=run.optimizer.weight_decay,
        fused=True,
    )
    schedule = warmup_cosine(optimizer, run.optimizer, max_steps=run.max_steps)
    guard = Guard(run.guard, name="language model")
    stopping = EarlyStopping(patience=run.patience)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model)
    average = WeightAverage(bare, decay=run.optimizer.ema_decay)
    accelerator.register_for_checkpointing(schedule, average, guard, stopping, batches)
    set_seed(run.seed, device_specific=True)  # from here on each process drops out its own
    checkpoints = Checkpoints(output / "checkpoints", keep=run.keep_checkpoints)
    step = checkpoints.load_newest(accelerator)
    if run.tracker is not None:
        accelerator.init_trackers("tensorboard" if run.tracker == "tensorboard" else "fsq_audio")

    ids_per_step = run.batch_size * run.accumulate * accelerator.num_processes * run.model.context
    ids_per_second = language.info.frame_rate * language.info.num_groups
    progress = Progress(step=step, total=run.max_steps, is_shown=accelerator.is_main_process)
    clock, meter = Clock(), Meter()
    model.train()
    for ids in clock.watch(batches):
        if step >= run.max_steps or stopping.is_over:
            break
        with accelerator.accumulate(model):
            loss = next_id_nats(model, ids.to(accelerator.device)).mean()
            accelerator.backward(loss)
            meter.add({"loss": loss})
            if not accelerator.sync_gradients:
                continue
            means = meter.close_step(accelerator)
            norm = float(accelerator.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm))
            if guard.accepts(step=step, loss=means["loss"], norm=norm):
                optimizer.step()
                average.update(bare)
                meter.keep({"bits_per_id": means["loss"] / math.log(2), "gradient_norm": norm})
            optimizer.zero_grad()
            schedule.step()
        step += 1
        clock.add_audio(ids_per_step / ids_per_second)
        progress.advance()

        if step % run.log_every == 0:
            entry = {
                **meter.mean(),
                **clock.read(),
                "learning_rate": schedule.get_last_lr()[0],
                "epoch": batches.epoch,
                "steps_skipped": guard.num_skipped,
            }
            _log(accelerator, output, {f"train/{k}": v for k, v in entry.items()}, step=step)
            shown = {"bits_per_id": f"{entry.get('bits_per_id', math.nan):.3f}"}
            progress.tell(shown, step=step)
        is_last = step == run.max_steps
        if step % run.validate_every == 0 or is_last:
            averaged = _averaged(run, average, language, accelerator)
            # One process measures, and all hear the same: they stop together.
            bits = math.nan
            if accelerator.is_main_process:
                recordings = (valid[index].codes for index in range(len(valid)))
                bits = bits_per_code(model_bits(averaged, recordings))
            (bits,) = broadcast_object_list([bits])
            if stopping.is_best(bits) and accelerator.is_main_process:
                averaged.save(output / "model")
            found = {"bits_per_token": bits, "best": stopping.best}
            _log(accelerator, output, {f"valid/{k}": v for k, v in found.items()}, step=step)
            if accelerator.is_main_process:
                line = {"step": step, "minutes": round(clock.minutes, 2)}
                print(json.dumps(line | {k: round(v, 4) for k, v in found.items()}), flush=True)
        # After the validation, which it remembers.
        if step % run.save_every == 0 or is_last or stopping.is_over:
            check_agreement(accelerator, model)
            checkpoints.save(accelerator, step=step)
    progress.close()
    accelerator.end_training()


def _all_have(accelerator: Accelerator, has: bool) -> bool:
    if accelerator.num_processes == 1:
        return has
    share = accelerator.reduce(torch.tensor(float(has), device=accelerator.device), "mean")
    return bool(share == 1)


def _averaged(
    run: UnitLMConfig, average: WeightAverage, language: UnitLanguage, accelerator: Accelerator
) -> UnitLanguageModel:
    """The averaged weights as a model."""
    with torch.random.fork_rng():  # dropout must not depend on when a training validates
        llama = run.model.build(language)
    llama.load_state_dict(average.weights)
    return UnitLanguageModel(llama.to(accelerator.device).eval(), language)


def _log(accelerator: Accelerator, output: Path, values: dict[str, float], *, step: int) -> None:
    accelerator.log(values, step=step)
    if accelerator.is_main_process:
        with (output / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's, 130 interrupted."""
    return run_command(
        __doc__,
        configs="configs/unit_lm/",
        read=read_unit_lm_config,
        describe=describe_unit_lm,
        train=train,
    )


if __name__ == "__main__":
    sys.exit(main())
