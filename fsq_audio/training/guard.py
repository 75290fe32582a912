"""Against steps that would do harm: not a number, or far too large."""

from __future__ import annotations

import logging
import math
import statistics
from collections import deque
from typing import Any

from fsq_audio.errors import TrainingError
from fsq_audio.training.config import GuardConfig

_LOG = logging.getLogger(__name__)


class Guard:
    """Decides which steps of one optimizer are taken.

    Every process must give it the same numbers (the loss averaged over processes, and the norm of
    the averaged gradients), so that all decide alike.

    Attributes:
        num_skipped: of the whole run.
        num_in_a_row: skipped since the last one that was taken.
    """

    def __init__(self, config: GuardConfig, *, name: str) -> None:
        self.config = config
        self.name = name
        self.num_skipped = 0
        self.num_in_a_row = 0
        self._norms: deque[float] = deque(maxlen=config.history)

    def accepts(self, *, step: int, loss: float, norm: float) -> bool:
        """Whether to take this step.

        Args:
            step: for the message.
            loss: of the step.
            norm: of its gradients, before clipping.

        Raises:
            TrainingError: `patience` steps in a row were not taken.
        """
        reason = self._reason(loss, norm)
        if reason is None:
            self.num_in_a_row = 0
            self._norms.append(norm)
            return True
        self.num_skipped += 1
        self.num_in_a_row += 1
        _LOG.warning("step %d of the %s is skipped: %s", step, self.name, reason)
        if self.num_in_a_row >= self.config.patience:
            raise TrainingError(
                f"the training diverged: {self.num_in_a_row} steps of the {self.name} in a row "
                f"were skipped, the last ({step}) because {reason}. Its weights are those of the "
                f"last step that was taken. Lower the learning rate, or raise guard.max_ratio, and "
                f"resume"
            )
        return False

    def _reason(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"its loss is {loss}"
        if not math.isfinite(norm):
            return f"its gradient norm is {norm}"
        ratio = self.config.max_ratio
        if ratio is None or 2 * len(self._norms) < self.config.history:
            return None
        median = statistics.median(self._norms)
        if norm > ratio * median:
            return f"its gradient norm {norm:.3g} is over {ratio:g} times the median {median:.3g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {
            "num_skipped": self.num_skipped,
            "num_in_a_row": self.num_in_a_row,
            "norms": list(self._norms),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From checkpoints."""
        self.num_skipped, self.num_in_a_row = state["num_skipped"], state["num_in_a_row"]
        self._norms.clear()
        self._norms.extend(state["norms"])
