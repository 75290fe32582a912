"""The configuration of a sweep over quantizers, and the runs that it stands for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict

from fsq_audio.config import Positive, from_mapping
from fsq_audio.training.config import RunConfig

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """The small causal language model whose bits per code are the compression cost.

    Attributes:
        train_minutes: of training recordings that it learns the codes of.
        context: codes that it sees.
        batch_size: contexts per step.
        steps: of training.
        width: of its layers.
        layers: how many.
        learning_rate: the peak.
    """

    __pydantic_config__ = _STRICT
    train_minutes: float = 10.0
    context: Positive = 128
    batch_size: Positive = 8
    steps: Positive = 120
    width: Positive = 96
    layers: Positive = 2
    learning_rate: float = 2e-3


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A quantizer of the comparison.

    Attributes:
        quantizer: its entry in a configuration. "size" stands for the codebook size; an option
            that is a mapping is looked up by it, and sizes that are not in there have no cell.
        loss: changes to the losses of the run.
    """

    __pydantic_config__ = _STRICT
    quantizer: dict[str, Any]
    loss: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A sweep: one file is one comparison.

    Attributes:
        run: what every cell is, as in a configuration of `train_tokenizer.py`.
        held_out: recordings on which all cells are measured.
        sizes: codebook sizes.
        seeds: of weights and crops.
        arms: by name.
        language_model: null measures no compression cost.
    """

    __pydantic_config__ = _STRICT
    run: dict[str, Any]
    held_out: tuple[str, ...]
    sizes: tuple[Positive, ...]
    seeds: tuple[int, ...]
    arms: dict[str, Arm]
    language_model: LanguageModelConfig | None = None


@dataclass(frozen=True)
class Cell:
    """One training and what it is named by.

    Attributes:
        arm: name of the quantizer.
        size: the codebook size that was asked for; FSQ comes as close as its levels allow.
        seed: of weights and crops.
        run: the whole configuration.
    """

    arm: str
    size: int
    seed: int
    run: RunConfig

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.arm}-{self.size}-{self.seed}"


def find_cells(
    sweep: SweepConfig,
    *,
    arms: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    where: str,
) -> Iterator[Cell]:
    """All cells, or some; those of the first seed first.

    Args:
        sweep: the comparison.
        arms: names of some; None for all, as below.
        sizes: some codebook sizes.
        seeds: some seeds.
        where: the sweep's file, for messages.

    Raises:
        ConfigError: a cell's configuration is wrong.
    """
    for seed in seeds or sweep.seeds:
        for size in sizes or sweep.sizes:
            for name in arms or sweep.arms:
                arm = sweep.arms[name]
                options = {key: _at_size(value, size) for key, value in arm.quantizer.items()}
                if None in options.values():
                    continue
                values = json.loads(json.dumps(sweep.run)) | {"seed": seed}
                values["tokenizer"]["quantizer"] = options
                values["loss"] = values.get("loss", {}) | arm.loss
                run = from_mapping(RunConfig, values, where=f"{where}: {name} of {size}")
                yield Cell(name, size, seed, run)


def _at_size(value: Any, size: int) -> Any:
    if isinstance(value, dict):
        return value.get(size, value.get(str(size)))
    return size if value == "size" else value
