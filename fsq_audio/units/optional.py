"""The library tokenizers, imported where it is needed."""

from __future__ import annotations

from types import ModuleType

from fsq_audio.errors import ConfigError


def import_tokenizers(purpose: str) -> ModuleType:
    """The module `tokenizers`.

    Args:
        purpose: what needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise ConfigError(
            f"{purpose} needs the package tokenizers: pip install 'fsq-audio[units]'"
        ) from None
    module: ModuleType = tokenizers
    return module
