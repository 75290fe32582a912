"""What a run will need, before it starts: parameters, arithmetic, bitrate, memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fsq_audio.arithmetic import count_arithmetic, count_macs
from fsq_audio.errors import FSQAudioError
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.config import RunConfig
from fsq_audio.training.discriminators import Discriminators
from fsq_audio.training.sources import read_recordings, summarize

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """What a run needs.

    Attributes:
        parameters: of the tokenizer.
        discriminator_parameters: of the discriminators; 0 without.
        encoder_gmacs: billions of multiply-adds per second of audio: matrix products and
            convolutions; Fourier transforms and elementwise work are not counted.
        decoder_gmacs: likewise.
        discriminator_gmacs: likewise, one forward pass.
        bitrate: nominal bits per second.
        state_bytes: weights, gradients, two moments each, and the averaged weights, in float32.
        activation_bytes: kept for the backward pass of one batch of the tokenizer, float32; the
            losses and the discriminators come on top.
    """

    parameters: int
    discriminator_parameters: int
    encoder_gmacs: float
    decoder_gmacs: float
    discriminator_gmacs: float
    bitrate: float
    state_bytes: int
    activation_bytes: int


def estimate(run: RunConfig) -> Estimate:
    """Builds the modules of a run and measures them on noise; trains nothing, reads no audio."""
    model = AudioTokenizer.from_config(run.tokenizer)
    arithmetic = count_arithmetic(model)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    discriminator_parameters, discriminator = 0, 0.0
    if run.adversarial is not None:
        judges = Discriminators(run.adversarial)
        discriminator_parameters = sum(parameter.numel() for parameter in judges.parameters())
        noise = torch.randn(1, model.sample_rate)
        discriminator = count_macs(lambda: judges(noise, torch.ones(1)))
    num_samples = run.data.crop_frames * model.hop_length + sum(model.encoder.context)
    crop = torch.randn(1, num_samples) * 0.1
    return Estimate(
        parameters=num_parameters,
        discriminator_parameters=discriminator_parameters,
        encoder_gmacs=arithmetic.encoder,
        decoder_gmacs=arithmetic.decoder,
        discriminator_gmacs=discriminator / 1e9,
        bitrate=model.bitrate,
        state_bytes=4 * (5 * num_parameters + 4 * discriminator_parameters),
        activation_bytes=run.batch_size * activation_bytes(model, crop),
    )


def activation_bytes(model: nn.Module, inputs: Tensor) -> int:
    """Bytes that one forward pass keeps for its backward pass, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    # Held until the end: an address that was given back would be counted as seen.
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = model(inputs)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total


def describe(run: RunConfig, *, num_processes: int) -> str:
    """The lines that `--dry-run` prints."""
    facts = estimate(run)
    tokenizer = run.tokenizer
    rate = tokenizer.sample_rate / tokenizer.hop_length
    batch = run.batch_size * run.accumulate * num_processes
    seconds = batch * run.data.crop_frames / rate
    lines = [
        f"tokenizer      {facts.parameters / 1e6:.2f} M parameters, {tokenizer.sample_rate} Hz, "
        f"{rate:g} frames/s, {facts.bitrate:.1f} bit/s",
        f"arithmetic     encoder {facts.encoder_gmacs:.3f}, decoder {facts.decoder_gmacs:.3f} "
        f"GMAC per second of audio (matrix products and convolutions)",
    ]
    if run.adversarial is not None:
        lines.append(
            f"discriminators {facts.discriminator_parameters / 1e6:.2f} M parameters, "
            f"{facts.discriminator_gmacs:.3f} GMAC per second of audio, from step "
            f"{run.adversarial.start_step}, every {run.adversarial.every}"
        )
    lines += [
        f"a step         {batch} crops, {seconds:.1f} s of audio "
        f"({run.batch_size} crops x {run.accumulate} passes x {num_processes} processes)",
        f"the run        {run.max_steps} steps, {run.max_steps * seconds / 3600:.1f} h of crops",
        f"memory         {facts.state_bytes / GIB:.2f} GiB of state and about "
        f"{facts.activation_bytes / GIB:.2f} GiB of activations a process (float32, estimate)",
    ]
    for name in ("train", "valid"):
        source = getattr(run.data, name)
        try:
            recordings = read_recordings(source)
        except FSQAudioError as error:
            lines.append(f"data.{name:<9} not there yet: {error}")
            continue
        lines.append(f"data.{name:<9} {summarize(recordings, source)}")
    return "\n".join(lines)
