"""Independent FSQs on contiguous blocks of channels, in one pass: codes [B, G, T]."""

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
from fsq_audio.quantizers.bounds import Bound
from fsq_audio.quantizers.fsq import FSQ

MAX_GROUPS = 2**10
"""Far beyond use: weights do not bound what a stranger's configuration asks for."""


@register_quantizer("group_fsq")
class GroupFSQ(nn.Module):
    """G FSQs of the same levels; group g takes channels g*D .. (g+1)*D - 1.

    The codes of the groups are never merged into one number: 1000^8 does not fit 64 bits.
    """

    def __init__(
        self,
        *,
        levels: Sequence[int],
        num_groups: int,
        bound: Bound = "paper",
        noise: float = 0.0,
        group_dropout: float = 0.0,
    ) -> None:
        """Prepares one grid for all groups.

        Args:
            levels: L of each of the D dimensions of a group.
            num_groups: G.
            bound: the convention, see `FSQ`.
            noise: see `FSQ`; one draw per batch element, for all of its groups.
            group_dropout: probability in [0, 1], in training only and per batch element, to keep
                a random prefix of 1..G groups; the others get value 0 and code -1. The first g
                groups can then be decoded for every g.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_group_options(num_groups=num_groups, group_dropout=group_dropout)
        self.fsq = FSQ(levels=levels, bound=bound, noise=noise)
        self.num_groups = num_groups
        self.group_dropout = group_dropout
        self.channels = num_groups * self.fsq.channels
        self.codebook_size = self.fsq.codebook_size
        self.bits_per_frame = num_groups * self.fsq.bits_per_frame

    @property
    def levels(self) -> tuple[int, ...]:
        """L of each dimension of a group, as configured."""
        return self.fsq.levels

    @property
    def effective_levels(self) -> tuple[int, ...]:
        """The number of values that each dimension of a group really takes."""
        return self.fsq.effective_levels

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents.

        Args:
            latents: [B, G*D, T], any strides.
            mask: [B, T] bool, True where a frame is real; changes nothing here.

        Returns:
            quantized [B, G*D, T], codes [B, G, T] (-1 where dropped in training), no losses.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        values, codes = self.fsq.quantize(
            latents.reshape(latents.shape[0], self.num_groups, self.fsq.channels, latents.shape[2])
        )
        if self.training and self.group_dropout > 0:
            keep = draw_prefixes(
                len(latents), self.num_groups, self.group_dropout, device=latents.device
            )
            values = values * keep[:, :, None, None]
            codes = codes.masked_fill(~keep[:, :, None], DROPPED)
        return Quantized(quantized=values.flatten(1, 2), codes=codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes into quantized latents.

        Args:
            codes: [B, g, T] with g in 1..G; the missing groups and codes of -1 count as dropped.

        Returns:
            [B, G*D, T]; the channels of a dropped group are zero.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=self.num_groups, codebook_size=self.codebook_size)
        values = self.fsq.codes_to_values(codes).flatten(1, 2)
        return nn.functional.pad(values, (0, 0, 0, self.channels - values.shape[1]))

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {**self.fsq.describe(), "name": "group_fsq", "num_groups": self.num_groups}

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"num_groups={self.num_groups}, group_dropout={self.group_dropout}"


def draw_prefixes(
    num_samples: int, num_groups: int, group_dropout: float, *, device: torch.device
) -> Tensor:
    """Draws which groups each batch element keeps: bool [B, G], a prefix of at least one."""
    is_cut = torch.rand(num_samples, 1, device=device) < group_dropout
    num_kept = torch.randint(1, num_groups + 1, (num_samples, 1), device=device)
    return ~is_cut | (torch.arange(num_groups, device=device) < num_kept)


def check_group_options(*, num_groups: int, group_dropout: float) -> None:
    """Refuses group options out of range.

    Raises:
        ConfigError: num_groups is no integer from 1 to MAX_GROUPS, or group_dropout not in [0, 1].
    """
    faults: list[str] = []
    if type(num_groups) is not int or not 1 <= num_groups <= MAX_GROUPS:
        faults.append(f"num_groups must be an integer from 1 to {MAX_GROUPS}, got {num_groups!r}")
    if not 0.0 <= group_dropout <= 1.0:
        faults.append(f"group_dropout must lie in [0, 1], got {group_dropout}")
    if faults:
        raise ConfigError("the groups cannot be built: " + "; ".join(faults))
