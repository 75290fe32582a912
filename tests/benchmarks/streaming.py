"""The table of docs/streaming.md: what blocks of each size wait, cost and change.

    python tests/benchmarks/streaming.py [--seconds 120] [--write] [RECORDING or FOLDER ...]

Compute is the CPU time of one core, which others on the machine disturb less than the time that
passes; recordings are joined to one signal, the samples of egs/samples unless others are named.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fsq_audio import audio
from fsq_audio.blocks import WINDOW_FRAMES
from fsq_audio.streaming import StreamingDecoder, StreamingEncoder
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.config import read_run_config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "streaming.md"
BEGIN, END = "<!-- streaming: begin -->", "<!-- streaming: end -->"
BLOCKS = (1, 2, 4, 8, 16, 32, 64, WINDOW_FRAMES)


@dataclass(frozen=True)
class Measured:
    """Blocks of one size.

    Attributes:
        block_frames: their size.
        encoder_latency, decoder_latency: seconds, as stated.
        together: seconds from a sample in to the same sample out, as measured.
        encode_cost, decode_cost: seconds of one core for a second of audio.
        num_differing, num_codes: codes other than those of `encode`, and all.
        error: of the samples against those of `decode`, relative, root mean square.
    """

    block_frames: int
    encoder_latency: float
    decoder_latency: float
    together: float
    encode_cost: float
    decode_cost: float
    num_differing: int
    num_codes: int
    error: float


def read_speech(paths: Sequence[Path], *, sample_rate: int, seconds: float) -> Tensor:
    """Recordings joined to `[S]`, no longer than `seconds`."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*.flac")) if path.is_dir() else [path])
    ]
    parts: list[Tensor] = []
    missing = round(seconds * sample_rate)
    for file in files:
        if missing > 0:
            parts.append(audio.load(file, sample_rate=sample_rate)[0][:missing])
            missing -= len(parts[-1])
    return torch.cat(parts)


def wait(model: AudioTokenizer, block_frames: int) -> float:
    """Seconds of audio that must have gone in before the first sample comes out."""
    encoder = StreamingEncoder(model, block_frames=block_frames)
    decoder = StreamingDecoder(model, block_frames=block_frames)
    step = model.hop_length // 10
    while not len(decoder.push(encoder.push(torch.zeros(step)))):
        pass
    return encoder.num_samples / model.sample_rate


def measure(model: AudioTokenizer, speech: Tensor, *, block_frames: int) -> Measured:
    """Streams speech hop by hop, and decodes a quarter of it; both compared with the whole."""
    encoder = StreamingEncoder(model, block_frames=block_frames)
    decoder = StreamingDecoder(model, block_frames=block_frames)
    quarter = speech[: len(speech) // 4]
    expected, tokens = model.encode(speech).codes[0], model.encode(quarter)
    whole = model.decode(tokens)[0]

    began = time.process_time()
    parts = [encoder.push(piece) for piece in speech.split(model.hop_length)]
    codes = torch.cat([*parts, encoder.flush()], dim=1)
    encoded = time.process_time()
    *frames, last = tokens.codes[0].split(1, dim=1)
    parts = [decoder.push(frame) for frame in frames]
    samples = torch.cat([*parts, decoder.flush(last, num_samples=len(quarter))])
    decoded = time.process_time()

    return Measured(
        block_frames=block_frames,
        encoder_latency=encoder.latency,
        decoder_latency=decoder.latency,
        together=wait(model, block_frames),
        encode_cost=(encoded - began) * model.sample_rate / len(speech),
        decode_cost=(decoded - encoded) * model.sample_rate / len(quarter),
        num_differing=int((codes != expected).sum()),
        num_codes=codes.numel(),
        error=relative_error(samples, whole),
    )


def relative_error(samples: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, relative to what was expected; both `[S]`."""
    return float((samples - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def measure_hour(model: AudioTokenizer, speech: Tensor, *, block_frames: int) -> str:
    """Speech again and again for an hour: how far rounding has come by its last minute."""
    minute = 60 * model.sample_rate
    hour = speech.repeat(-(-60 * minute // len(speech)))[: 60 * minute]
    encoder = StreamingEncoder(model, block_frames=block_frames)
    decoder = StreamingDecoder(model, block_frames=block_frames)
    expected = model.encode(hour)
    codes = torch.cat([*(encoder.push(piece) for piece in hour.split(minute)), encoder.flush()], 1)
    *pieces, last = expected.codes[0].split(1000, dim=1)
    parts = [decoder.push(piece) for piece in pieces]
    samples = torch.cat([*parts, decoder.flush(last, num_samples=len(hour))])
    whole = model.decode(expected)[0]
    return (
        f"An hour in blocks of {block_frames}, through the model in the package: "
        f"{int((codes != expected.codes[0]).sum())} of {codes.numel()} codes differ; the error of "
        f"the samples is {relative_error(samples[:minute], whole[:minute]):.0e} in the first "
        f"minute and {relative_error(samples[-minute:], whole[-minute:]):.0e} in the last."
    )


def render(name: str, model: AudioTokenizer, rows: Sequence[Measured]) -> str:
    """A table, and what of it follows from the architecture."""
    left, right = model.encoder.context
    hop, context = model.hop_length, model.decoder.context
    lines = [
        f"**{name}** (fingerprint {model.fingerprint}): the encoder sees {left / hop:.1f} frames "
        f"before and {right / hop:.1f} after a block, the decoder {context.left} and "
        f"{context.right}.\n",
        "| frames in a block | encoder waits, ms | decoder, ms | both, measured, ms "
        "| one core, encoding | decoding | frames computed for one, encoder, decoder "
        "| codes that differ | error of samples |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        size = row.block_frames
        again = (size + (left + right) / hop) / size, (size + sum(context)) / size
        lines.append(
            f"| {size} | {row.encoder_latency * 1000:.0f} | {row.decoder_latency * 1000:.0f} "
            f"| {row.together * 1000:.0f} | {row.encode_cost:.1%} | {row.decode_cost:.1%} "
            f"| {again[0]:.1f}, {again[1]:.1f} | {row.num_differing} of {row.num_codes} "
            f"| {row.error:.0e} |"
        )
    return "\n".join(lines)


def random_causal() -> AudioTokenizer:
    """The causal configuration with random weights: what it costs does not depend on them."""
    torch.manual_seed(0)
    config = read_run_config(ROOT / "configs" / "causal_16khz.yaml").tokenizer
    return AudioTokenizer.from_config(config).eval()


def main() -> None:
    """Measures, prints, and with `--write` puts the result into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "egs" / "samples"])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    causal, packaged = random_causal(), AudioTokenizer.from_pretrained()
    speech = read_speech(arguments.paths, sample_rate=16000, seconds=arguments.seconds)
    with torch.no_grad():
        # As a training begins: scalars of unit spread, so that many codes occur.
        around = sum(causal.encoder.context)
        num_frames = min(1000, (len(speech) - around) // causal.hop_length)
        crop = speech[None, : around + num_frames * causal.hop_length]
        causal.quantizer.initialize(causal.encoder(crop))
    texts = []
    for name, model, part in (
        ("The model in the package", packaged, speech),
        ("configs/causal_16khz.yaml, random weights", causal, speech[: len(speech) // 2]),
    ):
        rows = []
        for block_frames in BLOCKS:
            rows.append(measure(model, part, block_frames=block_frames))
            print(rows[-1], flush=True)
        texts.append(render(name, model, rows))
    texts.append(measure_hour(packaged, speech, block_frames=8))
    texts.append(
        f"{len(speech) / 16000:.0f} s of speech, half of it for random weights, and a quarter of "
        f"that decoded; {platform.machine()}, one thread, torch "
        f"{torch.__version__}, float32."
    )
    text = "\n\n".join(texts)
    print(text)
    if arguments.write:
        page = PAGE.read_text("utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
