"""Every metric there is, in the order of the columns."""

from __future__ import annotations

from collections.abc import Sequence

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation import perceptual, pitch, predicted, signals, words
from fsq_audio.evaluation.metric import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for module in (signals, perceptual, predicted, pitch, words)
    for metric in module.METRICS
}


def choose_metrics(names: Sequence[str] = ()) -> list[Metric]:
    """The metrics that were asked for, in the order of the columns.

    Args:
        names: of metrics, of their groups, "default" or "all"; none for the default ones.

    Raises:
        ConfigError: there is no such metric.
    """
    groups = {metric.group for metric in METRICS.values()}
    unknown = [name for name in names if name not in {*METRICS, *groups, "default", "all"}]
    if unknown:
        raise ConfigError(
            f"no metric is called {', '.join(unknown)}: there are the groups default, all, "
            f"{', '.join(sorted(groups))}, and {', '.join(METRICS)}"
        )
    asked = set(names) or {"default"}
    return [
        metric
        for metric in METRICS.values()
        if "all" in asked
        or metric.name in asked
        or (metric.is_default and asked & {metric.group, "default"})
    ]
