"""`fsq-audio report`: a page to listen to, and a listening test, from evaluations."""

from __future__ import annotations

from argparse import Namespace

from fsq_audio.cli.parser import UsageError
from fsq_audio.cli.session import make_console
from fsq_audio.report.content import Choice
from fsq_audio.report.page import write_page
from fsq_audio.report.results import read_results
from fsq_audio.report.webmushra import write_test


def run(arguments: Namespace) -> bool:
    """Runs the verb; True, since there is nothing that may fail in part."""
    console = make_console(arguments)
    output, folder = arguments.output, arguments.webmushra
    if output is None and folder is None:
        raise UsageError("name the page to write (-o page.html), or --webmushra FOLDER, or both")
    if output is not None and output.is_dir():
        raise UsageError(f"-o {output} is a folder: name the page in it, as {output}/report.html")
    evaluations = [read_results(each) for each in arguments.evaluations]
    choice = Choice(
        number=arguments.clips,
        names=arguments.clip,
        systems=[name for each in arguments.systems for name in each],
        seconds=arguments.seconds,
        title=arguments.title,
    )
    if output is not None:
        num_bytes = write_page(evaluations, output, choice)
        console.result(
            {"status": "page", "output": str(output), "num_bytes": num_bytes},
            f"{output}: {num_bytes / 1e6:.2f} MB, open it in a browser",
        )
    if folder is not None:
        num_trials = write_test(evaluations, folder, choice)
        console.result(
            {"status": "webmushra", "output": str(folder), "num_trials": num_trials},
            f"{folder}: {num_trials} trials; copy it into webMUSHRA's configs/ and open "
            f"webMUSHRA with ?config={folder.resolve().name}/mushra.yaml",
        )
    return True
