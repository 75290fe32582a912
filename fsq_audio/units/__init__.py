"""Units for language models: codes [G, T] to integer sequences and text, and back, exactly."""

from fsq_audio.units.alignment import Alignment
from fsq_audio.units.bpe import UnitBPE
from fsq_audio.units.deduplicate import Deduplicated, deduplicate, duplicate
from fsq_audio.units.patterns import Layout, Pattern, pattern_names, register_pattern
from fsq_audio.units.text import UnitText
from fsq_audio.units.vocabulary import BOS, EOS, PAD, Code, UnitVocabulary

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "Alignment",
    "Code",
    "Deduplicated",
    "Layout",
    "Pattern",
    "UnitBPE",
    "UnitText",
    "UnitVocabulary",
    "deduplicate",
    "duplicate",
    "pattern_names",
    "register_pattern",
]
