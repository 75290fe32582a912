"""What every quantizer promises, and the registry that builds one from its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

import torch
from pydantic import ConfigDict, ValidationError, create_model
from torch import Tensor, nn

from fsq_audio.errors import ConfigError, FSQAudioError, TokenError

DROPPED = -1
"""The code of a dropped group. Never 0: that is a code like any other."""


class LatentsError(FSQAudioError, ValueError):
    """Latents hold NaN or infinity and have no code."""


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of latents.

    Attributes:
        quantized: [B, C, T], what the decoder gets; gradients flow through it.
        codes: [B, G, T] int64 in [0, K), or -1 where a group was dropped.
        losses: auxiliary losses by name, each a scalar; empty for FSQ.
    """

    quantized: Tensor
    codes: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Quantizer(Protocol):
    """The contract; every quantizer is an `nn.Module` that also satisfies it.

    In evaluation codes are a function of the frame, of the weights and of nothing else, and no
    state changes. Those that learn otherwise than by gradients may have, and their parts too:

        initialize(latents, mask): sets up what depends on data, once, from a first batch; every
            process gets the same one.
        end_step(optimizer, *, is_taken): called by every process after each step of the optimizer,
            accumulated passes included; is_taken is False where the step was refused, and all that
            its passes left must be forgotten. What has moved must be the same in all processes,
            lie in buffers or parameters, and draw from a generator that is a function of them.

    A module among them may have `learning_rate_factor`, the learning rate of its own parameters in
    units of the model's, and `is_averaged`, False where an average of weights may not average them.
    """

    @property
    def channels(self) -> int:
        """C, the channels that it takes and returns."""

    @property
    def num_groups(self) -> int:
        """G, the codes per frame."""

    @property
    def codebook_size(self) -> int:
        """K, the codes per group."""

    @property
    def bits_per_frame(self) -> float:
        """G log2 K."""

    def forward(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes latents [B, C, T]; mask [B, T] bool is True where a frame is real."""

    def __call__(self, latents: Tensor, mask: Tensor | None = None) -> Quantized:
        """Same as `forward`."""

    def decode(self, codes: Tensor) -> Tensor:
        """Turns codes [B, G, T] into quantized latents [B, C, T]; -1 is a dropped group."""

    def describe(self) -> dict[str, object]:
        """The JSON facts that codes depend on; two tokenizers that differ here are refused."""


QuantizerClass = TypeVar("QuantizerClass", bound="type[nn.Module]")

_REGISTRY: dict[str, type[nn.Module]] = {}


def register_quantizer(name: str) -> Callable[[QuantizerClass], QuantizerClass]:
    """Makes a class known to `build_quantizer`; usable from outside the package too.

    Args:
        name: what a configuration calls it.

    Returns:
        A class decorator. The options are the keyword-only arguments of `__init__`, and their
        annotations are what `build_quantizer` checks.

    Raises:
        ConfigError: the name is taken, or `__init__` takes arguments that are not keyword-only.
    """

    def register(cls: QuantizerClass) -> QuantizerClass:
        if name in _REGISTRY:
            raise ConfigError(
                f"quantizer name {name!r} is taken by {_REGISTRY[name].__qualname__}: "
                f"register {cls.__qualname__} under another name"
            )
        wrong = [
            parameter.name
            for parameter in _parameters(cls)
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        ]
        if wrong:
            raise ConfigError(
                f"{cls.__qualname__}.__init__ must take keyword-only arguments to be registered "
                f"as {name!r}: put '*' before {', '.join(wrong)}"
            )
        _REGISTRY[name] = cls
        return cls

    return register


def quantizer_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_REGISTRY)


def build_quantizer(name: str, options: Mapping[str, object]) -> nn.Module:
    """Builds a registered quantizer from a configuration.

    Args:
        name: a name out of `quantizer_names()`.
        options: the arguments of its `__init__`; types are strict ("8" is not 8).

    Returns:
        The module; it satisfies `Quantizer`.

    Raises:
        ConfigError: the name is unknown, or options are unknown, missing or of a wrong type; the
            message lists every fault.
    """
    if name not in _REGISTRY:
        raise ConfigError(f"unknown quantizer {name!r}: choose from {quantizer_names()}")
    cls = _REGISTRY[name]
    hints = get_type_hints(cls.__init__)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for parameter in _parameters(cls)
    }
    strict = ConfigDict(
        strict=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=()
    )
    schema = create_model(f"{cls.__name__}Options", __config__=strict, **fields)
    try:
        checked = schema.model_validate(dict(options))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            if fault["type"] != "missing"
            else f"{'.'.join(map(str, fault['loc']))}: missing"
            for fault in error.errors()
        )
        raise ConfigError(
            f"quantizer {name!r} cannot be built from its options (known: {sorted(fields)}): "
            f"{faults}"
        ) from error
    return cls(**{key: getattr(checked, key) for key in fields})


def _parameters(cls: type[nn.Module]) -> list[inspect.Parameter]:
    return list(inspect.signature(cls.__init__).parameters.values())[1:]


def is_traced() -> bool:
    """Whether an export records operations, on tensors that hold no values to look at."""
    # `torch.compiler.is_exporting` says so, too, but not in every torch that is supported.
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def check_latents(latents: Tensor, *, channels: int, mask: Tensor | None = None) -> None:
    """Refuses latents that have no codes.

    Args:
        latents: [B, C, T], floating point.
        channels: the C that is expected.
        mask: [B, T] bool or None.

    Raises:
        ConfigError: the shape or dtype of latents or mask is wrong.
        LatentsError: latents hold NaN or infinity; the message names the first place.
    """
    if latents.dim() != 3 or latents.shape[1] != channels or not latents.is_floating_point():
        raise ConfigError(
            f"latents must be floating point [B, {channels}, T], "
            f"got {latents.dtype} {list(latents.shape)}"
        )
    expected = (latents.shape[0], latents.shape[2])
    if mask is not None and (mask.shape != expected or mask.dtype != torch.bool):
        raise ConfigError(
            f"mask must be bool {list(expected)} to fit the latents, "
            f"got {mask.dtype} {list(mask.shape)}"
        )
    if is_traced() or latents.numel() == 0:
        return
    low, high = torch.aminmax(latents.detach())  # one pass, and NaN comes through
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        batch, channel, frame = (~torch.isfinite(latents)).nonzero()[0].tolist()
        value = latents[batch, channel, frame].item()
        raise LatentsError(
            f"latents are {value} at batch {batch}, channel {channel}, frame {frame} and have no "
            f"code: look for a diverged training or damaged weights"
        )


def check_codes(codes: Tensor, *, num_groups: int, codebook_size: int) -> Tensor:
    """Refuses codes that this quantizer cannot have made.

    Args:
        codes: [B, g, T], any integer dtype, g in 1..G.
        num_groups: G.
        codebook_size: K.

    Returns:
        The codes as int64 [B, g, T].

    Raises:
        TokenError: a wrong shape or dtype, or a code outside [-1, K).
    """
    integer = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
    if codes.dim() != 3 or not 1 <= codes.shape[1] <= num_groups or not integer:
        raise TokenError(
            f"codes must be integers [B, 1..{num_groups}, T], got {codes.dtype} {list(codes.shape)}"
        )
    codes = codes.to(torch.int64)
    if not is_traced() and codes.numel() > 0:
        low, high = (int(value) for value in torch.aminmax(codes))
        if low < DROPPED or high >= codebook_size:
            raise TokenError(
                f"codes must lie in [0, {codebook_size}) or be {DROPPED} for a dropped group, "
                f"got values from {low} to {high}: they belong to another model or are damaged"
            )
    return codes
