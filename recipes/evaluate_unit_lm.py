"""What held-out units cost a language model in bits, beside their frequencies and log2 K.

    python recipes/evaluate_unit_lm.py --model runs/a/model --store units --split test test-unseen \
        --output runs/a/evaluation.json

Every recording is read alone, from its beginning. `unigram` knows how often each code of each group
occurred in --train, one added to every count; its entropy is that of these frequencies, its bits
are the cross-entropy on the held-out codes. Intervals are 95 % bootstrap intervals over recordings.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsq_audio.errors import FSQAudioError
from fsq_audio.evaluation.summary import summarize
from fsq_audio.files import replacing
from fsq_audio.language_model.bits import Bits, Unigram, bits_per_code, model_bits
from fsq_audio.language_model.model import UnitLanguageModel
from fsq_audio.units.datasets import UnitDataset, UnitStream
from fsq_audio.units.item import UnitItem


def evaluate(model: UnitLanguageModel, store: Path, *, train: str, splits: Sequence[str]) -> Any:
    """Bits of each split; JSON."""
    info = model.language.info
    groups, size = info.num_groups, info.codebook_size
    stream = UnitStream(store, split=train)
    model.language.check(stream.info, where=store)
    unigram = Unigram.count((item.codes for item in stream), num_groups=groups, codebook_size=size)
    result: dict[str, Any] = {
        "fingerprint": info.fingerprint,
        "num_parameters": sum(each.numel() for each in model.llama.parameters()),
        "log2_codebook_size": math.log2(size),
        "unigram_entropy": float(unigram.entropy.mean()),
        "unigram_entropy_of_groups": unigram.entropy.tolist(),
        "splits": {},
    }
    for split in splits:
        items = _items(model, store, split)
        uniform = np.full((groups, 1), math.log2(size))
        result["splits"][split] = {
            "num_recordings": len(items),
            "num_tokens": sum(item.codes.size for item in items),
            "seconds": sum(item.duration for item in items),
            "language_model": _sum_up(model_bits(model, [item.codes for item in items]), items),
            "unigram": _sum_up([unigram.bits(item.codes) for item in items], items),
            "uniform": _sum_up([uniform.repeat(item.num_frames, 1) for item in items], items),
        }
    return result


def _items(model: UnitLanguageModel, store: Path, split: str) -> list[UnitItem]:
    dataset = UnitDataset(store, split=split)
    model.language.check(dataset.info, where=store)
    return [dataset[index] for index in range(len(dataset))]


def _sum_up(bits: Sequence[Bits], items: Sequence[UnitItem]) -> dict[str, Any]:
    """Bits a token and a second, over all tokens and all seconds."""
    mean = bits_per_code(bits)
    has = [place for place, each in enumerate(bits) if each.size]
    per_token = summarize(
        [bits[place].mean() for place in has], weights=[bits[place].size for place in has]
    )
    total, seconds = mean * sum(each.size for each in bits), sum(item.duration for item in items)
    return {
        "bits_per_token": mean,
        "interval": [per_token.low, per_token.high],
        "bits_per_second": total / seconds,
        "bits_per_token_of_groups": np.concatenate(bits, axis=1).mean(axis=1).tolist(),
    }


def describe(result: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        f"Units of model {result['fingerprint']}; the language model has "
        f"{result['num_parameters'] / 1e6:.2f} M parameters. Entropy of the unigram on the "
        f"training split: {result['unigram_entropy']:.3f} bits.",
        "",
        "| split | | bits per token | bits per second | by group |",
        "|---|---|---|---|---|",
    ]
    for split, found in result["splits"].items():
        name = f"{split} ({found['num_recordings']} recordings, {found['seconds']:.0f} s)"
        for system, title in (
            ("uniform", "log2 K"),
            ("unigram", "unigram"),
            ("language_model", "language model"),
        ):
            row = found[system]
            low, high = row["interval"]
            interval = "" if system == "uniform" else f" [{low:.3f}, {high:.3f}]"
            groups = ", ".join(f"{each:.2f}" for each in row["bits_per_token_of_groups"])
            lines.append(
                f"| {name} | {title} | {row['bits_per_token']:.3f}{interval} | "
                f"{row['bits_per_second']:.0f} | {groups} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--model", required=True, type=Path, help="OUTPUT/model of a training")
    parser.add_argument("--store", required=True, type=Path, help="of units")
    parser.add_argument("--train", default="train", help="the split that was learnt")
    parser.add_argument("--split", required=True, nargs="+", help="held-out splits")
    parser.add_argument("--output", required=True, type=Path, help="JSON; a table is printed")
    parser.add_argument("--num-threads", type=int, metavar="N")
    arguments = parser.parse_args()
    if arguments.num_threads is not None:
        torch.set_num_threads(arguments.num_threads)
    try:
        model = UnitLanguageModel.load(arguments.model)
        result = evaluate(model, arguments.store, train=arguments.train, splits=arguments.split)
        with replacing(arguments.output) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(describe(result))
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
