"""Batches of packed contexts without end, which go on where a checkpoint was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.units.datasets import PackedUnits


class ContextBatches:
    """Epoch after epoch of a stream of contexts; register it for checkpoints.

    The order is a function of (seed, epoch), so the position is an epoch and a number of batches.
    A resumed run reads that epoch up to there again, and trains on none of it twice.

    Attributes:
        epoch: that the batches are of.
        num_taken: batches of this epoch so far.
    """

    def __init__(
        self,
        contexts: PackedUnits,
        *,
        batch_size: int,
        num_workers: int = 0,
        agree: Callable[[bool], bool] = bool,
    ) -> None:
        """Reads nothing yet.

        Args:
            contexts: of one length; this process's.
            batch_size: contexts of a batch; what is left of an epoch is dropped.
            num_workers: loader processes.
            agree: (whether this process has another batch) -> whether all have: where several
                share the store, they go on to the next epoch together.
        """
        self.epoch = self.num_taken = 0
        self._contexts, self._agree = contexts, agree
        self._batch_size, self._num_workers = batch_size, num_workers

    def __iter__(self) -> Iterator[Tensor]:
        """Batches [batch_size, context] of ids, without end.

        Raises:
            ConfigError: an epoch has no whole batch.
        """
        while True:
            self._contexts.items.set_epoch(self.epoch)
            loader = DataLoader(
                self._contexts,
                batch_size=self._batch_size,
                drop_last=True,
                num_workers=self._num_workers,
                # One that nobody else reads: starting a loader draws from it.
                generator=torch.Generator(),
            )
            batches = islice(loader, self.num_taken, None)
            while self._agree((batch := next(batches, None)) is not None):
                assert batch is not None
                self.num_taken += 1
                yield batch
            if not self.num_taken:
                raise ConfigError(
                    f"the training split has no whole batch of {self._batch_size} contexts for "
                    f"each worker of each process: lower batch_size, model.context or "
                    f"data.num_workers"
                )
            self.epoch, self.num_taken = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        fingerprint = self._contexts.items.info.fingerprint
        return {"fingerprint": fingerprint, "epoch": self.epoch, "num_taken": self.num_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints.

        Raises:
            CheckpointError: the units that were learnt are another tokenizer's.
        """
        fingerprint = self._contexts.items.info.fingerprint
        if state["fingerprint"] != fingerprint:
            raise CheckpointError(
                f"cannot resume: the run has learnt units of model {state['fingerprint']}, the "
                f"store has those of {fingerprint}: choose another --output"
            )
        self.epoch, self.num_taken = state["epoch"], state["num_taken"]
