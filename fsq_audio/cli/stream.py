"""`fsq-audio stream`: live audio through pipes."""

from __future__ import annotations

import sys
from argparse import Namespace

from fsq_audio.blocks import WINDOW_FRAMES
from fsq_audio.cli.console import Console
from fsq_audio.cli.parser import UsageError
from fsq_audio.cli.pcm import PCMReader, PCMWriter
from fsq_audio.cli.session import open_model
from fsq_audio.errors import TokenError
from fsq_audio.streaming import StreamingDecoder, StreamingEncoder
from fsq_audio.token_stream import TokenStreamReader, TokenStreamWriter
from fsq_audio.tokenizer import AudioTokenizer


def run(arguments: Namespace) -> bool:
    """Runs the verb until its input ends; True: what can fail is raised."""
    if arguments.block_frames > WINDOW_FRAMES:
        raise UsageError(
            f"--block-frames must be from 1 to {WINDOW_FRAMES}, got {arguments.block_frames}"
        )
    console = Console(verbose=arguments.verbose, quiet=arguments.quiet)
    model = open_model(arguments, console)
    verbs = {"encode": _encode, "decode": _decode, "reconstruct": _reconstruct}
    try:
        verbs[arguments.direction](arguments, model, console)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or "the output is not complete") from None
    return True


def _encode(arguments: Namespace, model: AudioTokenizer, console: Console) -> None:
    source, encoder = _source(arguments, model), _encoder(arguments, model)
    console.detail(f"a sample waits {encoder.latency:.3f} s for its codes at most")
    writer = TokenStreamWriter(
        sys.stdout.buffer,
        model.format,
        num_groups=arguments.num_groups or model.num_groups,
        binary=arguments.format == "binary",
    )
    for samples in source:
        writer.write(encoder.push(samples))
    writer.end(encoder.flush(), encoder.num_samples)
    _finish(encoder.num_samples, model, console)
    source.check_end()


def _decode(arguments: Namespace, model: AudioTokenizer, console: Console) -> None:
    decoder = StreamingDecoder(model, block_frames=arguments.block_frames)
    console.detail(f"a frame waits {decoder.latency:.3f} s for its samples at most")
    reader = TokenStreamReader(sys.stdin.buffer)
    reader.format.check(model.format)
    kept = model.check_groups(arguments.num_groups, reader.num_groups)
    sink = _sink(arguments, model)
    try:
        for piece in reader:
            codes = piece.codes[:kept]
            if piece.num_samples is None:
                sink.write(decoder.push(codes))
            else:
                sink.write(decoder.flush(codes, num_samples=piece.num_samples))
                sink.end()
                _finish(piece.num_samples, model, console)
    except TokenError:
        if not decoder.is_over:  # what came before is sound
            sink.write(decoder.flush())
            sink.end()
        raise


def _reconstruct(arguments: Namespace, model: AudioTokenizer, console: Console) -> None:
    source, encoder = _source(arguments, model), _encoder(arguments, model)
    decoder = StreamingDecoder(model, block_frames=arguments.block_frames)
    sink = _sink(arguments, model)
    latency = encoder.latency + decoder.latency
    console.detail(f"a sample comes out {latency:.3f} s after it went in at most")
    for samples in source:
        sink.write(decoder.push(encoder.push(samples)))
    sink.write(decoder.flush(encoder.flush(), num_samples=encoder.num_samples))
    sink.end(source.num_samples)
    _finish(encoder.num_samples, model, console)
    source.check_end()


def _source(arguments: Namespace, model: AudioTokenizer) -> PCMReader:
    from_rate = arguments.sample_rate or model.sample_rate
    return PCMReader(
        sys.stdin.buffer, arguments.pcm, from_rate=from_rate, to_rate=model.sample_rate
    )


def _sink(arguments: Namespace, model: AudioTokenizer) -> PCMWriter:
    to_rate = arguments.sample_rate or model.sample_rate
    return PCMWriter(sys.stdout.buffer, arguments.pcm, from_rate=model.sample_rate, to_rate=to_rate)


def _encoder(arguments: Namespace, model: AudioTokenizer) -> StreamingEncoder:
    return StreamingEncoder(
        model, block_frames=arguments.block_frames, num_groups=arguments.num_groups
    )


def _finish(num_samples: int, model: AudioTokenizer, console: Console) -> None:
    num_frames = -(-num_samples // model.hop_length)
    console.remark(f"{num_samples / model.sample_rate:.2f} s, {num_frames} frames")
