"""What a step has seen: collected over its passes, shared between processes, used at its end."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.exact import widened
from fsq_audio.quantizers.ranks import all_sum

MAX_PASSES = 4096


class Passes:
    """Rows that the passes of one step leave until its end; no part of a checkpoint."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def add(self, rows: Tensor) -> None:
        """Keeps the rows [N, D] of a pass.

        Raises:
            ConfigError: nobody ever ends the step.
        """
        if len(self._rows) == MAX_PASSES:
            raise ConfigError(
                f"{MAX_PASSES} passes in training and not one end of a step: call end_step after "
                f"each step of the optimizer, or eval() where nothing is trained"
            )
        self._rows.append(rows.detach())

    def take(self, *, like: Tensor) -> Tensor:
        """Hands the rows [N, D] over and forgets them; D and device are those of `like` [K, D]."""
        rows = torch.cat([like.new_zeros(0, like.shape[1]), *self._rows])
        self._rows.clear()
        return rows


class ClusterAverages(nn.Module):
    """Moving averages of how many rows each code gets, and of their sum.

    van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1: N = g N + (1 - g) n and
    m = g m + (1 - g) sum z, from N = 1 and m = e.

    Attributes:
        counts: N, [K].
        sums: m, [K, D].
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, values: Tensor, *, decay: float) -> None:
        """Starts from the vectors [K, D] of a codebook; decay is g in [0, 1)."""
        super().__init__()
        if not 0 <= decay < 1:
            raise ConfigError(f"decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("counts", torch.ones(len(values)))
        self.register_buffer("sums", values.detach().clone())
        self._counts: Tensor | None = None
        self._sums: Tensor | None = None

    @torch.no_grad()
    def restart(self, values: Tensor, chosen: Tensor) -> None:
        """Makes the chosen codes [K] bool new ones: a count of 1, a sum that is their vector."""
        self.counts[chosen] = 1.0
        self.sums[chosen] = values[chosen].to(self.sums.dtype)

    @torch.no_grad()
    def add(self, rows: Tensor, codes: Tensor) -> None:
        """Collects rows [N, D] and their codes [N]."""
        if self._counts is None or self._sums is None:
            self._counts = torch.zeros_like(widened(self.counts))
            self._sums = torch.zeros_like(widened(self.sums))
        self._counts += torch.bincount(codes, minlength=len(self.counts))
        self._sums.index_add_(0, codes, widened(rows))

    def forget(self) -> None:
        """Drops what was collected."""
        self._counts = self._sums = None

    @torch.no_grad()
    def update(self) -> bool:
        """Moves the averages by what all processes collected; False where that is nothing."""
        counts = torch.zeros_like(widened(self.counts)) if self._counts is None else self._counts
        sums = torch.zeros_like(widened(self.sums)) if self._sums is None else self._sums
        self.forget()
        counts, sums = all_sum(counts), all_sum(sums)
        if not bool(counts.sum() > 0):
            return False
        self.counts.copy_(self.decay * widened(self.counts) + (1 - self.decay) * counts)
        self.sums.copy_(self.decay * widened(self.sums) + (1 - self.decay) * sums)
        return True


class StepCount(nn.Module):
    """How many steps were taken; saved with the weights.

    Attributes:
        steps: int64 scalar.
    """

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def __int__(self) -> int:
        return int(self.steps)

    def count(self) -> None:
        """Counts one more."""
        self.steps += 1

    def generator(self, *, salt: int) -> torch.Generator:
        """A generator that is a function of the step: it has no state of its own to save."""
        return torch.Generator().manual_seed(1_000_003 * int(self.steps) + salt)


class Annealing(nn.Module):
    """A temperature that falls as max(start exp(-decay t), lowest), t the steps that were taken."""

    def __init__(self, *, start: float, lowest: float, decay: float) -> None:
        """Begins at step 0.

        Raises:
            ConfigError: the temperatures are not 0 < lowest <= start, or decay is negative.
        """
        super().__init__()
        if not (0 < lowest <= start < math.inf and 0 <= decay < math.inf):
            raise ConfigError(
                f"a temperature needs 0 < tau_min <= tau and tau_decay >= 0, got tau {start}, "
                f"tau_min {lowest}, tau_decay {decay}"
            )
        self.start, self.lowest, self.decay = start, lowest, decay
        self.step = StepCount()

    @property
    def temperature(self) -> float:
        """At this step."""
        return max(self.start * math.exp(-self.decay * int(self.step)), self.lowest)

    def end_step(self, optimizer: object = None, *, is_taken: bool = True) -> None:
        """Counts the step, if it was taken."""
        if is_taken:
            self.step.count()


class MaskedBatchNorm(nn.Module):
    """Batch normalization over real frames only, whose running statistics are all processes'.

    Ioffe and Szegedy 2015 (arXiv 1502.03167). The running statistics move once a step, by all of
    its passes; normalization in training is by the pass and the process, as it is everywhere.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self._moments: Tensor | None = None

    def forward(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalizes rows [B, T, D]."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            real = rows.flatten(0, 1) if mask is None else rows[mask]
            self._collect(real.detach())
            if len(real) > 1:
                var, mean = torch.var_mean(real, dim=0, correction=0)
        mean, var = mean.to(rows.dtype), var.to(rows.dtype)
        scale = self.weight.to(rows.dtype) / (var + self.eps).sqrt()
        return (rows - mean) * scale + self.bias.to(rows.dtype)

    @torch.no_grad()
    def end_step(self, optimizer: object = None, *, is_taken: bool = True) -> None:
        """Moves the running statistics, if the step was taken."""
        moments, self._moments = self._moments, None
        if not is_taken:
            return
        if moments is None:
            moments = widened(self.running_mean).new_zeros(3, len(self.running_mean))
        number, total, squares = all_sum(moments)
        if float(number[0]) < 2:
            return
        mean = total / number
        var = (squares - number * mean.square()) / (number - 1)
        for running, new in ((self.running_mean, mean), (self.running_var, var.clamp(min=0))):
            running.copy_((1 - self.momentum) * widened(running) + self.momentum * new)

    def _collect(self, rows: Tensor) -> None:
        wide = widened(rows)
        number = torch.full_like(wide.sum(dim=0), len(rows))
        moments = torch.stack([number, wide.sum(dim=0), wide.square().sum(dim=0)])
        self._moments = moments if self._moments is None else self._moments + moments
