"""What stands between a resynthesis and its original: how good each part could be.

    python recipes/measure_limits.py egs/samples/*.flac [--model default]

Three scores for each recording, PESQ-WB, STOI and the log-mel distance of the training:
`codes`: the resynthesis. `unrounded`: the same without the rounding of the scalars, which is the
least that more bits would bring. `fitted`: the same source, but with gains that were fitted to this
one recording by gradient descent, which is the most that the decoder's head could do. `itself`: the
resynthesis beside another of the same codes, whose noise and pulses begin elsewhere: what the
source costs that knows nothing of the original's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio import AudioTokenizer, audio
from fsq_audio.errors import AudioError, ConfigError, FSQAudioError
from fsq_audio.evaluation.perceptual import stoi
from fsq_audio.heads import HarmonicNoise
from fsq_audio.quantizers.group import GroupFSQ
from fsq_audio.source import TURN
from fsq_audio.training.config import LossConfig
from fsq_audio.training.losses import SpectralLoss

# Frames, source and voicing: see `HarmonicNoise.forward`.
HeadInputs = tuple[Tensor, Tensor, Tensor]


class Constant(nn.Module):
    """Values to be fitted, in the place of a layer."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, x: Tensor) -> Tensor:
        """The values, whatever comes in."""
        return self.values


class Limits:
    """The scores of a recording."""

    def __init__(self, model: AudioTokenizer) -> None:
        head, quantizer = model.decoder.head, model.quantizer.quantizer
        if not isinstance(head, HarmonicNoise) or not isinstance(quantizer, GroupFSQ):
            raise ConfigError("limits are measured of the head harmonic_noise on group_fsq only")
        self.model, self.head, self.fsq = model, head, quantizer.fsq
        losses = LossConfig()
        self.loss = SpectralLoss(
            sample_rate=model.sample_rate, windows=losses.mel_windows, bands=losses.mel_bands
        )

    def __call__(self, waveform: Tensor, *, steps: int) -> dict[str, list[float]]:
        """`[1, S]` -> PESQ-WB, STOI, distance, by name."""
        made, heard = self.resynthesize(waveform)
        x, source, voicing = heard
        elsewhere = source.clone()
        phases = slice(self.head.subframes, 2 * self.head.subframes)
        elsewhere[:, phases] = (elsewhere[:, phases] + TURN // 2) % TURN
        elsewhere[:, -1] += 50  # frames of noise
        with torch.no_grad():
            other = self.head(x, elsewhere, voicing)
        fitted = self.fit(heard, lambda output: self._distance(waveform, output), steps=steps)
        return {
            "codes": self.scores(waveform, made),
            "unrounded": self.scores(waveform, self._without_rounding(waveform)),
            "fitted": self.scores(waveform, fitted),
            "itself": self.scores(made, other),
        }

    @torch.no_grad()
    def resynthesize(self, waveform: Tensor) -> tuple[Tensor, HeadInputs]:
        """`[1, S]` -> its resynthesis, of whole frames, and what the head made that of."""
        seen: list[HeadInputs] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
        latents = self.model.quantizer.decode(self.model.encode(waveform).codes)
        made = self.model.decoder.resynthesize(latents).waveform
        hook.remove()
        return made, seen[0]

    def fit(
        self, inputs: HeadInputs, distance: Callable[[Tensor], Tensor], *, steps: int
    ) -> Tensor:
        """What the head makes with the gains that bring `distance` of its output down."""
        learnt = self.head.gains
        fitted = Constant(learnt(inputs[0]).detach())
        optimizer = torch.optim.Adam(fitted.parameters())
        self.head.gains = fitted
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
            made = self.head(*inputs)
            optimizer.zero_grad()
            distance(made).backward()
            optimizer.step()
        self.head.gains = learnt
        return made.detach()

    def scores(self, original: Tensor, made: Tensor) -> list[float]:
        """PESQ-WB, STOI and distance of `made` `[1, S or more]` to `original` `[1, S]`."""
        from pesq import PesqError, pesq

        rate, length = self.model.sample_rate, original.shape[-1]
        pair = [part[0, :length].numpy() for part in (original, made)]
        try:
            quality = pesq(rate, *pair, "wb")
        except PesqError as error:
            raise AudioError("PESQ finds too little speech: leave this recording out") from error
        intelligibility = stoi(*pair, sample_rate=rate)
        return [float(quality), intelligibility, float(self._distance(original, made))]

    @torch.no_grad()
    def _without_rounding(self, waveform: Tensor) -> Tensor:
        model, rounding = self.model, self.fsq.round_to_digits
        whole_frames = F.pad(waveform, (0, -waveform.shape[-1] % model.hop_length))
        latents = model.encoder(model.encoder.context.pad(whole_frames))
        # Where zero lies among the digits, and no rounding.
        self.fsq.round_to_digits = lambda bounded: bounded + rounding(torch.zeros_like(bounded))
        quantized = model.quantizer(latents).quantized
        self.fsq.round_to_digits = rounding
        return model.decoder.resynthesize(quantized).waveform

    def _distance(self, original: Tensor, made: Tensor) -> Tensor:
        length = original.shape[-1]
        return self.loss(made[:, :length], original)["mel"]


def main() -> int:
    """Reads the command line, and prints a table; 0 done, 1 a mistake of the user's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--steps", type=int, default=300, help="of the fit")
    arguments = parser.parse_args()
    rows: list[dict[str, list[float]]] = []
    path: Path | str = arguments.model
    try:
        model = AudioTokenizer.from_pretrained(arguments.model)
        limits = Limits(model)
        for path in arguments.recordings:
            waveform = audio.load(path, sample_rate=model.sample_rate)
            rows.append(limits(waveform, steps=arguments.steps))
    except FSQAudioError as error:
        message = str(error)
        print(
            f"error: {message if str(path) in message else f'{path}: {message}'}", file=sys.stderr
        )
        return 1
    print(f"mean of {len(rows)} recordings | PESQ-WB | STOI | distance")
    for name in rows[0]:
        means = np.mean([row[name] for row in rows], axis=0)
        print(f"{name} | " + " | ".join(f"{mean:.3f}" for mean in means))
    return 0


if __name__ == "__main__":
    sys.exit(main())
