"""The vectors of a learnt codebook, and what their weights say of themselves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.quantizers.base import DROPPED
from fsq_audio.quantizers.exact import best_codes, fixed_sum, widened

MAX_CODES = 2**20


class Codebook(nn.Module):
    """K vectors of D scalars.

    Attributes:
        values: [K, D]; a parameter where the gradient trains it, else a buffer.
        learning_rate_factor: its learning rate in units of the model's (see `Projected`).
        is_averaged: whether an average of weights may average it; not where its vectors jump.
    """

    values: Tensor
    convention: Tensor

    def __init__(
        self,
        kind: str,
        *,
        codebook_size: int,
        dim: int,
        is_parameter: bool = True,
        learning_rate_factor: float = 1.0,
        is_averaged: bool = True,
    ) -> None:
        """Draws the vectors from a normal distribution: scalars begin with that spread, too.

        Args:
            kind: name of the quantizer, saved so that weights are not loaded into another one.
            codebook_size: K.
            dim: D.
            is_parameter: False for a buffer.
            learning_rate_factor: see the attribute.
            is_averaged: see the attribute.

        Raises:
            ConfigError: a size is out of range.
        """
        super().__init__()
        check_sizes(codebook_size=codebook_size, dim=dim)
        self.kind = kind
        self.learning_rate_factor = learning_rate_factor
        self.is_averaged = is_averaged
        values = torch.randn(codebook_size, dim)
        if is_parameter:
            self.values = nn.Parameter(values)
        else:
            self.register_buffer("values", values)
        identity = [zlib.crc32(kind.encode()), codebook_size, dim]
        self.register_buffer("convention", torch.tensor(identity, dtype=torch.int64))

    @property
    def size(self) -> int:
        """K."""
        return len(self.values)

    @property
    def dim(self) -> int:
        """D."""
        return self.values.shape[1]

    def nearest(self, rows: Tensor) -> Tensor:
        """The code [...] int64 of the vector nearest to each of the rows [..., D]."""
        values = widened(self.values)
        return best_codes(rows, 2 * values, bias=-fixed_sum(values * values))

    def lookup(self, codes: Tensor) -> Tensor:
        """The vectors [..., D] of codes [...], float32 or float64; zeros where dropped."""
        values = self.values if self.values.dtype == torch.float64 else self.values.float()
        found = functional.embedding(codes.clamp(min=0), values)
        return found.masked_fill((codes == DROPPED).unsqueeze(-1), 0.0)

    @torch.no_grad()
    def draw(self, rows: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """K random rows out of [N, D], tiled with a little noise where N < K (Jukebox's code).

        Raises:
            ConfigError: there are none.
        """
        if len(rows) == 0:
            raise ConfigError("a codebook cannot begin as latents of a batch without real frames")
        num_copies = -(-self.size // len(rows))
        if num_copies > 1:
            rows = rows.repeat(num_copies, 1)
            noise = torch.randn(rows.shape, generator=generator, dtype=torch.float32)
            rows = rows + (noise * 0.01 / self.dim**0.5).to(rows)
        order = torch.randperm(len(rows), generator=generator)[: self.size]
        return rows[order.to(rows.device)].to(self.values.dtype)

    def extra_repr(self) -> str:
        """The sizes, for printing."""
        return f"codebook_size={self.size}, dim={self.dim}"

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(f"{prefix}convention")
        if saved is not None and saved.tolist() != self.convention.tolist():
            _, size, dim = saved.tolist()
            raise CheckpointError(
                f"the weights are for another codebook ({size} codes of {dim} scalars), this model "
                f"has {self.kind!r} with {self.size} codes of {self.dim} scalars: build the model "
                f"from the configuration of the weights"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def check_sizes(*, codebook_size: int, dim: int) -> None:
    """Refuses sizes out of range.

    Raises:
        ConfigError: naming every fault.
    """
    faults = []
    if type(codebook_size) is not int or not 2 <= codebook_size <= MAX_CODES:
        faults.append(f"codebook_size must be from 2 to {MAX_CODES}, got {codebook_size!r}")
    if type(dim) is not int or dim < 1:
        faults.append(f"dim must be a positive integer, got {dim!r}")
    if faults:
        raise ConfigError("the codebook cannot be built: " + "; ".join(faults))
