"""The stages of egs/librispeech that need neither the network nor a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, SAMPLES


def test_manifests_are_made_from_a_local_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "LibriSpeech"
    for split in ("train-clean-100", "dev-clean", "test-clean"):
        chapter = corpus / split / "1" / "2"
        chapter.mkdir(parents=True)
        shutil.copy(SAMPLES[0], chapter / "1-2-0000.flac")
        (chapter / "1-2.trans.txt").write_text("1-2-0000 SOME WORDS\n")
    # A copy of what the script calls, so that its manifests land nowhere else.
    project = tmp_path / "project"
    for name in ("egs/librispeech/run.sh", "recipes/make_manifest.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    python = project / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {
        **os.environ,
        "LIBRISPEECH": str(corpus),
        "TRAIN": "train-clean-100",
        "PATH": f"{project}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    # Stage 1 finds everything there and downloads nothing.
    result = subprocess.run(
        ["bash", str(project / "egs/librispeech/run.sh"), "1", "2"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    data = project / "egs" / "librispeech" / "data"
    assert sorted(path.name for path in data.iterdir()) == [
        "dev-clean.jsonl",
        "test-clean.jsonl",
        "train.jsonl",
    ]
    entry = json.loads((data / "train.jsonl").read_text())
    assert (entry["text"], entry["speaker_id"], entry["chapter_id"]) == ("SOME WORDS", "1", "2")
    assert (data / entry["audio_filepath"]).is_file()
