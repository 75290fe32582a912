"""What can be typed: every option of every verb, without importing what runs them."""

from __future__ import annotations

import argparse

from fsq_audio import __version__
from fsq_audio.cli.options.about import add_benchmark, add_info
from fsq_audio.cli.options.convert import add_convert
from fsq_audio.cli.options.evaluate import add_evaluate
from fsq_audio.cli.options.export import add_export
from fsq_audio.cli.options.extract import add_extract
from fsq_audio.cli.options.files import add_decode, add_reconstruct, add_tokenize
from fsq_audio.cli.options.report import add_report
from fsq_audio.cli.options.stream import add_stream
from fsq_audio.cli.options.verb import Parser

_VERBS = (
    add_tokenize,
    add_decode,
    add_reconstruct,
    add_stream,
    add_extract,
    add_evaluate,
    add_report,
    add_convert,
    add_export,
    add_benchmark,
    add_info,
)


class UsageError(Exception):
    """The command line asks for what cannot be; shown with the usage, exit code 2."""


def build_parser() -> argparse.ArgumentParser:
    """The parser; what it returns has `module`, whose `run(arguments)` does the work."""
    parser = Parser(
        prog="fsq-audio",
        description="Turns speech into discrete tokens and back.",
        epilog="fsq-audio VERB --help shows the options of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"fsq-audio {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for add in _VERBS:
        add(verbs)
    return parser
