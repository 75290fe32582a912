from __future__ import annotations

import dataclasses

import pytest
from conftest import ARCHITECTURES, ROOT
from hypothesis import given
from hypothesis import strategies as st

from fsq_audio.config import TokenizerConfig, from_mapping, to_mapping
from fsq_audio.errors import ConfigError
from fsq_audio.training.config import read_run_config

CONFIG = str(ROOT / "configs" / "tiny_cpu.yaml")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_configurations_round_trip(name: str) -> None:
    config = from_mapping(TokenizerConfig, ARCHITECTURES[name])
    assert from_mapping(TokenizerConfig, to_mapping(config)) == config


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TokenizerConfig().hop_length = 3  # type: ignore[misc]


def test_every_fault_is_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(
            TokenizerConfig,
            {"sample_rate": "16000", "hop": 320, "encoder": {"trunk": {"kernel_size": 0}}},
            where="my.yaml",
        )
    message = str(caught.value)
    for part in ("my.yaml", "sample_rate", "hop", "encoder.trunk.kernel_size"):
        assert part in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop_length": 321}, "must be a multiple"),
        ({"encoder": {"trunk": {"kernel_size": 4}}}, "kernel_size must be odd"),
        ({"encoder": {"front_end": {"name": "conv", "strides": [2, 2]}}}, "strides multiply to 4"),
        ({"decoder": {"head": {"name": "transposed", "strides": [3]}}}, "strides multiply to 3"),
        ({"encoder": {"front_end": {"name": "spectral", "subframes": 3}}}, "must divide hop"),
        ({"encoder": {"front_end": {"name": "spectral", "window_length": 8}}}, "samples are lost"),
        ({"encoder": {"front_end": {"name": "wavelet"}}}, "wavelet"),
        ({"decoder": {"head": {"window": 8}}}, "decoder.head: 'name' is missing"),
        ({"quantizer": {"levels": [8]}}, "needs a name"),
        ({"causal": 1}, "causal"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(TokenizerConfig, values)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_a_configuration_or_a_config_error(values: object) -> None:
    try:
        from_mapping(TokenizerConfig, {"encoder": values, "hop_length": values})
    except ConfigError:
        return
    pytest.fail("no value is both an encoder and a hop length")


def test_dotted_overrides() -> None:
    run = read_run_config(
        CONFIG,
        ["--max_steps=7", "--optimizer.learning_rate", "3e-4", "--tokenizer.causal", "true"],
    )
    assert run.max_steps == 7
    assert run.optimizer.learning_rate == 3e-4
    assert run.tokenizer.causal is True


def test_one_option_of_a_section_leaves_its_others_as_they_are() -> None:
    usual = read_run_config(CONFIG, ["--adversarial={}"]).adversarial
    given = read_run_config(CONFIG, ["--adversarial.optimizer.weight_decay=0"]).adversarial
    assert usual is not None
    assert given is not None
    assert given.optimizer == dataclasses.replace(usual.optimizer, weight_decay=0)
    decoder = from_mapping(TokenizerConfig, {"decoder": {"trunk": {"channels": 256}}}).decoder
    assert decoder.trunk.num_blocks == TokenizerConfig().decoder.trunk.num_blocks == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--max_step=7"], "^[^:]*tiny_cpu.yaml and the command line: max_step: Unexpected"),
        (["--max_steps"], "has no value"),
        (["max_steps", "7"], "where a key should be"),
        (["max_steps=7"], "'max_steps=7' where a key should be"),
        (["--max_steps=many"], "max_steps"),
        (["--max_steps.deeper=1"], "max_steps is a value, it has no deeper"),
        (["--loss.mel_windows=[512]"], r"mel_windows \(1\) and mel_bands \(\d\) must be of one"),
        (["--optimizer.betas=[0.9, 1]"], r"optimizer\.betas.*less than 1"),
        (["--seed=-1"], "seed.*greater than or equal to 0"),
        (["--data.noise.snr_db=[30, 5]"], "snr_db must be the lowest and the highest"),
        (["--data.reverb.decay_seconds=[0, 0]"], "decay_seconds.*greater than 0"),
        (["--loss.mel_windows=[]", "--loss.mel_bands=[]"], "at least one scale"),
        (["--loss.balance=true", "--loss.mel=0"], "mel or stft must have a weight"),
        (["--data.crop_frames=3"], r"crop_frames \(3, 1920 samples\) must hold the longest"),
    ],
)
def test_wrong_overrides_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_run_config(CONFIG, overrides)


def test_a_missing_or_damaged_file_is_one_sentence(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_run_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(ConfigError, match="must hold a mapping"):
        read_run_config(tmp_path / "list.yaml")
    (tmp_path / "misspelt.yaml").write_text("max_step: 7")
    with pytest.raises(ConfigError, match=r"misspelt\.yaml: .*max_step: Unexpected"):
        read_run_config(tmp_path / "misspelt.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="cannot read"):
        read_run_config(tmp_path / "bad.yaml")
