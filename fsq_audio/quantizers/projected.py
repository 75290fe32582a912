"""A quantizer with learnt projections around it: C channels in, few scalars coded, C out."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import Quantized, Quantizer, check_latents


class Projected(nn.Module):
    """LayerNorm over channels, projection, quantizer, projection back.

    It runs with autocast off and in the dtype of its weights, so that mixed precision changes no
    code. Matrix products work on the last dim of `latents.transpose(1, 2)`: latents that are a
    channels-last view cost no copy. Unlike the quantizers themselves, a matrix product may round
    differently for another batch shape; call it with fixed shapes where codes must be exact.
    """

    def __init__(self, quantizer: nn.Module, *, channels: int) -> None:
        """Wraps a quantizer.

        Args:
            quantizer: a module that satisfies `Quantizer`.
            channels: C of the latents.

        Raises:
            ConfigError: channels is not a positive integer, or quantizer is no quantizer.
        """
        super().__init__()
        if not isinstance(quantizer, Quantizer):
            raise ConfigError(
                f"Projected takes a module that satisfies Quantizer, "
                f"got {type(quantizer).__qualname__}"
            )
        if type(channels) is not int or channels < 1:
            raise ConfigError(f"channels must be a positive integer, got {channels!r}")
        self.channels = channels
        self.norm = nn.LayerNorm(channels)
        self.project_in = nn.Linear(channels, quantizer.channels)
        self.quantizer = quantizer
        self.project_out = nn.Linear(quantizer.channels, channels)

    @property
    def num_groups(self) -> int:
        """G of the quantizer inside."""
        return self._inner.num_groups

    @property
    def codebook_size(self) -> int:
        """K of the quantizer inside."""
        return self._inner.codebook_size

    @property
    def bits_per_frame(self) -> float:
        """G log2 K of the quantizer inside."""
        return self._inner.bits_per_frame

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Projects, quantizes and projects back.

        Args:
            latents: [B, C, T].
            mask: [B, T] bool, True where a frame is real; handed to the quantizer.

        Returns:
            quantized [B, C, T], and the codes and losses of the quantizer inside.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            inner = self._inner(self.scalars(latents), mask)
            return Quantized(
                quantized=self._project_out(inner.quantized),
                codes=inner.codes,
                losses=inner.losses,
            )

    def scalars(self, latents: Tensor) -> Tensor:
        """Projects latents [B, C, T] to what the quantizer gets, [B, G*D, T] before its bound."""
        with torch.autocast(device_type=latents.device.type, enabled=False):
            frames = latents.transpose(1, 2).to(self.norm.weight.dtype)
            return cast(Tensor, self.project_in(self.norm(frames))).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, G, T] into quantized latents [B, C, T].

        A dropped group adds nothing: its scalars are zero before the projection back (whose bias
        stays).

        Raises:
            TokenError: codes that the quantizer inside refuses.
        """
        with torch.autocast(device_type=codes.device.type, enabled=False):
            return self._project_out(self._inner.decode(codes))

    @torch.no_grad()
    def initialize(self, latents: Tensor, mask: Tensor | None = None) -> None:
        """Rescales the input projection to scalars of mean 0 and std 1 over one batch.

        How much of an FSQ codebook is used depends on that std: 1 is near the best. A quantizer
        that has an `initialize` of its own is handed these scalars.

        Args:
            latents: [B, C, T], a batch that is typical of the data.
            mask: [B, T] bool, True where a frame is real; the others are left out.

        Raises:
            ConfigError: fewer than two frames, or a scalar that never changes.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        frames = self.scalars(latents).transpose(1, 2)
        rows = (frames.flatten(0, 1) if mask is None else frames[mask]).double()
        if len(rows) < 2:
            raise ConfigError(f"initialize needs at least two frames, got {len(rows)}")
        std, mean = torch.std_mean(rows, dim=0, correction=0)
        if not bool((std > 1e-6).all()):
            raise ConfigError(
                f"scalar {int(std.argmin())} does not change over the {len(rows)} frames given to "
                f"initialize: give it a batch of real audio"
            )
        weight, bias = self.project_in.weight, self.project_in.bias
        weight.copy_(weight.double() / std[:, None])
        bias.copy_((bias.double() - mean) / std)
        initialize = getattr(self.quantizer, "initialize", None)
        if initialize is not None:
            initialize(self.scalars(latents), mask)

    def end_step(self, optimizer: object = None, *, is_taken: bool = True) -> None:
        """Lets the quantizer inside, and each part of it, learn what gradients do not teach it.

        Args:
            optimizer: of its parameters.
            is_taken: False where the step was refused.
        """
        for module in self.quantizer.modules():
            end_step = getattr(module, "end_step", None)
            if end_step is not None:
                end_step(optimizer, is_taken=is_taken)

    def describe(self) -> dict[str, object]:
        """The JSON facts of the quantizer inside."""
        return self._inner.describe()

    @property
    def _inner(self) -> Quantizer:
        return cast(Quantizer, self.quantizer)

    def _project_out(self, scalars: Tensor) -> Tensor:
        # One layout: a matrix product of other strides may take another kernel and round otherwise.
        frames = scalars.transpose(1, 2).to(self.project_out.weight.dtype).contiguous()
        return cast(Tensor, self.project_out(frames)).transpose(1, 2)
