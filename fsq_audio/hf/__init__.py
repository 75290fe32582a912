"""The tokenizer behind the interface of transformers; importing this module imports transformers.

`register()` makes folders and hub repositories of `AudioTokenizer.save_pretrained` known to
AutoConfig, AutoModel, AutoModelForAudioTokenization and AutoFeatureExtractor. Codes and samples are
those of `fsq_audio.tokenizer`: the same module computes them, from the same files.
"""

from __future__ import annotations

try:
    from transformers import PreTrainedConfig  # noqa: F401
    from transformers.modeling_utils import PreTrainedAudioTokenizerBase  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fsq_audio.hf needs transformers 5 or newer: pip install 'fsq-audio[transformers]'"
    ) from error

from fsq_audio.hf.auto import register
from fsq_audio.hf.config import FSQAudioConfig
from fsq_audio.hf.model import (
    FSQAudioDecoderOutput,
    FSQAudioEncoderOutput,
    FSQAudioModel,
    FSQAudioOutput,
)

__all__ = [
    "FSQAudioConfig",
    "FSQAudioDecoderOutput",
    "FSQAudioEncoderOutput",
    "FSQAudioModel",
    "FSQAudioOutput",
    "register",
]
