"""A speech tokenizer with finite scalar quantization: waveforms to discrete tokens and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsq_audio.errors import AudioError, CheckpointError, ConfigError, FSQAudioError, TokenError

if TYPE_CHECKING:
    from fsq_audio.config import TokenizerConfig
    from fsq_audio.streaming import StreamingDecoder, StreamingEncoder
    from fsq_audio.tokenizer import AudioTokenizer
    from fsq_audio.tokens import AudioTokens

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "AudioTokenizer",
    "AudioTokens",
    "CheckpointError",
    "ConfigError",
    "FSQAudioError",
    "StreamingDecoder",
    "StreamingEncoder",
    "TokenError",
    "TokenizerConfig",
]


def __getattr__(name: str) -> object:
    # Imported on first use: `fsq-audio --help` must not pay for torch.
    if name == "AudioTokenizer":
        from fsq_audio.tokenizer import AudioTokenizer

        return AudioTokenizer
    if name == "AudioTokens":
        from fsq_audio.tokens import AudioTokens

        return AudioTokens
    if name in ("StreamingDecoder", "StreamingEncoder"):
        from fsq_audio import streaming

        return getattr(streaming, name)
    if name == "TokenizerConfig":
        from fsq_audio.config import TokenizerConfig

        return TokenizerConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
