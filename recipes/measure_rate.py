"""How many bits log-mel spectra need: what an ideal linear code makes of them, beside a model.

    python recipes/measure_rate.py data/valid.jsonl --train data/train.jsonl [--model default]

The code is that of rate-distortion theory for Gaussian blocks (Cover and Thomas 2006, theorem
10.3.3): the directions of greatest variance among blocks of frames of the training recordings, each
given the bits that reverse water-filling allots it. No real code is as good on Gaussian blocks, and
no linear one of that length on these; one that knows more of speech than its second moments can do
better. What it would make of the recordings is drawn at random from its test channel. The model is
decoded, and its sound analysed again, so what its source does to a spectrum is part of its error.

Errors are in dB: their root mean square; its parts along the 8 strongest directions of one frame
(loudness, tilt, broad formants), the next 24, and all others (squared, they add up to its square);
and the mean of their absolute values, which is nearer to what is trained on.

With `--resynthesize 10`, the decoder's gains are fitted to what such a code makes of ten
recordings, and the result is scored. Pitch and voicing come from the model's codes: the linear code
has them for nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from measure_limits import Limits
from torch import Tensor
from torch.nn import functional as F

from fsq_audio import AudioTokenizer
from fsq_audio.errors import FSQAudioError
from fsq_audio.filters import mel_filters
from fsq_audio.training.losses import SpectralLoss
from fsq_audio.training.recordings import Recording, read_at_rate
from fsq_audio.training.sources import read_recordings

BANDS = 80
SPECTRA_PER_FRAME = 4
# In frames of the model: what one code looks at.
BLOCKS = (1, 2, 4)
# In units of the model's bitrate.
RATES = (0.5, 1.0, 2.0, 4.0)
ERROR_COLUMNS = (
    "code | bits a second | rms error, dB | directions 1 to 8 | 9 to 32 | others | mean error"
)
SCORE_COLUMNS = "resynthesis | bits a second | PESQ-WB | STOI | distance, as in training"
# Codes that are resynthesized: frames of a block, units of the model's bitrate.
RESYNTHESIZED = ((1, 1.0), (4, 1.0), (1, 2.0), (4, 2.0))
FIT_STEPS = 150


class Spectra:
    """Waveform `[S]` -> log-mel spectra `[N, BANDS]`, log10 of the amplitude, four to a frame."""

    def __init__(self, model: AudioTokenizer) -> None:
        self.step = model.hop_length // SPECTRA_PER_FRAME
        self.length = model.hop_length
        window = torch.hann_window(self.length)
        self.window = window * (2 / window.sum())
        self.filters = mel_filters(
            sample_rate=model.sample_rate, window_length=self.length, bands=BANDS
        )

    def __call__(self, waveform: Tensor) -> Tensor:
        """`[S]` -> `[S // step, BANDS]`."""
        around = self.length - self.step
        frames = F.pad(waveform, (around // 2, around - around // 2))
        frames = frames.unfold(0, self.length, self.step) * self.window
        power = torch.fft.rfft(frames).abs().square() @ self.filters.T
        return 0.5 * torch.log10(power + SpectralLoss.FLOOR)


@dataclass(frozen=True)
class LinearCode:
    """The ideal code of Gaussian blocks.

    Attributes:
        mean: `[D]`.
        directions: `[D, D]`, one per column.
        variances: `[D]`, of the directions.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor

    @classmethod
    def of(cls, blocks: Tensor) -> LinearCode:
        """The code for blocks `[N, D]`."""
        variances, directions = torch.linalg.eigh(torch.cov(blocks.T))
        return cls(blocks.mean(0), directions, variances.clamp(min=1e-12))

    def transmit(self, blocks: Tensor, *, bits: float) -> Tensor:
        """What arrives of blocks `[N, D]` at so many bits a block: drawn from the test channel."""
        lowest, highest = 1e-12, float(self.variances.max())
        for _ in range(100):
            level = (lowest * highest) ** 0.5
            is_more = 0.5 * torch.log2((self.variances / level).clamp(min=1)).sum() > bits
            lowest, highest = (level, highest) if is_more else (lowest, level)
        kept = (1 - level / self.variances).clamp(min=0)
        noise = torch.randn(blocks.shape, generator=torch.Generator().manual_seed(0))
        sent = (blocks - self.mean) @ self.directions * kept + noise * (kept * level).sqrt()
        arrived: Tensor = sent @ self.directions.T + self.mean
        return arrived


def in_blocks(spectra: list[Tensor], frames: int) -> Tensor:
    """Whole blocks of so many frames: -> `[N, frames * SPECTRA_PER_FRAME * BANDS]`."""
    length = frames * SPECTRA_PER_FRAME
    whole = [one[: len(one) // length * length] for one in spectra]
    return torch.cat([one.reshape(-1, length * BANDS) for one in whole])


def errors(made: Tensor, original: Tensor, directions: Tensor) -> str:
    """The columns of errors; `[N, D]` each, and directions `[D, D]` from the weakest on."""
    error = 20 * (made - original)
    powers = (error @ directions).square().mean(0).flip(0) / len(directions)
    parts = [powers.sum(), powers[:8].sum(), powers[8:32].sum(), powers[32:].sum()]
    return " | ".join(
        f"{float(value):.2f}" for value in [*torch.stack(parts).sqrt(), error.abs().mean()]
    )


def read_all(source: Path, *, sample_rate: int, minutes: float) -> list[Tensor]:
    """Recordings of a source, spread evenly over it, up to so many minutes in all."""
    recordings = read_recordings(source)
    seconds = [one.num_samples / one.sample_rate for one in recordings]
    every = math.ceil(sum(seconds) / (60 * minutes))
    return [_read(one, sample_rate) for one in recordings[::every]]


def _read(recording: Recording, sample_rate: int) -> Tensor:
    stop = recording.num_samples * sample_rate // recording.sample_rate
    return read_at_rate(recording, start=0, stop=stop, sample_rate=sample_rate)


@torch.no_grad()
def measure(model: AudioTokenizer, train: list[Tensor], heard: list[Tensor]) -> list[str]:
    """The lines of the table, as `ERROR_COLUMNS` names them."""
    analyse = Spectra(model)
    learnt, originals = ([analyse(one) for one in part] for part in (train, heard))
    codes = {frames: LinearCode.of(in_blocks(learnt, frames)) for frames in BLOCKS}
    frame, directions = len(codes[1].mean), codes[1].directions
    lines = []
    for frames, code in codes.items():
        blocks = in_blocks(originals, frames)
        name = f"linear, {1000 * frames / model.frame_rate:.0f} ms"
        for rate in RATES:
            made = code.transmit(blocks, bits=rate * model.bitrate / model.frame_rate * frames)
            found = errors(made.view(-1, frame), blocks.view(-1, frame), directions)
            lines.append(f"{name} | {rate * model.bitrate:.0f} | {found}")
    decoded = [model.decode(model.encode(one[None]))[0, : len(one)] for one in heard]
    resynthesis = in_blocks([analyse(one) for one in decoded], 1)
    found = errors(resynthesis, in_blocks(originals, 1), directions)
    return [*lines, f"the model | {model.bitrate:.0f} | {found}"]


def resynthesize(model: AudioTokenizer, train: list[Tensor], heard: list[Tensor]) -> list[str]:
    """The lines of the second table, as `SCORE_COLUMNS` names them: means over `heard`."""
    limits, analyse = Limits(model), Spectra(model)
    learnt = [analyse(one) for one in train]
    codes = {frames: LinearCode.of(in_blocks(learnt, frames)) for frames, _ in RESYNTHESIZED}
    rows: dict[str, list[list[float]]] = {}
    for one in heard:
        block = max(codes) * model.hop_length
        waveform = one[None, : len(one) // block * block]
        made, inputs = limits.resynthesize(waveform)
        original = analyse(waveform[0])
        targets = {"the original's spectra | -": original}
        for frames, rate in RESYNTHESIZED:
            bits = rate * model.bitrate / model.frame_rate * frames
            sent = codes[frames].transmit(in_blocks([original], frames), bits=bits)
            name = f"linear, {1000 * frames / model.frame_rate:.0f} ms | {rate * model.bitrate:.0f}"
            targets[name] = sent.view(-1, BANDS)
        made_of = {f"the model | {model.bitrate:.0f}": made}
        for name, target in targets.items():
            distance = _distance(analyse, target)
            made_of[name] = limits.fit(inputs, distance, steps=FIT_STEPS)
        for name, output in made_of.items():
            rows.setdefault(name, []).append(limits.scores(waveform, output))
    means = {name: torch.tensor(scores).mean(0).tolist() for name, scores in rows.items()}
    return [f"{name} | " + " | ".join(f"{v:.3f}" for v in mean) for name, mean in means.items()]


def _distance(analyse: Spectra, target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda output: F.mse_loss(analyse(output[0]), target)


def main() -> int:
    """Reads the command line, and prints a table; 0 done, 1 a mistake of the user's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path, help="a manifest or a folder")
    parser.add_argument("--train", required=True, type=Path, help="what the code is made for")
    parser.add_argument("--minutes", type=float, default=60.0, help="of --train, about, at most")
    parser.add_argument("--resynthesize", type=int, default=0, help="so many recordings")
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()
    try:
        model = AudioTokenizer.from_pretrained(arguments.model)
        rate = model.sample_rate
        train = read_all(arguments.train, sample_rate=rate, minutes=arguments.minutes)
        heard = read_all(arguments.recordings, sample_rate=rate, minutes=60)
        lines = [ERROR_COLUMNS, *measure(model, train, heard)]
        if arguments.resynthesize:
            longer = [one for one in heard if len(one) > rate]
            every = max(len(longer) // arguments.resynthesize, 1)
            chosen = longer[::every][: arguments.resynthesize]
            lines += ["", SCORE_COLUMNS, *resynthesize(model, train, chosen)]
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
