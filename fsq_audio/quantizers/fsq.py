"""Finite scalar quantization: bound each scalar, round it, read the digits as one number.

Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made Simple" (arXiv 2309.15505).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.quantizers.base import (
    DROPPED,
    Quantized,
    check_codes,
    check_latents,
    register_quantizer,
)
from fsq_audio.quantizers.bounds import (
    BOUNDS,
    Bound,
    Grid,
    check_options,
    effective_levels,
    make_grid,
)

MAX_LISTED_CODES = 2**20


@register_quantizer("fsq")
class FSQ(nn.Module):
    """One group of finite scalars: [B, D, T] -> codes [B, 1, T].

    The codebook is a grid: nothing is learnt and there is no auxiliary loss. All arithmetic is
    float32 (float64 stays float64) with autocast off, digits and codes are integers, and the
    values are computed from the digits, so that `decode(codes)` gives them back bit for bit.

    Conventions (`bound`), with L levels:
        paper: the paper's code; L levels, odd symmetric, even in [-1, 1 - 2/L].
        note: round(floor(L/2) tanh z); an even L has L + 1 levels (see `effective_levels`).
        symmetric: L levels in [-1, 1] with both ends; the only choice for L = 2.
        ifsq: round((L-1)/2 tanh(0.8 z)), odd L only (arXiv 2601.17124).
    """

    convention: Tensor

    def __init__(
        self, *, levels: Sequence[int], bound: Bound = "paper", noise: float = 0.0
    ) -> None:
        """Prepares the grid.

        Args:
            levels: L of each dimension; dimension 0 is the least significant digit of a code.
            bound: the convention.
            noise: probability p in [0, 2/3], in training only and drawn per batch element: with
                p, uniform noise of up to half a step takes the place of rounding; with p / 2 the
                bounded scalars pass unquantized; else they are quantized. 0 is off; 0.5 is the
                half, quarter, quarter of StableCodec (arXiv 2411.19842). Codes are always those
                of the rounding, so they never leave their range.

        Raises:
            ConfigError: levels, bound or noise cannot be used; all faults in one message.
        """
        super().__init__()
        check_options(levels, bound, noise)
        self.levels = tuple(levels)
        self.bound: Bound = bound
        self.noise = noise
        self.effective_levels = effective_levels(levels, bound)
        self.codebook_size = math.prod(self.effective_levels)
        self.channels = len(self.levels)
        self.num_groups = 1
        self.bits_per_frame = math.log2(self.codebook_size)
        # Saved with the weights, so that weights cannot be loaded into another grid.
        identity = [BOUNDS.index(bound), *self.levels]
        self.register_buffer("convention", torch.tensor(identity, dtype=torch.int64))
        # Follows `.double()`, so that `decode` knows the dtype of the module around it.
        self.register_buffer("_follows_dtype", torch.zeros(()), persistent=False)
        self._cache: dict[tuple[torch.device, torch.dtype], Grid] = {}
        self._basis_cache: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents.

        Args:
            latents: [B, D, T], any strides.
            mask: [B, T] bool, True where a frame is real; FSQ keeps no statistics, so padded
                frames change nothing.

        Returns:
            quantized [B, D, T] in [-1, 1] (float32 or float64), codes [B, 1, T], no losses.

        Raises:
            ConfigError: a wrong shape or dtype.
            LatentsError: NaN or infinity in the latents.
        """
        check_latents(latents, channels=self.channels, mask=mask)
        values, codes = self.quantize(latents.unsqueeze(1))
        return Quantized(quantized=values.squeeze(1), codes=codes)

    def quantize(self, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Quantizes checked scalars; the part that all groups share.

        Args:
            scalars: [B, ..., D, T], finite.

        Returns:
            values [B, ..., D, T] with the straight-through gradient, and codes [B, ..., T].
        """
        with torch.autocast(device_type=scalars.device.type, enabled=False):
            bounded = self.bounded(scalars)
            digits = self.round_to_digits(bounded.detach())
            values = self.digits_to_values(digits, dtype=bounded.dtype)
            if bounded.requires_grad or self._is_noisy:
                soft = bounded / self._grid(bounded).center
                # Adds an exact 0: `soft + (values - soft).detach()` would round the values.
                values = values + (soft - soft.detach())
                if self._is_noisy:
                    values = self._with_noise(values, soft, bounded)
            return values, self.digits_to_codes(digits)

    def bounded(self, latents: Tensor) -> Tensor:
        """Bounds latents [..., D, T] to the grid, in steps: what is rounded (paper, section 3)."""
        scalars = latents if latents.dtype == torch.float64 else latents.float()
        grid = self._grid(scalars)
        if grid.slope != 1.0:
            scalars = scalars * grid.slope
        return torch.tanh(scalars + grid.shift) * grid.half - grid.offset

    def latents_to_digits(self, latents: Tensor) -> Tensor:
        """Rounds latents [..., D, T] to digits [..., D, T] int64 in [0, effective level)."""
        with torch.autocast(device_type=latents.device.type, enabled=False):
            return self.round_to_digits(self.bounded(latents.detach()))

    def round_to_digits(self, bounded: Tensor) -> Tensor:
        """Rounds bounded scalars [..., D, T] (in steps) to digits [..., D, T] int64."""
        lift = self._grid(bounded).lift
        if self.bound == "symmetric":
            return torch.floor(bounded + lift).to(torch.int64)
        return (torch.round(bounded) + lift).to(torch.int64)

    def digits_to_codes(self, digits: Tensor) -> Tensor:
        """Packs digits [..., D, T] int64 into codes [..., T] int64, dimension 0 lowest."""
        basis, _ = self._basis(digits.device)
        return (digits * basis).sum(dim=-2)

    def codes_to_digits(self, codes: Tensor) -> Tensor:
        """Unpacks codes [..., T] int64 in [0, K) into digits [..., D, T] int64."""
        basis, sizes = self._basis(codes.device)
        quotient = torch.div(codes.unsqueeze(-2), basis, rounding_mode="floor")
        return torch.remainder(quotient, sizes)

    def digits_to_values(self, digits: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Turns digits [..., D, T] int64 into codebook values [..., D, T] in [-1, 1].

        `dtype` is float32 unless the module was converted to float64 or says otherwise.
        """
        values = digits.to(dtype or self._value_dtype)
        grid = self._grid(values)
        return (values - grid.center) / grid.center

    def codes_to_values(self, codes: Tensor) -> Tensor:
        """Turns checked codes [..., T] into values [..., D, T]; a dropped code gives zeros."""
        values = self.digits_to_values(self.codes_to_digits(codes))
        return values.masked_fill((codes == DROPPED).unsqueeze(-2), 0.0)

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, 1, T] into quantized latents [B, D, T]; -1 gives zeros.

        Raises:
            TokenError: a wrong shape or dtype, or a code outside [-1, K).
        """
        codes = check_codes(codes, num_groups=1, codebook_size=self.codebook_size)
        return self.codes_to_values(codes).squeeze(1)

    def codebook(self) -> Tensor:
        """Lists the values of all codes as [K, D], for inspection.

        Raises:
            ConfigError: there are more than 2^20 codes.
        """
        if self.codebook_size > MAX_LISTED_CODES:
            raise ConfigError(
                f"a codebook of {self.codebook_size} codes is not listed (at most "
                f"{MAX_LISTED_CODES}): call decode on the codes that you need"
            )
        codes = torch.arange(self.codebook_size, device=self.convention.device)
        return self.codes_to_values(codes).T

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on."""
        return {
            "name": "fsq",
            "levels": list(self.levels),
            "effective_levels": list(self.effective_levels),
            "bound": self.bound,
            "num_groups": self.num_groups,
            "codebook_size": self.codebook_size,
        }

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"levels={list(self.levels)}, bound={self.bound!r}, noise={self.noise}"

    @property
    def _is_noisy(self) -> bool:
        return self.training and self.noise > 0

    @property
    def _value_dtype(self) -> torch.dtype:
        is_double = self._follows_dtype.dtype == torch.float64
        return torch.float64 if is_double else torch.float32

    def _with_noise(self, values: Tensor, soft: Tensor, bounded: Tensor) -> Tensor:
        draw = torch.rand([bounded.shape[0]] + [1] * (bounded.dim() - 1), device=bounded.device)
        half_step = (torch.rand_like(bounded) - 0.5) / self._grid(bounded).center
        values = torch.where(draw < 1.5 * self.noise, soft, values)
        return torch.where(draw < self.noise, soft + half_step, values)

    def _grid(self, like: Tensor) -> Grid:
        key = (like.device, like.dtype)
        if key not in self._cache:
            # A cache filled in inference mode would break the gradients of a later training.
            with torch.inference_mode(False):
                self._cache[key] = make_grid(
                    self.levels, self.bound, device=like.device, dtype=like.dtype
                )
        return self._cache[key]

    def _basis(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._basis_cache:
            sizes = self.effective_levels
            basis = [math.prod(sizes[:dim]) for dim in range(len(sizes))]
            with torch.inference_mode(False):
                self._basis_cache[device] = (
                    torch.tensor(basis, dtype=torch.int64, device=device)[:, None],
                    torch.tensor(sizes, dtype=torch.int64, device=device)[:, None],
                )
        return self._basis_cache[device]

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(f"{prefix}convention")
        if saved is not None and saved.tolist() != self.convention.tolist():
            index, *levels = saved.tolist()
            bound = BOUNDS[index] if 0 <= index < len(BOUNDS) else index
            raise CheckpointError(
                f"the weights are for FSQ levels {levels} with bound {bound!r}, this "
                f"model has levels {list(self.levels)} with bound {self.bound!r}: build the model "
                f"from the configuration of the weights"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
