"""Run by `.ci/versions` in the environment that it made, at the root of a checkout.

Fails where something does; in the end it prints a row of the table in docs/versions.md.
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

FIVE = ("torch", "torchaudio", "librosa", "soundfile", "accelerate")
SAMPLES = Path("egs/samples")


def run(*command: str | Path) -> None:
    """Runs a command of the environment, which must succeed."""
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True)


def train(output: Path) -> Path:
    """Takes two steps of a small training; returns the folder of the model."""
    values = f"--data.train={SAMPLES}", f"--data.valid={SAMPLES}", "--max_steps=2", "--batch_size=2"
    config = "--config=configs/tiny_cpu.yaml"
    recipe = "recipes/train_tokenizer.py", config, f"--output={output}", *values
    run("accelerate", "launch", "--cpu", *recipe)
    return output / "model"


def golden_tokens() -> Path:
    """The folder of tokens of `SAMPLES` by the model that ships now."""
    from fsq_audio.tokenizer import AudioTokenizer
    from fsq_audio.tokens import AudioTokens

    fingerprint = AudioTokenizer.from_pretrained().fingerprint
    for folder in sorted(Path("tests/golden").glob("release_*/pretrained")):
        if AudioTokens.load(next(folder.glob("*.fsq"))).format.fingerprint == fingerprint:
            return folder
    sys.exit(f"tests/golden has no tokens of model {fingerprint}: see tests/golden/make.py")


def count_differing(made: Path, expected: Path) -> tuple[int, int]:
    """How many codes of two folders differ, of how many."""
    from fsq_audio.tokens import AudioTokens

    num_differing = num_codes = 0
    paths = sorted(expected.rglob("*.fsq"))
    assert paths, f"{expected} holds no tokens"
    for path in paths:
        old, new = AudioTokens.load(path), AudioTokens.load(made / path.relative_to(expected))
        old.check_format(new.format)
        num_differing += int((old.codes != new.codes).sum())
        num_codes += old.codes.numel()
    return num_differing, num_codes


def main() -> None:
    """Tries one thing after another."""
    releases = {name: version(name) for name in FIVE}
    for name in FIVE:
        try:
            importlib.import_module(name)
        except (OSError, RuntimeError) as error:
            # Built for another torch: what PyPI has is not always a pair, and all else must work.
            if name != "torchaudio":
                raise
            print(f"torchaudio cannot be imported: {error}")
            releases[name] += " (does not fit)"
    import soundfile

    import fsq_audio

    assert Path(fsq_audio.__file__).is_relative_to(sys.prefix), "not what was installed"
    recordings = Path(os.environ.get("RECORDINGS", SAMPLES))
    expected = Path(os.environ["TOKENS"]) if "TOKENS" in os.environ else golden_tokens()
    with TemporaryDirectory() as folder:
        work = Path(folder)
        run("fsq-audio", "tokenize", "-q", SAMPLES, "-o", work / "tokens")
        run("fsq-audio", "decode", "-q", work / "tokens", "-o", work / "sound")
        for path in SAMPLES.glob("*.flac"):
            decoded = soundfile.info(work / "sound" / f"{path.stem}.wav")
            assert decoded.frames == soundfile.info(path).frames, path
        model = train(work / "run")
        run("fsq-audio", "reconstruct", "-q", "--model", model, SAMPLES, "-o", work / "again")
        run("fsq-audio", "tokenize", "-q", recordings, "-o", work / "compared")
        num_differing, num_codes = count_differing(work / "compared", expected)
    row = [platform.python_version(), *releases.values(), version("numpy")]
    print("|", " | ".join([*row, f"{num_differing:,} of {num_codes:,}"]), "|")


if __name__ == "__main__":
    main()
