"""What bfloat16, 8 bits and torch.compile make of speed, codes and samples, with one thread.

    python tests/benchmarks/other_arithmetic.py egs/samples
    python tests/benchmarks/other_arithmetic.py egs/debian_speech/data/test.jsonl --limit 40

Each replaces the trunks' matrix products, or compiles the functions of a window, in a copy of the
model; the rest is what it is. All decode the codes of float32, at its pitch. Speed is the work of a
core, which other programs disturb less than the clock, recording by recording in turns: float32's
by the variant's, so above one the variant is faster.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from onnx_parity import find_recordings
from torch import Tensor, nn
from torch.nn import functional as F

from fsq_audio.audio import load
from fsq_audio.layers import Block
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


class BFloat16(nn.Module):
    """A linear layer in bfloat16; sums inside a product stay float32."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.weight = layer.weight.detach().bfloat16().contiguous()
        self.bias = layer.bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight, self.bias).to(self.dtype)


class Variant(AudioTokenizer):
    """A copy that decodes the original's codes, at the original's pitch."""

    @classmethod
    def of(cls, plain: AudioTokenizer) -> Variant:
        model = copy.deepcopy(plain)
        model.__class__ = cls
        model.original = plain.fingerprint
        model.pitch_block = plain.pitch_block
        return model

    @property
    def fingerprint(self) -> str:
        return self.original


def blocks(model: AudioTokenizer) -> list[Block]:
    """Those of the trunks; the network that reads the pitch stays as it is."""
    trunks = model.encoder.trunk, model.decoder.trunk
    return [block for trunk in trunks for block in trunk.blocks if isinstance(block, Block)]


def bfloat16(model: AudioTokenizer) -> AudioTokenizer:
    for block in blocks(model):
        block.expand = BFloat16(block.expand, torch.bfloat16)  # type: ignore[assignment]
        block.project = BFloat16(block.project, torch.float32)  # type: ignore[assignment]
    return model


def int8(model: AudioTokenizer) -> AudioTokenizer:
    from torch.ao.quantization import quantize_dynamic

    for trunk in (model.encoder.trunk, model.decoder.trunk):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_dynamic(trunk, {nn.Linear}, dtype=torch.qint8, inplace=True)
    return model


def compiled(model: AudioTokenizer) -> AudioTokenizer:
    """Its first call of every length of window compiles again, or guards that it may differ."""
    for trunk in (model.encoder.trunk, model.decoder.trunk):
        trunk.compile(dynamic=True)
    model.decoder.head.compile(dynamic=True)
    return model


VARIANTS: dict[str, Callable[[AudioTokenizer], AudioTokenizer]] = {
    "bfloat16": bfloat16,
    "int8": int8,
    "torch.compile": compiled,
    "bfloat16, torch.compile": lambda model: compiled(bfloat16(model)),
}


@dataclass
class Result:
    """What one variant did."""

    encode: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    differing: int = 0
    largest: float = 0.0
    squares: float = 0.0


def work(run: Callable[[], object]) -> float:
    """Seconds of a core, the less of two."""
    spent = []
    for _ in range(2):
        started = time.process_time()
        run()
        spent.append(time.process_time() - started)
    return min(spent)


def measure(sources: list[str], *, source_model: str, limit: int | None) -> list[str]:
    """Lines of a table."""
    torch.set_num_threads(1)
    plain = AudioTokenizer.from_pretrained(source_model)
    others = {name: make(Variant.of(plain)) for name, make in VARIANTS.items()}
    recordings = [load(p, sample_rate=plain.sample_rate) for p in find_recordings(sources)[:limit]]
    first = [plain.encode(waveform) for waveform in recordings]
    results = {name: Result() for name in others}
    warm_up = {}
    for name, other in others.items():
        started = time.perf_counter()
        for waveform, tokens in zip(recordings, first, strict=True):
            other.encode(waveform)
            other.decode(tokens)
        warm_up[name] = time.perf_counter() - started
    num_codes, signal = 0, 0.0
    for waveform, tokens in zip(recordings, first, strict=True):
        num_codes += tokens.codes.numel()
        original = plain.decode(tokens)
        signal += float(original.double().square().sum())
        times = [times_of(plain, waveform, tokens)]
        for name, other in others.items():
            result = results[name]
            result.differing += int((other.encode(waveform).codes != tokens.codes).sum())
            error = (other.decode(tokens) - original).abs()
            result.largest = max(result.largest, float(error.max()))
            result.squares += float(error.double().square().sum())
            times.append(times_of(other, waveform, tokens))
            result.encode.append(times[0][0] / times[-1][0])
            result.decode.append(times[0][1] / times[-1][1])
    lines = [
        "| | encode, times as fast | decode | codes that differ | largest error of a sample | "
        "error below the signal | first pass over all |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        below = 10 * torch.tensor(signal / max(result.squares, 1e-30)).log10()
        lines.append(
            f"| {name} | {spread(result.encode)} | {spread(result.decode)} | "
            f"{result.differing} of {num_codes} ({result.differing / num_codes:.2g}) | "
            f"{result.largest:.1e} | {float(below):.0f} dB | {warm_up[name]:.0f} s |"
        )
    seconds = sum(float(tokens.duration[0]) for tokens in first)
    lines.append(
        f"\n{len(recordings)} recordings, {seconds:.0f} s; torch {torch.__version__}, "
        f"{torch.backends.cpu.get_cpu_capability()}, one thread"
    )
    return lines


def times_of(model: AudioTokenizer, waveform: Tensor, tokens: AudioTokens) -> tuple[float, float]:
    return work(lambda: model.encode(waveform)), work(lambda: model.decode(tokens))


def spread(ratios: list[float]) -> str:
    """Median, and the middle half."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"**{middle:.2f}** ({low:.2f} to {high:.2f})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="folders of FLAC, manifests")
    parser.add_argument("--model", default="default")
    parser.add_argument("--limit", type=int, help="of recordings")
    arguments = parser.parse_args()
    lines = measure(arguments.sources, source_model=arguments.model, limit=arguments.limit)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
