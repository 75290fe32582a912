"""`fsq-audio info`: what a model or a token file is."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from fsq_audio.cli.session import load_model, make_console
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens, TokenFormat


def run(arguments: Namespace) -> bool:
    """Runs the verb; True: what cannot be read ends it."""
    console = make_console(arguments)
    for name in arguments.paths:
        if Path(name).is_file():
            tokens = AudioTokens.load(name)
            values = {"path": name, "kind": "tokens", **_of_tokens(tokens, Path(name))}
        else:
            values = {"path": name, "kind": "model", **_of_model(load_model(name))}
        if arguments.json:
            console.result(values)
        else:
            for sentence in _table(values):
                console.result({}, sentence)
    return True


def _of_model(model: AudioTokenizer) -> dict[str, Any]:
    parts = {"encoder": model.encoder, "quantizer": model.quantizer, "decoder": model.decoder}
    num_parameters = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in parts.items()
    }
    return {
        **_of_format(model.format),
        "num_groups": model.num_groups,
        "bits_per_second": model.bitrate,
        "causal": model.config.causal,
        "num_parameters": sum(num_parameters.values()),
        **{f"num_parameters_{name}": number for name, number in num_parameters.items()},
    }


def _of_tokens(tokens: AudioTokens, path: Path) -> dict[str, Any]:
    source, seconds = tokens.source, float(tokens.duration[0])
    num_bytes = path.stat().st_size
    values = {
        **_of_format(tokens.format),
        "num_groups": tokens.num_groups,
        "num_channels": len(tokens),
        "num_samples": int(tokens.lengths[0]),
        "seconds": seconds,
        "num_frames": int(tokens.num_frames[0]),
        "num_tokens": len(tokens) * tokens.num_groups * int(tokens.num_frames[0]),
        "num_bits": tokens.num_bits,
        "bits_per_second": tokens.num_bits / seconds,
        "num_bytes": num_bytes,
        "bits_per_second_written": 8 * num_bytes / seconds,
    }
    if source is not None:
        values["channels"] = source.channels
        values["original_num_channels"] = source.num_channels
        values["original_sample_rate"] = source.sample_rate
        values["original_num_samples"] = source.num_samples
    return values


def _of_format(form: TokenFormat) -> dict[str, Any]:
    return {
        "model": form.fingerprint,
        "sample_rate": form.sample_rate,
        "hop_length": form.hop_length,
        "frame_rate": form.frame_rate,
        "codebook_size": form.codebook_size,
        "bits_per_code": math.log2(form.codebook_size),
        "quantizer": form.quantizer,
    }


def _table(values: dict[str, Any]) -> list[str]:
    """Lines for people, aligned."""
    rows = [(name.replace("_", " "), _shown(value)) for name, value in values.items()]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
