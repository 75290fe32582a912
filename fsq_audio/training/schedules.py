"""Learning rates as functions of the step, so that a resumed run may be made longer or shorter."""

from __future__ import annotations

import math

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
