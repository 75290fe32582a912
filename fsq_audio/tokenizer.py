"""The tokenizer: waveform -> latents -> codes -> latents -> waveform. Read this file first.

`encode` and `decode` are those of `fsq_audio.coder`, over windows that are computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn

from fsq_audio import card, checkpoint
from fsq_audio.blocks import run_blocks
from fsq_audio.coder import Coder, Contexts
from fsq_audio.config import TokenizerConfig
from fsq_audio.decoder import Decoder
from fsq_audio.encoder import Encoder
from fsq_audio.errors import ConfigError
from fsq_audio.layers import lay_out_weights
from fsq_audio.quantizers import Projected, Quantized, build_quantizer
from fsq_audio.tokens import TokenFormat

Key = TypeVar("Key")

# Threads of a CPU take a window each; an accelerator needs many at once.
WINDOWS_PER_CALL = {"cpu": 1, "default": 64}
# At half precision codes would be others, and CPUs have no Fourier transform.
_PRECISIONS = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Reconstruction:
    """What a training step needs.

    Attributes:
        waveform: `[B, T * hop_length]`.
        scalars: `[B, D, T]`, what the quantizer bounds and rounds.
        quantized: latents `[B, C, T]`, codes `[B, G, T]`, auxiliary losses.
        octaves: `[B, T * subframes]`, and
        voicing: `[B, T * subframes, bands]`, of the decoder's source (see
            `fsq_audio.decoder.Resynthesis`), if it has one.
    """

    waveform: Tensor
    scalars: Tensor
    quantized: Quantized
    octaves: Tensor | None
    voicing: Tensor | None


class AudioTokenizer(nn.Module, Coder, PyTorchModelHubMixin):  # type: ignore[misc]
    """Turns speech into discrete tokens and back.

    The model is a function of the waveform extended by zeros to infinity, evaluated on canonical
    blocks (see `fsq_audio.blocks`): on one device, the same audio gives the same codes alone, in
    a batch, padded, or read in pieces, and tokens give the same samples.

    Attributes:
        config: the architecture.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        options = {key: value for key, value in config.quantizer.items() if key != "name"}
        quantizer = build_quantizer(config.quantizer["name"], options)
        self.encoder = Encoder(config)
        self.quantizer = Projected(quantizer, channels=config.encoder.trunk.channels)
        self.decoder = Decoder(config)
        self._fingerprint: tuple[object, str] | None = None

    # Building, loading, saving

    @classmethod
    def from_config(cls, config: TokenizerConfig) -> AudioTokenizer:
        """A tokenizer with random weights."""
        return cls(config)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "default",
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> AudioTokenizer:
        """A trained tokenizer, in evaluation mode.

        Args:
            source: "default" for the one inside the package, a folder, or a hub id.
            revision: branch, tag or commit of a hub repository.
            token: for a private hub repository; None takes that of the login.
            cache_dir: where the hub's library keeps what it downloads.
            local_files_only: take what was downloaded before, without asking the hub.

        Raises:
            CheckpointError: there is no such model, or its weights do not fit its configuration.
            ConfigError: its configuration is wrong.
        """
        folder = checkpoint.find_folder(
            source,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        config = checkpoint.read_config(folder)
        checkpoint.check_shapes(lambda: cls(config), folder)
        with checkpoint.Uninitialized():
            model = cls(config)
        checkpoint.load_weights(model, folder)
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        card.remove_generated(save_directory)
        checkpoint.save(save_directory, self.config, self.state_dict())

    def push_to_hub(
        self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> str:
        """Uploads the folder that `save_pretrained` makes.

        Args:
            repo_id: `owner/name`; it is made if it is not there.
            model_card_kwargs: see `generate_model_card`.
            options: of `huggingface_hub`'s `push_to_hub`: private, token, branch, ...

        Returns:
            The address of the commit.
        """
        facts = {"repo_id": repo_id, **(model_card_kwargs or {})}
        address: str = super().push_to_hub(repo_id, model_card_kwargs=facts, **options)
        return address

    def generate_model_card(self, *, license: str | None = None, **facts: Any) -> ModelCard:
        """The card that `save_pretrained` writes where there is no README.md of another hand.

        Args:
            license: its identifier on the hub, such as "cc-by-4.0".
            facts: `repo_id`, for the example in it, and `notes`, on data, figures and limits, in
                Markdown.
        """
        return card.make_card(self, license=license, **facts)

    # What it is

    @property
    def sample_rate(self) -> int:
        """Samples per second of every waveform it takes and gives."""
        return self.config.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.config.hop_length

    @property
    def num_groups(self) -> int:
        """Codes per frame, G."""
        return self.quantizer.num_groups

    @property
    def codebook_size(self) -> int:
        """Values that a code can take, K."""
        return self.quantizer.codebook_size

    @property
    def bitrate(self) -> float:
        """Nominal bits per second, `G log2 K` times the frame rate."""
        return self.quantizer.bits_per_frame * self.frame_rate

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name exactly this configuration and these weights.

        A change through `tensor.data`, which torch does not count, is not seen.
        """
        state = self.state_dict()
        # Made within torch.inference_mode(), tensors do not count their changes.
        if any(tensor.is_inference() for tensor in state.values()):
            return checkpoint.fingerprint(self.config, state)
        # Addresses, and the counters that torch advances with every change in place: cheap.
        seen = tuple((tensor.data_ptr(), tensor._version) for tensor in state.values())
        if self._fingerprint is None or self._fingerprint[0] != seen:
            self._fingerprint = seen, checkpoint.fingerprint(self.config, state)
        return self._fingerprint[1]

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        # Casts and moves put other numbers behind the same counters.
        self._fingerprint = None
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def format(self) -> TokenFormat:
        """What its tokens need in order to be decoded."""
        return TokenFormat(
            fingerprint=self.fingerprint,
            sample_rate=self.sample_rate,
            hop_length=self.hop_length,
            codebook_size=self.codebook_size,
            quantizer=self.quantizer.describe(),
        )

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights: float32 unless they were cast."""
        return next(self.parameters()).dtype

    # Training

    def train(self, mode: bool = True) -> AudioTokenizer:
        """Training mode, or evaluation mode, for which weights lie in another order in memory."""
        lay_out_weights(self, by_inputs=not mode)
        super().train(mode)
        return self

    def forward(self, waveform: Tensor) -> Reconstruction:
        """Resynthesizes crops, with gradients.

        Args:
            waveform: `[B, left + T * hop_length + right]`, where left and right are
                `encoder.context`: the crops and what stands around them.

        Returns:
            The waveform `[B, T * hop_length]` of the crops, and what the quantizer got and gave.
        """
        latents = self.encoder(waveform)
        quantized = self.quantizer(latents)
        made = self.decoder.resynthesize(quantized.quantized)
        scalars = self.quantizer.scalars(latents)
        return Reconstruction(made.waveform, scalars, quantized, made.octaves, made.voicing)

    # What computes a window

    @property
    def contexts(self) -> Contexts:
        """What each window carries beyond its frames."""
        pitch = self.decoder.pitch
        return Contexts(
            encoder=self.encoder.context,
            decoder=self.decoder.context,
            pitch=None if pitch is None else pitch.context,
            subframes=0 if pitch is None else pitch.subframes,
            source_rows=self.decoder.source_rows,
        )

    def encode_block(self, waveform: Tensor) -> Tensor:
        """Codes `[N, G, T]` of windows `[N, left + T * hop + right]`, left and right in samples."""
        codes: Tensor = self.quantizer(self.encoder(waveform)).codes
        return codes

    def pitch_block(self, block: Tensor) -> Tensor:
        """Advances `[N, T * subframes]` of marked codes `[N, g + 1, left + T + right]`."""
        assert self.decoder.pitch is not None
        return self.decoder.pitch.advances(self.decoder.pitch(self._latents(block)))

    def decode_block(self, block: Tensor) -> Tensor:
        """Waveform `[N, T * hop]` of the source's rows above marked codes, context included."""
        num_rows = self.decoder.source_rows
        waveform: Tensor = self.decoder(self._latents(block[:, num_rows:]), block[:, :num_rows])
        return waveform

    def run_windows(
        self, windows: Iterator[tuple[Key, Tensor]], function: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Key, Tensor]]:
        """Runs one of these functions over windows, on the device of the weights.

        Raises:
            ConfigError: the weights are in half precision, or the model is in training mode.
        """
        if self.training:  # it would drop groups and draw noise
            raise ConfigError("the model is in training mode: call .eval() before it tokenizes")
        if self.dtype not in _PRECISIONS:
            raise ConfigError(f"models run in float32 or float64, not {self.dtype}: call .float()")
        device = next(self.parameters()).device
        return run_blocks(
            windows,
            lambda block: function(block.to(device)).cpu(),
            windows_per_call=WINDOWS_PER_CALL.get(device.type, WINDOWS_PER_CALL["default"]),
            num_threads=torch.get_num_threads() if device.type == "cpu" else 1,
        )

    def _latents(self, block: Tensor) -> Tensor:
        return self.quantizer.decode(block[:, :-1] - 1) * block[:, -1:]
