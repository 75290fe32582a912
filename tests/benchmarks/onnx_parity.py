"""Codes, samples and work of an exported model beside torch's, on real speech, with one thread.

    fsq-audio export onnx -o output/onnx
    python tests/benchmarks/onnx_parity.py output/onnx egs/samples
    python tests/benchmarks/onnx_parity.py output/onnx egs/debian_speech/data/test.jsonl --int8

Both decode torch's codes. "Same source": the pitch, too, is torch's, so that what differs is the
decoder graph; otherwise the phase drifts by what the pitches differ, summed up. Speed is the
work of a core, which other programs on the machine disturb less than the clock, torch's by
ONNX Runtime's: above one, ONNX Runtime is faster. `--int8` adds the graphs with weights in 8 bits.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from fsq_audio.audio import load
from fsq_audio.coder import Coder
from fsq_audio.export.folder import read
from fsq_audio.export.runtime import OnnxTokenizer, import_runtime
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


def find_recordings(sources: list[str]) -> list[Path]:
    """Of folders, and of manifests whose lines have `audio_filepath`."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += sorted(source.rglob("*.flac"))
            continue
        lines = source.read_text("utf-8").splitlines()
        found += [source.parent / json.loads(line)["audio_filepath"] for line in lines]
    return found


def with_int8(folder: str) -> OnnxTokenizer:
    """The same export with learnt matrices in 8 bits.

    The pitch stays as it is: its errors add up. So do products that nothing has learnt: Fourier
    transforms, bands and lags.
    """
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    export, graphs = read(folder, kind="onnx")
    for name in ("encoder", "decoder"):
        proto = onnx.load_from_string(graphs[name])
        tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        learnt = set()
        # The tool sees a product's matrix only where it is not transposed first.
        for node in [node for node in proto.graph.node if node.op_type == "Transpose"]:
            if node.input[0] in tensors:
                array = numpy_helper.to_array(tensors[node.input[0]]).T.copy()
                proto.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
                proto.graph.node.remove(node)
                if node.input[0].endswith(".weight"):
                    learnt.add(node.output[0])
        products = [node for node in proto.graph.node if node.op_type == "MatMul"]
        with tempfile.TemporaryDirectory() as work:
            quantize_dynamic(
                proto,
                f"{work}/quantized.onnx",
                nodes_to_quantize=[node.name for node in products if node.input[1] in learnt],
                weight_type=QuantType.QInt8,
                per_channel=True,
            )
            graphs[name] = Path(work, "quantized.onnx").read_bytes()
    return OnnxTokenizer(export, graphs)


class Work:
    """Seconds of one core, by what they were for."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def encode(self, name: str, model: Coder, waveform: Tensor) -> AudioTokens:
        started = time.process_time()
        tokens = model.encode(waveform)
        self.spent[f"encode {name}"] += time.process_time() - started
        return tokens

    def decode(self, name: str, model: Coder, tokens: AudioTokens) -> Tensor:
        started = time.process_time()
        waveform = model.decode(tokens)
        self.spent[f"decode {name}"] += time.process_time() - started
        return waveform


def measure(folder: str, sources: list[str], *, source_model: str, int8: bool) -> str:
    """What is to be told."""
    torch.set_num_threads(1)
    model = AudioTokenizer.from_pretrained(source_model)
    plain, same_source = OnnxTokenizer.from_folder(folder), OnnxTokenizer.from_folder(folder)
    same_source.pitch_block = model.pitch_block  # type: ignore[method-assign]
    others = {"ONNX": plain, **({"int8": with_int8(folder)} if int8 else {})}
    work, seconds, num_codes, largest = Work(), 0.0, 0, 0.0
    differing: dict[str, int] = defaultdict(int)
    errors: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    recordings = find_recordings(sources)
    for number, path in enumerate([recordings[0], *recordings]):
        if number == 1:  # the first, done before, warmed up
            work, seconds, num_codes = Work(), 0.0, 0
            differing.clear()
            squares.clear()
        waveform = load(path, sample_rate=model.sample_rate)
        tokens = work.encode("torch", model, waveform)
        original = work.decode("torch", model, tokens)
        seconds, num_codes = seconds + float(tokens.duration[0]), num_codes + tokens.codes.numel()
        largest = max(largest, float(original.abs().max()))
        squares["signal"] += float(original.double().square().sum())
        for name, other in others.items():
            codes = work.encode(name, other, waveform).codes
            differing[name] += int((codes != tokens.codes).sum())
            decoded = work.decode(name, other, tokens)
            error = (decoded - original).abs()
            errors[name] = max(errors[name], float(error.max()))
            squares[name] += float(error.double().square().sum())
        error = (same_source.decode(tokens) - original).abs()
        errors["same source"] = max(errors["same source"], float(error.max()))
    lines = [
        f"{len(recordings)} recordings, {seconds:.0f} s, {num_codes} codes, model "
        f"{model.fingerprint}; largest sample {largest:.3f}; ONNX Runtime "
        f"{import_runtime().__version__}, torch {torch.__version__}, one thread",
        f"same source: largest error {errors['same source']:.1e}",
    ]
    for name in others:
        noise = 10 * torch.tensor(squares["signal"] / max(squares[name], 1e-30)).log10()
        ratios = [
            f"{verb} {work.spent[f'{verb} torch'] / work.spent[f'{verb} {name}']:.2f}"
            for verb in ("encode", "decode")
        ]
        lines.append(
            f"{name}: {differing[name]} codes differ ({differing[name] / num_codes:.1e}); decoded: "
            f"largest error {errors[name]:.1e}, {float(noise):.0f} dB below the signal; times as "
            f"fast as torch: {', '.join(ratios)}"
        )
    rates = [f"{verb} {seconds / work.spent[f'{verb} torch']:.0f}" for verb in ("encode", "decode")]
    lines.append(f"torch, times real time of a core's work: {', '.join(rates)}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of fsq-audio export onnx")
    parser.add_argument("sources", nargs="+", help="folders of FLAC, manifests")
    parser.add_argument("--model", default="default", help="that was exported")
    parser.add_argument("--int8", action="store_true", help="weights in 8 bits as well")
    arguments = parser.parse_args()
    print(
        measure(
            arguments.folder,
            arguments.sources,
            source_model=arguments.model,
            int8=arguments.int8,
        )
    )
