"""Learning rates as functions of the step, so that a resumed run may be made longer or shorter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from fsq_audio.training.config import OptimizerConfig


def learning_rate_factor(step: int, *, warmup_steps: int, max_steps: int) -> float:
    """Linear warm-up to 1, then half a cosine to 0 at the last step."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup_steps) / max(max_steps - warmup_steps, 1))


class Schedule(LambdaLR):
    """Learning rates whose checkpoints hold nothing but the step.

    Optimizers save their options, too, and would bring those of the killed run back: here a resumed
    run has those of its own configuration. Restored after its optimizer, as Accelerate does.
    """

    OPTIONS = ("initial_lr", "betas", "weight_decay")

    def __init__(self, optimizer: Any, factor: Callable[[int], float]) -> None:
        super().__init__(optimizer, factor)
        self._factor = factor
        groups = optimizer.param_groups
        self._options = [{name: group[name] for name in self.OPTIONS} for group in groups]

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"step": self.last_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints."""
        # Those of before had LambdaLR's own state.
        self.last_epoch = state["step"] if "step" in state else state["last_epoch"]
        for group, options in zip(self.optimizer.param_groups, self._options, strict=True):
            group.update(options)
            group["lr"] = group["initial_lr"] * self._factor(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def warmup_cosine(optimizer: object, config: OptimizerConfig, *, max_steps: int) -> Schedule:
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

    return Schedule(optimizer, factor)


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
