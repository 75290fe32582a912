"""Weights as shares of the gradient that reaches the waveform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class GradientBalancer:
    """Scales each loss so that its weight is its share of the gradient (Defossez et al. 2022, 3.4).

    The gradient of each loss with respect to the waveform is divided by a running mean of its norm
    per item, then weighted. So losses of any scale keep their proportion for the whole run: an
    adversarial loss cannot outgrow the spectral ones.

    Args:
        decay: of the running means, per step; they are corrected for their start at zero.
        average: makes a tensor the mean over processes, so that all of them scale alike.
    """

    def __init__(self, *, decay: float = 0.999, average: Callable[[Tensor], Tensor]) -> None:
        self.decay = decay
        self.average = average
        self.norms: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def combine(self, losses: Mapping[str, tuple[float, Tensor]], output: Tensor) -> Tensor:
        """One loss whose gradient is the balanced one.

        Args:
            losses: name -> (weight, scalar), each a function of `output`; weight 0 is left out.
            output: `[B, S]`, with gradient.

        Returns:
            A scalar whose value is meaningless; its gradient has a norm per item near the share
            of each weight in their sum. Where a norm is not finite, so is the scalar.
        """
        used = {name: pair for name, pair in losses.items() if pair[0] > 0}
        total = sum(weight for weight, _ in used.values())
        gradients = [
            torch.autograd.grad(loss, output, retain_graph=True)[0] for _, loss in used.values()
        ]
        batch = len(output)
        # A loss is a mean over items: times the batch, an item's gradient is that of its own loss.
        norms = torch.stack([gradient.norm(dim=-1).mean() * batch for gradient in gradients])
        balanced = torch.zeros_like(output)
        for (name, (weight, _)), gradient, norm in zip(
            used.items(), gradients, self.average(norms).tolist(), strict=True
        ):
            balanced += (weight / total / self._follow(name, norm)) * gradient
        return (output * balanced).sum()

    def _follow(self, name: str, norm: float) -> float:
        count = self.counts.get(name, 0) + 1
        mean = self.decay * self.norms.get(name, 0.0) + (1 - self.decay) * norm
        if mean - mean == 0:  # finite: a step that is skipped must not spoil those after it
            self.norms[name], self.counts[name] = mean, count
        return max(mean / (1 - self.decay**count), 1e-12)

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"norms": dict(self.norms), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints."""
        self.norms, self.counts = dict(state["norms"]), dict(state["counts"])
