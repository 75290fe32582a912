"""The same audio gives the same codes, and tokens give the same samples: identical, not close."""

from __future__ import annotations

import itertools
import platform
import random
from collections.abc import Iterator

import pytest
import soundfile
import torch
from conftest import ROOT, SAMPLES, build_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio.blocks import (
    MIN_WINDOW_FRAMES,
    RUNG_FRAMES,
    RUNGS_PER_OCTAVE,
    WINDOW_FRAMES,
    cut_windows,
    run_blocks,
    rung,
)
from fsq_audio.layers import Context
from fsq_audio.tokenizer import AudioTokenizer

MANIFEST = ROOT / "egs" / "debian_speech" / "data" / "test.jsonl"
BATCH_SIZES = (1, 2, 3, 8, 16)
THREADS = (1, 2, 3, 4, 8)  # more than there are cores make the same differences


@pytest.fixture(scope="module")
def packaged() -> AudioTokenizer:
    return AudioTokenizer.from_pretrained()


@pytest.fixture(scope="module")
def clips() -> list[Tensor]:
    """Real speech of many lengths, one longer than a window."""
    signal = torch.cat([torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in SAMPLES])
    bounds = [0, 1, 700, 9000, 25000, 60000, 100000, 150000, len(signal)]
    return [signal[a:b] for a, b in itertools.pairwise(bounds)] + [signal]


def batches(items: list[Tensor], size: int, extra: int) -> Iterator[tuple[Tensor, list[int]]]:
    """Batches padded with noise: what stands beyond an item's length must not matter."""
    for start in range(0, len(items), size):
        group = items[start : start + size]
        lengths = [len(item) for item in group]
        padded = torch.randn(len(group), max(lengths) + extra)
        for row, item in zip(padded, group, strict=True):
            row[: len(item)] = item
        yield padded, lengths


def mismatches(model: AudioTokenizer, items: list[Tensor]) -> int:
    """Differing codes and samples over batch sizes, orders, paddings and thread counts."""
    alone = [model.encode(item) for item in items]
    waveforms = [model.decode(tokens)[0] for tokens in alone]
    wrong = 0
    threads = torch.get_num_threads()
    try:
        for number, size in enumerate(BATCH_SIZES):
            torch.set_num_threads(THREADS[number])
            order = random.Random(size).sample(range(len(items)), len(items))
            results = iter(order)
            for padded, lengths in batches([items[i] for i in order], size, extra=number * 777):
                tokens = model.encode(padded, lengths)
                decoded = model.decode(tokens)
                for row, length in enumerate(lengths):
                    i = next(results)
                    num_frames = alone[i].codes.shape[-1]
                    wrong += int((tokens.codes[row, :, :num_frames] != alone[i].codes[0]).sum())
                    wrong += int((decoded[row, :length] != waveforms[i]).sum())
    finally:
        torch.set_num_threads(threads)
    return wrong


def test_codes_and_samples_do_not_depend_on_batch_order_padding_threads(
    packaged: AudioTokenizer, clips: list[Tensor]
) -> None:
    assert mismatches(packaged, clips) == 0


def test_every_architecture_is_exact(any_tiny: AudioTokenizer, clips: list[Tensor]) -> None:
    assert mismatches(any_tiny, clips) == 0


@pytest.mark.slow
def test_a_whole_test_split_and_an_hour_of_speech_are_exact(packaged: AudioTokenizer) -> None:
    if not MANIFEST.is_file():
        pytest.skip("needs egs/debian_speech/data: python egs/debian_speech/prepare.py")
    paths = sorted((MANIFEST.parent / "test").rglob("*.flac"))
    items = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths]
    loop = torch.cat(items)
    hour = loop.repeat(-(-3600 * 16000 // len(loop)))[: 3600 * 16000]
    assert len(items) > 50
    assert mismatches(packaged, [*items, hour]) == 0


@settings(max_examples=15)
@given(data=st.data())
def test_codes_do_not_depend_on_how_a_stream_is_cut(data: st.DataObject) -> None:
    model = build_tiny()
    signal = torch.sin(torch.arange(200_000) * 0.01).mul(0.5)[: data.draw(st.integers(1, 200_000))]
    cuts = data.draw(st.lists(st.integers(0, len(signal)), max_size=8).map(sorted))
    bounds = [0, *cuts, len(signal)]
    blocks = [signal[None, a:b] for a, b in itertools.pairwise(bounds)]
    (codes,) = model._encode_items([blocks])
    assert torch.equal(codes, model.encode(signal).codes)


def test_windows_per_call_change_only_the_shape(
    tiny: AudioTokenizer, clips: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: windows of many items share a call, and calls are filled up."""
    # The long one's first windows wait for others when the last ones of short ones fill a call.
    frames = [WINDOW_FRAMES + 12, *[14] * 4]
    batch = torch.zeros(len(frames), frames[0] * tiny.hop_length)
    for row, count in zip(batch, frames, strict=True):
        row[: count * tiny.hop_length].uniform_(-0.1, 0.1)
    tokens = tiny.encode(batch, [count * tiny.hop_length for count in frames])
    alone = tiny.decode(tiny.encode(batch[:1]))
    monkeypatch.setattr("fsq_audio.tokenizer.WINDOWS_PER_CALL", {"default": 4})
    assert mismatches(tiny, clips) == 0
    torch.testing.assert_close(tiny.decode(tokens)[:1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 639, 640, 641, 81920, 81921])
def test_ends_are_clean(packaged: AudioTokenizer, length: int) -> None:
    """Silence resynthesizes without a click at either end, or at a seam."""
    waveform = packaged.decode(packaged.encode(torch.zeros(length)))
    assert float(waveform.abs().max()) < 0.01


@given(length=st.integers(1, 3000), hop=st.sampled_from([1, 7]), data=st.data())
def test_windows_tile_a_signal(length: int, hop: int, data: st.DataObject) -> None:
    context = Context(data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20)))
    signal = torch.arange(1, length * hop + 1)
    windows = list(cut_windows([signal], hop=hop, context=context))
    assert sum(window.num_frames for window in windows) == length
    start = 0
    padded = torch.nn.functional.pad(signal, (context.left, context.right + WINDOW_FRAMES * hop))
    for window in windows:
        frames = (window.values.shape[-1] - sum(context)) // hop
        assert frames == WINDOW_FRAMES or frames == rung(window.num_frames)
        assert window.num_frames == WINDOW_FRAMES or window is windows[-1]
        expected = padded[start * hop : start * hop + window.values.shape[-1]]
        assert torch.equal(window.values, expected)
        start += window.num_frames


def test_ladder() -> None:
    rungs = [rung(n) for n in range(1, WINDOW_FRAMES + 1)]
    assert rungs == sorted(rungs)
    assert rungs[-1] == WINDOW_FRAMES
    for num_frames, frames in enumerate(rungs, start=1):
        assert rung(frames) == frames
        excess = frames - max(num_frames, MIN_WINDOW_FRAMES)
        assert 0 <= excess < max(RUNG_FRAMES, num_frames / RUNGS_PER_OCTAVE)
    assert len(set(rungs)) == 13 + RUNGS_PER_OCTAVE


def test_calls_are_filled_up_and_results_find_their_windows() -> None:
    shapes = []

    def double(block: Tensor) -> Tensor:
        shapes.append(tuple(block.shape))
        return block * 2

    windows = [(i, torch.full((3 if i % 2 else 5,), float(i))) for i in range(9)]
    results = dict(run_blocks(iter(windows), double, windows_per_call=4, num_threads=2))
    assert set(shapes) == {(4, 3), (4, 5)}
    assert all(torch.equal(results[i], values * 2) for i, values in windows)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks another allocator for memory")
def test_a_call_uses_the_memory_of_the_one_before(packaged: AudioTokenizer) -> None:
    import resource

    tokens = packaged.encode(torch.zeros(2 * WINDOW_FRAMES * packaged.hop_length))
    pages = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        packaged.decode(tokens)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(pages) < 1500  # five thousand and more were asked for each time
