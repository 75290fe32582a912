"""Options of `fsq-audio report`."""

from __future__ import annotations

from pathlib import Path

from fsq_audio.cli.options.shared import add_talking
from fsq_audio.cli.options.values import parse_names, parse_positive, parse_seconds
from fsq_audio.cli.options.verb import EXIT_CODES_OF_ONE_OUTPUT, Verbs, add_verb

_REPORT = """\
The page is one file that needs no network: originals and systems side by side with players,
spectrograms, token streams and metrics, a summary that can be sorted, rate-distortion curves and
codebooks. Its size grows with clips x systems x seconds."""


def add_report(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs,
        "report",
        "make a page to listen to, or a listening test, from evaluations",
        details=_REPORT,
        exit_codes=EXIT_CODES_OF_ONE_OUTPUT,
    )
    verb.add_argument(
        "evaluations",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="what fsq-audio evaluate -o FOLDER wrote; several make one page",
    )
    verb.add_argument("-o", "--output", type=Path, metavar="PAGE", help="the HTML file")
    verb.add_argument(
        "--webmushra",
        type=Path,
        metavar="FOLDER",
        help="write a listening test for webMUSHRA: YAML, WAV files, hidden reference, anchors",
    )
    verb.add_argument("--title", default="Listening page", help="of the page and the test")
    group = verb.add_argument_group("what is heard")
    group.add_argument(
        "--clips",
        type=parse_positive,
        default=3,
        metavar="N",
        help="recordings of each evaluation, spread over it (default: 3)",
    )
    group.add_argument(
        "--clip",
        action="append",
        default=[],
        metavar="ID",
        help="this recording instead: its id in rows.csv, or the end of it; may be repeated",
    )
    group.add_argument(
        "--systems",
        action="append",
        default=[],
        type=parse_names,
        metavar="LIST",
        help="these systems, in this order, with commas (default: all)",
    )
    group.add_argument(
        "--seconds",
        type=parse_seconds,
        default=10.0,
        metavar="S",
        help="the beginning of a longer recording (default: 10)",
    )
    add_talking(verb)
