"""What came of an evaluation: its rows, its summary, what failed in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fsq_audio.evaluation.registry import METRICS
from fsq_audio.evaluation.robustness import UnitEdits
from fsq_audio.evaluation.rows import Row


@dataclass(frozen=True)
class Evaluation:
    """What came of it all.

    Attributes:
        summary: as in `summary.json`.
        rows: sorted by system, as given, and recording.
        unit_edits: of the models, if they were asked for.
    """

    summary: dict[str, Any]
    rows: list[Row]
    unit_edits: list[UnitEdits] = field(default_factory=list)

    @property
    def failed(self) -> list[Row]:
        """The rows in which something failed that should not.

        A metric without a direction, as `delay`, describes. Where it finds nothing to describe, as
        with any vocoder, rows and summary say so, but no file has failed for that.
        """
        return [row for row in self.rows if any(map(is_serious, row.failures))]


def is_serious(failure: str) -> bool:
    """Whether a failure of this name is one of the file: all are but those that only describe.

    Args:
        failure: name of a metric, "audio" or "robustness".
    """
    metric = METRICS.get(failure)
    return metric is None or metric.higher_is_better is not None
