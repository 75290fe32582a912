"""Where a training step's time goes: each part by itself, the least of some steps, on noise.

    python tests/benchmarks/training_step.py --config configs/speech_16khz.yaml --num-threads 1

Parts that a configuration does not have are left out. Discriminators are timed as in a step in
which they learn; with `adversarial.every: n` that part comes once in n steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fsq_audio.config import HarmonicNoiseHead
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.config import RunConfig, read_run_config
from fsq_audio.training.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    frozen,
    random_segment,
    speech_level,
)
from fsq_audio.training.losses import SourceLoss, SpectralLoss, saturation_loss
from fsq_audio.training.schedules import parameter_groups


class Parts:
    """The least seconds that each part took."""

    def __init__(self) -> None:
        self.least: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Times what stands inside."""
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.least[name] = min(spent, self.least.get(name, spent))


def measure(run: RunConfig, *, steps: int) -> dict[str, float]:
    """Seconds of each part of a step."""
    torch.manual_seed(0)
    model = AudioTokenizer.from_config(run.tokenizer).train()
    context, parts = model.encoder.context, Parts()
    num_samples = run.data.crop_frames * model.hop_length + sum(context)
    waveform = 0.1 * torch.randn(run.batch_size, num_samples)
    spectral = SpectralLoss(
        sample_rate=model.sample_rate,
        windows=run.loss.mel_windows,
        bands=run.loss.mel_bands,
        magnitudes=run.loss.stft > 0,
    )
    head, source = run.tokenizer.decoder.head, None
    if isinstance(head, HarmonicNoiseHead):
        source = SourceLoss(sample_rate=model.sample_rate, voicing_bands=head.voicing_bands)
    optimizer = torch.optim.AdamW(parameter_groups(model, learning_rate=1e-4), fused=True)
    judges = None if run.adversarial is None else Discriminators(run.adversarial)
    for _ in range(steps):
        with parts.time("tokenizer, forward"):
            made = model(waveform)
            target = context.crop(waveform)
        output = made.waveform.detach().requires_grad_()
        with parts.time("spectral losses, forward and backward"):
            sum(spectral(output, target).values()).backward()
        inside = saturation_loss(made.scalars)
        if source is not None:
            with parts.time("targets of pitch and voicing"):
                inside = inside + sum(source(made.octaves, made.voicing, waveform, context=context))
        if judges is not None and run.adversarial is not None:
            level = speech_level(target)
            real, fake = random_segment(target, output, length=run.adversarial.segment_samples)
            with parts.time("discriminators learn"):
                both = torch.cat([real, fake.detach()])
                halves = [j.split(len(real)) for j in judges(both, level.repeat(2))]
                said = [r for r, _ in halves], [f for _, f in halves]
                discriminator_loss(*said, kind=run.adversarial.loss).backward()
            with parts.time("discriminators are heard"), frozen(judges):
                heard = judges(fake, level)
                loss = adversarial_loss(heard, kind=run.adversarial.loss)
                (loss + feature_matching_loss([r.detach() for r in said[0]], heard)).backward()
        with parts.time("tokenizer, backward"):
            torch.autograd.backward([made.waveform, inside], [output.grad, None])
        with parts.time("clipping and the optimizer"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return parts.least


def main() -> None:
    """Prints the parts and the whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/speech_16khz.yaml")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--num-threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.num_threads)
    run = read_run_config(arguments.config, [])
    parts = measure(run, steps=arguments.steps)
    whole = sum(parts.values())
    for name, seconds in parts.items():
        print(f"{name:40} {1000 * seconds:7.1f} ms {seconds / whole:6.1%}")
    audio = run.batch_size * run.data.crop_frames * run.tokenizer.hop_length
    speed = audio / run.tokenizer.sample_rate / whole
    print(f"{'a step':40} {1000 * whole:7.1f} ms, {speed:.1f} seconds of audio per second")


if __name__ == "__main__":
    main()
