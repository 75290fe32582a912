"""What tokens are of: the model that decodes them, and the recording that was tokenized."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from fsq_audio.errors import TokenError

_MAX_CODEBOOK_SIZE = 2**63  # codes are int64


@dataclass(frozen=True)
class TokenFormat:
    """The model that tokens belong to: all that decoding them depends on.

    Attributes:
        fingerprint: Name of exactly one configuration with exactly one set of weights.
        sample_rate: Samples per second of its waveforms.
        hop_length: Samples per frame.
        codebook_size: Values K that a code can take, from 2 to 2**63.
        quantizer: Its quantizer's description in JSON types: name, levels, bound, num_groups, ...
    """

    fingerprint: str
    sample_rate: int
    hop_length: int
    codebook_size: int
    quantizer: dict[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.fingerprint, str) and self.fingerprint.isprintable()):
            raise TokenError(f"a fingerprint must be printable text, not {self.fingerprint!r}")
        if not self.fingerprint:
            raise TokenError("a fingerprint must not be empty")
        check_int("sample_rate", self.sample_rate)
        check_int("hop_length", self.hop_length)
        check_int("codebook_size", self.codebook_size, lowest=2, highest=_MAX_CODEBOOK_SIZE)
        try:
            in_json = json.loads(json.dumps(self.quantizer, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise TokenError(f"a quantizer's description must be JSON: {error}") from error
        if type(self.quantizer) is not dict or in_json != self.quantizer:
            raise TokenError("a quantizer's description must be a dict with JSON types only")

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def check(self, expected: TokenFormat) -> None:
        """Makes sure that a model can decode tokens of this format.

        Args:
            expected: The model's own format.

        Raises:
            TokenError: They belong to another model.
        """
        if self.fingerprint != expected.fingerprint:
            raise TokenError(
                f"these tokens belong to model {self.fingerprint}, not to this model, "
                f"{expected.fingerprint}: decode them with the model that made them, "
                f"or tokenize the audio again"
            )
        for name in ("sample_rate", "hop_length", "codebook_size", "quantizer"):
            mine, other = getattr(self, name), getattr(expected, name)
            if mine != other:
                raise TokenError(
                    f"these tokens claim to belong to this model, {expected.fingerprint}, "
                    f"but their {name} is {mine}, not {other}: they were altered"
                )


@dataclass(frozen=True)
class Source:
    """The recording that was tokenized, as it was before resampling.

    Attributes:
        sample_rate: Its samples per second.
        num_samples: Its samples, of each channel.
        num_channels: Its channels.
        channels: "mix" where their mean was tokenized, "split" where each was.
    """

    sample_rate: int
    num_samples: int
    num_channels: int
    channels: Literal["mix", "split"]

    def __post_init__(self) -> None:
        check_int("sample_rate of the source", self.sample_rate)
        check_int("num_samples of the source", self.num_samples)
        check_int("num_channels of the source", self.num_channels)
        if self.channels not in ("mix", "split"):
            raise TokenError(f"channels must be 'mix' or 'split', not {self.channels!r}")


def check_int(name: str, value: Any, *, lowest: int = 1, highest: int = 2**63 - 1) -> None:
    """Refuses what is no integer, or out of range; `name` says what it is."""
    if type(value) is not int or not lowest <= value <= highest:
        raise TokenError(f"{name} must be an integer from {lowest} to {highest}, not {value!r}")
