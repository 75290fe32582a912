"""The model card that goes with a saved tokenizer: what it is and how to load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from fsq_audio.errors import CheckpointError

CARD_FILE = "README.md"
_MARK = "<!-- Written by fsq_audio with the model, and again with the next one: edit a copy. -->"

_TEMPLATE = (
    """---
{{ card_data }}
---

"""
    + _MARK
    + """

# A speech tokenizer

A tokenizer of the library fsq_audio: it turns speech into discrete tokens and back.

| | |
|---|---|
| sample rate | {{ model.sample_rate }} Hz |
| frame rate | {{ "%g" | format(model.frame_rate) }} frames/s of {{ model.hop_length }} samples |
| codes | {{ model.num_groups }} groups of {{ model.codebook_size }} |
| bitrate | {{ "%.0f" | format(model.bitrate) }} bit/s |
| quantizer | `{{ quantizer }}` |
| causal | {{ "yes" if model.config.causal else "no" }} |
| parameters | {{ "%.1f" | format(num_parameters / 1e6) }} M |
| fingerprint | `{{ model.fingerprint }}` |

The fingerprint names exactly this configuration and these weights; tokens carry it.

## Use

With fsq_audio installed:

```python
from fsq_audio import AudioTokenizer

tokenizer = AudioTokenizer.from_pretrained("{{ source }}")
tokens = tokenizer.encode_file("speech.wav")  # codes [1, {{ model.num_groups }}, T]
waveform = tokenizer.decode(tokens)
```

With transformers, too:

```python
from transformers import AutoFeatureExtractor, AutoModel
from fsq_audio.hf import register

register()
model = AutoModel.from_pretrained("{{ source }}")
features = AutoFeatureExtractor.from_pretrained("{{ source }}")
```

## Data, figures and limits

{{ notes }}

"""  # of two line ends at the end, one is the template's
)


def make_card(
    model: Any, *, repo_id: str | None = None, license: str | None = None, notes: str | None = None
) -> ModelCard:
    """The card of a tokenizer.

    Args:
        model: the `AudioTokenizer`, which stands above this module.
        repo_id: where it will be loaded from.
        license: its identifier on the hub, such as "cc-by-4.0".
        notes: on data, figures and limits, in Markdown.
    """
    return ModelCard.from_template(
        ModelCardData(
            library_name="fsq_audio",
            license=license,
            pipeline_tag="audio-to-audio",
            tags=["audio-codec", "finite-scalar-quantization", "speech", "tokenizer"],
        ),
        template_str=_TEMPLATE,
        model=model,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        quantizer=", ".join(f"{key}: {value}" for key, value in model.quantizer.describe().items()),
        source=repo_id or "this folder, or owner/name",
        notes=notes or "Not filled in yet.",
    )


def remove_generated(folder: Path) -> None:
    """Deletes a card that was generated: it would speak of the model that was there before.

    Raises:
        CheckpointError: it cannot be read or deleted.
    """
    path = folder / CARD_FILE
    try:
        if path.is_file() and _MARK in path.read_text("utf-8"):
            path.unlink()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot replace {path}: {error}") from error
