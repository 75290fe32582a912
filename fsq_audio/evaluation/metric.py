"""What a metric is, and what it is given: a pair of recordings."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fsq_audio.errors import ConfigError, FSQAudioError

Result = TypeVar("Result")
Samples = NDArray[np.float32]

SAMPLE_RATE = 16000
"""Of all that is compared, in Hz: wide-band PESQ, DNSMOS and ViSQOL speech are defined there."""

SILENCE = 1e-5
"""A recording whose samples all stay below this (100 dB under full scale) is silent."""


class UnmeasurableError(FSQAudioError):
    """A metric has no value for a recording, and the message says why: a failure, and counted."""


class NotApplicableError(FSQAudioError):
    """A metric does not apply to a recording (no transcript, say): neither value nor failure."""


@dataclass(frozen=True)
class Voice:
    """A recording at `SAMPLE_RATE`, and what metrics have already found out about it.

    Attributes:
        samples: `[S]` float32 in [-1, 1].
    """

    samples: Samples
    _found: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: object, function: Callable[[Samples], Result]) -> Result:
        """What `function` says of the samples; asked once, for it may be slow."""
        if key not in self._found:
            self._found[key] = function(self.samples)
        found: Result = self._found[key]
        return found

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear."""
        return bool(np.abs(self.samples).max(initial=0.0) < SILENCE)


@dataclass(frozen=True)
class Pair:
    """What a metric compares.

    Attributes:
        reference: the original.
        degraded: what a system made of it, of the same length.
        text: what is said, if a manifest knows.
        language: its code, such as "en", if a manifest knows.
        recogniser: folder of the model that reads words; None for the packaged one.
    """

    reference: Voice
    degraded: Voice
    text: str | None = None
    language: str | None = None
    recogniser: str | None = None

    def __post_init__(self) -> None:
        shapes = self.reference.samples.shape, self.degraded.samples.shape
        if shapes[0] != shapes[1] or len(shapes[0]) != 1:
            raise ConfigError(f"lengths differ: {shapes[0]} and {shapes[1]}: align first")

    def check_audible(self) -> None:
        """Makes sure that there is something to compare.

        Raises:
            UnmeasurableError: one of the two is silent.
        """
        for name, voice in (("reference", self.reference), ("degraded", self.degraded)):
            if voice.is_silent:
                raise UnmeasurableError(f"the {name} is silent")


@dataclass(frozen=True)
class Share:
    """A number of errors among a number of things, which is pooled over recordings.

    Attributes:
        errors: counted.
        total: things in which they could be; not 0.
    """

    errors: int
    total: int


@dataclass(frozen=True)
class Metric:
    """One number about a pair.

    Attributes:
        name: its column.
        function: computes it; raises `UnmeasurableError` or `NotApplicableError`.
        higher_is_better: None where neither direction is.
        unit: of the number.
        group: what it is asked for together with.
        needs: modules that must be importable.
        extra: of this package, that installs them.
        is_default: whether it is computed unless asked otherwise.
        versa: its key in VERSA's reports (Shi et al. 2025), where it is the same quantity.
        reads_words: whether it is a recogniser's word on it.
        pooled_over: what the shares that its function returns are of, such as "words": over
            recordings, all errors are divided by all words. None: a mean over recordings.
    """

    name: str
    function: Callable[[Pair], float | Share]
    higher_is_better: bool | None
    unit: str
    group: str
    needs: Sequence[str] = ()
    extra: str = "eval"
    is_default: bool = True
    versa: str | None = None
    reads_words: bool = False
    pooled_over: str | None = None

    @property
    def title(self) -> str:
        """Its name, which way is better, and what the number is in or of."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        note = self.unit if self.pooled_over is None else f"errors / all {self.pooled_over}"
        return f"{self.name}{arrow}{f' ({note})' if note else ''}"

    @property
    def missing(self) -> str | None:
        """How to install what is not there; None if all is."""
        lacking = [name for name in self.needs if not is_installed(name)]
        if not lacking:
            return None
        return f"needs {', '.join(lacking)}: pip install 'fsq-audio[{self.extra}]'"


@dataclass(frozen=True)
class Measured:
    """What came of one metric.

    Attributes:
        value: NaN where there is none.
        failure: why there is none, if it should have been there.
        skipped: why it was not asked for.
        total: of the share that the value is; None where it is none.
    """

    value: float
    failure: str | None = None
    skipped: str | None = None
    total: int | None = None


def measure(metric: Metric, pair: Pair) -> Measured:
    """Computes one metric; whatever goes wrong costs this number only.

    Args:
        metric: which.
        pair: of what.
    """
    total = None
    try:
        result = metric.function(pair)
        if isinstance(result, Share):
            total = result.total
            result = result.errors / result.total
        value = float(result)
    except NotApplicableError as error:
        return Measured(math.nan, skipped=str(error))
    except UnmeasurableError as error:
        return Measured(math.nan, failure=str(error))
    except MemoryError:
        raise
    except Exception as error:  # others' libraries raise anything
        return Measured(math.nan, failure=f"{type(error).__name__}: {error}")
    if not math.isfinite(value):
        return Measured(math.nan, failure=f"the result is {value}")
    return Measured(value, total=total)


def is_installed(module: str) -> bool:
    """Whether a module could be imported; nothing is."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
