"""A small evaluation with all that can go wrong in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from cli_tools import write_audio
from conftest import SAMPLES, build_tiny

from fsq_audio.evaluation.model import ModelSystem
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.registry import choose_metrics
from fsq_audio.evaluation.run import Settings, evaluate
from fsq_audio.evaluation.system import degraded_folder

RATE = 16000
EVIL = "<img src=x onerror=alert(1)>"
SILENT = 'quiet & "dark"'


def make_evaluation(folder: Path) -> Path:
    """Two rates of a tiny model, and copies, on five recordings; everything is in the folder.

    `lost` has no copy, a silent one cannot be measured, and one has a name and a text like markup.
    """
    one, two = (
        soundfile.read(path, start=RATE, stop=5 * RATE // 2, dtype="float32")[0] for path in SAMPLES
    )
    silence = np.zeros(RATE, np.float32)
    sounds = {"lost": one[:RATE], "one": one, SILENT: silence, EVIL: two, "sub/two": two[::-1]}
    recordings = []
    for id, samples in sounds.items():
        path = write_audio(folder / "originals" / f"{id}.wav", samples)
        if id != "lost":
            write_audio(folder / "copy" / f"{id}.wav", samples)
        text = "</bdi><script>alert(2)</script>" if id == EVIL else None
        recordings.append(Recording(id, path, text, "en" if text else None))
    model = build_tiny()
    copy = degraded_folder(folder / "copy", "copy")
    evaluate(
        recordings,
        [ModelSystem(model, 1), ModelSystem(model, 2), copy],
        output=folder,
        settings=Settings(metrics=choose_metrics(["signal"])),
        reference=str(folder / "originals"),
    )
    return folder
