"""A folder with a model: `config.json` and `model.safetensors`, written and read strictly.

`preprocessor_config.json` beside them is for transformers, whose feature extractor it describes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fsq_audio.config import TokenizerConfig, from_mapping, to_mapping
from fsq_audio.errors import CheckpointError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FEATURES_FILE = "preprocessor_config.json"
PACKAGED = Path(__file__).parent / "pretrained"


def find_folder(
    source: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder that a source names.

    Args:
        source: "default" (the packaged model), a folder, or a repository id of the hub.
        revision: of the hub repository.
        token: for the hub, see `huggingface_hub.snapshot_download`, as all below.
        cache_dir: where it keeps what it downloads.
        local_files_only: take what is there, and ask nobody.

    Returns:
        A local folder that holds both files.

    Raises:
        CheckpointError: there is no such model, here or on the hub.
    """
    if source == "default":
        return PACKAGED
    folder = Path(source)
    if folder.is_dir():
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder} holds no {name}: it is not a saved tokenizer")
        return folder
    # Imported late: most calls never need the hub.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        files = [CONFIG_FILE, WEIGHTS_FILE]
        found = snapshot_download(
            str(source),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=files,
        )
    except HFValidationError:
        raise CheckpointError(
            f"no model at {str(source)!r}: it is neither a folder nor a hub id like owner/name"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"no folder {str(source)!r}, and the hub gave no such model: {reason}"
        ) from error
    for name in files:
        if not (Path(found) / name).is_file():
            raise CheckpointError(f"{source} of the hub holds no {name}: it is no saved tokenizer")
    return Path(found)


def read_config(folder: Path) -> TokenizerConfig:
    """The configuration of a saved model.

    Raises:
        CheckpointError: the file is missing or not JSON.
        ConfigError: its values are wrong; all faults in one message.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict) or values.pop("model_type", None) != "fsq_audio":
        raise CheckpointError(f'{path} is not of this library: it lacks "model_type": "fsq_audio"')
    return from_mapping(TokenizerConfig, values, where=str(path))


def check_shapes(build: Callable[[], nn.Module], folder: Path) -> None:
    """Makes sure that a model is the one whose weights a folder holds, before it takes memory.

    Args:
        build: makes the model that the configuration asks for, of whatever size.
        folder: with its weights, of which only the head is read.

    Raises:
        CheckpointError: the file is damaged, or tensors are missing, extra or of another shape.
        ConfigError: `build` refuses the configuration.
    """
    try:
        with torch.device("meta"):
            expected = {name: list(tensor.shape) for name, tensor in build().state_dict().items()}
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{folder / CONFIG_FILE} asks for tensors of impossible sizes: {reason}"
        ) from error
    path = folder / WEIGHTS_FILE
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    faults = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    faults += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    faults += [
        f"{name} is {found[name]}, expected {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if found[name] != expected[name]
    ]
    if faults:
        shown = "; ".join(faults[:8]) + ("; ..." if len(faults) > 8 else "")
        raise CheckpointError(f"{path} does not fit its configuration: {shown}")


class Uninitialized(TorchFunctionMode):
    """Modules built inside keep whatever memory held: for weights that are loaded next."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes every call on, unless it is one of torch's own initializations."""
        if getattr(func, "__module__", None) == "torch.nn.init":
            return None
        return func(*args, **(kwargs or {}))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Loads the weights of a saved model, all of them and no others.

    Raises:
        CheckpointError: the file is damaged, or tensors are missing, extra or of another shape.
    """
    check_shapes(lambda: model, folder)
    path = folder / WEIGHTS_FILE
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    model.load_state_dict(weights, strict=True)


def save(
    folder: Path,
    config: TokenizerConfig,
    weights: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes all files, each first under a temporary name.

    Args:
        folder: made if it is not there.
        config: of the model.
        weights: its state dict.
        dtype: of the floating-point tensors in the file; None keeps them as they are, and so does
            a value beyond its range.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    tensors = {name: _stored(tensor.detach().cpu(), dtype) for name, tensor in weights.items()}
    values = {"model_type": "fsq_audio", **to_mapping(config)}
    features = {
        "feature_extractor_type": "DacFeatureExtractor",
        "feature_size": 1,
        "hop_length": config.hop_length,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": config.sample_rate,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # As bytes: safetensors' own writer makes files that only their owner can read.
        data = serialize(tensors, metadata={"format": "pt"})
        (folder / f"{WEIGHTS_FILE}.tmp").write_bytes(data)
        for name, content in ((FEATURES_FILE, features), (CONFIG_FILE, values)):
            (folder / f"{name}.tmp").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        for name in (WEIGHTS_FILE, FEATURES_FILE, CONFIG_FILE):
            os.replace(folder / f"{name}.tmp", folder / name)
    except OSError as error:
        raise CheckpointError(f"cannot save to {folder}: {error}") from error


def fingerprint(config: TokenizerConfig, weights: Mapping[str, Tensor]) -> str:
    """A name for exactly this model: a hash of its configuration and its weights.

    Weights count by their float32 values: the same numbers stored in half precision have the same
    fingerprint.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(_canonical(to_mapping(config)))
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(_canonical([name, list(tensor.shape)]))
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is not None and tensor.is_floating_point():
        cast = tensor.to(dtype)
        # Counts of a codebook's use may exceed 65504.
        if torch.equal(torch.isfinite(cast), torch.isfinite(tensor)):
            tensor = cast
    return tensor.contiguous()


def _canonical(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
