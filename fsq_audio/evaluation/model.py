"""Our own tokenizers as systems: one for each number of groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsq_audio import audio
from fsq_audio.arithmetic import count_macs
from fsq_audio.blocks import WINDOW_FRAMES
from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.cost import peak_memory, reset_peak_memory, timed
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.system import CodeTable, Kind, Produced, place
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


@dataclass(frozen=True)
class ModelSystem:
    """A tokenizer at one rate, called `<label>-<number of groups>`.

    Attributes:
        model: in evaluation mode.
        num_groups: that are kept.
        label: of the model.
    """

    model: AudioTokenizer
    num_groups: int
    label: str = "ours"

    kind: Kind = "model"

    def __post_init__(self) -> None:
        if not 1 <= self.num_groups <= self.model.num_groups:
            raise ConfigError(
                f"num_groups must be from 1 to {self.model.num_groups}, got {self.num_groups}"
            )

    @property
    def name(self) -> str:
        """The label and the number of groups."""
        return f"{self.label}-{self.num_groups}"

    @property
    def family(self) -> str:
        """The label."""
        return self.label

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model's fingerprint and the groups."""
        return {"fingerprint": self.model.fingerprint, "num_groups": self.num_groups}

    @property
    def nominal_rate(self) -> float:
        """The bitrate of these groups, which all have as many codes."""
        return self.model.bitrate * self.num_groups / self.model.num_groups

    @property
    def codes(self) -> CodeTable:
        """Of the quantizer."""
        levels = getattr(self.model.quantizer.quantizer, "effective_levels", None)
        return CodeTable(
            codebook_size=self.model.codebook_size,
            frame_rate=self.model.frame_rate,
            levels=None if levels is None else tuple(levels),
        )

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """Tokenizes, saves the tokens, and decodes what was saved.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            AudioError: it cannot be read.
        """
        tokens_path = place(output, "tokens", self.name, recording, "fsq")
        path = place(output, "audio", self.name, recording, "wav")
        waveform = audio.load(recording.path, sample_rate=self.model.sample_rate)
        reset_peak_memory()
        tokens, encode_seconds = timed(
            lambda: self.model.encode(waveform, num_groups=self.num_groups)
        )
        tokens.save(tokens_path)
        saved = AudioTokens.load(tokens_path)
        result, decode_seconds = timed(lambda: self.model.decode(saved))
        peak = peak_memory()
        audio.save(path, result, sample_rate=self.model.sample_rate)
        return Produced(
            path,
            num_bytes=tokens_path.stat().st_size,
            encode_seconds=encode_seconds,
            decode_seconds=decode_seconds,
            process_peak_memory=peak,
        )

    def load_codes(self, recording: Recording, *, output: Path) -> Tensor | None:
        """Of the saved tokens."""
        path = place(output, "tokens", self.name, recording, "fsq")
        return AudioTokens.load(path).codes

    def cost(self) -> dict[str, float]:
        """Parameters, and billions of multiply-adds for a second of audio, Fourier excluded."""
        return {
            "parameters": float(sum(weight.numel() for weight in self.model.parameters())),
            "gmac_per_second": count_gmacs(self.model),
        }


def count_gmacs(model: AudioTokenizer) -> float:
    """Billions of multiply-adds in the matrix products and convolutions of a second of audio.

    Args:
        model: that encodes and decodes one canonical window.
    """
    encoder, hop = model.encoder, model.hop_length
    waveform = torch.zeros(1, WINDOW_FRAMES * hop + sum(encoder.context))
    codes = torch.zeros(1, model.num_groups, WINDOW_FRAMES).long()
    device = next(model.parameters()).device

    def both_ways() -> None:
        # Not by way of encode and decode: those work in other threads, where nothing is counted.
        model.quantizer(encoder(waveform.to(device)))
        model.decoder.resynthesize(model.quantizer.decode(codes.to(device)))

    return count_macs(both_ways) / 1e9 / (WINDOW_FRAMES / model.frame_rate)
