"""Our tokenizer with the methods that Codec-SUPERB (Wu et al. 2024) calls on a codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor

from fsq_audio.evaluation.metric import Samples
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


@dataclass(frozen=True)
class ExtractedUnit:
    """The tokens of a recording.

    Attributes:
        unit: codes `[G, T]`.
        stuff_for_synth: what `decode_unit` needs.
    """

    unit: Tensor
    stuff_for_synth: AudioTokens


class SuperbCodec:
    """`extract_unit`, `decode_unit`, `synth` on `{"audio": {"array", "sampling_rate"}}`.

    Attributes:
        sampling_rate: of what `extract_unit` takes and `decode_unit` gives, in Hz.
        setting: a name for this codec.
        supports_decode: True.
    """

    supports_decode = True

    def __init__(self, model: AudioTokenizer, *, num_groups: int | None = None) -> None:
        """Keeps the model.

        Args:
            model: in evaluation mode.
            num_groups: that are kept; None for all.
        """
        self._model = model
        self._num_groups = num_groups
        self.sampling_rate = model.sample_rate
        self.setting = f"fsq_audio_{model.fingerprint}_{num_groups or model.num_groups}"

    def extract_unit(self, data: Mapping[str, Any]) -> ExtractedUnit:
        """Tokenizes.

        Args:
            data: `audio.array` `[S]`, at `sampling_rate`.

        Raises:
            AudioError: no samples, or NaN.
        """
        samples = np.asarray(data["audio"]["array"], np.float32)
        tokens = self._model.encode(torch.from_numpy(samples), num_groups=self._num_groups)
        return ExtractedUnit(unit=tokens.codes[0], stuff_for_synth=tokens)

    def decode_unit(self, stuff_for_synth: AudioTokens) -> Samples:
        """Resynthesizes `[S]` at `sampling_rate`.

        Args:
            stuff_for_synth: of an extracted unit.
        """
        samples: Samples = self._model.decode(stuff_for_synth)[0].numpy()
        return samples

    def synth(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """There and back, at the rate that came.

        Args:
            data: `audio.array` `[S]` and `audio.sampling_rate`.

        Returns:
            The same with `unit`, and with the audio that came back, of the same length.
        """
        rate = data["audio"]["sampling_rate"]
        samples = np.asarray(data["audio"]["array"], np.float32)
        own = soxr.resample(samples, rate, self.sampling_rate)
        extracted = self.extract_unit({"audio": {"array": own}})
        back = soxr.resample(self.decode_unit(extracted.stuff_for_synth), self.sampling_rate, rate)
        back = np.pad(back[: len(samples)], (0, max(0, len(samples) - len(back))))
        return {**data, "unit": extracted.unit, "audio": {"array": back, "sampling_rate": rate}}
