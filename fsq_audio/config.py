"""The configuration of a tokenizer: frozen dataclasses, checked strictly, every fault at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from fsq_audio.errors import ConfigError

T = TypeVar("T")
Positive = Annotated[int, Field(gt=0)]
# What weights do not show is bounded here, far beyond use: a stranger's configuration is built.
Length = Annotated[int, Field(gt=0, le=2**14)]
"""Of a window or a hop, in samples."""
Bands = Annotated[int, Field(gt=0, le=2**10)]

_STRICT = ConfigDict(extra="forbid")

PITCH_HZ = (50.0, 560.0)
"""The lowest and highest pitch of voices, of encoders that look for it and sources that hum it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectralFrontEnd:
    """Log-mel spectra at the hop, and a projection.

    Attributes:
        window_length: length of the Hann window in samples; it also sets the number of bins.
        subframes: spectra per frame, evenly spaced; the windows step by hop / subframes.
        bands: mel bands of a spectrum; null keeps every bin.
        lags: values of the autocorrelation, at lags evenly spaced in octaves over the pitch of
            voices; 0: none.
    """

    __pydantic_config__ = _STRICT
    name: Literal["spectral"] = "spectral"
    window_length: Length = 1024
    subframes: Positive = 1
    bands: Bands | None = 100
    lags: Annotated[int, Field(ge=0, le=2**10)] = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvFrontEnd:
    """Strided convolutions on raw samples; the product of `strides` is the hop.

    Attributes:
        strides: downsampling factor of each stage.
        base_channels: channels of the first stage; they double with each stage.
    """

    __pydantic_config__ = _STRICT
    name: Literal["conv"] = "conv"
    strides: tuple[Positive, ...] = (2, 4, 5, 8)
    base_channels: Positive = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class ISTFTHead:
    """Magnitudes and phases, an inverse FFT, windows, overlap-add.

    Attributes:
        window_length: length of the synthesis window in samples, a multiple of its step.
        subframes: spectra per frame; the windows step by hop / subframes.
    """

    __pydantic_config__ = _STRICT
    name: Literal["istft"] = "istft"
    window_length: Length = 1280
    subframes: Positive = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonicNoiseHead:
    """Pulses at a pitch read from the codes, mixed with noise, through a varying filter.

    Attributes:
        window_length: length of the synthesis window in samples, a multiple of its step.
        subframes: spectra per frame; the windows step by hop / subframes.
        bands: mel-spaced gains of the filter.
        voicing_bands: mel-spaced shares of pulses and noise.
        pitch_channels: width of the layers that read the pitch.
    """

    __pydantic_config__ = _STRICT
    name: Literal["harmonic_noise"] = "harmonic_noise"
    window_length: Length = 640
    subframes: Positive = 4
    bands: Bands = 80
    voicing_bands: Bands = 16
    pitch_channels: Positive = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransposedHead:
    """Transposed convolutions to raw samples; the product of `strides` is the hop.

    Attributes:
        strides: upsampling factor of each stage.
        base_channels: channels of the last stage; earlier ones have twice as many each.
    """

    __pydantic_config__ = _STRICT
    name: Literal["transposed"] = "transposed"
    strides: tuple[Positive, ...] = (8, 5, 4, 2)
    base_channels: Positive = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """ConvNeXt-style blocks at the frame rate.

    Attributes:
        channels: width C.
        num_blocks: depth.
        expansion: width of the pointwise layers inside a block, in units of `channels`.
        kernel_size: frames that a depthwise convolution sees; odd.
    """

    __pydantic_config__ = _STRICT
    channels: Positive = 384
    num_blocks: Annotated[int, Field(gt=0, le=2**10)] = 5
    expansion: Positive = 3
    kernel_size: Positive = 7

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderTrunkConfig(TrunkConfig):
    """The same, deeper."""

    num_blocks: Annotated[int, Field(gt=0, le=2**10)] = 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A front end and the trunk above it."""

    __pydantic_config__ = _STRICT
    front_end: Annotated[SpectralFrontEnd | ConvFrontEnd, Field(discriminator="name")] = (
        dataclasses.field(default_factory=SpectralFrontEnd)
    )
    trunk: TrunkConfig = dataclasses.field(default_factory=TrunkConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The trunk and a head above it."""

    __pydantic_config__ = _STRICT
    trunk: DecoderTrunkConfig = dataclasses.field(default_factory=DecoderTrunkConfig)
    head: Annotated[ISTFTHead | HarmonicNoiseHead | TransposedHead, Field(discriminator="name")] = (
        dataclasses.field(default_factory=ISTFTHead)
    )


def _default_quantizer() -> dict[str, Any]:
    return {"name": "group_fsq", "levels": [8, 5, 5, 5], "num_groups": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """All that fixes the architecture of a tokenizer.

    Attributes:
        sample_rate: samples per second of every waveform inside.
        hop_length: samples per frame.
        causal: no look-ahead beyond the frame itself.
        quantizer: `name` of a registered quantizer, and its options.
    """

    __pydantic_config__ = _STRICT
    sample_rate: Annotated[int, Field(gt=0, le=10**6)] = 16000
    hop_length: Length = 320
    causal: bool = False
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    quantizer: dict[str, Any] = dataclasses.field(default_factory=_default_quantizer)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        faults = [*_front_end_faults(self), *_head_faults(self)]
        if not isinstance(self.quantizer.get("name"), str):
            faults.append("quantizer needs a name, such as group_fsq")
        if faults:
            raise ValueError("; ".join(faults))


def _front_end_faults(config: TokenizerConfig) -> list[str]:
    front_end, hop = config.encoder.front_end, config.hop_length
    if isinstance(front_end, ConvFrontEnd):
        return _stride_faults("encoder.front_end", front_end.strides, hop)
    faults = _subframe_faults("encoder.front_end", front_end.subframes, hop)
    if front_end.lags and front_end.window_length < 2 * (config.sample_rate / PITCH_HZ[0] + 2):
        faults.append(
            f"encoder.front_end.window_length must hold two periods of {PITCH_HZ[0]:.0f} Hz for "
            f"its lags, got {front_end.window_length} samples"
        )
    if front_end.window_length < hop // front_end.subframes:
        faults.append("encoder.front_end.window_length is shorter than its step: samples are lost")
    return faults


def _head_faults(config: TokenizerConfig) -> list[str]:
    head, hop = config.decoder.head, config.hop_length
    if isinstance(head, TransposedHead):
        return _stride_faults("decoder.head", head.strides, hop)
    faults = _subframe_faults("decoder.head", head.subframes, hop)
    step = hop // head.subframes
    if isinstance(head, HarmonicNoiseHead) and step % 2:
        faults.append(f"decoder.head.subframes must give an even step, got {step} samples")
    if isinstance(head, HarmonicNoiseHead) and config.causal:
        faults.append("decoder.head harmonic_noise looks ahead: a causal tokenizer takes another")
    if not faults and (head.window_length % step or head.window_length < 2 * step):
        faults.append(
            f"decoder.head.window_length must be a multiple, two or more, of its step "
            f"{step}, got {head.window_length}"
        )
    return faults


def _stride_faults(place: str, strides: tuple[int, ...], hop: int) -> list[str]:
    product = 1
    for stride in strides:
        product *= stride
    if product == hop:
        return []
    return [f"{place}.strides multiply to {product}, hop_length is {hop}"]


def _subframe_faults(place: str, subframes: int, hop: int) -> list[str]:
    if hop % subframes == 0:
        return []
    return [f"{place}.subframes ({subframes}) must divide hop_length ({hop})"]


def from_mapping(kind: type[T], values: Mapping[str, Any], *, where: str = "configuration") -> T:
    """Builds a dataclass from plain values, strictly.

    Args:
        kind: the dataclass, nested ones included.
        values: JSON types only, as YAML and JSON files give them.
        where: what to call it in the message, such as the file's name.

    Returns:
        An instance of `kind`.

    Raises:
        ConfigError: unknown keys, missing keys, wrong types, values out of range: all of them in
            one message.
    """
    try:
        # Strict JSON mode: 8 is not "8", 1 is not true, yet a list may fill a tuple.
        text = json.dumps(values, allow_nan=False)
        return cast(T, _adapter(cast(Any, kind)).validate_json(text, strict=True))
    except ValidationError as error:
        faults = [
            " ".join(".".join(str(part) for part in fault["loc"]).split()) + ": " + _reason(fault)
            for fault in error.errors()
        ]
        raise ConfigError(f"{where}: " + "; ".join(faults)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: only plain values are allowed ({error})") from None


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "union_tag_not_found":  # pydantic's words are about its machinery
        return f"{fault['ctx']['discriminator']} is missing, which says what kind it is"
    return str(fault["msg"])


@lru_cache  # building one takes a hundred times as long as using it
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_mapping(config: Any) -> dict[str, Any]:
    """The plain JSON values of a configuration; the inverse of `from_mapping`."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values
