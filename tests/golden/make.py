"""Makes a golden set: token files in every form that this release writes, and what is in them.

    PYTHONPATH=. python tests/golden/make.py tests/golden/release_0.1.0

A set is never made again: a release with another layout or another checkpoint makes a set of its
own beside it. tests/test_golden.py reads them all.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile
import torch
from torch import Tensor

from fsq_audio import checkpoint
from fsq_audio.cli import main
from fsq_audio.config import TokenizerConfig, from_mapping
from fsq_audio.token_stream import TokenStreamWriter
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens

SAMPLES = Path(__file__).parent.parent.parent / "egs" / "samples"
TRUNK = {"channels": 16, "num_blocks": 1, "expansion": 2, "kernel_size": 5}
CONFIG = {
    "hop_length": 640,
    "encoder": {
        "front_end": {"name": "spectral", "window_length": 1024, "bands": 40, "lags": 24},
        "trunk": TRUNK,
    },
    "quantizer": {"name": "group_fsq", "levels": [8, 5, 5, 5], "num_groups": 4},
    "decoder": {
        "trunk": TRUNK,
        "head": {"name": "harmonic_noise", "bands": 40, "pitch_channels": 8},
    },
}


def make_model(folder: Path, speech: Tensor) -> None:
    """Saves a small model with random weights, whose scalars of this speech are spread out."""
    torch.manual_seed(0)
    config = from_mapping(TokenizerConfig, CONFIG)
    model = AudioTokenizer.from_config(config)
    model.quantizer.initialize(model.encoder(speech[None]).detach())
    checkpoint.save(folder, config, model.state_dict(), dtype=torch.float16)


def make_recordings(folder: Path, speech: Tensor) -> None:
    """A second of speech, one sample of it, and two channels at another rate."""
    both = torch.stack([speech[:9000], speech[3000:12000]], dim=1)
    soundfile.write(folder / "speech.wav", speech[:16000], 16000)
    soundfile.write(folder / "one_sample.wav", speech[5000:5001], 16000)
    soundfile.write(folder / "two_channels.wav", both, 22050)


def write_stream(path: Path, tokens: AudioTokens) -> None:
    """What `fsq-audio stream encode` writes of such codes."""
    with path.open("wb") as file:
        writer = TokenStreamWriter(
            file, tokens.format, num_groups=tokens.num_groups, binary=path.suffix == ".bin"
        )
        writer.write(tokens.codes[0, :, :-1])
        writer.end(tokens.codes[0, :, -1:], int(tokens.lengths[0]))


def hash_of(codes: Tensor) -> str:
    """SHA-256 of codes `[B, G, T]` as 64-bit integers, low byte first."""
    return hashlib.sha256(codes.numpy().astype("<i8").tobytes()).hexdigest()


def facts(tokens: AudioTokens) -> dict[str, object]:
    """What must always be read from the files of these tokens."""
    return {
        "fingerprint": tokens.format.fingerprint,
        "shape": list(tokens.codes.shape),
        "num_samples": int(tokens.lengths[0]),
        "sha256": hash_of(tokens.codes),
    }


def make(output: Path) -> None:
    """Makes the set in a new folder."""
    output.mkdir()
    samples, _ = soundfile.read(sorted(SAMPLES.glob("*.flac"))[0], dtype="float32")
    speech = torch.from_numpy(samples)[8000:40000]
    make_model(output / "model", speech)
    with TemporaryDirectory() as recordings:
        make_recordings(Path(recordings), speech)
        for num_groups in (1, 2, 4):
            for form in ("fsq", "npy", "jsonl"):
                folder = output / f"groups_{num_groups}_{form}"
                options = f"--num-groups={num_groups}", f"--format={form}", "--channels=split"
                model = f"--model={output / 'model'}"
                assert main(["tokenize", recordings, "-o", str(folder), model, *options]) == 0
            tokens = AudioTokens.load(output / f"groups_{num_groups}_fsq" / "speech.fsq")
            for suffix in ("jsonl", "bin"):
                write_stream(output / f"stream_{num_groups}.{suffix}", tokens)
    # And the model that ships today, which a later release may replace.
    assert main(["tokenize", str(SAMPLES), "-o", str(output / "pretrained")]) == 0
    spoken = output / "groups_4_fsq" / "speech.fsq"
    decode = ["decode", str(spoken), "-o", str(output / "speech.flac"), "--subtype=PCM_16"]
    assert main([*decode, f"--model={output / 'model'}"]) == 0
    manifest = {
        str(path.relative_to(output)): facts(AudioTokens.load(path))
        for path in sorted(output.rglob("*.fsq"))
    }
    text = json.dumps(manifest, indent=2)
    (output / "manifest.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
