"""What the Auto classes of transformers are told."""

from __future__ import annotations

import transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from fsq_audio.errors import ConfigError
from fsq_audio.hf.config import FSQAudioConfig
from fsq_audio.hf.model import FSQAudioModel


def register() -> None:
    """Makes the classes known to the Auto classes; again does nothing more.

    Raises:
        ConfigError: feature extractors cannot be imported; all else is registered.
    """
    AutoConfig.register(FSQAudioConfig.model_type, FSQAudioConfig, exist_ok=True)
    AutoModel.register(FSQAudioConfig, FSQAudioModel, exist_ok=True)
    # Not in every release of transformers 5.
    for_tokenization = getattr(transformers, "AutoModelForAudioTokenization", None)
    if for_tokenization is not None:
        for_tokenization.register(FSQAudioConfig, FSQAudioModel, exist_ok=True)
    try:
        # Imports torchaudio where there is one, even one that is built for another torch.
        from transformers import DacFeatureExtractor
    except (ImportError, OSError, RuntimeError) as error:
        reason = error.__cause__ or error  # transformers has a general sentence around it
        if isinstance(reason, ImportError):  # something else is missing, and it says what
            raise
        raise ConfigError(
            f"the feature extractors of transformers import torchaudio, which does not fit this "
            f"torch ({reason}): install the torch that it is built for, or uninstall torchaudio"
        ) from error
    AutoFeatureExtractor.register(FSQAudioConfig, DacFeatureExtractor, exist_ok=True)
