"""Who is compared: our tokenizer, and three codecs of transformers with random weights.

Random weights cost what trained ones do: every product is computed, whatever its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import soxr
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pad_sequence

from fsq_audio import audio
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.config import read_run_config


@dataclass(frozen=True)
class Batch:
    """Some recordings, ready to be fed: `waveform` [B, S], `lengths` [B] samples each."""

    waveform: Tensor
    lengths: list[int]


class Contender(Protocol):
    """A codec: waveforms to codes and back."""

    @property
    def name(self) -> str:
        """In the table."""

    @property
    def facts(self) -> str:
        """What exactly it is."""

    @property
    def model(self) -> nn.Module:
        """The network."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def share(self) -> int | None:
        """On how many recordings of the folder its speed is measured; None for all."""

    def encode(self, batch: Batch) -> Any:
        """Makes codes."""

    def codes(self, batch: Batch) -> Any:
        """Codes that such a batch would have."""

    def decode(self, codes: Any) -> Tensor:
        """Makes waveforms of codes."""


class Ours:
    """This library, through its public functions."""

    name = "fsq_audio"
    share = None

    def __init__(self, source: str) -> None:
        """Loads a trained tokenizer, or builds one with random weights from a run's `.yaml`."""
        if Path(source).suffix == ".yaml":
            self.model = AudioTokenizer.from_config(read_run_config(source).tokenizer).eval()
            state = f"random weights, {Path(source).name}"
        else:
            self.model = AudioTokenizer.from_pretrained(source)
            state = f"{source}, fingerprint {self.model.fingerprint}"
        self.sample_rate = self.model.sample_rate
        self.facts = f"{self.model.bitrate / 1000:.2f} kbps, {state}"

    def encode(self, batch: Batch) -> Any:
        return self.model.encode(batch.waveform, batch.lengths)

    def codes(self, batch: Batch) -> Any:
        return self.model.encode(batch.waveform, batch.lengths)

    def decode(self, codes: Any) -> Tensor:
        return self.model.decode(codes)

    def encode_files(self, paths: Sequence[Path]) -> None:
        """Audio files to token files beside them."""
        for path in paths:
            self.model.encode_file(path).save(path.with_suffix(".fsq"))

    def decode_files(self, paths: Sequence[Path]) -> None:
        """Those token files to audio files beside them."""
        for path in paths:
            waveform = self.model.decode_file(path.with_suffix(".fsq"))
            audio.save(path.with_suffix(".wav"), waveform, sample_rate=self.sample_rate)


class Peer:
    """What the classes of transformers have in common."""

    name: str
    facts: str
    hop_length: int
    num_codebooks: int
    codebook_size: int
    share: int | None = None

    def __init__(self, model: nn.Module, *, sample_rate: int) -> None:
        self.model: Any = model.eval()
        self.sample_rate = sample_rate
        _fold_weight_norm(model)

    def codes(self, batch: Batch) -> Any:
        """Random codes: decoding costs the same whatever they are."""
        num_frames = -(-batch.waveform.shape[-1] // self.hop_length)
        shape = (len(batch.lengths), self.num_codebooks, num_frames)
        return torch.randint(self.codebook_size, shape)


class EnCodec(Peer):
    """Défossez et al. 2022, the 24 kHz model at its lowest bitrate, where it is fastest."""

    name = "EnCodec"
    facts = "facebook/encodec_24khz, 1.5 kbps (2 codebooks)"
    share = 16  # one batch; the peers' time on the whole folder would be half an hour
    hop_length, num_codebooks, codebook_size = 320, 2, 1024

    def __init__(self) -> None:
        from transformers import EncodecConfig, EncodecModel

        config = EncodecConfig()
        super().__init__(EncodecModel(config), sample_rate=config.sampling_rate)
        for layer in self.model.quantizer.layers:
            layer.codebook.embed.normal_()  # zeros after construction

    @torch.inference_mode()
    def encode(self, batch: Batch) -> Any:
        return self.model.encode(batch.waveform.unsqueeze(1), bandwidth=1.5).audio_codes[0]

    @torch.inference_mode()
    def decode(self, codes: Any) -> Tensor:
        waveform: Tensor = self.model.decode(codes[None], [None]).audio_values
        return waveform


class Mimi(Peer):
    """Défossez et al. 2024, with the 8 codebooks that Moshi uses."""

    name = "Mimi"
    facts = "kyutai/mimi, 1.1 kbps (8 of its 32 codebooks)"
    share = 16
    hop_length, num_codebooks, codebook_size = 1920, 8, 2048

    def __init__(self) -> None:
        from transformers import MimiConfig, MimiModel

        config = MimiConfig()
        super().__init__(MimiModel(config), sample_rate=config.sampling_rate)
        for module in self.model.modules():
            if type(module).__name__ == "MimiEuclideanCodebook":
                module.embed_sum.normal_()

    @torch.inference_mode()
    def encode(self, batch: Batch) -> Any:
        return self.model.encode(batch.waveform.unsqueeze(1), num_quantizers=8).audio_codes

    @torch.inference_mode()
    def decode(self, codes: Any) -> Tensor:
        waveform: Tensor = self.model.decode(codes).audio_values
        return waveform


class DAC(Peer):
    """Kumar et al. 2023, the 16 kHz model: other ratios and codebooks than DacConfig's defaults."""

    name = "DAC-16k"
    facts = "descript/dac_16khz, 6 kbps (12 codebooks)"
    hop_length, num_codebooks, codebook_size = 320, 12, 1024
    share = 4  # it takes minutes for the whole folder

    def __init__(self) -> None:
        from transformers import DacConfig, DacModel

        config = DacConfig(
            downsampling_ratios=[2, 4, 5, 8],
            n_codebooks=12,
            sampling_rate=16000,
            codebook_size=1024,
        )
        super().__init__(DacModel(config), sample_rate=config.sampling_rate)

    @torch.inference_mode()
    def encode(self, batch: Batch) -> Any:
        return self.model.encode(batch.waveform.unsqueeze(1)).audio_codes

    @torch.inference_mode()
    def decode(self, codes: Any) -> Tensor:
        waveform: Tensor = self.model.decode(audio_codes=codes).audio_values
        return waveform


def build_peers() -> list[Contender]:
    """All codecs to compare with, with fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [EnCodec(), Mimi(), DAC()]


def batches(
    recordings: Sequence[Tensor], *, from_rate: int, contender: Contender, size: int
) -> list[Batch]:
    """Recordings at a contender's own rate, neighbours in length together, padded with zeros.

    Args:
        recordings: [S] each.
        from_rate: theirs, in Hz.
        contender: who gets them.
        size: recordings per batch.
    """
    rows = [resample(row, from_rate, contender.sample_rate) for row in recordings]
    rows.sort(key=len)
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [
        Batch(pad_sequence(group, batch_first=True), [len(r) for r in group]) for group in groups
    ]


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """[S] at another rate; not part of what is timed."""
    if from_rate == to_rate:
        return waveform
    return torch.from_numpy(soxr.resample(waveform.numpy(), from_rate, to_rate))


def _fold_weight_norm(model: nn.Module) -> None:
    """Computes normalised weights once, as one does before inference."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
