"""What a run carries from step to step, and its checkpoints on disk."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.other import load
from torch import Tensor, nn

from fsq_audio.errors import CheckpointError, TrainingError

_NAME = re.compile(r"step-(\d{8})")


class WeightAverage:
    """Exponential moving average of the weights, which is what ships.

    The decay warms up as `(1 + n) / (10 + n)`, so that early weights are soon forgotten. Buffers
    are copied: statistics are averages already. So are the parameters of a module with
    `is_averaged = False`, whose values may jump.

    Attributes:
        decay: the final decay per step.
        num_updates: n so far.
        weights: the averaged state dict.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.weights: dict[str, Tensor] = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items()
        }
        self._averaged = [
            f"{prefix}.{name}" if prefix else name
            for prefix, module in model.named_modules()
            if getattr(module, "is_averaged", True)
            for name, _ in module.named_parameters(recurse=False)
        ]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the weights of the model."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        state = model.state_dict()
        torch._foreach_lerp_(
            [self.weights[name] for name in self._averaged],
            [state[name].detach() for name in self._averaged],
            1 - decay,
        )
        for name in self.weights.keys() - set(self._averaged):
            self.weights[name].copy_(state[name])

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"num_updates": self.num_updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints."""
        self.num_updates = state["num_updates"]
        for name, tensor in self.weights.items():
            tensor.copy_(state["weights"][name])


class EarlyStopping:
    """Which validation was best, and when to give up hope of a better one.

    Attributes:
        best: the lowest loss so far.
        num_since: validations since then.
    """

    def __init__(self, *, patience: int | None) -> None:
        self.patience = patience
        self.best = math.inf
        self.num_since = 0

    def is_best(self, loss: float) -> bool:
        """Whether this validation is better than all before it."""
        better = loss < self.best
        self.best, self.num_since = (loss, 0) if better else (self.best, self.num_since + 1)
        return better

    @property
    def is_over(self) -> bool:
        """Whether `patience` validations in a row were not better."""
        return self.patience is not None and self.num_since >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"best": self.best, "num_since": self.num_since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints."""
        self.best, self.num_since = state["best"], state["num_since"]


class Checkpoints:
    """The checkpoints of a run: written whole or not at all, the newest few kept.

    Args:
        folder: of the run.
        keep: how many stay.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        names = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def save(self, accelerator: Accelerator, *, step: int) -> None:
        """Saves everything that was prepared or registered; all processes call it."""
        target = self._path(step)
        temporary = target.with_suffix(".tmp")
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(temporary), safe_serialization=True)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self._discard(target)
            os.replace(temporary, target)
            for old in self.steps()[: -self.keep]:
                self._discard(self._path(old))
        accelerator.wait_for_everyone()

    def load_newest(self, accelerator: Accelerator) -> int:
        """Restores the newest checkpoint, and removes what a killed run left half-written.

        Returns:
            Its step; 0 where there is none.

        Raises:
            CheckpointError: it is damaged, or does not fit.
        """
        if accelerator.is_main_process and self.folder.is_dir():
            for remains in [*self.folder.glob("*.tmp"), *self.folder.glob("*.old")]:
                shutil.rmtree(remains, ignore_errors=True)
        steps = self.steps()
        if not steps:
            return 0
        newest = self._path(steps[-1])
        generators = newest / f"random_states_{accelerator.process_index}.pkl"
        try:
            accelerator.load_state(str(newest))
            accelerator.step = 0  # passes within a step: there may be another number of them now
            # Accelerate goes on without those that it cannot read. A run that is resumed by more
            # processes has none for the new ones.
            if generators.exists():
                load(generators)
        except Exception as error:  # readers raise anything where a file was cut short or changed
            raise CheckpointError(
                f"cannot resume from {newest}: {error} (was the configuration changed? remove the "
                f"folder to fall back on the one before)"
            ) from error
        return steps[-1]

    def _discard(self, checkpoint: Path) -> None:
        # Renamed first: killed half-way, it must not look like a checkpoint.
        remains = checkpoint.with_suffix(".old")
        shutil.rmtree(remains, ignore_errors=True)
        if checkpoint.is_dir():
            os.replace(checkpoint, remains)
            shutil.rmtree(remains)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


def set_num_threads(accelerator: Accelerator, num_threads: int | None) -> None:
    """Sets the threads of this process's computations on the CPU.

    Args:
        accelerator: whose processes share the cores.
        num_threads: None for this process's share of them.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    elif accelerator.device.type == "cpu" and torch.get_num_threads() == 1:
        # `accelerate launch` gives a process one thread unless it is told otherwise.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max((cores or 1) // accelerator.num_processes, 1))


def check_agreement(accelerator: Accelerator, *modules: nn.Module) -> None:
    """Refuses to go on where processes no longer hold the same weights, to the bit.

    Raises:
        TrainingError: they drifted apart; all processes raise it.
    """
    sums = [
        tensor.detach().float().contiguous().view(torch.int32).sum(dtype=torch.int64)
        for module in modules
        for tensor in module.state_dict().values()  # buffers too: codebooks may be in them
    ]
    everyones: Tensor = accelerator.gather(torch.stack(sums)[None])
    num_different = int((everyones != everyones[0]).any(dim=0).sum())
    if num_different:
        raise TrainingError(
            f"{num_different} of {len(sums)} tensors differ between processes: one of them "
            f"took a step that the others did not"
        )
