"""Exported graphs: the codes and samples of torch, on real speech and in any shape; refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_tools import Command
from conftest import ARCHITECTURES, ROOT, SAMPLES, build_tiny
from hypothesis import given
from hypothesis import strategies as st

from fsq_audio.coder import Coder, mark_codes
from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.export.files import export_model
from fsq_audio.export.products import FourierProduct
from fsq_audio.export.runtime import OnnxTokenizer
from fsq_audio.fourier import RealFourier
from fsq_audio.source import RunningSource
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason=f"{package} is not installed")

# Of the samples' 1244 codes none has differed; docs/export.md has more recordings.
MAX_DIFFERING = 2e-3
# Float32 at half scale. What is decoded from one source differs in the last bits; from two, in the
# phase as well, whose differences sum up.
MAX_ERROR, MAX_ERROR_WITH_PHASE = 1e-5, 5e-2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged model, exported once."""
    folder = tmp_path_factory.mktemp("export") / "onnx"
    export_model(AudioTokenizer.from_pretrained(), folder, kind="onnx")
    return folder


@pytest.fixture(scope="module")
def model() -> AudioTokenizer:
    return AudioTokenizer.from_pretrained()


@pytest.fixture(scope="module")
def onnx(folder: Path) -> OnnxTokenizer:
    return OnnxTokenizer.from_folder(folder)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """The export, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(folder, capsys)


def change(path: Path, **values: object) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **values}), "utf-8")


def assert_blocks_agree(
    model: AudioTokenizer, onnx: Coder, *, num_windows: int, num_frames: int
) -> None:
    """All three functions give what torch gives, in one shape."""
    generator = torch.Generator().manual_seed(num_frames)
    contexts, hop = model.contexts, model.hop_length
    samples = sum(contexts.encoder) + num_frames * hop
    noise = 0.1 * torch.randn(num_windows, samples, generator=generator)
    with torch.no_grad():
        expected = model.encode_block(noise)
    codes = onnx.encode_block(noise)
    assert codes.shape == expected.shape == (num_windows, model.num_groups, num_frames)
    assert float((codes != expected).float().mean()) <= MAX_DIFFERING

    def random_block(width: int) -> torch.Tensor:
        shape = num_windows, model.num_groups, num_frames + width
        return mark_codes(torch.randint(model.codebook_size, shape, generator=generator))

    block = random_block(sum(contexts.decoder))
    if contexts.pitch is not None:
        pitch_block = random_block(sum(contexts.pitch))
        with torch.no_grad():
            wanted = model.pitch_block(pitch_block).double()
        advances = onnx.pitch_block(pitch_block)
        assert advances.dtype == torch.int64
        assert torch.allclose(advances.double(), wanted, rtol=1e-5)
        tone = torch.full((num_windows, block.shape[-1] * contexts.subframes), 1 << 25)
        source = RunningSource(subframes=contexts.subframes, step=hop // contexts.subframes)
        block = torch.cat([source.push(tone), block], dim=1)
    with torch.no_grad():
        waveform = model.decode_block(block)
    made = onnx.decode_block(block)
    assert made.shape == waveform.shape == (num_windows, num_frames * hop)
    scale = max(float(waveform.abs().max()), 1.0)
    assert float((made - waveform).abs().max()) <= MAX_ERROR * scale


def test_the_command_line_on_onnx_runtime(
    command: Command, model: AudioTokenizer, onnx: OnnxTokenizer, tmp_path: Path
) -> None:
    tokens, audio = tmp_path / "tokens", tmp_path / "audio"
    assert command("tokenize", *SAMPLES, "-o", tokens, "--backend", "onnx").code == 0
    assert command("decode", tokens, "-o", audio, "--backend", "onnx").code == 0
    num_differing = num_codes = 0
    for path in SAMPLES:
        expected = model.encode_file(path)
        loaded = AudioTokens.load(tokens / f"{path.stem}.fsq")
        assert loaded.format == expected.format
        assert loaded.lengths.equal(expected.lengths)
        assert loaded.source == expected.source
        num_differing += int((loaded.codes != expected.codes).sum())
        num_codes += expected.codes.numel()
        written, _ = soundfile.read(audio / f"{path.stem}.wav", dtype="float32")
        original = model.decode(loaded)[0].numpy()
        assert written.shape == original.shape == (soundfile.info(path).frames,)
        assert np.abs(written - original).max() <= MAX_ERROR_WITH_PHASE
    assert num_differing <= MAX_DIFFERING * num_codes


def test_one_source_gives_the_samples_of_torch(
    model: AudioTokenizer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = OnnxTokenizer.from_folder(folder)
    monkeypatch.setattr(onnx, "pitch_block", model.pitch_block)
    tokens = model.encode_file(SAMPLES[0])
    for num_groups in (None, 2):
        expected = model.decode(tokens, num_groups=num_groups)
        made = onnx.decode(tokens, num_groups=num_groups)
        assert float((made - expected).abs().max()) <= MAX_ERROR
        assert float(expected.abs().max()) > 0.1


def test_codes_do_not_depend_on_the_batch_or_on_threads(
    onnx: OnnxTokenizer, speech: torch.Tensor
) -> None:
    rows = [speech[:48000], speech[20000:33333]]
    batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = onnx.encode(batch, [len(row) for row in rows])
        torch.set_num_threads(1)
        for item, row in zip(together, rows, strict=True):
            alone = onnx.encode(row)
            assert alone.codes.equal(item.codes)
            assert onnx.decode(alone).equal(onnx.decode(item))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("num_windows", "num_frames"), [(1, 1), (1, 128), (3, 16), (2, 150)])
def test_any_number_of_windows_and_frames(
    model: AudioTokenizer, onnx: OnnxTokenizer, num_windows: int, num_frames: int
) -> None:
    assert_blocks_agree(model, onnx, num_windows=num_windows, num_frames=num_frames)


def test_silence_has_the_codes_of_torch(model: AudioTokenizer, onnx: OnnxTokenizer) -> None:
    # What is added to powers before the logarithm is so small that optimizers have dropped it.
    silence = torch.zeros(8000)
    assert onnx.encode(silence).codes.equal(model.encode(silence).codes)


def test_the_model_is_not_imported(folder: Path, tmp_path: Path) -> None:
    arguments = ["tokenize", str(SAMPLES[0]), "-o", str(tmp_path), "--model", str(folder)]
    script = f"""
import sys
from fsq_audio.cli import main
assert main({[*arguments, "--backend", "onnx"]!r}) == 0
ours = {{name.split(".")[1] for name in sys.modules if name.startswith("fsq_audio.")}}
print(sorted(ours & {{"encoder", "decoder", "heads", "tokenizer"}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@given(half=st.integers(1, 300), seed=st.integers(0, 99))
def test_products_are_the_fourier_transform(half: int, seed: int) -> None:
    fast, products = RealFourier(2 * half), FourierProduct(2 * half)
    frames = torch.randn(2, 3, 2 * half, generator=torch.Generator().manual_seed(seed))
    tolerance = 1e-5 * half**0.5 + 1e-6
    parts = fast(frames)
    for part, made in zip(parts, products(frames), strict=True):
        assert torch.allclose(made, part, atol=tolerance)
    assert torch.allclose(products.inverse(*parts), fast.inverse(*parts), atol=tolerance)
    assert torch.allclose(products.inverse(parts[0]), fast.inverse(parts[0]), atol=tolerance)


def test_torch_programs(command: Command, tmp_path: Path, tiny_folder: Path) -> None:
    out = tmp_path / "torch"
    assert command("export", "torch", "-o", out, model=tiny_folder).code == 0
    tiny = AudioTokenizer.from_pretrained(tiny_folder)
    encoder = torch.export.load(out / "encoder.pt2").module()
    decoder = torch.export.load(out / "decoder.pt2").module()
    assert not (out / "pitch.pt2").exists()
    for num_windows, num_frames in ((1, 16), (3, 37)):
        samples = sum(tiny.contexts.encoder) + num_frames * tiny.hop_length
        waveform = 0.1 * torch.randn(num_windows, samples)
        shape = num_windows, tiny.num_groups, num_frames + sum(tiny.contexts.decoder)
        block = mark_codes(torch.randint(tiny.codebook_size, shape))
        with torch.no_grad():
            assert encoder(waveform).equal(tiny.encode_block(waveform))
            assert decoder(block).equal(tiny.decode_block(block))


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny().save_pretrained(folder)
    return folder


def test_a_model_that_is_not_exported(command: Command, tiny_folder: Path, tmp_path: Path) -> None:
    done = command(
        "tokenize", SAMPLES[0], "-o", tmp_path / "out", "--backend", "onnx", model=tiny_folder
    )
    assert done.code == 1
    assert f"fsq-audio export onnx --model {tiny_folder}" in done.last


def test_another_device_is_refused(command: Command, tmp_path: Path) -> None:
    done = command("tokenize", SAMPLES[0], "-o", tmp_path, "--backend", "onnx", "--device", "mps")
    assert done.code == 2
    assert "--device mps: the backend onnx computes on the CPU" in done.last


@pytest.mark.parametrize("layout", [2, None, "1"])
def test_an_unknown_layout(copied: Path, layout: object) -> None:
    change(copied / "export.json", layout=layout)
    with pytest.raises(CheckpointError, match=f"layout {layout!r} and this version reads 1"):
        OnnxTokenizer.from_folder(copied)


@pytest.mark.parametrize("name", ["config.json", "decoder.onnx"])
def test_a_changed_file(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is damaged, or is not the one"):
        OnnxTokenizer.from_folder(copied)


def test_a_missing_file_and_text_that_is_no_json(copied: Path) -> None:
    (copied / "encoder.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*encoder\.onnx: No such file"):
        OnnxTokenizer.from_folder(copied)
    (copied / "export.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot read .*export\.json"):
        OnnxTokenizer.from_folder(copied)


def test_another_fingerprint(copied: Path) -> None:
    tokens = json.loads((copied / "export.json").read_text("utf-8"))["tokens"]
    change(copied / "export.json", tokens={**tokens, "fingerprint": "0" * 16})
    with pytest.raises(CheckpointError, match=f"is of the model {tokens['fingerprint']}, "):
        OnnxTokenizer.from_folder(copied)


def test_the_other_kind_and_unknown_keys(copied: Path) -> None:
    change(copied / "export.json", kind="torch")
    with pytest.raises(CheckpointError, match="was exported for torch, not for onnx"):
        OnnxTokenizer.from_folder(copied)
    change(copied / "export.json", kind="onnx", more=1)
    with pytest.raises(CheckpointError, match="more"):
        OnnxTokenizer.from_folder(copied)


def test_missing_packages(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"onnxruntime: pip install 'fsq-audio\[onnx\]'"):
        OnnxTokenizer.from_folder(folder)
    with pytest.raises(ConfigError, match=r"onnxscript: pip install 'fsq-audio\[onnx\]'"):
        export_model(build_tiny(), tmp_path / "out", kind="onnx")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is not empty and holds no export"):
        export_model(build_tiny(), tmp_path, kind="torch")


def test_a_quantizer_that_looks_at_values(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = build_tiny(quantizer={"name": "vq", "codebook_size": 48, "dim": 5})
    with pytest.raises(ConfigError, match=r"encoder of this model cannot .* this is vq"):
        export_model(model, tmp_path / "out", kind="torch")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantizer",
    [
        {"name": "fsq", "levels": [8, 5, 5, 5], "bound": "symmetric"},
        {"name": "residual_fsq", "levels": [8, 5, 5], "num_groups": 3},
    ],
    ids=lambda quantizer: str(quantizer["name"]),
)
def test_other_quantizers(quantizer: dict[str, object], tmp_path: Path) -> None:
    tiny = build_tiny(quantizer=quantizer)
    export_model(tiny, tmp_path, kind="onnx")
    onnx = OnnxTokenizer.from_folder(tmp_path)
    assert_blocks_agree(tiny, onnx, num_windows=2, num_frames=37)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture(name: str, tmp_path: Path) -> None:
    tiny = build_tiny(name)
    export_model(tiny, tmp_path, kind="onnx")
    onnx = OnnxTokenizer.from_folder(tmp_path)
    for num_windows, num_frames in ((1, 16), (2, 37)):
        assert_blocks_agree(tiny, onnx, num_windows=num_windows, num_frames=num_frames)
