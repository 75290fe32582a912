"""The tokenizer: waveform -> latents -> codes -> latents -> waveform. Read this file first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn

from fsq_audio import audio, card, checkpoint
from fsq_audio.blocks import cut_windows, run_blocks
from fsq_audio.config import TokenizerConfig
from fsq_audio.decoder import Decoder
from fsq_audio.encoder import Encoder
from fsq_audio.errors import AudioError, ConfigError, TokenError
from fsq_audio.quantizers import DROPPED, Projected, Quantized, build_quantizer
from fsq_audio.tokens import AudioTokens, Source, TokenFormat

Key = TypeVar("Key")

# Threads of a CPU take a window each; an accelerator needs many at once.
WINDOWS_PER_CALL = {"cpu": 1, "default": 64}


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


class AudioTokenizer(nn.Module, PyTorchModelHubMixin):  # type: ignore[misc]
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
        """A tokenizer with random weights, in training mode.

        Raises:
            ConfigError: the quantizer is unknown, or its options are wrong.
        """
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
        model = cls(checkpoint.read_config(folder))
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
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

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
        """16 hexadecimal digits that name exactly this configuration and these weights."""
        state = self.state_dict()
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

    # Training

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

    # Waveform -> tokens

    @torch.no_grad()
    def encode(
        self,
        waveform: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        num_groups: int | None = None,
    ) -> AudioTokens:
        """Tokenizes a batch.

        Args:
            waveform: `[B, S]` (or `[S]` for one item) in [-1, 1] at `sample_rate`.
            lengths: `[B]` samples of each item; what stands beyond them is ignored.
            num_groups: keep only the first groups, for a lower bitrate.

        Returns:
            Tokens with `ceil(length / hop_length)` frames per item.

        Raises:
            AudioError: no samples, NaN or infinity, or another shape.
            ConfigError: lengths or num_groups out of range.
        """
        waveform = waveform.unsqueeze(0) if waveform.dim() == 1 else waveform
        sizes = _check_waveform(waveform, lengths)
        items = ([row[None, :size]] for row, size in zip(waveform, sizes, strict=True))
        codes = [rows[0] for rows in self._encode_items(items)]
        return self._tokens(codes, sizes, num_groups=num_groups)

    @torch.no_grad()
    def encode_file(
        self, path: str | Path, *, channels: audio.Channels = "mix", num_groups: int | None = None
    ) -> AudioTokens:
        """Tokenizes a recording of any format, rate and length, in bounded memory.

        Args:
            path: the file.
            channels: "mix" tokenizes the mean of the channels, "split" each as an item.
            num_groups: keep only the first groups, for a lower bitrate.

        Returns:
            Tokens of one item per tokenized channel, and where they come from.

        Raises:
            AudioError: the file cannot be read, or has no samples, or NaN.
        """
        info = audio.read_info(path)
        num_samples = 0

        def counted() -> Iterator[Tensor]:
            nonlocal num_samples
            for block in audio.stream(path, sample_rate=self.sample_rate, channels=channels):
                num_samples += block.shape[-1]
                yield block

        (codes,) = self._encode_items([counted()])
        source = Source(
            sample_rate=info.sample_rate,
            num_samples=info.num_samples,
            num_channels=info.num_channels,
            channels=channels,
        )
        sizes = [num_samples] * len(codes)
        return self._tokens(list(codes), sizes, num_groups=num_groups, source=source)

    def _encode_items(self, items: Iterable[Iterable[Tensor]]) -> list[Tensor]:
        """Codes `[R, G, T]` of each item, which comes as a stream of blocks `[R, n]`."""
        places: list[tuple[int, int, int]] = []

        def rows() -> Iterator[tuple[int, Tensor]]:
            for item, blocks in enumerate(items):
                windows = cut_windows(blocks, hop=self.hop_length, context=self.encoder.context)
                for window in windows:
                    for row, values in enumerate(window.values):
                        places.append((item, row, window.num_frames))
                        yield len(places) - 1, values

        results = dict(self.run_windows(rows(), self.encode_block))
        pieces: dict[int, dict[int, list[Tensor]]] = {}
        for index, (item, row, num_frames) in enumerate(places):
            codes = results[index][:, :num_frames]
            pieces.setdefault(item, {}).setdefault(row, []).append(codes)
        return [
            torch.stack([torch.cat(row, dim=-1) for row in rows.values()])
            for rows in pieces.values()
        ]

    def encode_block(self, waveform: Tensor) -> Tensor:
        """Codes `[N, G, T]` of windows `[N, left + T * hop + right]`, in `encoder.context`."""
        codes: Tensor = self.quantizer(self.encoder(waveform)).codes
        return codes

    def _tokens(
        self,
        codes: list[Tensor],
        sizes: list[int],
        *,
        num_groups: int | None,
        source: Source | None = None,
    ) -> AudioTokens:
        kept = self.check_groups(num_groups)
        padded = torch.full((len(codes), kept, max(c.shape[-1] for c in codes)), DROPPED)
        for row, item in zip(padded, codes, strict=True):
            row[:, : item.shape[-1]] = item[:kept]
        return AudioTokens(
            codes=padded, lengths=torch.tensor(sizes), format=self.format, source=source
        )

    # Tokens -> waveform

    @torch.no_grad()
    def decode(self, tokens: AudioTokens, *, num_groups: int | None = None) -> Tensor:
        """Resynthesizes a batch.

        Args:
            tokens: of this very model.
            num_groups: use only the first groups.

        Returns:
            Waveform `[B, max(lengths)]` at `sample_rate`; item i has exactly `lengths[i]` samples,
            zeros follow.

        Raises:
            TokenError: the tokens are another model's.
            ConfigError: num_groups out of range.
        """
        codes = self._check_tokens(tokens, num_groups)
        sizes = tokens.lengths.tolist()
        waveform = torch.zeros(len(sizes), max(sizes))
        written = [0] * len(sizes)
        items = (
            row[None, :, :num_frames]
            for row, num_frames in zip(codes, tokens.num_frames.tolist(), strict=True)
        )
        for (item, _), samples in self._decode_items(items):
            start = written[item]
            row = waveform[item, start : sizes[item]]
            row[: len(samples)] = samples[: len(row)]
            written[item] = start + len(samples)
        return waveform

    @torch.no_grad()
    def decode_stream(
        self, tokens: AudioTokens, *, num_groups: int | None = None
    ) -> Iterator[Tensor]:
        """Resynthesizes one recording piece by piece, in bounded memory.

        Args:
            tokens: items of one length: the channels of a recording.
            num_groups: use only the first groups.

        Yields:
            Consecutive pieces `[channels, n]`; the n add up to the length.

        Raises:
            TokenError: the tokens are another model's, or their lengths differ.
            ConfigError: num_groups out of range.
        """
        codes = self._check_tokens(tokens, num_groups)
        sizes = set(tokens.lengths.tolist())
        if len(sizes) != 1:
            raise TokenError(
                f"decode_stream takes the channels of one recording, got items of "
                f"{sorted(sizes)} samples: index the tokens first"
            )
        missing = sizes.pop()
        channels: list[Tensor] = []
        for (_, row), samples in self._decode_items([codes]):
            channels.append(samples[:missing])
            if row == len(codes) - 1:
                yield torch.stack(channels)
                missing -= len(samples)
                channels = []

    def decode_file(self, path: str | Path, *, num_groups: int | None = None) -> Tensor:
        """Resynthesizes a token file: `[channels, samples]` at `sample_rate`.

        Raises:
            TokenError: the file is damaged, or another model's.
            ConfigError: num_groups out of range.
        """
        return self.decode(AudioTokens.load(path), num_groups=num_groups)

    def _decode_items(self, items: Iterable[Tensor]) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """Pieces `[n]` of each row of each item `[R, G, T]`, in order within a row."""
        items = list(items)
        sources = self._sources(items)

        def rows() -> Iterator[tuple[tuple[int, int, int], Tensor]]:
            for item, (codes, source) in enumerate(zip(items, sources, strict=True)):
                block = torch.cat([source, mark_codes(codes)], dim=1)
                for window in cut_windows([block], hop=1, context=self.decoder.context):
                    for row, values in enumerate(window.values):
                        yield (item, row, window.num_frames), values

        for (item, row, num_frames), samples in self.run_windows(rows(), self.decode_block):
            yield (item, row), samples[: num_frames * self.hop_length]

    def _sources(self, items: list[Tensor]) -> list[Tensor]:
        """What the decoder's source does in each frame of items `[R, G, T]`: `[R, X, T]` int64.

        The pitch of a whole recording comes first: its phase is summed up from the first frame.
        """
        pitch = self.decoder.pitch
        if pitch is None:
            return [codes[:, :0] for codes in items]

        def rows() -> Iterator[tuple[tuple[int, int, int], Tensor]]:
            for item, codes in enumerate(items):
                for window in cut_windows([mark_codes(codes)], hop=1, context=pitch.context):
                    for row, values in enumerate(window.values):
                        yield (item, row, window.num_frames), values

        pieces: list[list[list[Tensor]]] = [[[] for _ in codes] for codes in items]
        for (item, row, num_frames), advances in self.run_windows(rows(), self.pitch_block):
            pieces[item][row].append(advances[: num_frames * pitch.subframes])
        sources = []
        for rows_of_item in pieces:
            advances = torch.stack([torch.cat(row) for row in rows_of_item])
            sources.append(pitch.source(advances))
        return sources

    def pitch_block(self, block: Tensor) -> Tensor:
        """Advances of the decoder's source in windows of codes.

        Args:
            block: `[N, G + 1, left + T + right]` of `mark_codes`, in `decoder.pitch.context`.

        Returns:
            `[N, T * subframes]` int64.
        """
        assert self.decoder.pitch is not None
        return self.decoder.pitch.advances(self.decoder.pitch(self._latents(block)))

    def decode_block(self, block: Tensor) -> Tensor:
        """Waveform `[N, T * hop_length]` of windows of codes.

        Args:
            block: `[N, X + G + 1, left + T + right]`, in `decoder.context`: what the source does,
                if there is one, above what `mark_codes` gives.
        """
        num_rows = self.decoder.source_rows
        waveform: Tensor = self.decoder(self._latents(block[:, num_rows:]), block[:, :num_rows])
        return waveform

    def _latents(self, block: Tensor) -> Tensor:
        return self.quantizer.decode(block[:, :-1] - 1) * block[:, -1:]

    # Shared

    def run_windows(
        self, windows: Iterator[tuple[Key, Tensor]], function: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Key, Tensor]]:
        """Runs one of the `_block` functions over windows; see `fsq_audio.blocks.run_blocks`."""
        device = next(self.parameters()).device
        return run_blocks(
            windows,
            lambda block: function(block.to(device)).cpu(),
            windows_per_call=WINDOWS_PER_CALL.get(device.type, WINDOWS_PER_CALL["default"]),
            num_threads=torch.get_num_threads() if device.type == "cpu" else 1,
        )

    def check_groups(self, num_groups: int | None, available: int | None = None) -> int:
        """How many groups are kept of those available; None: all.

        Raises:
            ConfigError: out of range.
        """
        available = self.num_groups if available is None else available
        if num_groups is None:
            return available
        if not 1 <= num_groups <= available:
            raise ConfigError(f"num_groups must be from 1 to {available}, got {num_groups}")
        return num_groups

    def _check_tokens(self, tokens: AudioTokens, num_groups: int | None) -> Tensor:
        tokens.check_format(self.format)
        return tokens.codes[:, : self.check_groups(num_groups, tokens.codes.shape[1])]


def mark_codes(codes: Tensor) -> Tensor:
    """Codes `[R, G, T]` -> `[R, G + 1, T]` in which zero means "outside".

    Windows are filled up with zeros: so codes move up by one, and a last row marks the frames that
    are the item's own.
    """
    return torch.cat([codes + 1, torch.ones_like(codes[:, :1])], dim=1)


def _check_waveform(waveform: Tensor, lengths: Tensor | Sequence[int] | None) -> list[int]:
    """The number of samples of each item of a batch that can be tokenized."""
    if waveform.dim() != 2 or not waveform.is_floating_point():
        raise AudioError(
            f"a waveform must be floating point [B, S] or [S], "
            f"got {waveform.dtype} {list(waveform.shape)}"
        )
    num_items, num_samples = waveform.shape
    if num_items == 0 or num_samples == 0:
        raise AudioError(f"a waveform needs items and samples, got {list(waveform.shape)}")
    sizes = [num_samples] * num_items if lengths is None else [int(size) for size in lengths]
    if len(sizes) != num_items or not all(1 <= size <= num_samples for size in sizes):
        raise ConfigError(
            f"lengths must be {num_items} numbers from 1 to {num_samples}, got {sizes}"
        )
    for item, (row, size) in enumerate(zip(waveform, sizes, strict=True)):
        finite = torch.isfinite(row[:size])
        if not bool(finite.all()):
            place = int((~finite).nonzero()[0])
            raise AudioError(f"item {item} has NaN or infinity at sample {place}")
    return sizes
