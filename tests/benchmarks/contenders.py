"""Who is compared: our tokenizer; three codecs of transformers, and SNAC, with random weights.

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

from fsq_audio.cli import main
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
        self.source = source
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

    def encode_folder(self, folder: Path) -> None:
        """Audio files to token files, by the command line without a new process."""
        self._call("tokenize", folder / "audio", folder / "tokens")

    def decode_folder(self, folder: Path) -> None:
        """Those token files to audio files."""
        self._call("decode", folder / "tokens", folder / "decoded")

    def _call(self, verb: str, source: Path, target: Path) -> None:
        command = [verb, str(source), "-o", str(target), "--model", self.source, "-q"]
        assert main([*command, "--if-exists", "overwrite"]) == 0


class Peer:
    """What other codecs have in common."""

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


class SNAC(Peer):
    """Siuzdak et al. 2024, the 24 kHz model for speech: coarse codes come less often than fine."""

    name = "SNAC"
    facts = "hubertsiuzdak/snac_24khz, 0.98 kbps (3 codebooks)"
    share = 16
    hop_length, num_codebooks, codebook_size = 512, 3, 4096
    strides = (4, 2, 1)

    def __init__(self) -> None:
        import snac

        # Its config.json on the hub; 19.8 M parameters, as its page says.
        model = snac.SNAC(
            sampling_rate=24000,
            encoder_dim=48,
            encoder_rates=[2, 4, 8, 8],
            decoder_dim=1024,
            decoder_rates=[8, 8, 4, 2],
            attn_window_size=None,
            codebook_size=self.codebook_size,
            codebook_dim=8,
            vq_strides=list(self.strides),
        )
        super().__init__(model, sample_rate=model.sampling_rate)

    @torch.inference_mode()
    def encode(self, batch: Batch) -> Any:
        return self.model.encode(batch.waveform.unsqueeze(1))

    def codes(self, batch: Batch) -> Any:
        """As many steps as `encode` gives: it fills up the coarsest codebook's last one."""
        steps = -(-batch.waveform.shape[-1] // (self.hop_length * self.strides[0]))
        rows, coarsest = len(batch.lengths), self.strides[0]
        return [
            torch.randint(self.codebook_size, (rows, steps * coarsest // stride))
            for stride in self.strides
        ]

    @torch.inference_mode()
    def decode(self, codes: Any) -> Tensor:
        waveform: Tensor = self.model.decode(codes)
        return waveform


def build_peers() -> list[Contender]:
    """All codecs to compare with, with fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [EnCodec(), Mimi(), DAC(), SNAC()]


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
