"""A model into a folder of ONNX graphs or of torch's exported programs."""

from __future__ import annotations

import io
import json
from importlib.metadata import version
from pathlib import Path

import torch
from torch.export import ExportedProgram

from fsq_audio import __version__
from fsq_audio.checkpoint import CONFIG_FILE
from fsq_audio.config import to_mapping
from fsq_audio.errors import ConfigError
from fsq_audio.export.folder import FINGERPRINT, LAYOUT, SUFFIXES, Export, Kind, prepare, write
from fsq_audio.export.graphs import Graph, quiet, trace
from fsq_audio.tokenizer import AudioTokenizer

# The first with Gelu as an operator.
OPSET = 20


def export_model(model: AudioTokenizer, folder: Path, *, kind: Kind) -> Export:
    """Writes a folder that `OnnxTokenizer.from_folder`, or `torch.export.load`, reads.

    Args:
        model: whose functions are traced; float32 on the CPU.
        folder: made if it is not there.
        kind: "onnx" or "torch".

    Returns:
        What was written about it.

    Raises:
        ConfigError: the folder holds something else, a package is missing, or a part of the model
            cannot be exported.
    """
    if kind == "onnx":
        check_onnx()
    prepare(folder)
    files = {}
    for graph in trace(model, with_products=kind == "onnx"):
        convert = _to_onnx if kind == "onnx" else _to_pt2
        files[f"{graph.name}{SUFFIXES[kind]}"] = convert(graph, model.fingerprint)
    config = {"model_type": "fsq_audio", **to_mapping(model.config)}
    files[CONFIG_FILE] = (json.dumps(config, indent=2) + "\n").encode()
    packages = ["torch", *(["onnx", "onnxscript"] if kind == "onnx" else [])]
    export = Export(
        layout=LAYOUT,
        kind=kind,
        tokens=model.format,
        groups=model.num_groups,
        contexts=model.contexts,
        opset=OPSET if kind == "onnx" else None,
        versions={"fsq_audio": __version__, **{name: version(name) for name in packages}},
        files={},
    )
    return write(folder, export, files)


def check_onnx() -> None:
    """Makes sure that ONNX graphs can be written.

    Raises:
        ConfigError: a package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError(
            "export onnx needs the packages onnx and onnxscript: pip install 'fsq-audio[onnx]'"
        ) from None


def _to_onnx(graph: Graph, fingerprint: str) -> bytes:
    with quiet():
        made = torch.onnx.export(
            graph.program,
            dynamo=True,
            opset_version=OPSET,
            output_names=[graph.result],
            # Its rules take 1e-8 for zero and drop it from sums: silence became the logarithm of
            # zero (onnxscript 0.7.2). ONNX Runtime optimizes the graph when it loads it.
            optimize=False,
            verbose=False,
        )
    assert made is not None
    proto = made.model_proto
    proto.metadata_props.add(key=FINGERPRINT, value=fingerprint)
    content: bytes = proto.SerializeToString()
    return content


def _to_pt2(graph: Graph, fingerprint: str) -> bytes:
    buffer = io.BytesIO()
    program: ExportedProgram = graph.program
    with quiet():
        torch.export.save(program, buffer, extra_files={FINGERPRINT: fingerprint})
    return buffer.getvalue()
