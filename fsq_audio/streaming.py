"""Live audio: samples in, codes out; codes in, samples out; as soon as all they depend on is there.

Both sides cut their stream into blocks of a size that is chosen once, with the context around each
that the model sees. So what comes out does not depend on how a stream is pushed; on the size of the
blocks only by rounding. Blocks of `WINDOW_FRAMES` are the canonical ones: they give the bits of
`AudioTokenizer.encode` and `decode`.

    encoder, decoder = StreamingEncoder(model), StreamingDecoder(model)
    for samples in microphone:
        play(decoder.push(encoder.push(samples)))
    play(decoder.flush(encoder.flush(), num_samples=encoder.num_samples))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fsq_audio.blocks import WINDOW_FRAMES, Window, WindowCutter
from fsq_audio.coder import mark_codes
from fsq_audio.errors import AudioError, ConfigError, TokenError
from fsq_audio.quantizers import DROPPED
from fsq_audio.source import PitchPredictor, RunningSource
from fsq_audio.tokenizer import AudioTokenizer

BLOCK_FRAMES = 8
"""Frames of a block unless told otherwise."""


class StreamingEncoder:
    """Tokenizes one signal as it arrives.

    Attributes:
        num_samples: how many were pushed.
        is_over: whether flush has ended it.
        latency: seconds that a sample waits for its code at most: a block, and the look-ahead.
    """

    def __init__(
        self,
        model: AudioTokenizer,
        *,
        block_frames: int = BLOCK_FRAMES,
        num_groups: int | None = None,
    ) -> None:
        """Begins before the first sample.

        Args:
            model: the tokenizer.
            block_frames: frames that are computed together, from 1 to WINDOW_FRAMES. Few wait less,
                and cost more: the context is computed again for each block.
            num_groups: keep only the first groups, for a lower bitrate.

        Raises:
            ConfigError: block_frames or num_groups out of range.
        """
        _check_block_frames(block_frames)
        context, hop = model.encoder.context, model.hop_length
        self._model = model
        self._num_groups = model.check_groups(num_groups)
        self._cutter = WindowCutter(hop=hop, context=context, num_frames=block_frames)
        self.is_over = False
        self.num_samples = 0
        self.latency = (block_frames * hop + context.right) / model.sample_rate

    def push(self, samples: Tensor) -> Tensor:
        """Takes the next samples.

        Args:
            samples: `[n]` floating point in [-1, 1] at the model's sample rate, any n.

        Returns:
            Codes `[G, m]` of the frames that are complete now, m >= 0.

        Raises:
            AudioError: another shape, NaN or infinity.
            ConfigError: the signal has ended.
        """
        _check_is_going_on(self.is_over)
        if samples.dim() != 1 or not samples.is_floating_point():
            raise AudioError(
                f"samples must be floating point [n], got {samples.dtype} {list(samples.shape)}"
            )
        finite = torch.isfinite(samples)
        if not bool(finite.all()):
            place = self.num_samples + int((~finite).nonzero()[0])
            raise AudioError(f"the stream has NaN or infinity at sample {place}")
        self.num_samples += len(samples)
        return self._encode(self._cutter.push(samples.to(self._model.dtype)))

    def flush(self) -> Tensor:
        """Ends the signal: codes `[G, m]` of the frames that are left, the last one filled up.

        Raises:
            ConfigError: it has ended before.
        """
        _check_is_going_on(self.is_over)
        self.is_over = True
        return self._encode(self._cutter.finish())

    def _encode(self, windows: Sequence[Window]) -> Tensor:
        codes = _run(self._model, windows, self._model.encode_block, steps=1)
        nothing = torch.zeros(self._num_groups, 0, dtype=torch.int64)
        return torch.cat([nothing, *(part[: self._num_groups] for part in codes)], dim=1)


class StreamingDecoder:
    """Resynthesizes one signal as its codes arrive.

    Attributes:
        is_over: whether flush has ended it.
        latency: seconds that a frame waits for its samples at most, from the arrival of its own
            codes, if frames come one by one. Behind an encoder, both latencies add up, or a little
            less where their blocks are of one size.
    """

    def __init__(self, model: AudioTokenizer, *, block_frames: int = BLOCK_FRAMES) -> None:
        """Begins before the first frame.

        Args:
            model: the tokenizer whose codes will come.
            block_frames: frames that are computed together, from 1 to WINDOW_FRAMES.

        Raises:
            ConfigError: block_frames out of range.
        """
        _check_block_frames(block_frames)
        context, pitch = model.decoder.context, model.decoder.pitch
        self._model = model
        self._source = None if pitch is None else _SourceStage(model, pitch, block_frames)
        self._cutter = WindowCutter(hop=1, context=context, num_frames=block_frames)
        needed = block_frames + context.right
        if pitch is not None:  # which comes in whole blocks, too
            needed = -(-needed // block_frames) * block_frames + pitch.context.right
        self.latency = (needed - 1) * model.hop_length / model.sample_rate
        self._num_groups: int | None = None
        self._num_frames = self._num_given = 0
        self.is_over = False

    def push(self, codes: Tensor) -> Tensor:
        """Takes the codes of the next frames.

        Args:
            codes: `[G, n]` int64, any n; or the first groups only, in every push as many.

        Returns:
            Samples `[m]` float32 that are known now, m >= 0.

        Raises:
            TokenError: they are no codes of this model.
            ConfigError: the signal has ended.
        """
        _check_is_going_on(self.is_over)
        self._check_codes(codes)
        self._num_groups = len(codes)
        self._num_frames += codes.shape[1]
        marked = mark_codes(codes[None].cpu())[0]
        return self._decode(
            self._cutter.push(self._source.push(marked) if self._source else marked)
        )

    def flush(self, codes: Tensor | None = None, *, num_samples: int | None = None) -> Tensor:
        """Ends the signal.

        Args:
            codes: the last frames `[G, n]`, if they were not pushed. The very last may hold less
                than a hop of samples: pushed, all of it might be given at once.
            num_samples: how many the whole signal has; None: as many as its frames hold.

        Returns:
            The samples `[m]` that are left: with those before, exactly `num_samples`.

        Raises:
            TokenError: they are no codes of this model.
            ConfigError: num_samples does not end in the last frame, or more have been given; or the
                signal has ended before.
        """
        _check_is_going_on(self.is_over)
        given, hop, num_frames = self._num_given, self._model.hop_length, self._num_frames
        if codes is not None:
            self._check_codes(codes)
            num_frames += codes.shape[1]
        wanted = num_frames * hop if num_samples is None else num_samples
        if -(-wanted // hop) != num_frames:
            raise ConfigError(
                f"{num_frames} frames came, of {hop} samples each, the last one perhaps of "
                f"fewer: num_samples cannot be {wanted}"
            )
        if wanted < given:
            raise ConfigError(
                f"num_samples is {wanted}, but {given} were given: give the last frame to flush"
            )
        pieces = [] if codes is None else [self.push(codes)]
        self.is_over = True
        if self._source is not None and self._num_groups is not None:
            pieces.append(self._decode(self._cutter.push(self._source.finish())))
        pieces.append(self._decode(self._cutter.finish()))
        return torch.cat(pieces)[: wanted - given]

    def _decode(self, windows: Sequence[Window]) -> Tensor:
        model = self._model
        samples = _run(model, windows, model.decode_block, steps=model.hop_length)
        joined = torch.cat([torch.zeros(0), *samples])
        self._num_given += len(joined)
        return joined

    def _check_codes(self, codes: Tensor) -> None:
        groups = range(1, self._model.num_groups + 1)
        if self._num_groups is not None:
            groups = range(self._num_groups, self._num_groups + 1)
        if codes.dtype != torch.int64 or codes.dim() != 2 or len(codes) not in groups:
            wanted = f"{groups[0]}" if len(groups) == 1 else f"1 to {groups[-1]}"
            raise TokenError(
                f"codes must be int64 [G, n] with {wanted} groups, got {codes.dtype} "
                f"{list(codes.shape)}"
            )
        inside = (codes >= DROPPED) & (codes < self._model.codebook_size)
        if not bool(inside.all()):
            raise TokenError(
                f"codes must be in [0, {self._model.codebook_size}), or {DROPPED} for a dropped "
                f"group, got {int(codes.min())} to {int(codes.max())}"
            )


class _SourceStage:
    """Puts above codes what the decoder's source does in their frames, once that is known."""

    def __init__(self, model: AudioTokenizer, pitch: PitchPredictor, block_frames: int) -> None:
        self._model, self._subframes = model, pitch.subframes
        self._cutter = WindowCutter(hop=1, context=pitch.context, num_frames=block_frames)
        self._source = RunningSource(subframes=pitch.subframes, step=pitch.step)
        self._waiting: Tensor | None = None

    def push(self, marked: Tensor) -> Tensor:
        """`[G + 1, n]` -> `[X + G + 1, m]` of the next frames, m >= 0."""
        waiting = marked if self._waiting is None else torch.cat([self._waiting, marked], dim=1)
        return self._ready(waiting, self._cutter.push(marked))

    def finish(self) -> Tensor:
        """`[X + G + 1, m]` of the frames that are left; something was pushed before."""
        assert self._waiting is not None
        return self._ready(self._waiting, self._cutter.finish())

    def _ready(self, waiting: Tensor, windows: Sequence[Window]) -> Tensor:
        parts = _run(self._model, windows, self._model.pitch_block, steps=self._subframes)
        advances = torch.cat([torch.zeros(0, dtype=torch.int64), *parts])
        source = self._source.push(advances[None])[0]
        num_frames = source.shape[1]
        self._waiting = waiting[:, num_frames:].clone()
        return torch.cat([source, waiting[:, :num_frames]])


def _run(
    model: AudioTokenizer,
    windows: Sequence[Window],
    function: Callable[[Tensor], Tensor],
    *,
    steps: int,
) -> list[Tensor]:
    """What a function makes of each window's own frames, `steps` values of each."""
    keyed = ((window.num_frames, window.values) for window in windows)
    results = model.run_windows(keyed, function)
    return [result[..., : num_frames * steps] for num_frames, result in results]


def _check_block_frames(block_frames: int) -> None:
    if not 1 <= block_frames <= WINDOW_FRAMES:
        raise ConfigError(f"block_frames must be from 1 to {WINDOW_FRAMES}, got {block_frames}")


def _check_is_going_on(is_over: bool) -> None:
    if is_over:
        raise ConfigError("flush ended this signal: another one needs a new object")
