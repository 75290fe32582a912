"""Options of the verbs that go from file to file: `fsq-audio tokenize`, `decode`, `reconstruct`."""

from __future__ import annotations

from fsq_audio.cli.options.shared import (
    add_backend,
    add_decoding,
    add_encoding,
    add_groups,
    add_inputs,
    add_model,
    add_running,
)
from fsq_audio.cli.options.verb import Verbs, add_verb

TOKEN_FORMATS = ("fsq", "npy", "jsonl")
AUDIO_FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "caf", "w64", "rf64")


def add_tokenize(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(verbs, "tokenize", "turn audio files into tokens")
    add_inputs(verb, "audio files")
    verb.add_argument(
        "--format",
        choices=TOKEN_FORMATS,
        help="fsq: packed, can be decoded (default); npy: plain int32 codes; "
        "jsonl: plain codes of all files in OUT/tokens.jsonl",
    )
    add_encoding(verb)
    add_model(verb)
    add_backend(verb)
    add_running(verb)


def add_decode(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(verbs, "decode", "turn token files back into audio")
    add_inputs(verb, ".fsq files")
    verb.add_argument("--format", choices=AUDIO_FORMATS, help="default: wav")
    add_decoding(verb)
    add_groups(verb)
    add_model(verb)
    add_backend(verb)
    add_running(verb)


def add_reconstruct(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(verbs, "reconstruct", "tokenize and decode in one go, to hear what is kept")
    add_inputs(verb, "audio files")
    verb.add_argument("--format", choices=AUDIO_FORMATS, help="default: wav")
    add_decoding(verb)
    verb.add_argument("--save-tokens", action="store_true", help="write the .fsq files as well")
    add_encoding(verb)
    add_model(verb)
    add_backend(verb)
    add_running(verb)
