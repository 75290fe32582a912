"""The configuration of a training run: one file is one complete run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import ConfigDict, Field

from fsq_audio.config import Positive, TokenizerConfig, from_mapping
from fsq_audio.errors import ConfigError

_STRICT = ConfigDict(extra="forbid")
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on.

    Attributes:
        train: manifest of the training recordings.
        valid: manifest of the validation recordings.
        crop_frames: frames per training example.
        gain_db: each crop's level is changed by up to this much, up or down, in decibels.
        speed: each crop is played up to this fraction faster or slower, pitch and formants with it:
            a few voices sound like more.
        num_workers: loader processes.
    """

    __pydantic_config__ = _STRICT
    train: str
    valid: str
    crop_frames: Positive = 64
    gain_db: Weight = 6.0
    speed: Annotated[float, Field(ge=0, lt=1)] = 0.0
    num_workers: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The reconstruction losses.

    Attributes:
        mel_windows: window of each log-mel scale, in samples; the hop is a quarter.
        mel_bands: number of bands of each scale.
        mel: weight of the mean absolute difference of log10 mel spectra.
        stft: weight of the mean absolute difference of log10 magnitudes.
        saturation: weight of the mean squared excess of the scalars beyond +-2, where a bounded
            scalar hardly moves and hardly learns. Without it, the first two hundred steps drive
            most scalars there.
    """

    __pydantic_config__ = _STRICT
    mel_windows: tuple[Positive, ...] = (256, 512, 1024, 2048)
    mel_bands: tuple[Positive, ...] = (40, 64, 100, 128)
    mel: Weight = 15.0
    stft: Weight = 0.0
    saturation: Weight = 1.0

    def __post_init__(self) -> None:
        if len(self.mel_windows) != len(self.mel_bands):
            raise ValueError(
                f"mel_windows ({len(self.mel_windows)}) and mel_bands ({len(self.mel_bands)}) "
                f"must be of one length"
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay to zero.

    Attributes:
        learning_rate: the peak.
        warmup_steps: steps from zero to the peak.
        betas: of AdamW.
        weight_decay: of AdamW.
        clip_norm: gradients are scaled down to this norm.
        ema_decay: of the averaged weights, which are what ships; it warms up from zero.
    """

    __pydantic_config__ = _STRICT
    learning_rate: Weight = 6e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 300
    betas: tuple[Fraction, Fraction] = (0.8, 0.99)
    weight_decay: Weight = 0.01
    clip_norm: Weight = 1.0
    ema_decay: Fraction = 0.999


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One complete training run.

    Attributes:
        tokenizer: the architecture.
        data: what is trained on.
        loss: what is minimised.
        optimizer: how.
        init_from: a saved model (folder, hub id or "default") whose weights the run starts from.
        max_steps: optimizer steps of the whole run.
        batch_size: crops per step and process.
        seed: of weights, crops and noise.
        precision: "bf16" computes matrix products in bfloat16; the quantizer stays in float32. For
            GPUs, and CPUs with instructions for it; others become several times slower.
        validate_every: steps between validations.
        validate_items: recordings that a validation reads.
        save_every: steps between checkpoints.
        keep_checkpoints: how many of the newest stay.
        log_every: steps between log entries.
    """

    __pydantic_config__ = _STRICT
    data: DataConfig
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    init_from: str | None = None
    max_steps: Positive = 20000
    batch_size: Positive = 8
    seed: int = 0
    precision: Literal["no", "bf16"] = "no"
    validate_every: Positive = 1000
    validate_items: Positive = 16
    save_every: Positive = 500
    keep_checkpoints: Positive = 2
    log_every: Positive = 50


def read_run_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run from a YAML file, with dotted overrides.

    Args:
        path: the file.
        overrides: pairs such as `["--optimizer.learning_rate", "3e-4"]` or
            `["--max_steps=100"]`; values are YAML.

    Raises:
        ConfigError: the file cannot be read, or keys or values are wrong, all in one message.
    """
    try:
        values = yaml.load(Path(path).read_text("utf-8"), Loader=_Loader)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping of options, got {type(values).__name__}")
    words = [word for pair in overrides for word in _split_pair(pair)]
    if len(words) % 2:
        raise ConfigError(f"overrides come as --key value, the last has no value: {words[-1]}")
    for key, value in zip(words[::2], words[1::2], strict=True):
        if not key.startswith("--"):
            raise ConfigError(f"overrides come as --key value, got {key!r} where a key should be")
        *parents, last = key[2:].split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {parent} is a value, it has no {last}")
        place[last] = yaml.load(value, Loader=_Loader)
    return from_mapping(RunConfig, values, where=str(path))


def _split_pair(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--") and "=" in word else [word]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 6e-4 as a string; people mean the number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
