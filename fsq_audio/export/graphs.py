"""What is exported: three functions of a window, traced with any number of windows and frames.

    encoder  waveform [N, left + T * hop + right] float32            -> codes [N, G, T]
    pitch    marked codes [N, G + 1, left + T + right] int64         -> advances [N, T * subframes]
    decoder  source and marked codes [N, X + G + 1, left + T + right] -> waveform [N, T * hop]

Marked codes are `fsq_audio.coder.mark_codes`, context filled up with zeros. What lies between
pitch and decoder stays outside: the phase is a sum of integers over a whole recording, which no
window can see (`fsq_audio.source.source_of`).
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fsq_audio.errors import ConfigError
from fsq_audio.export.products import FourierProduct
from fsq_audio.fourier import RealFourier
from fsq_audio.quantizers import Projected
from fsq_audio.tokenizer import AudioTokenizer

# Of the traced example: two, and more than the shortest window, stand for any.
NUM_WINDOWS, NUM_FRAMES = 2, 20


@dataclass(frozen=True)
class Graph:
    """One function.

    Attributes:
        name: encoder, pitch or decoder.
        result: what it gives: codes, advances or waveform.
        program: traced.
    """

    name: str
    result: str
    program: ExportedProgram


class _Encode(nn.Module):
    def __init__(self, model: AudioTokenizer) -> None:
        super().__init__()
        self.encoder, self.quantizer = model.encoder, model.quantizer

    def forward(self, waveform: Tensor) -> Tensor:
        codes: Tensor = self.quantizer(self.encoder(waveform)).codes
        return codes


class _Pitch(nn.Module):
    def __init__(self, model: AudioTokenizer) -> None:
        super().__init__()
        self.quantizer, self.pitch = model.quantizer, model.decoder.pitch

    def forward(self, block: Tensor) -> Tensor:
        assert self.pitch is not None
        return self.pitch.advances(self.pitch(_latents(self.quantizer, block)))


class _Decode(nn.Module):
    def __init__(self, model: AudioTokenizer) -> None:
        super().__init__()
        self.quantizer, self.decoder = model.quantizer, model.decoder

    def forward(self, block: Tensor) -> Tensor:
        num_rows = self.decoder.source_rows
        latents = _latents(self.quantizer, block[:, num_rows:])
        waveform: Tensor = self.decoder(latents, block[:, :num_rows])
        return waveform


def trace(model: AudioTokenizer, *, with_products: bool) -> Iterator[Graph]:
    """Traces the functions of a model one after the other, in evaluation mode.

    Args:
        model: stays as it is.
        with_products: Fourier transforms as matrix products (see `fsq_audio.export.products`).

    Yields:
        encoder, pitch if the decoder has a source, decoder.

    Raises:
        ConfigError: a part cannot be traced, such as a quantizer that looks at values.
    """
    model = copy.deepcopy(model).cpu().float().eval()
    if with_products:
        for module in list(model.modules()):
            fourier = getattr(module, "fourier", None)
            if isinstance(fourier, RealFourier):
                module.fourier = FourierProduct(fourier.length)
    contexts, hop, num_rows = model.contexts, model.hop_length, model.contexts.source_rows
    samples = NUM_FRAMES * hop + sum(contexts.encoder)
    windows, frames = Dim("windows", min=1), Dim("frames", min=1)
    yield _traced(
        "encoder",
        "codes",
        _Encode(model),
        torch.zeros(NUM_WINDOWS, samples),
        {0: windows, 1: hop * frames + sum(contexts.encoder)},
    )
    if contexts.pitch is not None:
        width = sum(contexts.pitch)
        block = torch.ones(NUM_WINDOWS, model.num_groups + 1, NUM_FRAMES + width, dtype=torch.int64)
        yield _traced("pitch", "advances", _Pitch(model), block, {0: windows, 2: frames + width})
    width = sum(contexts.decoder)
    block = torch.ones(
        NUM_WINDOWS, num_rows + model.num_groups + 1, NUM_FRAMES + width, dtype=torch.int64
    )
    yield _traced("decoder", "waveform", _Decode(model), block, {0: windows, 2: frames + width})


def _traced(
    name: str, result: str, module: nn.Module, example: Tensor, dynamic: dict[int, object]
) -> Graph:
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(
                module.eval(), (example,), dynamic_shapes=(dynamic,), strict=False
            )
    except Exception as error:  # the exporter's have no common base
        quantizer = cast(Projected, module.quantizer).describe()["name"]
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"the {name} of this model cannot be exported ({reason}): of the quantizers only fsq, "
            f"group_fsq and residual_fsq are known to trace, and this is {quantizer}"
        ) from error
    return Graph(name, result, program)


def _latents(quantizer: Projected, block: Tensor) -> Tensor:
    return quantizer.decode(block[:, :-1] - 1) * block[:, -1:]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch says of its own doings: half-made graphs, packages that nothing needs."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
