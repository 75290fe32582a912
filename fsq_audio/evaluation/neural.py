"""Others' neural codecs as baselines, through transformers, with the user's weights."""

from __future__ import annotations

import functools
import hashlib
import math
import sys
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
from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.evaluation.align import LONGEST_CODEC_DELAY, correlate, take_out
from fsq_audio.evaluation.cost import peak_memory, reset_peak_memory, timed
from fsq_audio.evaluation.metric import SAMPLE_RATE
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.system import CodeTable, Kind, Produced, load_samples, place, save_samples
from fsq_audio.files import replacing
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
        """What it is, and its weights, wherever they come from."""
        return {"model_type": load_codec(self.source).config.model_type,
                "weights": _hash_weights(self.source),
                "num_codebooks": self.num_codebooks}  # fmt: skip

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
        return self.count_codebooks() * math.log2(table.codebook_size) * table.frame_rate

    @functools.lru_cache(maxsize=8)  # noqa: B019 - few and small, as long as the process
    def count_codebooks(self) -> int:
        """Those that are kept.

        Raises:
            ConfigError: the model has fewer than were asked for.
        """
        model = load_codec(self.source)
        silence = torch.zeros(1, 1, model.config.sampling_rate)
        number = int(self._encode(silence)[0].shape[1])
        if self.num_codebooks is not None and number < self.num_codebooks:
            raise ConfigError(f"hf:{self.source}@{self.num_codebooks}: it has {number} codebooks")
        return number

    @torch.no_grad()
    def _encode(self, waveform: Tensor) -> tuple[Tensor, Any]:
        """Codes `[1, G, T]` of a waveform `[1, 1, S]`, and the scale that EnCodec adds."""
        model = load_codec(self.source)
        is_encodec = model.config.model_type == "encodec"
        # Left alone, EnCodec keeps as many codebooks as its lowest bandwidth has.
        options = {"bandwidth": max(model.config.target_bandwidths)} if is_encodec else {}
        result = model.encode(waveform, **options)
        codes, scales = result.audio_codes, getattr(result, "audio_scales", None)
        if codes.dim() == 4:  # EnCodec has a dimension of chunks, of which there is one
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
        reset_peak_memory()
        (codes, scales), encode_seconds = timed(lambda: self._encode(waveform))
        path = place(output, "tokens", self.name, recording, "bin")
        save_codes(path, codes, codebook_size=self.codes.codebook_size)
        kept = self.load_codes(recording, output=output)
        result, decode_seconds = timed(lambda: self._decode(kept, scales).numpy())
        peak = peak_memory()
        reference = load_samples(recording.path)
        narrow = np.asarray(soxr.resample(result, rate, SAMPLE_RATE), np.float32)
        found = correlate(reference, narrow, max_delay=LONGEST_CODEC_DELAY)
        # They come back aligned; at rates at which no waveform is kept, nothing else can be told.
        delay = found.delay if found.is_clear else 0
        wav = place(output, "audio", self.name, recording, "wav")
        save_samples(wav, take_out(narrow, delay=delay, length=len(reference)))
        return Produced(
            wav,
            num_bytes=path.stat().st_size,
            encode_seconds=encode_seconds,
            decode_seconds=decode_seconds,
            removed_delay=delay,
            process_peak_memory=peak,
        )

    def load_codes(self, recording: Recording, *, output: Path) -> Tensor:
        """From the packed file."""
        path = place(output, "tokens", self.name, recording, "bin")
        return read_codes(path, codebook_size=self.codes.codebook_size)

    def cost(self) -> dict[str, float]:
        """Parameters."""
        return {"parameters": float(sum(p.numel() for p in load_codec(self.source).parameters()))}


def save_codes(path: Path, codes: Tensor, *, codebook_size: int) -> None:
    """Writes codes: number of codebooks and of frames in four bytes each, then the packed codes.

    Args:
        path: of the file.
        codes: `[1, G, T]`.
        codebook_size: K.
    """
    sizes = b"".join(size.to_bytes(4, "little") for size in codes.shape[1:])
    with replacing(path) as beside:
        beside.write_bytes(sizes + pack(codes.flatten(), codebook_size))


def read_codes(path: Path, *, codebook_size: int) -> Tensor:
    """Codes `[1, G, T]` that `save_codes` wrote.

    Args:
        path: of the file.
        codebook_size: K.

    Raises:
        TokenError: it is missing or damaged.
    """
    try:
        data = path.read_bytes()
        groups, frames = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
        return unpack(data[8:], groups * frames, codebook_size).reshape(1, groups, frames)
    except (OSError, TokenError) as error:
        raise TokenError(f"cannot read {path}: {error}") from None


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
    logging = transformers.utils.logging
    bars = logging.is_progress_bar_enabled()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        # Never the pickles that older repositories have instead.
        model = transformers.AutoModel.from_pretrained(source, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"hf:{source}: cannot be loaded: {first}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if type(model).__name__ not in MODELS:
        raise ConfigError(
            f"hf:{source} is a {type(model).__name__}, not one of {', '.join(MODELS)}"
        )
    if getattr(model.config, "chunk_length_s", None) is not None:
        raise ConfigError(f"hf:{source}: models that cut into chunks are not supported")
    if getattr(model.config, "audio_channels", 1) != 1:
        raise ConfigError(
            f"hf:{source}: its audio has {model.config.audio_channels} channels, not 1"
        )
    return model.eval()


@functools.cache
def _hash_weights(source: str) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_codec(source).state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _hop_length(model: Any) -> int:
    config = model.config
    if config.model_type == "mimi":
        hop_length: int = round(config.sampling_rate / config.frame_rate)
        return hop_length
    return int(config.hop_length)
