"""Latents -> waveform: the trunk, a head that reaches the sample rate, and what sounds in it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fsq_audio.config import HarmonicNoiseHead, TokenizerConfig
from fsq_audio.heads import HarmonicNoise, build_head
from fsq_audio.layers import Context, Trunk
from fsq_audio.source import PitchPredictor


@dataclass(frozen=True)
class Resynthesis:
    """What the decoder makes of latents.

    Attributes:
        waveform: `[B, T * hop_length]`.
        octaves: `[B, T * subframes]`, the pitch of its source, if it has one (see
            `fsq_audio.source.PitchPredictor`).
        voicing: `[B, T * subframes, bands]`, likewise the share of the pulses in each band's power.
    """

    waveform: Tensor
    octaves: Tensor | None = None
    voicing: Tensor | None = None


class Decoder(nn.Module):
    """The decoder, evaluated "valid".

    Attributes:
        context: frames of latents that it needs before and after the samples it returns.
        pitch: reads from the latents what the source of the head does; None: it has no source.
        source_rows: integers that say so, for each frame; 0 without a source.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        trunk = config.decoder.trunk
        self.project = nn.Linear(config.encoder.trunk.channels, trunk.channels)
        self.trunk = Trunk(
            channels=trunk.channels,
            num_blocks=trunk.num_blocks,
            expansion=trunk.expansion,
            kernel_size=trunk.kernel_size,
            causal=config.causal,
        )
        self.norm = nn.LayerNorm(trunk.channels)
        self.head = build_head(config)
        self.context: Context = self.trunk.context + self.head.context
        self.pitch = build_pitch(config)
        self.source_rows = 0 if self.pitch is None else self.pitch.source_rows

    def forward(self, latents: Tensor, source: Tensor | None = None) -> Tensor:
        """The waveform of the frames inside the context.

        Args:
            latents: `[B, C, context.left + T + context.right]`.
            source: `[B, source_rows, left + T + right]` int64, what the source does in each frame;
                for a head that has a source.

        Returns:
            Waveform `[B, T * hop_length]`.
        """
        x = self._frames(latents)
        if not isinstance(self.head, HarmonicNoise):
            waveform: Tensor = self.head(x)
            return waveform
        assert source is not None
        waveform = self.head(x, self.trunk.context.crop(source), self.head.voicing(x))
        return waveform

    def resynthesize(self, latents: Tensor) -> Resynthesis:
        """The waveform of latents `[B, C, T]` beyond which there is nothing, with gradients."""
        x = self._frames(self.context.pad(latents))
        if not isinstance(self.head, HarmonicNoise):
            return Resynthesis(self.head(x))
        assert self.pitch is not None
        octaves = self.pitch(self.pitch.context.pad(latents))
        source = self.pitch.source(self.pitch.advances(octaves))
        voicing = self.head.voicing(x)
        waveform = self.head(x, self.head.context.pad(source), voicing)
        inside = self.head.context.times(self.head.subframes)
        return Resynthesis(waveform, octaves, inside.crop(voicing.transpose(1, 2)).transpose(1, 2))

    def _frames(self, latents: Tensor) -> Tensor:
        """What the head gets: `[B, C, T]` -> `[B, T - the trunk's context, C]`."""
        x = self.trunk(self.project(latents.transpose(1, 2)).transpose(1, 2))
        normed: Tensor = self.norm(x.transpose(1, 2))
        return normed


def build_pitch(config: TokenizerConfig) -> PitchPredictor | None:
    """What reads the pitch, for a head that has a source."""
    head = config.decoder.head
    if not isinstance(head, HarmonicNoiseHead):
        return None
    return PitchPredictor(
        channels=config.encoder.trunk.channels,
        width=head.pitch_channels,
        sample_rate=config.sample_rate,
        hop=config.hop_length,
        subframes=head.subframes,
    )
