"""Scores resynthesized speech against its originals, and the tokens that it was made from.

    fsq-audio reconstruct egs/debian_speech/data/test-unseen -o output/test-unseen --save-tokens
    python egs/debian_speech/score.py egs/debian_speech/data/test-unseen output/test-unseen

Both folders are walked alike: `a/b.flac` is compared with `a/b.wav`, made from `a/b.fsq`.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from fsq_audio import audio
from fsq_audio.errors import AudioError, FSQAudioError
from fsq_audio.evaluation.perceptual import pesq_wideband, stoi
from fsq_audio.evaluation.summary import summarize
from fsq_audio.quantizers.health import CodebookCounts
from fsq_audio.tokens import AudioTokens


def score(references: Path, results: Path) -> None:
    """Prints one line a recording, then the means."""
    paths = sorted(references.rglob("*.flac"))
    if not paths:
        raise AudioError(f"no .flac under {references}: prepare the data first")
    scores: dict[str, list[float]] = {"STOI": [], "ESTOI": [], "PESQ-WB": []}
    seconds = file_bits = code_bits = nominal_bits = 0.0
    counts: CodebookCounts | None = None
    for path in paths:
        place = results / path.relative_to(references)
        tokens = AudioTokens.load(place.with_suffix(".fsq"))
        rate = tokens.format.sample_rate
        reference = audio.load(path, sample_rate=rate)[0].numpy()
        result = audio.load(place.with_suffix(".wav"), sample_rate=rate)[0].numpy()
        values = (
            stoi(reference, result, sample_rate=rate),
            stoi(reference, result, sample_rate=rate, extended=True),
            pesq_wideband(reference, result, sample_rate=rate) if rate == 16000 else math.nan,
        )
        for column, value in zip(scores.values(), values, strict=True):
            column.append(value)
        duration = len(reference) / rate
        seconds += duration
        size = place.with_suffix(".fsq").stat().st_size
        file_bits += 8 * size
        header = int.from_bytes(place.with_suffix(".fsq").read_bytes()[:8], "little") + 8
        code_bits += 8 * (size - header)
        nominal_bits += tokens.num_bits
        if counts is None:
            counts = CodebookCounts(tokens.num_groups, tokens.format.codebook_size)
        counts.update(tokens.codes)
        shown = "  ".join(f"{n} {v:.3f}" for n, v in zip(scores, values, strict=True))
        print(f"{path.relative_to(references)}  {duration:.2f} s  {shown}")
    assert counts is not None
    print(f"\n{len(paths)} recordings, {seconds:.1f} s")
    for name, column in scores.items():
        print(f"{name:8} {summarize(column)}")
    print(
        f"bits per second: {nominal_bits / seconds:.1f} nominal, {code_bits / seconds:.1f} in "
        f"the files' codes, {file_bits / seconds:.1f} in the whole files, headers included"
    )
    for group, health in enumerate(counts.summary()):
        print(
            f"group {group}: normalised entropy {health.normalized_entropy:.3f} "
            f"({health.entropy_bits:.2f} of {math.log2(health.codebook_size):.2f} bits), "
            f"{health.used} of {health.codebook_size} codes used, "
            f"usage / ceiling {health.usage_over_ceiling:.3f}, N = {health.num_codes}"
        )


def main() -> int:
    """Reads the command line; 0 done, 1 a file is missing or damaged."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("references", type=Path)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    try:
        score(arguments.references, arguments.results)
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
