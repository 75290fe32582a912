"""The tokenizer on ONNX Runtime, from an exported folder: none of the model's own code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fsq_audio.blocks import run_blocks
from fsq_audio.coder import Coder, Contexts
from fsq_audio.errors import CheckpointError, ConfigError
from fsq_audio.export.folder import FINGERPRINT, Export, read
from fsq_audio.tokens import TokenFormat

Key = TypeVar("Key")


class OnnxTokenizer(Coder):
    """Encodes and decodes as `AudioTokenizer` does, in its windows and formats.

    ONNX Runtime rounds otherwise than torch, so a scalar close to a threshold may get another code
    (`docs/export.md` tells how often). On one machine its own codes are as exact.

    Attributes:
        export: what the folder says of itself.
    """

    def __init__(self, export: Export, graphs: Mapping[str, bytes]) -> None:
        """Loads the graphs of an export, see `from_folder`."""
        runtime = import_runtime()
        options = runtime.SessionOptions()
        # Calls run side by side, each on a thread of its own (see `fsq_audio.blocks`).
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.export = export
        self._sessions: dict[str, Any] = {}
        for name, content in graphs.items():
            try:
                session = runtime.InferenceSession(
                    content, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # its exceptions have no common base
                raise CheckpointError(
                    f"ONNX Runtime {runtime.__version__} cannot load {name}.onnx: {error}"
                ) from error
            found = session.get_modelmeta().custom_metadata_map.get(FINGERPRINT)
            if found != self.fingerprint:
                raise CheckpointError(
                    f"{name}.onnx is of the model {found}, export.json beside it of "
                    f"{self.fingerprint}: export the model again"
                )
            self._sessions[name] = session

    @classmethod
    def from_folder(cls, folder: str | Path) -> OnnxTokenizer:
        """The tokenizer that `fsq-audio export onnx` wrote.

        Raises:
            CheckpointError: the folder holds no such export, or its files do not belong together.
            ConfigError: ONNX Runtime is not installed.
        """
        import_runtime()
        return cls(*read(folder, kind="onnx"))

    @property
    def sample_rate(self) -> int:
        """Samples per second of every waveform it takes and gives."""
        return self.export.tokens.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.export.tokens.hop_length

    @property
    def num_groups(self) -> int:
        """Codes per frame, G."""
        return self.export.groups

    @property
    def fingerprint(self) -> str:
        """That of the model which was exported: tokens of both are interchangeable."""
        return self.export.tokens.fingerprint

    @property
    def format(self) -> TokenFormat:
        """What its tokens need in order to be decoded."""
        return self.export.tokens

    @property
    def contexts(self) -> Contexts:
        """What each window carries beyond its frames."""
        return self.export.contexts

    def encode_block(self, waveform: Tensor) -> Tensor:
        """Codes `[N, G, T]` of windows `[N, left + T * hop + right]`."""
        return self._call("encoder", waveform=waveform)

    def pitch_block(self, block: Tensor) -> Tensor:
        """Advances `[N, T * subframes]` of marked codes `[N, g + 1, left + T + right]`."""
        return self._call("pitch", block=self._with_all_groups(block, num_rows=0))

    def decode_block(self, block: Tensor) -> Tensor:
        """Waveform `[N, T * hop]` of the source's rows above marked codes, context included."""
        block = self._with_all_groups(block, num_rows=self.contexts.source_rows)
        return self._call("decoder", block=block)

    def run_windows(
        self, windows: Iterator[tuple[Key, Tensor]], function: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Key, Tensor]]:
        """Runs one of these functions over windows, one in a call."""
        return run_blocks(
            windows, function, windows_per_call=1, num_threads=torch.get_num_threads()
        )

    def _with_all_groups(self, block: Tensor, *, num_rows: int) -> Tensor:
        """Puts dropped groups, zeros, where the graph wants them: above the row of marks."""
        missing = num_rows + self.num_groups + 1 - block.shape[1]
        return torch.cat([F.pad(block[:, :-1], (0, 0, 0, missing)), block[:, -1:]], dim=1)

    def _call(self, name: str, **inputs: Tensor) -> Tensor:
        arrays = {key: tensor.contiguous().numpy() for key, tensor in inputs.items()}
        return torch.from_numpy(self._sessions[name].run(None, arrays)[0])


def import_runtime() -> ModuleType:
    """The module `onnxruntime`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "the backend onnx needs the package onnxruntime: pip install 'fsq-audio[onnx]'"
        ) from None
    module: ModuleType = onnxruntime
    return module
