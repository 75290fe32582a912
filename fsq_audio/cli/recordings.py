"""Tokens of whole recordings to audio, many at once, and into files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fsq_audio.audio import AudioWriter, resampled_length
from fsq_audio.coder import Coder
from fsq_audio.errors import FSQAudioError
from fsq_audio.tokens import OUTSIDE, AudioTokens


def decode_recordings(
    model: Coder, recordings: Sequence[AudioTokens], *, num_groups: int | None
) -> list[Tensor]:
    """Resynthesizes recordings in one batch, or in a few if they differ in groups.

    Args:
        model: the tokenizer that made them.
        recordings: tokens of a recording each.
        num_groups: groups to use; None for all.

    Returns:
        The waveform [C, S] of each.
    """
    waveforms: dict[int, Tensor] = {}
    for kept in sorted({tokens.num_groups for tokens in recordings}):
        members = [i for i, tokens in enumerate(recordings) if tokens.num_groups == kept]
        items = [item for i in members for item in recordings[i]]
        codes = pad_sequence(
            [item.codes[0].T for item in items], batch_first=True, padding_value=OUTSIDE
        ).transpose(1, 2)
        batch = AudioTokens(
            codes=codes,
            lengths=torch.cat([item.lengths for item in items]),
            format=items[0].format,
        )
        rows = iter(model.decode(batch, num_groups=num_groups))
        for i in members:
            num_samples = int(recordings[i].lengths[0])
            waveforms[i] = torch.stack([next(rows)[:num_samples] for _ in recordings[i]])
    return [waveforms[i] for i in range(len(recordings))]


@dataclass(frozen=True)
class AudioOutput:
    """How audio is written.

    Attributes:
        sample_rate: in Hz; "original" for that of the recording; None for the model's.
        subtype: encoding inside the format; None for the usual one.
    """

    sample_rate: int | str | None
    subtype: str | None

    def write(self, path: Path, pieces: Iterable[Tensor], tokens: AudioTokens) -> dict[str, int]:
        """Writes a recording.

        Args:
            path: the file.
            pieces: consecutive [C, n] at the model's rate.
            tokens: that they were made from.

        Returns:
            What was written: sample_rate, num_samples, num_clipped.

        Raises:
            AudioError: it cannot be written.
            FSQAudioError: the original rate is not known.
        """
        source, rate = tokens.source, self.sample_rate or tokens.format.sample_rate
        if rate == "original":
            if source is None:
                raise FSQAudioError("its tokens do not tell the original rate: give --sample-rate")
            rate = source.sample_rate
        is_original = source is not None and rate == source.sample_rate
        natural = resampled_length(int(tokens.lengths[0]), tokens.format.sample_rate, int(rate))
        num_samples = source.num_samples if source is not None and is_original else natural
        path.parent.mkdir(parents=True, exist_ok=True)
        with AudioWriter(
            path,
            sample_rate=tokens.format.sample_rate,
            num_channels=len(tokens),
            file_sample_rate=int(rate),
            num_samples=num_samples,
            subtype=self.subtype,
        ) as writer:
            for piece in pieces:
                writer.write(piece)
        return {
            "sample_rate": int(rate),
            "num_samples": num_samples,
            "num_clipped": writer.num_clipped,
        }
