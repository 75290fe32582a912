"""Recordings to tokens and back, window by window, whatever computes a window.

`AudioTokenizer` computes with torch, `OnnxTokenizer` with ONNX Runtime. All that is exact whatever
the batch, the order and the memory is here, once for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from fsq_audio import audio
from fsq_audio.blocks import cut_windows
from fsq_audio.errors import AudioError, ConfigError, TokenError
from fsq_audio.layers import Context
from fsq_audio.quantizers import DROPPED
from fsq_audio.source import RunningSource
from fsq_audio.tokens import AudioTokens, Source, TokenFormat

Key = TypeVar("Key")


@dataclass(frozen=True)
class Contexts:
    """What the parts of a model consume around the frames that they return.

    Attributes:
        encoder: in samples.
        decoder: in frames.
        pitch: of what reads the pitch, in frames; None: the decoder has no source.
        subframes: of the source, per frame; 0 without one.
        source_rows: integers that say what the source does in a frame; 0 without one.
    """

    encoder: Context
    decoder: Context
    pitch: Context | None
    subframes: int
    source_rows: int


class Coder(ABC):
    """Encodes and decodes; what computes a window, and what it is, its kinds say."""

    # What it is

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Samples per second of every waveform it takes and gives."""

    @property
    @abstractmethod
    def hop_length(self) -> int:
        """Samples per frame."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    @abstractmethod
    def num_groups(self) -> int:
        """Codes per frame, G."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name exactly this configuration and these weights."""

    @property
    @abstractmethod
    def format(self) -> TokenFormat:
        """What its tokens need in order to be decoded."""

    @property
    @abstractmethod
    def contexts(self) -> Contexts:
        """What each window carries beyond its frames."""

    @property
    def dtype(self) -> torch.dtype:
        """What waveforms are cast to."""
        return torch.float32

    # What computes a window

    @abstractmethod
    def encode_block(self, waveform: Tensor) -> Tensor:
        """Codes `[N, G, T]` of windows `[N, left + T * hop + right]`."""

    @abstractmethod
    def pitch_block(self, block: Tensor) -> Tensor:
        """Advances `[N, T * subframes]` of marked codes `[N, g + 1, left + T + right]`."""

    @abstractmethod
    def decode_block(self, block: Tensor) -> Tensor:
        """Waveform `[N, T * hop]` of the source's rows above marked codes.

        `[N, X + g + 1, left + T + right]` int64, where X is 0 without a source.
        """

    @abstractmethod
    def run_windows(
        self, windows: Iterator[tuple[Key, Tensor]], function: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Key, Tensor]]:
        """Runs one of these functions over windows (see `fsq_audio.blocks.run_blocks`)."""

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
            waveform: `[B, S]` (or `[S]` for one item) in [-1, 1] at `sample_rate`, of any floating
                point type.
            lengths: `[B]` samples of each item; what stands beyond them is ignored.
            num_groups: keep only the first groups, for a lower bitrate.

        Returns:
            Tokens with `ceil(length / hop_length)` frames per item.

        Raises:
            AudioError: no samples, NaN or infinity, or another shape.
            ConfigError: lengths or num_groups out of range; weights in half precision, or a model
                in training mode.
        """
        waveform = waveform.unsqueeze(0) if waveform.dim() == 1 else waveform
        if waveform.is_floating_point():  # before the check: 1e300 becomes infinity here
            waveform = waveform.to(self.dtype)
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
                yield block.to(self.dtype)

        (codes,) = self._encode_items([counted()])
        sizes = [num_samples] * len(codes)
        source = source_of(info, channels)
        return self._tokens(list(codes), sizes, num_groups=num_groups, source=source)

    def _encode_items(self, items: Iterable[Iterable[Tensor]]) -> list[Tensor]:
        """Codes `[R, G, T]` of each item, which comes as a stream of blocks `[R, n]`."""
        places: list[tuple[int, int, int]] = []

        def rows() -> Iterator[tuple[int, Tensor]]:
            for item, blocks in enumerate(items):
                windows = cut_windows(blocks, hop=self.hop_length, context=self.contexts.encoder)
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
            ConfigError: num_groups out of range; weights in half precision, or a model
                in training mode.
        """
        codes = self.check_tokens(tokens, num_groups)
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
        codes = self.check_tokens(tokens, num_groups)
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
                for window in cut_windows([block], hop=1, context=self.contexts.decoder):
                    for row, values in enumerate(window.values):
                        yield (item, row, window.num_frames), values

        for (item, row, num_frames), samples in self.run_windows(rows(), self.decode_block):
            yield (item, row), samples[: num_frames * self.hop_length]

    def _sources(self, items: list[Tensor]) -> list[Tensor]:
        """What the decoder's source does in each frame of items `[R, G, T]`: `[R, X, T]` int64.

        The pitch of a whole recording comes first: its phase is summed up from the first frame.
        """
        context, subframes = self.contexts.pitch, self.contexts.subframes
        if context is None:
            return [codes[:, :0] for codes in items]

        def rows() -> Iterator[tuple[tuple[int, int, int], Tensor]]:
            for item, codes in enumerate(items):
                for window in cut_windows([mark_codes(codes)], hop=1, context=context):
                    for row, values in enumerate(window.values):
                        yield (item, row, window.num_frames), values

        pieces: list[list[list[Tensor]]] = [[[] for _ in codes] for codes in items]
        for (item, row, num_frames), advances in self.run_windows(rows(), self.pitch_block):
            pieces[item][row].append(advances[: num_frames * subframes])
        sources = []
        for rows_of_item in pieces:
            advances = torch.stack([torch.cat(row) for row in rows_of_item])
            source = RunningSource(subframes=subframes, step=self.hop_length // subframes)
            sources.append(source.push(advances))
        return sources

    # Shared

    def check_groups(self, num_groups: int | None, available: int | None = None) -> int:
        """How many groups are kept, if asked for so many of those available.

        Raises:
            ConfigError: that is out of range.
        """
        available = self.num_groups if available is None else available
        if num_groups is None:
            return available
        if not 1 <= num_groups <= available:
            raise ConfigError(f"num_groups must be from 1 to {available}, got {num_groups}")
        return num_groups

    def check_tokens(self, tokens: AudioTokens, num_groups: int | None) -> Tensor:
        """The codes `[B, g, T]` of tokens that are this model's.

        Raises:
            TokenError: they are another model's, or no codes of this one.
            ConfigError: num_groups out of range.
        """
        tokens.check_format(self.format)
        # Windows are cut here; `run_windows` brings them to the device of the weights.
        codes = tokens.codes.cpu()
        return codes[:, : self.check_groups(num_groups, codes.shape[1])]


def source_of(info: audio.AudioInfo, channels: audio.Channels) -> Source:
    """What tokens remember of a file."""
    return Source(
        sample_rate=info.sample_rate,
        num_samples=info.num_samples,
        num_channels=info.num_channels,
        channels=channels,
    )


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
