"""The configuration of a training run: one file is one complete run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from fsq_audio.config import Positive, TokenizerConfig, from_mapping
from fsq_audio.training.overrides import name_source, read_mapping

_STRICT = ConfigDict(extra="forbid")
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise under the speech.

    Attributes:
        folder: recordings of noise; null makes coloured noise (white to brown) instead.
        probability: share of the crops that get it.
        snr_db: lowest and highest ratio of speech to noise, in decibels.
    """

    __pydantic_config__ = _STRICT
    folder: str | None = None
    probability: Fraction = 0.3
    snr_db: tuple[float, float] = (5.0, 30.0)

    def __post_init__(self) -> None:
        _check_range("snr_db", self.snr_db)


@dataclass(frozen=True, kw_only=True)
class ReverbConfig:
    """A room around the speech.

    Attributes:
        folder: recordings of impulse responses; null makes decaying noise instead.
        probability: share of the crops that get it.
        decay_seconds: shortest and longest time to fall by 60 dB, of the responses that are made.
    """

    __pydantic_config__ = _STRICT
    folder: str | None = None
    probability: Fraction = 0.2
    decay_seconds: tuple[Seconds, Seconds] = (0.1, 0.6)

    def __post_init__(self) -> None:
        _check_range("decay_seconds", self.decay_seconds)


@dataclass(frozen=True, kw_only=True)
class EqualizerConfig:
    """The microphone and the room's colour: a few voices sound as if recorded in many places.

    Attributes:
        probability: share of the crops that get it.
        gain_db: the gain at each octave is up to this much up or down, in decibels; in between it
            is interpolated.
    """

    __pydantic_config__ = _STRICT
    probability: Fraction = 0.5
    gain_db: Weight = 8.0


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on.

    Attributes:
        train: the training recordings: a manifest, a folder of audio (LibriSpeech and LibriTTS
            trees are recognised), a lhotse CutSet (`.jsonl.gz`), or tar shards (`a/*.tar`).
        valid: the validation recordings, likewise.
        crop_frames: frames per training example.
        gain_db: each crop's level is changed by up to this much, up or down, in decibels.
        speed: each crop is played up to this fraction faster or slower, pitch and formants with it:
            a few voices sound like more.
        noise: noise is added to some crops; null: none.
        equalizer: some crops have another frequency response; null: none.
        reverb: some crops are heard in a room; null: none. What the augmentations make is input
            and target at once: a tokenizer keeps what it hears.
        num_workers: loader processes.
    """

    __pydantic_config__ = _STRICT
    train: str
    valid: str
    crop_frames: Positive = 64
    gain_db: Weight = 6.0
    speed: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: NoiseConfig | None = None
    equalizer: EqualizerConfig | None = None
    reverb: ReverbConfig | None = None
    num_workers: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The reconstruction losses.

    Attributes:
        mel_windows: window of each log-mel scale, in samples; the hop is a quarter.
        mel_bands: number of bands of each scale.
        mel: weight of the mean absolute difference of log10 mel spectra.
        stft: weight of the mean absolute difference of log10 magnitudes.
        pitch: weight of the distance to the estimated pitch, of a decoder that has a source.
        voicing: weight of the squared distance to the estimated voicing, likewise.
        saturation: weight of the mean squared excess of the scalars beyond +-2, where a bounded
            scalar hardly moves and hardly learns. Without it, the first two hundred steps drive
            most scalars there.
        balance: weights of the losses of the waveform become shares of its gradient (see
            `fsq_audio.training.balancer`); the saturation loss stays outside.
    """

    __pydantic_config__ = _STRICT
    mel_windows: tuple[Positive, ...] = (256, 512, 1024, 2048)
    mel_bands: tuple[Positive, ...] = (40, 64, 100, 128)
    mel: Weight = 15.0
    stft: Weight = 0.0
    pitch: Weight = 5.0
    voicing: Weight = 5.0
    saturation: Weight = 1.0
    balance: bool = False

    def __post_init__(self) -> None:
        if len(self.mel_windows) != len(self.mel_bands):
            raise ValueError(
                f"mel_windows ({len(self.mel_windows)}) and mel_bands ({len(self.mel_bands)}) "
                f"must be of one length"
            )
        if not self.mel_windows:
            raise ValueError("mel_windows and mel_bands must have at least one scale")
        if self.balance and not self.mel and not self.stft:
            raise ValueError("balance shares out gradients: mel or stft must have a weight")


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
    betas: tuple[Beta, Beta] = (0.8, 0.99)
    weight_decay: Weight = 0.01
    clip_norm: Weight = 1.0
    ema_decay: Fraction = 0.999


@dataclass(frozen=True, kw_only=True)
class DiscriminatorOptimizerConfig(OptimizerConfig):
    """The same, gentler: for the discriminators, whose `ema_decay` is not used."""

    learning_rate: Weight = 3e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 100


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The adversarial stage: discriminators, and what the tokenizer hears of them.

    Attributes:
        start_step: the discriminators begin to learn here.
        lead_steps: steps that they learn alone, before the tokenizer hears them.
        ramp_steps: steps over which their losses then grow to full weight.
        every: they are trained every n-th step; the tokenizer hears them in every one.
        loss: "hinge" or "least_squares".
        weight: of the adversarial loss.
        feature_matching: weight of the distance of their features.
        stft_windows: one STFT discriminator each, in samples.
        stft_channels: width of these.
        compression: exponent of the magnitudes that they see.
        periods: one period discriminator each.
        period_channels: width of the first layer of these.
        segment_samples: as much of each crop, from a place drawn anew in every step, is what the
            discriminators see; null: all of it.
        optimizer: of the discriminators.
    """

    __pydantic_config__ = _STRICT
    start_step: Annotated[int, Field(ge=0)] = 0
    lead_steps: Annotated[int, Field(ge=0)] = 200
    ramp_steps: Annotated[int, Field(ge=0)] = 1000
    every: Positive = 1
    loss: Literal["hinge", "least_squares"] = "hinge"
    weight: Weight = 0.5
    feature_matching: Weight = 1.0
    stft_windows: tuple[Positive, ...] = (512, 1024, 2048)
    stft_channels: Positive = 16
    compression: Annotated[float, Field(gt=0, le=1)] = 0.3
    periods: tuple[Positive, ...] = (2, 3, 5, 7, 11)
    period_channels: Positive = 8
    segment_samples: Positive | None = None
    optimizer: DiscriminatorOptimizerConfig = field(default_factory=DiscriminatorOptimizerConfig)

    def __post_init__(self) -> None:
        if not self.stft_windows and not self.periods:
            raise ValueError("an adversarial stage needs stft_windows or periods")

    def gain(self, step: int) -> float:
        """The share of their weight, 0 to 1, that the losses of the discriminators have."""
        heard = step - self.start_step - self.lead_steps
        if heard < 0:
            return 0.0
        return min((heard + 1) / max(self.ramp_steps, 1), 1.0)


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What happens to steps that would do harm (see `fsq_audio.training.guard`).

    Attributes:
        max_ratio: a step of the tokenizer is skipped where its gradient norm is more than this many
            times the running median; null: only where it or the loss is not finite.
        history: norms that the median is taken of; until half as many are known, none is too large.
        patience: this many skipped in a row end the run.
    """

    __pydantic_config__ = _STRICT
    max_ratio: Annotated[float, Field(gt=0)] | None = None
    history: Positive = 100
    patience: Positive = 20


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One complete training run.

    Attributes:
        tokenizer: the architecture.
        data: what is trained on.
        loss: what is minimised.
        optimizer: how.
        adversarial: the adversarial stage; null: none, a run is reconstruction only.
        guard: against steps that would do harm.
        init_from: a saved model (folder, hub id or "default") whose weights the run starts from.
        max_steps: optimizer steps of the whole run.
        batch_size: crops per process and forward pass.
        accumulate: forward passes per step.
        seed: of weights, crops and noise.
        precision: "bf16" computes matrix products in bfloat16; the quantizer stays in float32. For
            GPUs, and CPUs with instructions for it; others become several times slower. There is
            no "fp16": its loss scaling, with two optimizers, is a trap that bf16 does not have.
        num_threads: of one process's computations on the CPU; null: its share of the cores. Where
            several runs are to share a machine, say 1: threads that wait for each other's cores
            make all of them many times as slow.
        compile: the trunks go through torch.compile (a C++ compiler is needed).
        tracker: tensorboard, or another tracker of Accelerate's; null: `log.jsonl` only.
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
    adversarial: AdversarialConfig | None = None
    guard: GuardConfig = field(default_factory=GuardConfig)
    init_from: str | None = None
    max_steps: Positive = 20000
    batch_size: Positive = 8
    accumulate: Positive = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    precision: Literal["no", "bf16"] = "no"
    num_threads: Positive | None = None
    compile: bool = False
    tracker: str | None = "tensorboard"
    validate_every: Positive = 1000
    validate_items: Positive = 16
    save_every: Positive = 500
    keep_checkpoints: Positive = 2
    log_every: Positive = 50

    def __post_init__(self) -> None:
        crop = self.data.crop_frames * self.tokenizer.hop_length
        longest = max(self.loss.mel_windows)
        if crop < longest:
            raise ValueError(
                f"data.crop_frames ({self.data.crop_frames}, {crop} samples) must hold "
                f"the longest of loss.mel_windows ({longest} samples)"
            )


def _check_range(name: str, values: tuple[float, float]) -> None:
    if values[0] > values[1]:
        raise ValueError(f"{name} must be the lowest and the highest, got {list(values)}")


def read_run_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a run from a YAML file, with dotted overrides.

    Args:
        path: the file.
        overrides: pairs such as `["--optimizer.learning_rate", "3e-4"]` or
            `["--max_steps=100"]`; values are YAML.

    Raises:
        ConfigError: the file cannot be read, or keys or values are wrong, all in one message.
    """
    values = read_mapping(path, overrides)
    return from_mapping(RunConfig, values, where=name_source(path, overrides))
