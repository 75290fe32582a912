"""Runs the command line in process, with a small random model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import build_tiny

from fsq_audio.cli import main

RATE = 16000


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def statuses(self) -> list[str]:
        return [row["status"] for row in self.rows[:-1]]

    @property
    def last(self) -> str:
        return self.err.strip().splitlines()[-1]


class Command:
    """`command("tokenize", path, "-o", out)` with the model's folder given."""

    def __init__(self, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.model = model
        self._capsys = capsys

    def __call__(self, verb: str, *arguments: object, model: object = None) -> Outcome:
        self._capsys.readouterr()
        with_model = (
            ["--model", str(model or self.model)] if verb not in ("info", "convert") else []
        )
        code = main([verb, *with_model, *map(str, arguments)])
        said = self._capsys.readouterr()
        return Outcome(code, said.out, said.err)


def save_tiny(factory: pytest.TempPathFactory, *, shift: float = 0.0) -> Path:
    """The folder of a small model, saved once a session; another shift makes another model."""
    folder = factory.getbasetemp() / f"model_{shift}"
    if not folder.exists():
        model = build_tiny()
        with torch.no_grad():
            for parameter in model.decoder.head.parameters():
                parameter += shift
        model.save_pretrained(folder)
    return folder


def make_noise(seconds: float = 0.5, *, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Swelling noise `[S, C]` within +-0.5."""
    num_samples = round(seconds * RATE)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (num_samples, channels))
    swell = np.sin(np.linspace(0, 30, num_samples)) ** 2
    return (noise * swell[:, None]).astype(np.float32)


def write_audio(
    path: Path, samples: np.ndarray | None = None, *, rate: int = RATE, **options: Any
) -> Path:
    """A file with these samples, or with noise that depends on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if samples is None:
        samples = make_noise(seed=sum(path.name.encode("utf-8", "surrogateescape")))
    with open(path, "wb") as file:
        options.setdefault("format", path.suffix[1:].upper())
        soundfile.write(file, samples, rate, **options)
    return path


def listing(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
