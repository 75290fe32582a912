"""Others' neural codecs as baselines, through transformers, with the user's weights."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from fsq_audio import audio
from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.align import correlate, take_out
from fsq_audio.evaluation.classic import LONGEST_DELAY
from fsq_audio.evaluation.metric import SAMPLE_RATE
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.system import CodeTable, Kind, Produced, load_samples, place, save_samples
from fsq_audio.tokens import pack, unpack

MODELS = ("EncodecModel", "MimiModel", "DacModel")


@dataclass(frozen=True)
class Neural:
    """EnCodec, Mimi or DAC.

    Attributes:
        source: folder or hub id.
        num_codebooks: the first of its codebooks that are kept; None for all it gives.
    """

    source: str
    num_codebooks: int | None = None

    kind: Kind = "baseline"

    @property
    def family(self) -> str:
        """The last part of the source."""
        return Path(self.source).name

    @property
    def name(self) -> str:
        """And the number of codebooks, if it was asked for."""
        return self.family + (f"@{self.num_codebooks}" if self.num_codebooks else "")

    @property
    def identity(self) -> Mapping[str, Any]:
        """Where it comes from, and what it is."""
        config = load_codec(self.source).config.to_dict()
        return {"source": self.source, "num_codebooks": self.num_codebooks,
                "model_type": config["model_type"]}  # fmt: skip

    @property
    def codes(self) -> CodeTable:
        """Of its residual quantizer."""
        config = load_codec(self.source).config
        hop = _hop_length(load_codec(self.source))
        return CodeTable(codebook_size=config.codebook_size, frame_rate=config.sampling_rate / hop)

    @property
    def nominal_rate(self) -> float:
        """log2 K bits of each codebook in each frame."""
        table = self.codes
        return self._kept() * math.log2(table.codebook_size) * table.frame_rate

    @functools.lru_cache(maxsize=8)  # noqa: B019 - few and small, as long as the process
    def _kept(self) -> int:
        model = load_codec(self.source)
        silence = torch.zeros(1, 1, model.config.sampling_rate)
        return int(self._encode(silence)[0].shape[1])

    @torch.no_grad()
    def _encode(self, waveform: Tensor) -> tuple[Tensor, Any]:
        """Codes `[1, G, T]` of a waveform `[1, 1, S]`, and the scale that EnCodec adds."""
        result = load_codec(self.source).encode(waveform)
        codes, scales = result.audio_codes, getattr(result, "audio_scales", None)
        if codes.dim() == 4:  # EnCodec has a dimension of chunks, one for a model without chunks
            if len(codes) != 1:
                raise ConfigError(f"{self.source}: models that cut into chunks are not supported")
            codes = codes[0]
        return codes[:, : self.num_codebooks], scales

    @torch.no_grad()
    def _decode(self, codes: Tensor, scales: Any) -> Tensor:
        """Waveform `[S]`."""
        model = load_codec(self.source)
        if model.config.model_type == "encodec":
            result = model.decode(codes[None], scales)
        else:
            result = model.decode(audio_codes=codes)
        waveform: Tensor = result.audio_values.flatten()
        return waveform

    def produce(self, recording: Recording, *, output: Path) -> Produced:
        """Codes to a packed file, and from that file to audio.

        Args:
            recording: the original.
            output: OUT.

        Raises:
            AudioError: it cannot be read.
            ConfigError: there is no such model.
        """
        model = load_codec(self.source)
        rate = model.config.sampling_rate
        waveform = audio.load(recording.path, sample_rate=rate)[None]
        # Some of them fill up a last frame, and some leave it out.
        waveform = F.pad(waveform, (0, -waveform.shape[-1] % _hop_length(model)))
        start = time.perf_counter()
        codes, scales = self._encode(waveform)
        encoded = time.perf_counter()
        size = self.codes.codebook_size
        path = place(output, "tokens", self.name, recording, "bin")
        path.write_bytes(len(codes[0]).to_bytes(4, "little") + codes.shape[2].to_bytes(4, "little")
                         + pack(codes.flatten(), size))  # fmt: skip
        kept = self.load_codes(recording, output=output)
        loaded = time.perf_counter()
        result = self._decode(kept, scales).numpy()
        decoded = time.perf_counter()
        reference = load_samples(recording.path)
        narrow = np.asarray(soxr.resample(result, rate, SAMPLE_RATE), np.float32)
        delay = correlate(reference, narrow, max_delay=LONGEST_DELAY).delay
        wav = place(output, "audio", self.name, recording, "wav")
        save_samples(wav, take_out(narrow, delay=delay, length=len(reference)))
        return Produced(
            wav,
            num_bytes=path.stat().st_size,
            encode_seconds=encoded - start,
            decode_seconds=decoded - loaded,
            removed_delay=delay,
        )

    def load_codes(self, recording: Recording, *, output: Path) -> Tensor:
        """From the packed file: number of codebooks and frames in four bytes each, then codes."""
        data = place(output, "tokens", self.name, recording, "bin").read_bytes()
        groups, frames = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
        codes = unpack(data[8:], groups * frames, self.codes.codebook_size)
        return codes.reshape(1, groups, frames)

    def cost(self) -> dict[str, float]:
        """Parameters."""
        return {"parameters": float(sum(p.numel() for p in load_codec(self.source).parameters()))}


@functools.cache
def load_codec(source: str) -> Any:
    """A codec in evaluation mode.

    Args:
        source: folder or hub id.

    Raises:
        ConfigError: transformers is not installed, there is no such model, or it is no codec.
    """
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "hf: baselines need transformers: pip install 'fsq-audio[transformers]'"
        ) from None
    try:
        model = transformers.AutoModel.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"hf:{source}: cannot be loaded: {first}") from error
    if type(model).__name__ not in MODELS:
        raise ConfigError(
            f"hf:{source} is a {type(model).__name__}, not one of {', '.join(MODELS)}"
        )
    return model.eval()


def _hop_length(model: Any) -> int:
    config = model.config
    if config.model_type == "mimi":
        hop_length: int = round(config.sampling_rate / config.frame_rate)
        return hop_length
    return int(config.hop_length)
