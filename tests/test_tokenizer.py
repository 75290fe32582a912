from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from conftest import SAMPLES, build_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio import checkpoint
from fsq_audio.errors import AudioError, CheckpointError, ConfigError, TokenError
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


def test_tokens_of_real_speech(any_tiny: AudioTokenizer, speech: Tensor) -> None:
    tokens = any_tiny.encode(speech)
    num_frames = math.ceil(len(speech) / any_tiny.hop_length)
    assert tokens.codes.shape == (1, 2, num_frames)
    assert len(tokens.codes.unique()) > 20
    waveform = any_tiny.decode(tokens)
    assert waveform.shape == (1, len(speech))
    assert bool(torch.isfinite(waveform).all())


def test_encode_is_the_training_path(any_tiny: AudioTokenizer, speech: Tensor) -> None:
    hop, context = any_tiny.hop_length, any_tiny.encoder.context
    speech = speech[: len(speech) // hop * hop]
    result = any_tiny(context.pad(speech)[None])
    tokens = any_tiny.encode(speech)
    # Shapes differ, so a value in many thousands may fall on the other side of a threshold.
    assert (result.quantized.codes != tokens.codes).double().mean() < 1e-3
    if torch.equal(result.quantized.codes, tokens.codes):
        torch.testing.assert_close(any_tiny.decode(tokens), result.waveform, rtol=1e-3, atol=1e-4)


@settings(max_examples=25)
@given(length=st.one_of(st.integers(1, 5000), st.sampled_from([40960, 40961, 170000])))
def test_samples_out_are_samples_in(length: int) -> None:
    model = build_tiny()
    waveform = torch.sin(torch.arange(length) * 0.05) * 0.3
    tokens = model.encode(waveform)
    assert tokens.codes.shape[-1] == math.ceil(length / model.hop_length)
    assert model.decode(tokens).shape == (1, length)
    assert sum(piece.shape[-1] for piece in model.decode_stream(tokens)) == length


def test_fewer_groups_are_a_prefix(tiny: AudioTokenizer, speech: Tensor) -> None:
    tokens = tiny.encode(speech)
    assert torch.equal(tiny.encode(speech, num_groups=1).codes, tokens.codes[:, :1])
    first = tiny.decode(tokens, num_groups=1)
    assert torch.equal(first, tiny.decode(tiny.encode(speech, num_groups=1)))
    assert not torch.equal(first, tiny.decode(tokens))
    for wrong in (0, 3):
        with pytest.raises(ConfigError, match="num_groups must be from 1 to 2"):
            tiny.encode(speech, num_groups=wrong)
        with pytest.raises(ConfigError, match="num_groups"):
            tiny.decode(tokens, num_groups=wrong)


class Elsewhere(Tensor):
    """Behaves as a tensor on a GPU: it cannot be joined with those of the CPU, but come there."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.cat and len({type(part) for part in args[0]}) > 1:
            raise RuntimeError("Expected all tensors to be on the same device")
        result = super().__torch_function__(function, types, args, kwargs or {})
        return result.as_subclass(Tensor) if function is Tensor.cpu else result


def test_codes_on_another_device_are_decoded(speech: Tensor) -> None:
    model = build_tiny("spectral-harmonic_noise")
    tokens = model.encode(speech[:5000])
    moved = replace(tokens, codes=tokens.codes.as_subclass(Elsewhere))
    assert torch.equal(model.decode(moved), model.decode(tokens))
    assert torch.equal(torch.cat([*model.decode_stream(moved)], 1), model.decode(tokens))


@pytest.mark.parametrize(
    ("waveform", "error"),
    [
        (torch.zeros(1, 0), AudioError),
        (torch.zeros(0, 100), AudioError),
        (torch.zeros(1, 2, 100), AudioError),
        (torch.zeros(1, 100, dtype=torch.int16), AudioError),
        (torch.tensor([0.0, float("nan")]), AudioError),
        (torch.tensor([0.0, float("inf")]), AudioError),
    ],
)
def test_a_bad_waveform_is_refused(tiny: AudioTokenizer, waveform: Tensor, error: type) -> None:
    with pytest.raises(error):
        tiny.encode(waveform)


def test_waveforms_of_any_precision_are_cast(speech: Tensor, tmp_path: Path) -> None:
    model, doubled = build_tiny("spectral-harmonic_noise"), build_tiny("spectral-harmonic_noise")
    doubled.double()
    speech = speech[:5000]
    soundfile.write(tmp_path / "speech.wav", speech.numpy(), 16000, subtype="FLOAT")
    tokens = doubled.encode_file(tmp_path / "speech.wav")
    for dtype in (torch.float64, torch.float16):
        cast = speech.to(dtype)
        assert torch.equal(model.encode(cast).codes, model.encode(cast.float()).codes)
        assert torch.equal(doubled.encode(cast).codes, doubled.encode(cast.double()).codes)
    assert torch.equal(doubled.encode(speech).codes, tokens.codes)
    decoded = model.decode(replace(tokens, format=model.format))
    torch.testing.assert_close(doubled.decode(tokens), decoded, rtol=1e-3, atol=1e-4)
    with pytest.raises(AudioError, match="infinity"):
        model.encode(torch.tensor([0.0, 1e300], dtype=torch.float64))


def test_in_training_mode_there_are_no_tokens(speech: Tensor) -> None:
    model = build_tiny()
    tokens = model.encode(speech)
    model.train()  # as it becomes with a language model that it is part of
    for call in (lambda: model.encode(speech), lambda: model.decode(tokens)):
        with pytest.raises(ConfigError, match=r"in training mode: call .eval\(\)"):
            call()
    assert torch.equal(model.eval().encode(speech).codes, tokens.codes)


def test_half_precision_is_refused_in_one_sentence(tiny: AudioTokenizer) -> None:
    model = build_tiny()
    for dtype in (torch.float16, torch.bfloat16):
        model.to(dtype)
        with pytest.raises(ConfigError, match=f"float32 or float64, not {dtype}: call .float()"):
            model.encode(torch.zeros(1000))
        tokens = replace(tiny.encode(torch.zeros(1000)), format=model.format)
        with pytest.raises(ConfigError, match=f"float32 or float64, not {dtype}: call .float()"):
            model.decode(tokens)


@pytest.mark.parametrize("lengths", [[0], [101], [5, 5], []])
def test_bad_lengths_are_refused(tiny: AudioTokenizer, lengths: list[int]) -> None:
    with pytest.raises(ConfigError, match="lengths"):
        tiny.encode(torch.zeros(1, 100), lengths)


def test_nan_beyond_an_items_length_does_no_harm(tiny: AudioTokenizer) -> None:
    waveform = torch.full((1, 1000), float("nan"))
    waveform[:, :500] = 0.1
    assert torch.equal(
        tiny.encode(waveform, [500]).codes, tiny.encode(torch.full((1, 500), 0.1)).codes
    )


def test_codes_can_be_trained_on(tiny: AudioTokenizer, speech: Tensor) -> None:
    """Codes are ordinary tensors: an embedding that trains on them accepts them."""
    embedding = torch.nn.Embedding(1000, 4)
    embedding(tiny.encode(speech).codes).sum().backward()
    assert embedding.weight.grad is not None


def test_tokens_of_another_model_are_refused(tiny: AudioTokenizer, speech: Tensor) -> None:
    other = build_tiny()
    with torch.no_grad():
        other.decoder.norm.bias += 1e-3
    with pytest.raises(TokenError) as caught:
        other.decode(tiny.encode(speech))
    assert tiny.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_fingerprint_follows_weights_and_config_but_not_storage(tmp_path: Path) -> None:
    model = build_tiny()
    before = model.fingerprint
    assert before == build_tiny().fingerprint
    assert before != build_tiny(causal=True).fingerprint
    with torch.no_grad():
        model.decoder.norm.weight[0] += 1
    assert model.fingerprint != before
    model.half().float().save_pretrained(tmp_path / "half")
    assert AudioTokenizer.from_pretrained(tmp_path / "half").fingerprint == model.fingerprint


def test_a_model_made_in_inference_mode_encodes(tiny: AudioTokenizer) -> None:
    with torch.inference_mode():
        model = build_tiny()
        before = model.encode(torch.ones(500)).format
        model.decoder.norm.weight[0] += 1
    assert before == tiny.format
    assert model.encode(torch.ones(500)).format != before


def test_file_and_waveform_give_the_same_codes(tiny: AudioTokenizer, speech: Tensor) -> None:
    tokens = tiny.encode_file(SAMPLES[0])
    assert torch.equal(tokens.codes, tiny.encode(speech).codes)
    assert tokens.source is not None
    assert tokens.source.num_samples == len(speech)


def test_token_file_round_trip(tiny: AudioTokenizer, tmp_path: Path) -> None:
    tokens = tiny.encode_file(SAMPLES[0])
    tokens.save(tmp_path / "a.fsq")
    loaded = AudioTokens.load(tmp_path / "a.fsq")
    assert torch.equal(loaded.codes, tokens.codes)
    assert torch.equal(tiny.decode_file(tmp_path / "a.fsq"), tiny.decode(tokens))


def test_stereo_is_mixed_or_split(tiny: AudioTokenizer, speech: Tensor, tmp_path: Path) -> None:
    stereo = torch.stack([speech, -0.5 * speech], dim=1)
    soundfile.write(tmp_path / "s.wav", stereo.numpy(), 16000, subtype="FLOAT")
    split = tiny.encode_file(tmp_path / "s.wav", channels="split")
    assert torch.equal(split.codes, tiny.encode(stereo.T).codes)
    assert tiny.decode(split).shape == (2, len(speech))
    pieces = list(tiny.decode_stream(split))
    assert torch.equal(torch.cat(pieces, dim=-1), tiny.decode(split))
    mixed = tiny.encode_file(tmp_path / "s.wav", channels="mix")
    assert torch.equal(mixed.codes, tiny.encode(stereo.mean(1)).codes)


def test_decode_stream_wants_one_recording(tiny: AudioTokenizer, speech: Tensor) -> None:
    tokens = tiny.encode(torch.stack([speech, speech]), [1000, 2000])
    with pytest.raises(TokenError, match="one recording"):
        next(tiny.decode_stream(tokens))


def test_save_and_load(tiny: AudioTokenizer, speech: Tensor, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    loaded = AudioTokenizer.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.config == tiny.config
    assert torch.equal(loaded.encode(speech).codes, tiny.encode(speech).codes)
    assert not list(tmp_path.glob("*.tmp"))
    modes = {(tmp_path / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1, "whoever reads the configuration can read the weights"


def test_loading_draws_no_random_numbers(tiny: AudioTokenizer, tmp_path: Path) -> None:
    """What would be initialized is loaded."""
    tiny.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    AudioTokenizer.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_differ_in_the_order_of_weights_not_in_their_values(tiny: AudioTokenizer) -> None:
    weight = tiny.encoder.trunk.blocks[0].expand.weight
    values, fingerprint = weight.detach().clone(), tiny.fingerprint
    tiny.eval()
    assert weight.T.is_contiguous()
    assert torch.equal(weight, values)
    assert tiny.fingerprint == fingerprint
    tiny.train()
    assert weight.is_contiguous()
    assert torch.equal(weight, values)
    assert tiny.fingerprint == fingerprint


def test_where_nothing_can_be_saved_is_named(tiny: AudioTokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot save to .*file"):
        checkpoint.save(tmp_path / "file", tiny.config, tiny.state_dict())


def test_loading_is_strict(tiny: AudioTokenizer, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = "decoder.norm.weight"
    for change, message in [
        ({name: None}, f"missing {name}"),
        ({"more": torch.zeros(1)}, "unexpected more"),
        ({name: torch.zeros(3)}, r"is \[3\], expected \[32\]"),
    ]:
        changed = {k: v for k, v in {**weights, **change}.items() if v is not None}
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=message):
            AudioTokenizer.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="cannot read"):
        AudioTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "fsq_audio", "hop": 3, "causal": 1}')
    with pytest.raises(ConfigError, match=r"(?s)hop.*causal|causal.*hop"):
        AudioTokenizer.from_pretrained(tmp_path)


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        AudioTokenizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        AudioTokenizer.from_pretrained(tmp_path / "not" / "there" / "at all")
