"""The wrapper for transformers gives what the core gives."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from conftest import ARCHITECTURES, build_tiny
from torch import Tensor

from fsq_audio.config import TokenizerConfig, from_mapping
from fsq_audio.errors import AudioError, CheckpointError, ConfigError, TokenError
from fsq_audio.tokenizer import AudioTokenizer

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
hf = importlib.import_module("fsq_audio.hf")
FSQAudioConfig, FSQAudioModel = hf.FSQAudioConfig, hf.FSQAudioModel
AutoConfig, AutoModel = transformers.AutoConfig, transformers.AutoModel
AutoFeatureExtractor = transformers.AutoFeatureExtractor

LENGTHS = [20_001, 1, 16_000, 320]


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    hf.register()
    hf.register()


@pytest.fixture(scope="module")
def core() -> AudioTokenizer:
    return build_tiny("spectral-harmonic_noise")


@pytest.fixture(scope="module")
def model(core: AudioTokenizer) -> FSQAudioModel:
    return FSQAudioModel.from_tokenizer(core)


@pytest.fixture
def folder(core: AudioTokenizer, tmp_path: Path) -> Path:
    core.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def items(speech: Tensor) -> list[Tensor]:
    return [speech[10_000 : 10_000 + length] for length in LENGTHS]


def test_a_padded_batch_has_the_cores_codes_and_samples(
    core: AudioTokenizer, model: FSQAudioModel, folder: Path, items: list[Tensor]
) -> None:
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor([item.numpy() for item in items], sampling_rate=16000, return_tensors="pt")
    assert inputs["input_values"].shape == (4, 1, 20_160)  # whole frames
    encoded = model.encode(**inputs)
    tokens = core.encode(inputs["input_values"][:, 0], LENGTHS)
    assert torch.equal(encoded.audio_codes, tokens.codes)
    assert encoded.audio_codes_mask.sum(-1).tolist() == tokens.num_frames.tolist()
    mask = inputs["padding_mask"]
    assert torch.equal(encoded.audio_codes_mask, model.get_audio_codes_mask(mask))
    audio = model.decode(encoded.audio_codes, mask).audio_values
    assert audio.shape == inputs["input_values"].shape
    expected = core.decode(tokens)
    assert torch.equal(audio[:, 0, : expected.shape[-1]], expected)
    assert not audio[:, 0, expected.shape[-1] :].any()
    for item, codes, own, samples in zip(
        items, encoded.audio_codes, encoded.audio_codes_mask, audio, strict=True
    ):
        alone = core.encode(item)
        assert torch.equal(codes[:, own], alone.codes[0])
        assert torch.equal(samples[0, : len(item)], core.decode(alone)[0])
    output = model(**inputs)
    assert torch.equal(output.audio_codes, encoded.audio_codes)
    assert torch.equal(output.audio_codes_mask, encoded.audio_codes_mask)
    assert torch.equal(output.audio_values, audio)
    assert torch.equal(model(**inputs, audio_codes=encoded.audio_codes).audio_values, audio)


def test_without_a_mask(core: AudioTokenizer, model: FSQAudioModel, speech: Tensor) -> None:
    encoded = model.encode(speech[None, None])
    tokens = core.encode(speech)
    assert torch.equal(encoded.audio_codes, tokens.codes)
    assert encoded.audio_codes_mask.all()
    samples = model.decode(encoded.audio_codes).audio_values
    assert samples.shape == (1, 1, tokens.codes.shape[-1] * 320)
    # Codes that a language model wrote come without the length of a recording.
    codes = torch.full((2, 2, 5), 7)
    codes[1, :, 3:] = -1
    samples = model.decode(codes).audio_values
    assert samples.shape == (2, 1, 1600)
    assert torch.equal(samples[1, 0, :960], model.decode(codes[1:, :, :3]).audio_values[0, 0])
    assert not samples[1, 0, 960:].any()
    assert model(speech[None, None]).audio_values.shape == (1, 1, len(speech))


def test_what_lies_beyond_the_mask_is_ignored(model: FSQAudioModel, speech: Tensor) -> None:
    mask = torch.ones(1, 1000, dtype=torch.long)
    codes = model.encode(speech[None, None, :1000], mask).audio_codes
    more = torch.cat([codes, torch.full((1, 2, 3), 5)], dim=-1)
    expected = model.decode(codes, mask).audio_values
    assert torch.equal(model.decode(more, mask).audio_values, expected)
    assert torch.equal(model.decode(more, mask[:, None]).audio_values, expected)


def test_fewer_groups(core: AudioTokenizer, model: FSQAudioModel, speech: Tensor) -> None:
    codes = model.encode(speech[None, None], num_quantizers=1).audio_codes
    tokens = core.encode(speech, num_groups=1)
    assert torch.equal(codes, tokens.codes)
    mask = torch.ones(1, len(speech))
    assert torch.equal(model.decode(codes, mask).audio_values[:, 0], core.decode(tokens))


def test_lengths_and_masks(model: FSQAudioModel) -> None:
    assert model.get_encoded_length(torch.tensor([1, 320, 321])).tolist() == [1, 1, 2]
    mask = torch.arange(700) < torch.tensor([[700], [320]])
    right = [[True, True, True], [True, False, False]]
    assert model.get_audio_codes_mask(mask).tolist() == right
    left = [row[::-1] for row in right]
    assert model.get_audio_codes_mask(mask, padding_side="left").tolist() == left


def test_refusals(model: FSQAudioModel) -> None:
    values = torch.zeros(2, 1, 700)
    mask = torch.ones(2, 700, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"input_values must be \[B, 1, S\], got \[2, 700\]"):
        model.encode(values[:, 0])
    with pytest.raises(ConfigError, match="does not fit input_values"):
        model.encode(values, mask[:, :600])
    with pytest.raises(ConfigError, match="padded on the right"):
        model.encode(values, mask & (torch.arange(700) > 3))
    with pytest.raises(ConfigError, match="item 1 is all padding"):
        model.encode(values, mask & torch.tensor([[True], [False]]))
    with pytest.raises(ConfigError, match=r"padding_mask must be \[B, S\]"):
        model.get_audio_codes_mask(mask[0])
    with pytest.raises(ConfigError, match="padding_side"):
        model.get_audio_codes_mask(mask, padding_side="top")
    with pytest.raises(AudioError, match="NaN"):
        model.encode(values * float("nan"))
    with pytest.raises(TokenError, match=r"in \[0, 1000\)"):
        model.decode(torch.full((2, 2, 3), 1000), mask)
    with pytest.raises(TokenError, match="codes have 2 frames"):
        model.decode(torch.zeros(2, 2, 2, dtype=torch.long), mask)


def test_both_load_what_either_saved(
    core: AudioTokenizer, model: FSQAudioModel, folder: Path, speech: Tensor, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "other")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    # What transformers writes of the configuration alone is the core's file, too.
    model.config.save_pretrained(tmp_path / "config")
    config = AutoConfig.from_pretrained(tmp_path / "config")
    assert config.to_dict() == AutoConfig.from_pretrained(folder).to_dict()
    written, expected = (
        json.loads((one / "config.json").read_text("utf-8"))
        for one in (tmp_path / "config", folder)
    )
    assert written == expected
    codes = core.encode(speech).codes
    assert torch.equal(
        AudioTokenizer.from_pretrained(tmp_path / "other").encode(speech).codes, codes
    )
    for auto in (AutoModel, transformers.AutoModelForAudioTokenization):
        loaded = auto.from_pretrained(folder)
        assert isinstance(loaded, FSQAudioModel)
        assert not loaded.training
        assert torch.equal(loaded.encode(speech[None, None]).audio_codes, codes)
        assert loaded.tokenizer.fingerprint == core.fingerprint
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    assert isinstance(extractor, transformers.DacFeatureExtractor)
    written = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    made = transformers.DacFeatureExtractor(sampling_rate=16000, hop_length=320)
    assert written == extractor.to_dict() == made.to_dict()


def test_the_package_has_the_files_of_a_saved_folder(tmp_path: Path) -> None:
    AudioTokenizer.from_pretrained().save_pretrained(tmp_path)
    shipped = files("fsq_audio") / "pretrained"
    for name in ("config.json", "preprocessor_config.json"):
        assert (tmp_path / name).read_text("utf-8") == (shipped / name).read_text("utf-8")


def test_it_runs_in_full_precision_only(folder: Path, speech: Tensor) -> None:
    model = FSQAudioModel.from_pretrained(folder)
    waveform = speech[None, None, :5000]
    codes = model.encode(waveform.double()).audio_codes  # as soundfile reads it
    assert torch.equal(codes, model.encode(waveform).audio_codes)
    for dtype in (torch.float16, torch.bfloat16):
        model.to(dtype)
        with pytest.raises(ConfigError, match=f"float32 or float64, not {dtype}"):
            model.encode(waveform)
        with pytest.raises(ConfigError, match=f"float32 or float64, not {dtype}"):
            model.decode(codes)
    model.double()
    assert model(waveform).audio_values.shape == waveform.shape


def test_loading_is_strict(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(ConfigError, match="does not take device_map, subfolder"):
        FSQAudioModel.from_pretrained(folder, device_map="cpu", subfolder="a")
    with pytest.raises(ConfigError, match=r"not torch\.float16.*float64"):
        AutoModel.from_pretrained(folder, dtype=torch.float16)
    other = FSQAudioConfig.from_tokenizer_config(from_mapping(TokenizerConfig, {}))
    with pytest.raises(CheckpointError, match="another configuration"):
        FSQAudioModel.from_pretrained(folder, config=other)
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.norm.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing decoder\.norm\.weight"):
        AutoModel.from_pretrained(folder)


def test_the_configuration_has_the_names_of_transformers(core: AudioTokenizer) -> None:
    config = FSQAudioConfig.from_tokenizer_config(core.config)
    assert config.sampling_rate == 16000
    assert config.hop_length == 320
    assert config.frame_rate == 50.0
    assert config.num_codebooks == 2
    assert config.codebook_size == 1000
    assert config.quantization_levels == [8, 5, 5, 5]
    assert config.tokenizer_config == core.config
    learnt = FSQAudioConfig(quantizer={"name": "vq", "codebook_size": 300, "dim": 8})
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert (learnt.num_codebooks, learnt.codebook_size) == (1, 300)
    assert learnt.quantization_levels is None
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ConfigError, match="hop_length"):
        FSQAudioConfig(hop_length="a")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_random_weights_are_the_cores(name: str) -> None:
    config = build_tiny(name).config
    torch.manual_seed(1)
    expected = AudioTokenizer.from_config(config).state_dict()
    torch.manual_seed(1)
    model = AutoModel.from_config(FSQAudioConfig.from_tokenizer_config(config))
    found = model.tokenizer.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_a_missing_library_is_one_sentence() -> None:
    code = "import sys; sys.modules['transformers'] = None; import fsq_audio.hf"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: fsq_audio.hf needs transformers")
    assert "fsq-audio[transformers]" in last


@pytest.mark.parametrize("kind", ["OSError", "RuntimeError"])
def test_a_torchaudio_that_does_not_fit_is_one_sentence(kind: str, tmp_path: Path) -> None:
    (tmp_path / "torchaudio.py").write_text(f"raise {kind}('libc10_cuda.so: no such file')")
    code = "import fsq_audio.hf, sys; sys.path.insert(0, sys.argv[1]); fsq_audio.hf.register()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "which does not fit this torch (libc10_cuda.so: no such file)" in last


def test_the_core_does_not_import_transformers() -> None:
    code = "import sys, fsq_audio.tokenizer, fsq_audio.units; print('transformers' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
