"""The configuration under the names of transformers."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, cast

import torch
from transformers import PreTrainedConfig

from fsq_audio.config import TokenizerConfig, from_mapping, to_mapping
from fsq_audio.quantizers import Quantizer, build_quantizer

_KEYS = tuple(field.name for field in dataclasses.fields(TokenizerConfig))


class FSQAudioConfig(PreTrainedConfig):  # type: ignore[misc]
    """The configuration of a tokenizer under the names of transformers.

    Attributes:
        tokenizer_config: the core's; its fields are the keyword arguments, in JSON types.
    """

    model_type = "fsq_audio"

    def __init__(self, **values: Any) -> None:
        """Checks the core's fields strictly; what transformers adds is left to it.

        Raises:
            ConfigError: values are wrong; all faults in one message.
        """
        own = {key: values.pop(key) for key in _KEYS if key in values}
        self.tokenizer_config = from_mapping(TokenizerConfig, own)
        super().__init__(**values)

    @classmethod
    def from_tokenizer_config(cls, config: TokenizerConfig) -> FSQAudioConfig:
        """The same architecture."""
        return cls(**to_mapping(config))

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return self.tokenizer_config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.tokenizer_config.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sampling_rate / self.hop_length

    @property
    def num_codebooks(self) -> int:
        """Groups G."""
        return self._quantizer.num_groups

    @property
    def codebook_size(self) -> int:
        """Codes K of a group; any number, not only powers of two."""
        return self._quantizer.codebook_size

    @property
    def quantization_levels(self) -> list[int] | None:
        """Levels of a group's dimensions as configured; None of a quantizer that has none."""
        return cast("list[int] | None", self._quantizer.describe().get("levels"))

    @cached_property
    def _quantizer(self) -> Quantizer:
        options = dict(self.tokenizer_config.quantizer)
        with torch.device("meta"):  # learnt codebooks are neither drawn nor kept
            return cast(Quantizer, build_quantizer(options.pop("name"), options))

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds: exactly what the core writes and reads."""
        return {"model_type": self.model_type, **to_mapping(self.tokenizer_config)}
