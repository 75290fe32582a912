"""`fsq-audio convert`: units from one format to another."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fsq_audio.cli.console import Console
from fsq_audio.cli.parser import UsageError
from fsq_audio.cli.session import make_console
from fsq_audio.errors import ConfigError
from fsq_audio.units.convert import Plan, convert, plan_conversion
from fsq_audio.units.formats import WriteOptions
from fsq_audio.units.item import UnitItem

_ITEMS_PER_MOVE = 100  # of the bar


def run(arguments: Namespace) -> bool:
    """Runs the verb; whether all of the input could be read."""
    console = make_console(arguments)
    given = {name: getattr(arguments, name) for name in ("pattern", "layout", "template")}
    options = WriteOptions(
        shard_size=arguments.shard_size,
        audio_root=arguments.audio_root,
        **{name: value for name, value in given.items() if value is not None},
    )
    try:
        plan = plan_conversion(
            arguments.input,
            arguments.output,
            read_as=arguments.read_as,
            write_as=arguments.write_as,
            options=options,
            splits=arguments.split,
            if_exists=arguments.if_exists,
        )
    except ConfigError as error:
        raise UsageError(str(error)) from error
    names = {
        "input": str(arguments.input),
        "output": str(arguments.output),
        "format": arguments.write_as,
    }
    if plan.is_done or arguments.dry_run:
        status = "skipped" if plan.is_done else "would write"
        console.result(
            {"status": status, **names, "splits": list(plan.splits)},
            f"{status} {arguments.output} ({arguments.write_as})",
        )
        return True
    values = _convert(plan, console, stop=arguments.on_error == "fail")
    for failure in plan.source.failures:
        console.error(str(failure.error))
    num_failed = len(plan.source.failures)
    console.result(
        {"status": "done", **names, **values, "num_failed": num_failed},
        f"{arguments.input} -> {arguments.output}: {values['num_items']} recordings, "
        f"{values['seconds']:.1f} s, {values['num_codes']} codes as {arguments.write_as}"
        + (f"; {num_failed} files failed" if num_failed else ""),
    )
    return num_failed == 0


def _convert(plan: Plan, console: Console, *, stop: bool) -> dict[str, Any]:
    totals = {"num_items": 0, "seconds": 0.0, "num_codes": 0}

    def progress(item: UnitItem) -> None:
        totals["num_items"] += 1
        totals["seconds"] += item.duration
        totals["num_codes"] += item.codes.size
        if totals["num_items"] % _ITEMS_PER_MOVE == 0:
            left = (plan.num_items or 0) / totals["num_items"]
            console.move_bar(totals["seconds"], total=totals["seconds"] * left)

    console.start_bar()
    try:
        convert(plan, stop_at_failure=stop, progress=progress)
    finally:
        console.end_bar()
    return totals
