"""Vector quantization that k-means sets up again and again, early in training.

Lancucki et al. 2020, "Robust Training of Vector Quantized Bottleneck Models" (arXiv 2005.08520),
section 3: batch normalization, a learning rate of the codebook's own, data-dependent re-estimation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError
from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.exact import fixed_linear, widened
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.ranks import all_rows, broadcast, is_source
from fsq_audio.quantizers.rows import (
    Gradient,
    check_numbers,
    codebook_loss,
    commitment_loss,
    pass_gradient,
    real_rows,
    to_quantized,
)
from fsq_audio.quantizers.statistics import MaskedBatchNorm, Passes, StepCount


@register_quantizer("kmeans_vq")
class KMeansVectorQuantizer(OneCodebookQuantizer):
    """VQ behind a batch normalization and a projection, re-estimated by k-means++.

    While a reservoir of latents fills for the first time, latents pass unquantized (in training:
    codes are those of the codebook all the same). When it is full, k-means of the reservoir makes
    the codebook; this is repeated at `growth` times the step of the last time, on a reservoir that
    began anew, and ends after `num_estimations`. Between, and after, the gradient trains the
    codebook, with `learning_rate_factor` times the model's learning rate. Losses are those of
    `VectorQuantizer`, in code space, and zeros while latents pass.
    """

    num_estimated: Tensor
    next_step: Tensor

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        commitment: float = 0.25,
        learning_rate_factor: float = 10.0,
        reservoir_factor: int = 10,
        num_estimations: int = 5,
        growth: float = 2.0,
        iterations: int = 30,
        gradient: Gradient = "straight_through",
    ) -> None:
        """Draws a codebook from a normal distribution, until k-means makes one.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            commitment: beta, the weight of the commitment term.
            learning_rate_factor: learning rate of the codebook in units of the model's.
            reservoir_factor: latents in the reservoir, in units of K.
            num_estimations: how often k-means is due; 0 is never, and no bypass.
            growth: of the step at which it is due.
            iterations: of k-means, at most.
            gradient: how the gradient passes, see `pass_gradient`.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(
            gradient=gradient, commitment=commitment, learning_rate_factor=learning_rate_factor
        )
        if reservoir_factor < 1 or num_estimations < 0 or not growth > 1 or iterations < 1:
            raise ConfigError(
                f"k-means needs reservoir_factor >= 1, num_estimations >= 0, growth > 1 and "
                f"iterations >= 1, got {reservoir_factor}, {num_estimations}, {growth}, "
                f"{iterations}"
            )
        self.norm = MaskedBatchNorm(dim)
        self.projection = nn.Linear(dim, dim)
        nn.init.eye_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.codebook = Codebook(
            "kmeans_vq",
            codebook_size=codebook_size,
            dim=dim,
            learning_rate_factor=learning_rate_factor,
            # An average over a re-estimation would mix vectors that have nothing in common.
            is_averaged=False,
        )
        # Nothing is due: nothing is kept.
        num_kept = reservoir_factor * codebook_size if num_estimations else 0
        self.reservoir = Reservoir(num_kept, dim)
        self.step = StepCount()
        self.register_buffer("num_estimated", torch.zeros((), dtype=torch.int64))
        self.register_buffer("next_step", torch.zeros((), dtype=torch.int64))
        self.commitment = commitment
        self.num_estimations, self.growth, self.iterations = num_estimations, growth, iterations
        self.gradient: Gradient = gradient
        self._passes = Passes()

    @property
    def is_bypassed(self) -> bool:
        """Whether latents pass unquantized in training."""
        return self.num_estimations > 0 and int(self.num_estimated) == 0

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Projects rows [B, T, D] and chooses the nearest vectors; in training, remembers rows."""
        rows = self._project(self.norm(rows, mask))
        codes = self.codebook.nearest(rows)
        values = self.codebook.lookup(codes)
        if self.training and int(self.num_estimated) < self.num_estimations:
            self._passes.add(real_rows(rows, mask))
        # Zeros, and not nothing: every parameter must get a gradient in every process.
        share = 0.0 if self.training and self.is_bypassed else 1.0
        losses = {
            "codebook": share * codebook_loss(rows, values, mask),
            "commitment": share * self.commitment * commitment_loss(rows, values, mask),
        }
        passed = rows if share == 0.0 else pass_gradient(rows, values, self.gradient)
        return to_quantized(passed, codes, losses)

    @torch.no_grad()
    def end_step(self, optimizer: Any = None, *, is_taken: bool = True) -> None:
        """Fills the reservoir, and re-estimates the codebook where that is due.

        Args:
            optimizer: of the codebook; what it knows of the old vectors is forgotten.
            is_taken: see `Quantizer`.
        """
        rows = self._passes.take(like=self.codebook.values)
        if not is_taken:
            return
        self.step.count()
        if int(self.num_estimated) == self.num_estimations:
            return
        self.reservoir.add(all_rows(rows), generator=self.step.generator(salt=3))
        is_due = self.reservoir.is_full if self.is_bypassed else int(self.step) >= self.next_step
        if is_due:
            if self.reservoir.num_kept >= self.codebook_size:
                self._estimate(optimizer)
            self.reservoir.clear()
            self.num_estimated += 1
            self.next_step.fill_(math.ceil(self.growth * int(self.step)))

    def _project(self, rows: Tensor) -> Tensor:
        weight, bias = self.projection.weight, self.projection.bias
        if self.training:
            return nn.functional.linear(rows, weight.to(rows.dtype), bias.to(rows.dtype))
        return fixed_linear(rows, weight, bias)

    def _estimate(self, optimizer: Any) -> None:
        values = self.codebook.values
        centers = torch.zeros_like(values)
        if is_source(0):
            rows = self.reservoir.contents()
            centers = cluster(
                rows, num_clusters=len(values), iterations=self.iterations, seed=int(self.step)
            ).to(values)
        values.copy_(broadcast(centers, source=0))
        state = {} if optimizer is None else optimizer.state.get(values, {})
        for moment in state.values():
            if isinstance(moment, Tensor):
                moment.zero_()


class Reservoir(nn.Module):
    """A uniform sample of all rows that it has been given: algorithm R (Vitter 1985).

    Attributes:
        rows: [n, D]; those beyond `num_kept` are zero.
        num_seen: int64 scalar.
    """

    rows: Tensor
    num_seen: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.int64))

    @property
    def num_kept(self) -> int:
        """How many rows it holds."""
        return min(int(self.num_seen), len(self.rows))

    @property
    def is_full(self) -> bool:
        """Whether each further row drives out another."""
        return self.num_kept == len(self.rows)

    def contents(self) -> Tensor:
        """The rows [num_kept, D]."""
        return self.rows[: self.num_kept]

    def clear(self) -> None:
        """Forgets everything; the latents of a training do not ship with its model."""
        self.rows.zero_()
        self.num_seen.zero_()

    @torch.no_grad()
    def add(self, rows: Tensor, *, generator: torch.Generator) -> None:
        """Shows it rows [N, D], one after the other."""
        size, before = len(self.rows), int(self.num_seen)
        numbers = torch.arange(before, before + len(rows))
        draws = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        # Row i goes to place i while there is room, then to one of 0 .. i, perhaps out of range.
        places = torch.where(numbers < size, numbers, (draws * (numbers + 1)).long())
        chosen = places < size
        # Where several rows go to one place, the last stays.
        last = torch.full((size,), -1).scatter_reduce(
            0, places[chosen], chosen.nonzero()[:, 0], "amax"
        )
        is_new = last >= 0
        self.rows[is_new.to(rows.device)] = rows[last[is_new].to(rows.device)].to(self.rows.dtype)
        self.num_seen += len(rows)


def cluster(rows: Tensor, *, num_clusters: int, iterations: int, seed: int) -> Tensor:
    """The centers [K, D] that k-means++ and Lloyd's algorithm find in rows [N, D].

    On one thread: several would add in an order of their own, and a resumed run end elsewhere.
    """
    # Imported late: nothing else of the library needs them.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    estimator = KMeans(
        n_clusters=num_clusters,
        init="k-means++",
        n_init=1,
        max_iter=iterations,
        random_state=seed % 2**32,
    )
    with threadpool_limits(limits=1):
        estimator.fit(widened(rows).cpu().numpy())
    return torch.from_numpy(estimator.cluster_centers_)
