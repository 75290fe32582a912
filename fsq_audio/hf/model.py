"""The tokenizer as a model of transformers, and what its methods return."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedAudioTokenizerBase
from transformers.utils import ModelOutput

from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.hf.config import FSQAudioConfig
from fsq_audio.quantizers import DROPPED
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens

# What the Auto classes pass on to every model, and has no meaning here.
_OF_AUTO = {"_from_auto", "adapter_kwargs", "trust_remote_code"}


@dataclasses.dataclass
class FSQAudioEncoderOutput(ModelOutput):  # type: ignore[misc]
    """What `encode` gives.

    Attributes:
        audio_codes: [B, G, T] int64 in [0, K); -1 beyond an item's own frames.
        audio_codes_mask: [B, T] bool, True in an item's own frames.
    """

    audio_codes: Tensor | None = None
    audio_codes_mask: Tensor | None = None


@dataclasses.dataclass
class FSQAudioDecoderOutput(ModelOutput):  # type: ignore[misc]
    """What `decode` gives.

    Attributes:
        audio_values: [B, 1, S]; zeros beyond an item's own samples.
    """

    audio_values: Tensor | None = None


@dataclasses.dataclass
class FSQAudioOutput(ModelOutput):  # type: ignore[misc]
    """What `forward` gives: the fields of both."""

    audio_codes: Tensor | None = None
    audio_codes_mask: Tensor | None = None
    audio_values: Tensor | None = None


class FSQAudioModel(PreTrainedAudioTokenizerBase):  # type: ignore[misc]
    """An `AudioTokenizer` that transformers can drive; without gradients, as `encode` is.

    Attributes:
        tokenizer: the `AudioTokenizer`.
    """

    config_class = FSQAudioConfig
    main_input_name = "input_values"
    input_modalities = "audio"

    def __init__(self, config: FSQAudioConfig, tokenizer: AudioTokenizer | None = None) -> None:
        """Wraps a tokenizer, or makes one with random weights."""
        super().__init__(config)
        if tokenizer is None:
            tokenizer = AudioTokenizer.from_config(config.tokenizer_config)
        self.tokenizer = tokenizer
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the tokenizer's layers have drawn their weights."""

    # Building, loading, saving

    @classmethod
    def from_tokenizer(cls, tokenizer: AudioTokenizer) -> FSQAudioModel:
        """Wraps a tokenizer; both share its weights."""
        return cls(FSQAudioConfig.from_tokenizer_config(tokenizer.config), tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "default",
        *,
        config: FSQAudioConfig | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> FSQAudioModel:
        """A trained model, in evaluation mode, loaded strictly by the core.

        Args:
            source: "default" for the one inside the package, a folder, or a hub id.
            config: must be that of the source.
            revision: see `AudioTokenizer.from_pretrained`, as are the next three.
            token: for the hub.
            cache_dir: of the hub.
            local_files_only: of the hub.
            dtype: None, "auto" or float32, in which tokens are exact; it runs in float64, too:
                call `.double()` afterwards. Half precision is refused.
            options: those that Auto classes add; any other is refused.

        Raises:
            CheckpointError: there is no such model, or its weights do not fit its configuration.
            ConfigError: its configuration is wrong, or an option is unknown.
        """
        unknown = {key for key, value in options.items() if value is not None} - _OF_AUTO
        if unknown:
            raise ConfigError(f"from_pretrained does not take {', '.join(sorted(unknown))}")
        if dtype not in (None, "auto", "float32", torch.float32):
            raise ConfigError(
                f"models load in float32, not {dtype}; after .double() they run in float64, too"
            )
        tokenizer = AudioTokenizer.from_pretrained(
            source,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        if config is not None and config.tokenizer_config != tokenizer.config:
            raise CheckpointError(f"{source} has another configuration than the one given")
        model = cls.from_tokenizer(tokenizer)
        model.eval()
        return model

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        is_main_process: bool = True,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        model_card_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Writes the folder of `AudioTokenizer.save_pretrained`, which both interfaces load."""
        if is_main_process:
            self.tokenizer.save_pretrained(  # type: ignore[operator]
                save_directory,
                push_to_hub=push_to_hub,
                repo_id=repo_id,
                model_card_kwargs=model_card_kwargs,
            )

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Uploads that folder; see `AudioTokenizer.push_to_hub`."""
        return self.tokenizer.push_to_hub(repo_id, **options)

    # Waveform -> codes -> waveform

    def get_encoded_length(self, input_length: Tensor) -> Tensor:
        """Frames of so many samples: ceil(input_length / hop_length), [...] int64."""
        return -(-input_length // self.tokenizer.hop_length)

    def get_audio_codes_mask(self, padding_mask: Tensor, padding_side: str = "right") -> Tensor:
        """The frames that are an item's own.

        Args:
            padding_mask: [B, S] or [B, 1, S], 1 where a sample is real.
            padding_side: on which side of the result the others stand, "right" or "left".

        Returns:
            [B, T] bool.

        Raises:
            ConfigError: another shape, or another side.
        """
        if padding_side not in ("right", "left"):
            raise ConfigError(f"padding_side must be 'right' or 'left', got {padding_side!r}")
        lengths = self.get_encoded_length(_flat_mask(padding_mask).sum(-1))
        mask = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        return mask if padding_side == "right" else mask.flip(-1)

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
    ) -> FSQAudioEncoderOutput:
        """Codes of a batch, as `AudioTokenizer.encode` gives them.

        Args:
            input_values: [B, 1, S] in [-1, 1] at `config.sampling_rate`.
            padding_mask: [B, S] or [B, 1, S], 1 where a sample is real, all of them before the
                first 0; None if all are real.
            num_quantizers: keep only the first groups.

        Raises:
            AudioError: no samples, NaN or infinity.
            ConfigError: another shape, padding on the left, an empty item, too many groups, or
                weights in half precision.
        """
        if input_values.dim() != 3 or input_values.shape[1] != 1:
            raise ConfigError(f"input_values must be [B, 1, S], got {list(input_values.shape)}")
        waveform = input_values[:, 0]
        lengths = None
        if padding_mask is not None:
            mask = _flat_mask(padding_mask)
            if mask.shape != waveform.shape:
                raise ConfigError(
                    f"padding_mask {list(padding_mask.shape)} does not fit input_values "
                    f"{list(input_values.shape)}"
                )
            lengths = _lengths(mask)
        tokens = self.tokenizer.encode(waveform.cpu(), lengths, num_groups=num_quantizers)
        frames = torch.arange(tokens.codes.shape[-1])
        own = frames < tokens.num_frames[:, None]
        device = input_values.device
        return FSQAudioEncoderOutput(
            audio_codes=tokens.codes.to(device), audio_codes_mask=own.to(device)
        )

    def decode(
        self, audio_codes: Tensor, padding_mask: Tensor | None = None
    ) -> FSQAudioDecoderOutput:
        """Audio of a batch, as `AudioTokenizer.decode` gives it.

        Args:
            audio_codes: [B, g, T] in [0, K), g from 1 to G; -1 beyond an item's own frames.
            padding_mask: [B, S] or [B, 1, S], of the samples that were encoded: codes beyond it
                are ignored, and S samples come back. None gives every item all samples of the
                frames that it has.

        Raises:
            TokenError: codes out of range, or none, or too few for the mask.
            ConfigError: padding on the left, an empty item, or weights in half precision.
        """
        codes = audio_codes.cpu().long()
        if padding_mask is None:
            own = (codes != DROPPED).any(1)
            lengths = _lengths(own) * self.tokenizer.hop_length
            num_samples = int(lengths.max())
        else:
            mask = _flat_mask(padding_mask.cpu())
            lengths, num_samples = _lengths(mask), mask.shape[-1]
            num_frames = self.get_encoded_length(lengths)
            own = torch.arange(codes.shape[-1]) < num_frames[:, None]
            codes = codes.masked_fill(~own[:, None], DROPPED)[..., : int(num_frames.max())]
        tokens = AudioTokens(codes=codes, lengths=lengths, format=self.tokenizer.format)
        waveform = self.tokenizer.decode(tokens)
        values = nn.functional.pad(waveform, (0, num_samples - waveform.shape[-1]))
        return FSQAudioDecoderOutput(audio_values=values[:, None].to(audio_codes.device))

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        audio_codes: Tensor | None = None,
    ) -> FSQAudioOutput:
        """Encodes, unless there are codes, and decodes.

        Args:
            input_values: [B, 1, S] in [-1, 1] at `config.sampling_rate`.
            padding_mask: see `encode`.
            num_quantizers: keep only the first groups.
            audio_codes: [B, g, T], to be decoded instead of those of `input_values`.

        Raises:
            AudioError: no samples, NaN or infinity.
            ConfigError: another shape, padding on the left, an empty item, too many groups, or
                weights in half precision.
            TokenError: codes out of range, or none, or too few for the mask.
        """
        if padding_mask is None:
            padding_mask = torch.ones_like(input_values, dtype=torch.bool)
        mask = self.get_audio_codes_mask(padding_mask)
        if audio_codes is None:
            audio_codes = self.encode(input_values, padding_mask, num_quantizers).audio_codes
        assert audio_codes is not None
        return FSQAudioOutput(
            audio_codes=audio_codes,
            audio_codes_mask=mask,
            audio_values=self.decode(audio_codes, padding_mask).audio_values,
        )


def _flat_mask(padding_mask: Tensor) -> Tensor:
    """[B, S] bool of a mask [B, S] or [B, 1, S]."""
    mask = padding_mask[:, 0] if padding_mask.dim() == 3 else padding_mask
    if mask.dim() != 2:
        raise ConfigError(f"padding_mask must be [B, S], got {list(padding_mask.shape)}")
    return mask.bool()


def _lengths(mask: Tensor) -> Tensor:
    """[B] int64: how many are real, which must stand before all others."""
    lengths = mask.sum(-1)
    expected = torch.arange(mask.shape[-1], device=mask.device) < lengths[:, None]
    if not torch.equal(mask, expected):
        raise ConfigError("items must be padded on the right: a real value follows padding")
    if bool((lengths == 0).any()):
        raise ConfigError(f"item {int((lengths == 0).nonzero()[0])} is all padding")
    return lengths.cpu()
