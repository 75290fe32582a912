from __future__ import annotations

import pytest
import torch

from fsq_audio.layers import (
    Block,
    Context,
    ResidualUnit,
    Trunk,
    depthwise_conv,
    kernel_context,
    lay_out_weights,
)


def test_context_adds_scales_crops_and_pads() -> None:
    context = Context(2, 1) + Context(1, 1)
    assert context == Context(3, 2)
    assert context.times(4) == Context(12, 8)
    x = torch.arange(7.0)
    assert torch.equal(context.crop(context.pad(x)), x)
    assert torch.equal(Context(0, 0).crop(x), x)


def test_causal_context_looks_back_only() -> None:
    assert kernel_context(6, causal=True) == Context(6, 0)
    assert kernel_context(6, causal=False) == Context(3, 3)
    assert kernel_context(5, causal=False) == Context(2, 3)


def test_depthwise_conv_is_the_plain_one_and_keeps_memory_channels_last() -> None:
    conv = torch.nn.Conv1d(8, 8, 7, groups=8)
    x = torch.randn(2, 20, 8).transpose(1, 2)
    y = depthwise_conv(x, conv)
    torch.testing.assert_close(y, conv(x.contiguous()))
    assert y.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "build",
    [
        lambda causal: Block(8, expansion=2, kernel_size=5, scale=0.5, causal=causal),
        lambda causal: ResidualUnit(8, dilation=3, causal=causal),
        lambda causal: Trunk(channels=8, num_blocks=3, expansion=2, kernel_size=7, causal=causal),
    ],
    ids=["block", "residual", "trunk"],
)
def test_a_layer_reads_exactly_its_context(build, causal: bool) -> None:
    layer = build(causal)
    left, right = layer.context
    x = torch.randn(1, 8, 40 + left + right)
    reference = layer(x)
    assert reference.shape == (1, 8, 40)
    # Frame 20 depends on inputs 20 .. 20 + left + right, and on no other.
    for place, is_seen in [(19, False), (20, True), (20 + left + right, True)]:
        changed = x.clone()
        changed[..., place] += 1
        assert (not torch.equal(layer(changed)[..., 20], reference[..., 20])) == is_seen
    changed = x.clone()
    changed[..., 21 + left + right] += 1
    assert torch.equal(layer(changed)[..., 20], reference[..., 20])


@pytest.mark.parametrize("rows", [16, 53, 109, 158, 173])
@pytest.mark.parametrize("sizes", [(384, 1152), (1152, 384), (384, 320), (128, 256)])
def test_the_order_of_weights_in_memory_changes_no_bit(rows: int, sizes: tuple[int, int]) -> None:
    """Else codes would depend on it. Shapes of the packaged model, one thread, as in a call."""
    layer, x = torch.nn.Linear(*sizes), torch.randn(1, rows, sizes[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = layer(x)
        lay_out_weights(layer, by_inputs=True)
        assert layer.weight.T.is_contiguous()
        assert torch.equal(layer(x), expected)
        lay_out_weights(layer, by_inputs=False)
        assert layer.weight.is_contiguous()
        assert torch.equal(layer(x), expected)
    finally:
        torch.set_num_threads(threads)
