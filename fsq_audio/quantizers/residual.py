"""Residual FSQ: each group refines what the groups before it left over, codes [B, G, T]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import (
    DROPPED,
    Quantized,
    check_codes,
    check_latents,
    register_quantizer,
)
from fsq_audio.quantizers.fsq import FSQ
from fsq_audio.quantizers.group import check_group_options, draw_prefixes

MAX_REFINEMENT = 2**23  # steps that float32 still tells apart between 0 and 1


@register_quantizer("residual_fsq")
class ResidualFSQ(nn.Module):
    """Stages of FSQ on the same D scalars: stage i has steps (L-1)^i times finer.

    The scalars are bounded once, x = tanh z in [-1, 1], and each stage rounds what is left to L
    values that reach both ends (the symmetric convention). Rounding leaves at most half a step,
    1 / (L-1), which is the range of the next stage: the error after g groups is at most
    (L-1)^-g. There is one straight-through estimator around the whole stack; one around each
    stage would count the gradient G times.
    """

    ratio: Tensor

    def __init__(
        self, *, levels: Sequence[int], num_groups: int, group_dropout: float = 0.0
    ) -> None:
        """Prepares the grid that the stages share.

        Args:
            levels: L >= 3 of each of the D dimensions.
            num_groups: G, the number of stages.
            group_dropout: as in `GroupFSQ`: probability to keep a random prefix, in training.

        Raises:
            ConfigError: an option is out of range, 2 levels (which do not refine), or stages
                finer than float32.
        """
        super().__init__()
        check_group_options(num_groups=num_groups, group_dropout=group_dropout)
        self.fsq = FSQ(levels=levels, bound="symmetric")
        if min(levels) < 3:
            raise ConfigError(
                f"residual FSQ needs levels >= 3, got {list(levels)}: (L-1)^-i does not shrink"
            )
        if (max(levels) - 1) ** num_groups > MAX_REFINEMENT:
            raise ConfigError(
                f"{num_groups} stages of {max(levels)} levels are finer than float32 (at most "
                f"(L-1)^G = {MAX_REFINEMENT}): the last ones would code rounding noise"
            )
        self.num_groups = num_groups
        self.group_dropout = group_dropout
        self.channels = self.fsq.channels
        self.codebook_size = self.fsq.codebook_size
        self.bits_per_frame = num_groups * self.fsq.bits_per_frame
        ratio = torch.tensor([num - 1 for num in levels], dtype=torch.int64)[:, None]
        self.register_buffer("ratio", ratio, persistent=False)  # integers: no `.half()` harms it

    @property
    def levels(self) -> tuple[int, ...]:
        """L of each dimension."""
        return self.fsq.levels

    @property
    def effective_levels(self) -> tuple[int, ...]:
        """Same as `levels`."""
        return self.fsq.effective_levels

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents.

        Args:
            latents: [B, D, T], any strides.
            mask: [B, T] bool, True where a frame is real; changes nothing here.

        Returns:
            quantized [B, D, T], codes [B, G, T] (-1 where dropped in training), no losses.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        with torch.autocast(device_type=latents.device.type, enabled=False):
            half = self.ratio / 2
            bounded = self.fsq.bounded(latents)
            soft = bounded / half.to(bounded.dtype)
            digits = self._stages(soft.detach())
            codes = self.fsq.digits_to_codes(digits)
            if self.training and self.group_dropout > 0:
                keep = draw_prefixes(
                    len(latents), self.num_groups, self.group_dropout, device=latents.device
                )
                codes = codes.masked_fill(~keep[:, :, None], DROPPED)
            values = self._sum_of_stages(digits, codes, dtype=soft.dtype)
            if soft.requires_grad:
                values = values + (soft - soft.detach())  # an exact 0 that carries the gradient
            return Quantized(quantized=values, codes=codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, g, T], g in 1..G, into quantized latents [B, D, T]; -1 adds nothing.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=self.num_groups, codebook_size=self.codebook_size)
        return self._sum_of_stages(self.fsq.codes_to_digits(codes), codes, dtype=None)

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {**self.fsq.describe(), "name": "residual_fsq", "num_groups": self.num_groups}

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"num_groups={self.num_groups}, group_dropout={self.group_dropout}"

    def _stages(self, scalars: Tensor) -> Tensor:
        """Rounds scalars [B, D, T] in [-1, 1] stage by stage: digits [B, G, D, T]."""
        ratio = self.ratio.to(scalars.dtype)
        residual, growth, stages = scalars, torch.ones_like(ratio), []
        for _ in range(self.num_groups):
            steps = residual * (growth * ratio / 2)
            # Needs no clamp: an outermost digit holds for half a step beyond its value, and
            # MAX_REFINEMENT keeps the rounding errors of a residual below that.
            digits = self.fsq.round_to_digits(steps)
            residual = residual - self.fsq.digits_to_values(digits, dtype=scalars.dtype) / growth
            growth = growth * ratio
            stages.append(digits)
        return torch.stack(stages, dim=1)

    def _sum_of_stages(self, digits: Tensor, codes: Tensor, *, dtype: torch.dtype | None) -> Tensor:
        """Adds the values of digits [B, g, D, T], first stage first so that bits repeat."""
        values = self.fsq.digits_to_values(digits, dtype=dtype)
        values = values.masked_fill((codes == DROPPED).unsqueeze(-2), 0.0)
        ratio = self.ratio.to(values.dtype)
        total, growth = values[:, 0], ratio
        for stage in range(1, values.shape[1]):
            total = total + values[:, stage] / growth
            growth = growth * ratio
        return total
