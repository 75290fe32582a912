"""Options of the verbs that tell of a model: `fsq-audio info`, `benchmark`."""

from __future__ import annotations

from fsq_audio.cli.options.shared import add_model, add_talking
from fsq_audio.cli.options.values import parse_positive
from fsq_audio.cli.options.verb import Verbs, add_verb


def add_info(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs, "info", "tell what a model or a token file is", details=None, exit_codes=None
    )
    verb.add_argument(
        "paths",
        nargs="*",
        default=["default"],
        metavar="PATH",
        help='a .fsq file, or a model: folder, hub id, or "default" (the one in the package)',
    )
    add_talking(verb)


def add_benchmark(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(verbs, "benchmark", "tell how fast a model tokenizes and decodes here")
    verb.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="recordings to cut the loads from (default: noise, which costs as much as speech)",
    )
    verb.add_argument(
        "--rounds", type=parse_positive, default=3, metavar="N", help="how often (default: 3)"
    )
    add_model(verb, thread_counts=True)
    add_talking(verb)
