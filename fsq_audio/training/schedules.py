"""Learning rates as functions of the step, so that a resumed run may be made longer or shorter."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from fsq_audio.training.config import OptimizerConfig


def learning_rate_factor(step: int, *, warmup_steps: int, max_steps: int) -> float:
    """Linear warm-up to 1, then half a cosine to 0 at the last step."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup_steps) / max(max_steps - warmup_steps, 1))


def warmup_cosine(optimizer: object, config: OptimizerConfig, *, max_steps: int) -> LambdaLR:
    """The schedule of one optimizer.

    Not to be prepared by Accelerate, which would step it once per process.

    Args:
        optimizer: a torch optimizer.
        config: its warm-up.
        max_steps: where the rate reaches zero.
    """

    def factor(step: int) -> float:
        warmup = config.warmup_steps
        return learning_rate_factor(step, warmup_steps=warmup, max_steps=max_steps)

    return LambdaLR(optimizer, factor)  # type: ignore[arg-type]


def parameter_groups(module: nn.Module, *, learning_rate: float) -> list[dict[str, Any]]:
    """The parameters of a module by their learning rate, for an optimizer.

    A module inside may have a `learning_rate_factor`, that of its own parameters.
    """
    groups: dict[float, dict[nn.Parameter, None]] = {1.0: {}}
    for part in module.modules():
        factor = float(getattr(part, "learning_rate_factor", 1.0))
        groups.setdefault(factor, {}).update(dict.fromkeys(part.parameters(recurse=False)))
    return [
        {"params": list(parameters), "lr": factor * learning_rate}
        for factor, parameters in groups.items()
        if parameters
    ]
