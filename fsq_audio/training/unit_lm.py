"""The configuration of a language model's training on units, and what such a run will need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from fsq_audio.config import Positive, from_mapping
from fsq_audio.language_model.model import HEAD_WIDTH, UnitLanguage, build_llama
from fsq_audio.training.config import GuardConfig, OptimizerConfig
from fsq_audio.training.overrides import name_source, read_mapping
from fsq_audio.units.store import count_frames, read_info

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class UnitDataConfig:
    """What is learnt.

    Attributes:
        store: of units, as `fsq-audio extract` writes it.
        train: the split to learn.
        valid: the split to validate on.
        shuffle_buffer: recordings that are held to be drawn from.
        num_workers: loader processes.
    """

    __pydantic_config__ = _STRICT
    store: str
    train: str = "train"
    valid: str = "valid"
    shuffle_buffer: Annotated[int, Field(ge=0)] = 10_000
    num_workers: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class LlamaSize:
    """The size of the model.

    Attributes:
        width: of its layers, a multiple of 32, which a head has.
        layers: how many.
        context: ids that it sees; a second of 4 groups at 25 frames a second is 100.
        dropout: of attention weights.
    """

    __pydantic_config__ = _STRICT
    width: Annotated[int, Field(gt=0, multiple_of=HEAD_WIDTH)] = 256
    layers: Positive = 4
    context: Annotated[int, Field(ge=2)] = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, language: UnitLanguage) -> Any:
        """A model of this size for a language, with random weights."""
        return build_llama(
            language.vocabulary.size,
            eos_id=language.eos_id,
            width=self.width,
            layers=self.layers,
            context=self.context,
            dropout=self.dropout,
        )


@dataclass(frozen=True, kw_only=True)
class UnitLMConfig:
    """One complete training run of a language model on units.

    Attributes:
        data: what is learnt.
        model: its size.
        optimizer: how it learns; the averaged weights are what is validated and kept.
        guard: against steps that would do harm.
        max_steps: optimizer steps of the whole run.
        batch_size: contexts per process and forward pass.
        accumulate: forward passes per step.
        seed: of weights, order and dropout.
        precision: "bf16" computes matrix products in bfloat16.
        num_threads: of one process's computations on the CPU; null: its share of the cores.
        tracker: tensorboard, or another tracker of Accelerate's; null: `log.jsonl` only.
        validate_every: steps between validations.
        patience: validations in a row without a new best that end the run; null: none do.
        save_every: steps between checkpoints.
        keep_checkpoints: how many of the newest stay.
        log_every: steps between log entries.
    """

    __pydantic_config__ = _STRICT
    data: UnitDataConfig
    model: LlamaSize = field(default_factory=LlamaSize)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    max_steps: Positive = 10_000
    batch_size: Positive = 8
    accumulate: Positive = 1
    seed: int = 0
    precision: Literal["no", "bf16"] = "no"
    num_threads: Positive | None = None
    tracker: str | None = None
    validate_every: Positive = 250
    patience: Positive | None = 4
    save_every: Positive = 250
    keep_checkpoints: Positive = 1
    log_every: Positive = 50


def read_unit_lm_config(path: str | Path, overrides: Sequence[str] = ()) -> UnitLMConfig:
    """Reads a run from a YAML file, with dotted overrides; see `read_run_config`.

    Raises:
        ConfigError: the file cannot be read, or keys or values are wrong, all in one message.
    """
    values = read_mapping(path, overrides)
    return from_mapping(UnitLMConfig, values, where=name_source(path, overrides))


def describe_unit_lm(run: UnitLMConfig, *, num_processes: int) -> str:
    """The lines that `--dry-run` prints.

    Raises:
        TokenError: the store is damaged, not complete, or has no such split.
    """
    language = UnitLanguage(read_info(run.data.store))
    info = language.info
    llama = run.model.build(language)
    per_second = info.frame_rate * info.num_groups
    contexts = run.batch_size * run.accumulate * num_processes
    step_ids = contexts * run.model.context
    lines = [
        f"units          model {info.fingerprint}, {info.num_groups} groups of "
        f"{info.codebook_size} codes, {per_second:g} ids/s and one between recordings",
        f"model          {sum(each.numel() for each in llama.parameters()) / 1e6:.2f} M "
        f"parameters, a context of {run.model.context / per_second:.1f} s",
        f"a step         {contexts} contexts, {step_ids} ids, {step_ids / per_second:.1f} s "
        f"({run.batch_size} contexts x {run.accumulate} passes x {num_processes} processes)",
    ]
    for name in ("train", "valid"):
        split = getattr(run.data, name)
        count = count_frames(run.data.store, split=split)
        hours = count.num_frames / info.frame_rate / 3600
        lines.append(f"data.{name:<9} {count.num_items} recordings, {hours:.2f} h ({split})")
        if name == "train":
            num_ids = count.num_frames * info.num_groups + count.num_items
            passes = run.max_steps * step_ids / max(num_ids, 1)
    lines.append(f"the run        {run.max_steps} steps, {passes:.2f} times through the data")
    return "\n".join(lines)
