"""A verb of the command line: what it says of itself, and where its work is."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"

INPUTS = """\
INPUT is a file, a folder (walked; hidden names and OUT itself are left out), a quoted glob pattern,
or - for a list of paths on standard input (one a line, or NUL between them). What is found in a
folder or by a pattern keeps its relative path under OUT; a file keeps its name."""

EXIT_CODES = """\
exit codes: 0 all done; 1 stopped by an error; 2 wrong usage; 3 done, but some files failed (see
the messages, and errors.jsonl in OUT); 130 interrupted: run the same command again to continue."""

EXIT_CODES_OF_ONE_OUTPUT = (
    "exit codes: 0 written; 1 stopped by an error; 2 wrong usage; 130 interrupted."
)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and keeps the lines of its texts."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,  # type: ignore[arg-type]
        )


def add_verb(
    verbs: Verbs,
    name: str,
    summary: str,
    *,
    details: str | None = INPUTS,
    exit_codes: str | None = EXIT_CODES,
) -> argparse.ArgumentParser:
    """Adds a verb, whose work is in the module of its name."""
    verb = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary.capitalize()}." + (f"\n\n{details}" if details else ""),
        epilog=exit_codes,
    )
    verb.set_defaults(module=f"fsq_audio.cli.{name}", parser=verb)
    return verb
