"""Whatever the cuts, the same; in canonical blocks, the very bits of encode and decode."""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import ARCHITECTURES, ROOT, SAMPLES, build_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fsq_audio
from fsq_audio.blocks import WINDOW_FRAMES, WindowCutter, rung
from fsq_audio.errors import AudioError, ConfigError, TokenError
from fsq_audio.layers import Context
from fsq_audio.streaming import StreamingDecoder, StreamingEncoder
from fsq_audio.tokenizer import AudioTokenizer

CAUSAL = [name for name in ARCHITECTURES if name.endswith("causal")]
MEBIBYTE = 2**20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MODELS: dict[str, AudioTokenizer] = {}  # built once for all examples


@pytest.fixture(scope="module")
def packaged() -> AudioTokenizer:
    return AudioTokenizer.from_pretrained()


@pytest.fixture(scope="module")
def clips() -> list[Tensor]:
    """Real speech; the last clip is of several canonical blocks and a rest."""
    one, two = (torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in SAMPLES)
    return [one[:1], one[:641], two, torch.cat([one, two, one])]


def cut(signal: Tensor, cuts: list[int]) -> list[Tensor]:
    """Pieces of the last dimension; equal cuts make empty ones."""
    bounds = [0, *sorted(cuts), signal.shape[-1]]
    return [signal[..., a:b] for a, b in itertools.pairwise(bounds)]


def encode(model: AudioTokenizer, pieces: list[Tensor], block_frames: int) -> Tensor:
    encoder = StreamingEncoder(model, block_frames=block_frames)
    return torch.cat([*(encoder.push(piece) for piece in pieces), encoder.flush()], dim=1)


def decode(
    model: AudioTokenizer, pieces: list[Tensor], block_frames: int, *, num_samples: int
) -> Tensor:
    decoder = StreamingDecoder(model, block_frames=block_frames)
    samples = [decoder.push(piece) for piece in pieces[:-1]]
    return torch.cat([*samples, decoder.flush(pieces[-1], num_samples=num_samples)])


def test_canonical_blocks_give_the_very_bits_of_the_whole(
    packaged: AudioTokenizer, clips: list[Tensor]
) -> None:
    for clip in clips:
        tokens = packaged.encode(clip)
        codes = encode(packaged, list(clip.split(4321)), WINDOW_FRAMES)
        assert torch.equal(codes, tokens.codes[0])
        pieces = list(tokens.codes[0].split(7, dim=1))
        samples = decode(packaged, pieces, WINDOW_FRAMES, num_samples=len(clip))
        assert torch.equal(samples, packaged.decode(tokens)[0])


def test_canonical_blocks_are_exact_for_every_architecture(
    any_tiny: AudioTokenizer, clips: list[Tensor]
) -> None:
    tokens = any_tiny.encode(clips[-1])
    codes = encode(any_tiny, list(clips[-1].split(9999)), WINDOW_FRAMES)
    assert torch.equal(codes, tokens.codes[0])
    pieces = list(codes.split(50, dim=1))
    samples = decode(any_tiny, pieces, WINDOW_FRAMES, num_samples=len(clips[-1]))
    assert torch.equal(samples, any_tiny.decode(tokens)[0])


@pytest.mark.parametrize("block_frames", [1, 5])
def test_small_blocks_are_the_whole_up_to_rounding(
    any_tiny: AudioTokenizer, clips: list[Tensor], block_frames: int
) -> None:
    """Past 128 frames, too: the noise and the phase of a source go on from block to block."""
    clip = clips[2][: 170 * any_tiny.hop_length + 3]
    tokens = any_tiny.encode(clip)
    codes = encode(any_tiny, [clip], block_frames)
    assert codes.shape == tokens.codes[0].shape
    assert float((codes != tokens.codes[0]).double().mean()) < 1e-2
    whole = any_tiny.decode(tokens)[0]
    samples = decode(any_tiny, [tokens.codes[0]], block_frames, num_samples=len(clip))
    # Rounding of the pitch adds up in the phase, most where pulses are steep.
    error = (samples - whole).square().mean().sqrt() / whole.square().mean().sqrt()
    assert float(error) < 1e-3


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(ARCHITECTURES)),
    length=st.integers(1, 9000),
    block_frames=st.sampled_from([1, 3, 8, 128]),
    data=st.data(),
)
def test_what_comes_out_does_not_depend_on_the_cuts(
    name: str, length: int, block_frames: int, data: st.DataObject
) -> None:
    model = MODELS[name] = MODELS.get(name) or build_tiny(name)
    signal = torch.sin(torch.arange(length) * 0.03) * torch.linspace(0, 1, length)
    sample_cuts = data.draw(st.lists(st.integers(0, length), max_size=6))
    codes = encode(model, [signal], block_frames)
    assert codes.shape[1] == -(-length // model.hop_length)
    assert torch.equal(encode(model, cut(signal, sample_cuts), block_frames), codes)

    frame_cuts = data.draw(st.lists(st.integers(0, codes.shape[1]), max_size=6))
    whole = decode(model, [codes], block_frames, num_samples=length)
    assert len(whole) == length
    pieces = cut(codes, [min(n, codes.shape[1] - 1) for n in frame_cuts])
    assert torch.equal(decode(model, pieces, block_frames, num_samples=length), whole)


@given(pieces=st.lists(st.integers(0, 40), max_size=30), num_frames=st.integers(1, 128))
def test_windows_of_any_size_tile_a_stream(pieces: list[int], num_frames: int) -> None:
    context, hop, length = Context(5, 3), 2, sum(pieces)
    cutter = WindowCutter(hop=hop, context=context, num_frames=num_frames)
    signal = torch.arange(1, length + 1)
    windows = [w for piece in signal.split(pieces) for w in cutter.push(piece)]
    windows += cutter.finish()
    padded = context.pad(torch.cat([signal, torch.zeros(num_frames * hop, dtype=torch.int64)]))
    start = 0
    for window in windows:
        size = window.values.shape[-1]
        frames = num_frames
        if window is windows[-1]:
            frames = min(rung(window.num_frames), num_frames)
        assert size == frames * hop + sum(context)
        assert torch.equal(window.values, padded[start : start + size])
        start += window.num_frames * hop
    assert sum(window.num_frames for window in windows) == -(-length // hop)
    assert all(window.num_frames == num_frames for window in windows[:-1])


@pytest.mark.parametrize("block_frames", [1, 4, 128])
def test_the_latency_is_the_one_that_is_stated(any_tiny: AudioTokenizer, block_frames: int) -> None:
    """One sample before it nothing of a block is out; with it, the block is there."""
    hop, rate = any_tiny.hop_length, any_tiny.sample_rate
    encoder = StreamingEncoder(any_tiny, block_frames=block_frames)
    wait = round(encoder.latency * rate)
    assert wait / rate == encoder.latency
    assert encoder.push(torch.zeros(wait - 1)).shape[1] == 0
    assert encoder.push(torch.zeros(1)).shape[1] == block_frames
    assert encoder.push(torch.zeros(block_frames * hop)).shape[1] == block_frames

    decoder = StreamingDecoder(any_tiny, block_frames=block_frames)
    num_frames = round(decoder.latency * rate / hop)
    silence = torch.zeros(any_tiny.num_groups, num_frames + 1, dtype=torch.int64)
    assert len(decoder.push(silence[:, :num_frames])) == 0
    assert len(decoder.push(silence[:, :1])) == block_frames * hop


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_model_waits_for_one_frame_and_no_more(name: str, clips: list[Tensor]) -> None:
    model = build_tiny(name)
    hop = model.hop_length
    encoder = StreamingEncoder(model, block_frames=1)
    decoder = StreamingDecoder(model, block_frames=1)
    assert (encoder.latency, decoder.latency) == (hop / model.sample_rate, 0)
    for frame in clips[2][: 20 * hop].split(hop):
        assert len(decoder.push(encoder.push(frame))) == hop


def test_the_lengths_are_exact_frame_by_frame(clips: list[Tensor]) -> None:
    """The last frame of a causal stream is given to flush, which knows how much of it is meant."""
    model = build_tiny(CAUSAL[0])
    for length in (1, model.hop_length, 5 * model.hop_length - 7, 5 * model.hop_length):
        encoder = StreamingEncoder(model, block_frames=1)
        decoder = StreamingDecoder(model, block_frames=1)
        samples = [decoder.push(encoder.push(s)) for s in clips[2][:length].split(50)]
        samples.append(decoder.flush(encoder.flush(), num_samples=encoder.num_samples))
        assert sum(map(len, samples)) == encoder.num_samples == length


def test_fewer_groups(packaged: AudioTokenizer, clips: list[Tensor]) -> None:
    encoder = StreamingEncoder(packaged, block_frames=WINDOW_FRAMES, num_groups=2)
    tokens = packaged.encode(clips[2], num_groups=2)
    codes = torch.cat([encoder.push(clips[2]), encoder.flush()], dim=1)
    assert torch.equal(codes, tokens.codes[0])
    samples = decode(packaged, [codes], WINDOW_FRAMES, num_samples=len(clips[2]))
    assert torch.equal(samples, packaged.decode(tokens)[0])


def test_a_stream_of_nothing_is_nothing(tiny: AudioTokenizer) -> None:
    codes = StreamingEncoder(tiny).flush()
    assert codes.shape == (2, 0)
    assert codes.dtype == torch.int64
    assert StreamingDecoder(tiny).flush().shape == (0,)
    assert StreamingDecoder(tiny).flush(codes, num_samples=0).shape == (0,)


@pytest.mark.parametrize("name", ["spectral-istft-causal", "spectral-harmonic_noise"])
def test_mistakes_are_named(name: str) -> None:
    model = build_tiny(name)
    with pytest.raises(ConfigError, match="block_frames must be from 1 to 128, got 0"):
        StreamingEncoder(model, block_frames=0)
    with pytest.raises(ConfigError, match="block_frames must be from 1 to 128, got 129"):
        StreamingDecoder(model, block_frames=129)
    with pytest.raises(ConfigError, match="num_groups must be from 1 to 2, got 3"):
        StreamingEncoder(model, num_groups=3)

    encoder = StreamingEncoder(model)
    with pytest.raises(AudioError, match=r"floating point \[n\], got torch.float32 \[1, 9\]"):
        encoder.push(torch.zeros(1, 9))
    with pytest.raises(AudioError, match=r"floating point \[n\], got torch.int16 \[9\]"):
        encoder.push(torch.zeros(9, dtype=torch.int16))
    encoder.push(torch.zeros(10))
    with pytest.raises(AudioError, match="NaN or infinity at sample 12"):
        encoder.push(torch.tensor([0, 0, float("nan")]))
    assert encoder.num_samples == 10
    encoder.flush()
    for late in (encoder.flush, lambda: encoder.push(torch.zeros(1))):
        with pytest.raises(ConfigError, match="flush ended this signal"):
            late()

    codes = torch.zeros(2, 3, dtype=torch.int64)
    decoder = StreamingDecoder(model, block_frames=1)
    for wrong in (codes[0], codes.float(), codes.repeat(2, 1)):
        with pytest.raises(TokenError, match=r"codes must be int64 \[G, n\] with 1 to 2 groups"):
            decoder.push(wrong)
    for wrong in (codes + 1000, codes - 2):
        with pytest.raises(TokenError, match=r"codes must be in \[0, 1000\)"):
            decoder.push(wrong)
    decoder.push(codes)
    with pytest.raises(TokenError, match="with 2 groups"):
        decoder.push(codes[:1])
    with pytest.raises(ConfigError, match=r"3 frames came.*num_samples cannot be 961"):
        decoder.flush(num_samples=961)
    # And nothing is lost: it goes on.
    with pytest.raises(ConfigError, match=r"4 frames came"):
        decoder.flush(codes[:, :1], num_samples=1281)
    decoder.flush(num_samples=960)


def test_samples_that_are_given_cannot_be_taken_back() -> None:
    decoder = StreamingDecoder(build_tiny("spectral-istft-causal"), block_frames=1)
    assert len(decoder.push(torch.zeros(2, 3, dtype=torch.int64))) == 960
    with pytest.raises(ConfigError, match="960 were given: give the last frame to flush"):
        decoder.flush(num_samples=959)


def test_the_front_door_has_both() -> None:
    assert fsq_audio.StreamingEncoder is StreamingEncoder
    assert fsq_audio.StreamingDecoder is StreamingDecoder


def test_the_example_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "streaming.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(ROOT)
    scope: dict[str, Tensor] = {}
    exec(compile(code, "streaming.md", "exec"), scope)
    assert scope["speech"].shape == (84_800,)


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = Path("/proc/self/statm").read_text("utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def growth(model: AudioTokenizer, speech: Tensor, *, seconds: int, block_frames: int) -> int:
    """What memory gains over a long stream, once it has run for a while, in bytes.

    The stream ends as it should, with as many samples as went in.
    """
    encoder = StreamingEncoder(model, block_frames=block_frames)
    decoder = StreamingDecoder(model, block_frames=block_frames)
    pieces = itertools.cycle(speech.split([len(speech) - 9001, 1, 1000, 8000]))
    num_given, before = 0, 0
    while encoder.num_samples < seconds * model.sample_rate:
        num_given += len(decoder.push(encoder.push(next(pieces))))
        if encoder.num_samples < seconds * model.sample_rate // 5:
            before = resident()
    gained = resident() - before
    num_given += len(decoder.flush(encoder.flush(), num_samples=encoder.num_samples))
    assert num_given == encoder.num_samples
    return gained


@LINUX
@pytest.mark.parametrize("name", ["spectral-harmonic_noise", "spectral-istft-causal"])
def test_memory_does_not_grow(name: str, speech: Tensor) -> None:
    gained = growth(build_tiny(name), speech, seconds=400, block_frames=64)
    assert gained < 16 * MEBIBYTE  # the allocator gives and takes some 8


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("block_frames", [8, 128])
def test_memory_does_not_grow_over_an_hour(
    packaged: AudioTokenizer, speech: Tensor, block_frames: int
) -> None:
    gained = growth(packaged, speech, seconds=3600, block_frames=block_frames)
    print(f"blocks of {block_frames}: {gained / MEBIBYTE:.2f} MiB in the last 48 minutes of 60")
    assert gained < 16 * MEBIBYTE
