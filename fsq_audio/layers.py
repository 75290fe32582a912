"""The bricks that encoder and decoder share.

Every layer is evaluated "valid": it consumes context on both sides and returns less than it got.
Nothing here pads. Who calls decides what stands at the edges, which is what makes a window of a
long recording give the frames that the whole recording gives.

Tensors are `[B, C, T]` whose memory runs channels-last: the pointwise layers are then plain matrix
products, and the depthwise convolution is faster, too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Context(NamedTuple):
    """What a layer consumes on each side, in steps of its input (frames or samples)."""

    left: int
    right: int

    def __add__(self, other: object) -> Context:
        assert isinstance(other, Context)
        return Context(self.left + other.left, self.right + other.right)

    def times(self, factor: int) -> Context:
        """The same span in steps `factor` times as fine."""
        return Context(self.left * factor, self.right * factor)

    def crop(self, x: Tensor) -> Tensor:
        """Drops the context from the last dimension: `[..., T]` -> `[..., T - left - right]`."""
        return x[..., self.left : x.shape[-1] - self.right]

    def pad(self, x: Tensor) -> Tensor:
        """Extends the last dimension by zeros: `[..., T]` -> `[..., left + T + right]`."""
        return F.pad(x, (self.left, self.right))


def kernel_context(span: int, *, causal: bool) -> Context:
    """Splits the `span` extra steps that a kernel sees: all to the past, or evenly."""
    return Context(span, 0) if causal else Context(span // 2, span - span // 2)


class Block(nn.Module):
    """ConvNeXt block in one dimension (Liu et al. 2022; Siuzdak 2023, section 3.2).

    Depthwise convolution, LayerNorm over channels, pointwise expansion, GELU, pointwise
    projection, layer scale, residual. `[B, C, T]` -> `[B, C, T - kernel_size + 1]`.
    """

    def __init__(
        self, channels: int, *, expansion: int, kernel_size: int, scale: float, causal: bool
    ) -> None:
        super().__init__()
        self.context = kernel_context(kernel_size - 1, causal=causal)
        self.depthwise = nn.Conv1d(channels, channels, kernel_size, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.project = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C, T - kernel_size + 1]`."""
        y = depthwise_conv(x, self.depthwise).transpose(1, 2)
        y = self.project(F.gelu(self.expand(self.norm(y))))
        y = torch.addcmul(self.context.crop(x).transpose(1, 2), y, self.scale)
        return y.transpose(1, 2)


def depthwise_conv(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """A depthwise convolution that keeps channels-last memory: `[B, C, T]` -> `[B, C, T - k + 1]`.

    As a two-dimensional convolution of height one, since only those have channels-last kernels;
    outside autocast, since its backward pass on a CPU is faster in float32 than in bfloat16.
    """
    with torch.autocast(x.device.type, enabled=False):
        weight = conv.weight.unsqueeze(2)
        x = x.to(weight.dtype).unsqueeze(2)
        return F.conv2d(x, weight, conv.bias, groups=conv.groups).squeeze(2)


class Trunk(nn.Module):
    """A stack of blocks: `[B, C, T]` -> `[B, C, T - context.left - context.right]`.

    Args:
        channels: width C.
        num_blocks: depth; the layer scales start at 1 / num_blocks.
        expansion: inner width in units of C.
        kernel_size: frames per depthwise kernel.
        causal: context on the left only.
    """

    def __init__(
        self, *, channels: int, num_blocks: int, expansion: int, kernel_size: int, causal: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(
                channels,
                expansion=expansion,
                kernel_size=kernel_size,
                scale=1.0 / num_blocks,
                causal=causal,
            )
            for _ in range(num_blocks)
        )
        self.context = kernel_context(num_blocks * (kernel_size - 1), causal=causal)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, C, T - context.left - context.right]`."""
        for block in self.blocks:
            x = block(x)
        return x


# Of the leaky units on samples. With ELU in their place, samples differed between one thread and
# two (tests/test_exactness.py); which part of ELU does that was not isolated.
SLOPE = 0.1


def leaky(x: Tensor) -> Tensor:
    """The activation of the layers that run at the sample rate; any shape."""
    return F.leaky_relu(x, SLOPE)


def lay_out_weights(module: nn.Module, *, by_inputs: bool) -> None:
    """Sets in which order the weights of all linear layers lie in memory; their values stay.

    By inputs, the columns of `[out, in]` are contiguous: products with some hundred rows are then
    a seventh to a quarter faster on a CPU, since MKL need not turn the matrix round, and have the
    same bits from 16 rows on (tests/test_layers.py). By outputs is torch's own order, that of
    training.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight.data
            layer.weight.data = weight.T.contiguous().T if by_inputs else weight.contiguous()


class ResidualUnit(nn.Module):
    """A dilated residual unit on samples (Zeghidour et al. 2021; Kumar et al. 2023).

    `[B, C, S]` -> `[B, C, S - 6 * dilation]`.
    """

    def __init__(self, channels: int, *, dilation: int, causal: bool) -> None:
        super().__init__()
        self.context = kernel_context(6 * dilation, causal=causal)
        self.dilated = nn.Conv1d(channels, channels, 7, dilation=dilation)
        # Not a convolution of kernel 1: of those, most shapes give other bits with one thread than
        # with two.
        self.pointwise = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, S]` -> `[B, C, S - 6 * dilation]`."""
        y: Tensor = self.pointwise(leaky(self.dilated(leaky(x))).transpose(1, 2))
        return self.context.crop(x) + y.transpose(1, 2)
