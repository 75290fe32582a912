"""Saved folders as repositories of the hub: what is pushed, and loading by id."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SAMPLES, build_tiny
from hub_server import serve_hub

from fsq_audio.tokenizer import AudioTokenizer

FILES = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]

LOAD = f"""
from fsq_audio import AudioTokenizer
tokenizer = AudioTokenizer.from_pretrained("owner/name")
codes = tokenizer.encode_file({str(SAMPLES[0])!r}).codes
print("fingerprint", tokenizer.fingerprint, tokenizer.training)
from fsq_audio.hf import register
from transformers import AutoFeatureExtractor, AutoModel
register()
model = AutoModel.from_pretrained("owner/name")
extractor = AutoFeatureExtractor.from_pretrained("owner/name")
print("transformers", model.tokenizer.fingerprint, extractor.sampling_rate)
"""

REFUSE = """
from fsq_audio import CheckpointError
for options in (
    dict(source="owner/none"),
    dict(source="owner/name", revision="v9"),
    dict(source="owner/empty"),
    dict(source="owner/name", cache_dir="elsewhere", local_files_only=True),
):
    try:
        AudioTokenizer.from_pretrained(**options)
    except CheckpointError as error:
        print("refused", error)
"""


def run(code: str, folder: Path, **settings: str) -> list[str]:
    """What a fresh interpreter prints, with a hub library that has its own folder."""
    # A proxy that this machine may have must not be asked for 127.0.0.1.
    own = {"HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGG"))}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=folder, env={**kept, **own, **settings}, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()


def test_pushed_and_loaded_by_id(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = build_tiny()
    tokenizer.save_pretrained(tmp_path / "saved")
    push = """
from fsq_audio import AudioTokenizer
tokenizer = AudioTokenizer.from_pretrained("saved")
facts = {"license": "cc-by-4.0", "notes": "Random weights."}
print(tokenizer.push_to_hub("owner/name", model_card_kwargs=facts, private=True))
"""
    expected = [
        f"fingerprint {tokenizer.fingerprint} False",
        f"transformers {tokenizer.fingerprint} 16000",
    ]
    with serve_hub() as hub:
        address = run(push, tmp_path, HF_ENDPOINT=hub.address, HF_TOKEN="stand-in")[-1]
        assert address.startswith(f"{hub.address}/owner/name/commit/")
        files = hub.repositories["owner/name"]
        assert sorted(files) == FILES
        for name in FILES[1:]:
            assert files[name] == (tmp_path / "saved" / name).read_bytes()
        card = files["README.md"].decode()
        assert 'AudioTokenizer.from_pretrained("owner/name")' in card
        assert "license: cc-by-4.0" in card
        assert "Random weights." in card

        hub.repositories["owner/empty"] = {"config.json": b"{}"}
        lines = run(LOAD + REFUSE, tmp_path, HF_ENDPOINT=hub.address)
        assert lines[:2] == expected
        snapshots = tmp_path / "home" / "hub" / "models--owner--name" / "snapshots"
        (snapshot,) = snapshots.iterdir()
        assert sorted(path.name for path in snapshot.iterdir()) == FILES[1:]

        none, revision, empty, local = lines[2:]
        assert none.startswith("refused no folder 'owner/none', and the hub gave no such model")
        assert revision.startswith("refused no folder 'owner/name', and the hub gave no such model")
        assert empty == (
            "refused owner/empty of the hub holds no model.safetensors: it is no saved tokenizer"
        )
        assert local.startswith("refused no folder 'owner/name'")
    # The server is gone: the library's own folder has it all.
    assert run(LOAD, tmp_path, HF_ENDPOINT=hub.address, HF_HUB_OFFLINE="1") == expected


def test_the_card(tmp_path: Path) -> None:
    tokenizer = build_tiny(causal=True)
    tokenizer.save_pretrained(tmp_path, model_card_kwargs={"license": "mit"})
    text = (tmp_path / "README.md").read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "fsq_audio",
        "license": "mit",
        "pipeline_tag": "audio-to-audio",
        "tags": ["audio-codec", "finite-scalar-quantization", "speech", "tokenizer"],
    }
    size = sum(parameter.numel() for parameter in tokenizer.parameters())
    for line in (
        "| sample rate | 16000 Hz |",
        "| frame rate | 50 frames/s of 320 samples |",
        "| codes | 2 groups of 1000 |",
        "| bitrate | 997 bit/s |",
        "| causal | yes |",
        f"| parameters | {size / 1e6:.1f} M |",
        f"| fingerprint | `{tokenizer.fingerprint}` |",
        "Not filled in yet.",
    ):
        assert f"\n{line}\n" in body
    assert "levels: [8, 5, 5, 5]" in body
    assert "{{" not in body
    assert "license" not in tokenizer.generate_model_card().data.to_dict()


def test_a_card_follows_the_model_and_a_written_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    first, second = build_tiny(), build_tiny(causal=True)
    assert first.fingerprint != second.fingerprint
    for tokenizer in (first, second):
        tokenizer.save_pretrained(tmp_path)
        assert f"`{tokenizer.fingerprint}`" in path.read_text("utf-8")
    path.write_text("# Mine\n", "utf-8")
    first.save_pretrained(tmp_path)
    assert path.read_text("utf-8") == "# Mine\n"
    assert AudioTokenizer.from_pretrained(tmp_path).fingerprint == first.fingerprint


def test_the_example_of_the_card_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = build_tiny()
    monkeypatch.chdir(tmp_path)
    tokenizer.save_pretrained("saved", model_card_kwargs={"repo_id": "saved"})
    (tmp_path / "speech.wav").symlink_to(SAMPLES[0])  # by content, not by name
    text = (tmp_path / "saved" / "README.md").read_text("utf-8")
    blocks = [block.removeprefix("python\n") for block in text.split("```")[1::2]]
    assert len(blocks) == 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["tokenizer"].fingerprint == scope["model"].tokenizer.fingerprint
