"""Residual vector quantization: each stage quantizes what the stages before it left over.

Zeghidour et al. 2021, "SoundStream" (arXiv 2107.03312), section III-C. With stages `restart_vq` it
is EnCodec's kind (arXiv 2210.13438), with `cosine_vq` and a `width` DAC's (arXiv 2306.06546).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import (
    DROPPED,
    Quantized,
    Quantizer,
    build_quantizer,
    check_codes,
    check_latents,
    register_quantizer,
)
from fsq_audio.quantizers.group import check_group_options, draw_prefixes


@register_quantizer("residual_vq")
class ResidualVQ(nn.Module):
    """G quantizers of one group each, one after the other: codes [B, G, T].

    The gradient is that of the composition, with each stage's own estimator: residuals are not
    detached. So stages that pass it straight through pass it once, and not G times: z - q(z) has a
    gradient of zero then. For the same reason only the first of such stages commits the encoder, as
    in the published code of EnCodec; those behind projections (DAC) and rotations all do. Losses
    are sums over the stages.
    """

    def __init__(
        self, *, stage: dict[str, Any], num_groups: int, group_dropout: float = 0.0
    ) -> None:
        """Builds the stages, alike but for their random numbers.

        Args:
            stage: `name` of a registered quantizer of one group, and its options.
            num_groups: G, the number of stages.
            group_dropout: as in `GroupFSQ`: probability to keep a random prefix, in training.

        Raises:
            ConfigError: an option is out of range, or the stage cannot be built or has groups.
        """
        super().__init__()
        check_group_options(num_groups=num_groups, group_dropout=group_dropout)
        name = stage.get("name")
        if not isinstance(name, str):
            raise ConfigError(f"a stage needs the name of a quantizer, got {stage}")
        options = {key: value for key, value in stage.items() if key != "name"}
        self.stages = nn.ModuleList([build_quantizer(name, options)])
        first = self._stage(0)
        if first.num_groups != 1:
            raise ConfigError(f"a stage must have one group, {name!r} has {first.num_groups}")
        self.stages.extend(build_quantizer(name, options) for _ in range(1, num_groups))
        self.num_groups = num_groups
        self.group_dropout = group_dropout
        self.channels = first.channels
        self.codebook_size = first.codebook_size
        self.bits_per_frame = num_groups * first.bits_per_frame

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents.

        Args:
            latents: [B, C, T], any strides.
            mask: [B, T] bool, True where a frame is real; handed to the stages.

        Returns:
            quantized [B, C, T], codes [B, G, T] (-1 where dropped in training), the stages' losses.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            residual = latents if latents.dtype == torch.float64 else latents.float()
            keep = self._draw(residual)
            parts: list[Tensor] = []
            codes: list[Tensor] = []
            losses: dict[str, Tensor] = {}
            for index in range(self.num_groups):
                seen = mask
                if keep is not None:
                    # A stage neither learns from an item that it is dropped for, nor counts it.
                    kept = keep[:, index, None].expand(-1, latents.shape[2])
                    seen = kept if mask is None else kept & mask
                result = self._stage(index)(residual, seen)
                residual = residual - result.quantized
                part, code = result.quantized, result.codes
                if keep is not None:
                    part = part * keep[:, index, None, None]
                    code = code.masked_fill(~keep[:, index, None, None], DROPPED)
                parts.append(part)
                codes.append(code)
                for name, loss in result.losses.items():
                    losses[name] = losses[name] + loss if name in losses else loss
            return Quantized(quantized=_total(parts), codes=torch.cat(codes, dim=1), losses=losses)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, g, T], g in 1..G, into quantized latents [B, C, T]; -1 adds nothing.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=self.num_groups, codebook_size=self.codebook_size)
        return _total(
            [
                self._stage(index).decode(codes[:, index : index + 1])
                for index in range(codes.shape[1])
            ]
        )

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {
            "name": "residual_vq",
            "num_groups": self.num_groups,
            "codebook_size": self.codebook_size,
            "stage": self._stage(0).describe(),
        }

    @torch.no_grad()
    def initialize(self, latents: Tensor, mask: Tensor | None = None) -> None:
        """Lets each stage begin from what the stages before it leave over; see `Quantizer`."""
        residual = latents if latents.dtype == torch.float64 else latents.float()
        for index in range(self.num_groups):
            stage = self.stages[index]
            initialize = getattr(stage, "initialize", None)
            if initialize is not None:
                initialize(residual, mask)
            is_training = stage.training
            residual = residual - stage.eval()(residual, mask).quantized
            stage.train(is_training)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"num_groups={self.num_groups}, group_dropout={self.group_dropout}"

    def _stage(self, index: int) -> Quantizer:
        return cast(Quantizer, self.stages[index])

    def _draw(self, latents: Tensor) -> Tensor | None:
        if not (self.training and self.group_dropout > 0):
            return None
        return draw_prefixes(
            len(latents), self.num_groups, self.group_dropout, device=latents.device
        )


def _total(parts: list[Tensor]) -> Tensor:
    """Adds [B, C, T] of the stages, first stage first so that bits repeat."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
