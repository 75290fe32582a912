"""Vector quantization with moving averages and random restarts of codes that are hardly used.

Dhariwal et al. 2020, "Jukebox: A Generative Model for Music" (arXiv 2005.00341), section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fsq_audio.quantizers.base import Quantized, register_quantizer
from fsq_audio.quantizers.codebook import Codebook
from fsq_audio.quantizers.exact import widened
from fsq_audio.quantizers.one_codebook import OneCodebookQuantizer
from fsq_audio.quantizers.ranks import broadcast, is_source, sizes_of
from fsq_audio.quantizers.rows import (
    Gradient,
    check_numbers,
    commitment_loss,
    pass_gradient,
    real_rows,
    to_quantized,
    to_rows,
)
from fsq_audio.quantizers.statistics import ClusterAverages, Passes, StepCount


@register_quantizer("restart_vq")
class RestartVectorQuantizer(OneCodebookQuantizer):
    """EMA codebook, e = m / N, in which codes with N below a threshold become random latents.

    The codebook begins as random latents of the first batch (`initialize`). At the end of a step
    the averages move first; then codes with N < threshold become latents of this step, those of
    the first process that has any, and start again with N = 1 and m = e. Jukebox leaves N and m of
    such a code as they were: a few frames later it would be back where it died. The one loss is
    `commitment`.
    """

    def __init__(
        self,
        *,
        codebook_size: int,
        dim: int = 8,
        commitment: float = 0.02,
        decay: float = 0.99,
        threshold: float = 1.0,
        gradient: Gradient = "straight_through",
    ) -> None:
        """Draws a codebook from a normal distribution, for those who do not `initialize`.

        Args:
            codebook_size: K.
            dim: D, scalars of a vector.
            commitment: beta, the weight of the commitment term; 0.02 is the paper's.
            decay: g of the averages.
            threshold: average number of latents per step under which a code is restarted.
            gradient: how the gradient passes, see `pass_gradient`.

        Raises:
            ConfigError: an option is out of range.
        """
        super().__init__()
        check_numbers(gradient=gradient, commitment=commitment, threshold=threshold)
        self.codebook = Codebook(
            "restart_vq",
            codebook_size=codebook_size,
            dim=dim,
            is_parameter=False,
        )
        self.averages = ClusterAverages(self.codebook.values, decay=decay)
        self.step = StepCount()
        self.commitment, self.threshold = commitment, threshold
        self.gradient: Gradient = gradient
        self._passes = Passes()

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> Quantized:
        """Chooses the nearest vectors for rows [B, T, D]; in training, remembers both."""
        codes = self.codebook.nearest(rows)
        values = self.codebook.lookup(codes)
        if self.training:
            real = real_rows(rows, mask)
            self.averages.add(real, real_rows(codes, mask))
            self._passes.add(real)
        losses = {"commitment": self.commitment * commitment_loss(rows, values, mask)}
        return to_quantized(pass_gradient(rows, values, self.gradient), codes, losses)

    @torch.no_grad()
    def initialize(self, latents: Tensor, mask: Tensor | None = None) -> None:
        """Makes the codebook of random latents [B, D, T]; see `Quantizer`."""
        rows = real_rows(to_rows(latents), mask)
        self.codebook.values.copy_(self.codebook.draw(rows, generator=self.step.generator(salt=1)))
        everything = torch.ones_like(self.averages.counts, dtype=torch.bool)
        self.averages.restart(self.codebook.values, everything)

    @torch.no_grad()
    def end_step(self, optimizer: object = None, *, is_taken: bool = True) -> None:
        """Moves the codebook, then restarts codes; see `Quantizer`."""
        values = self.codebook.values
        rows = self._passes.take(like=values)
        if not is_taken:
            self.averages.forget()
            return
        self.step.count()
        if not self.averages.update():
            return
        counts = widened(self.averages.counts).clamp(min=1e-12)
        values.copy_(widened(self.averages.sums) / counts[:, None])
        unused = self.averages.counts < self.threshold
        # Every process has the same counts, and so takes the same way.
        if bool(unused.any()):
            source = next(rank for rank, size in enumerate(sizes_of(rows)) if size > 0)
            candidates = torch.zeros_like(values)
            if is_source(source):
                candidates = self.codebook.draw(rows, generator=self.step.generator(salt=2))
            candidates = broadcast(candidates, source=source)
            values[unused] = candidates[unused]
            self.averages.restart(values, unused)
