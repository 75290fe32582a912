"""Whole recordings to tokens, many at once: the codes of `Coder.encode_file`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fsq_audio.coder import Coder
from fsq_audio.tokens import AudioTokens, Source


@dataclass(frozen=True)
class Recording:
    """A recording in memory.

    Attributes:
        waveform: [C, S] at the model's rate.
        source: what it was before.
    """

    waveform: Tensor
    source: Source


def encode_recordings(
    model: Coder, recordings: Sequence[Recording], *, num_groups: int | None
) -> list[AudioTokens]:
    """Tokenizes recordings in one batch: the codes of `encode_file`.

    Args:
        model: the tokenizer.
        recordings: of any lengths and numbers of channels.
        num_groups: groups to keep; None for all.

    Returns:
        Tokens of each, one item a channel.
    """
    rows = [row for recording in recordings for row in recording.waveform]
    lengths = [len(row) for row in rows]
    batch = model.encode(pad_sequence(rows, batch_first=True), lengths, num_groups=num_groups)
    results, first = [], 0
    for recording in recordings:
        last = first + len(recording.waveform)
        num_frames = int(batch.num_frames[first])
        results.append(
            replace(
                batch,
                codes=batch.codes[first:last, :, :num_frames].clone(),
                lengths=batch.lengths[first:last].clone(),
                source=recording.source,
            )
        )
        first = last
    return results
