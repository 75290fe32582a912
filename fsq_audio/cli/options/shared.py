"""Options that several verbs take."""

from __future__ import annotations

import argparse
from pathlib import Path

from fsq_audio.cli.options.values import (
    parse_counts,
    parse_device,
    parse_positive,
    parse_rate,
    parse_seconds,
)


def add_inputs(verb: argparse.ArgumentParser, what: str) -> None:
    """INPUT, OUT, and what to do about outputs that are there."""
    verb.add_argument("inputs", nargs="*", metavar="INPUT", help=f"{what}, folders, patterns, -")
    group = verb.add_argument_group("inputs and outputs")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder, or the very file when its name ends in one of the formats",
    )
    group.add_argument(
        "--filelist", metavar="FILE", help="a list of paths, like - on standard input"
    )
    group.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="keep every path relative to this folder, whatever way the file was found",
    )
    group.add_argument(
        "--keep-extension",
        action="store_true",
        help="name outputs a.wav.fsq instead of a.fsq, where there are both a.wav and a.flac",
    )
    group.add_argument(
        "--if-exists",
        choices=("skip", "overwrite", "error"),
        default="skip",
        help="what to do about outputs that are there (default: skip, which continues a run); "
        "tokens of another model are never skipped",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="only tell what would be written, and where"
    )


def add_encoding(verb: argparse.ArgumentParser) -> None:
    """How audio becomes tokens."""
    verb.add_argument(
        "--channels",
        choices=("mix", "split"),
        default="mix",
        help="mix: the mean of all channels (default); split: each channel, and as many back",
    )
    add_groups(verb)


def add_decoding(verb: argparse.ArgumentParser) -> None:
    """How tokens become audio."""
    verb.add_argument("--subtype", help="encoding inside the format, such as PCM_24 or FLOAT")
    verb.add_argument(
        "--sample-rate",
        type=parse_rate,
        metavar="N|original",
        help="of the audio written, in Hz; original: as the recording was, to the sample "
        "(default: the model's)",
    )


def add_groups(verb: argparse.ArgumentParser) -> None:
    """How many groups are kept."""
    verb.add_argument(
        "--num-groups",
        type=parse_positive,
        metavar="G",
        help="keep only the first G codes of each frame, for a lower bitrate (default: all)",
    )


def add_model(verb: argparse.ArgumentParser, *, thread_counts: bool = False) -> None:
    """Which model, and where it computes; with `thread_counts`, with which numbers of threads."""
    group = verb.add_argument_group("model")
    group.add_argument(
        "--model",
        default="default",
        metavar="PATH_OR_HUB_ID",
        help='folder, hub id, or "default", the one in the package (default)',
    )
    group.add_argument(
        "--device",
        type=parse_device,
        default="auto",
        metavar="DEVICE",
        help="auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:N or mps",
    )
    if thread_counts:
        group.add_argument(
            "--num-threads",
            type=parse_counts,
            metavar="LIST",
            help="such as 1,2,4 (default: 1, and as many as torch takes)",
        )
        return
    group.add_argument(
        "--num-threads",
        type=parse_positive,
        metavar="N",
        help="threads of one computation on the CPU (default: torch decides)",
    )


def add_backend(verb: argparse.ArgumentParser) -> None:
    """What computes."""
    verb.add_argument(
        "--backend",
        choices=("torch", "onnx"),
        default="torch",
        help="onnx: ONNX Runtime, with --model a folder of fsq-audio export onnx; tokens of both "
        "are interchangeable, and few codes differ: docs/export.md (default: torch)",
    )


def add_running(verb: argparse.ArgumentParser) -> None:
    """How files are worked through."""
    group = verb.add_argument_group("running")
    group.add_argument(
        "--on-error",
        choices=("skip", "fail"),
        default="skip",
        help="skip: note a file that fails in OUT/errors.jsonl and go on (default); fail: stop",
    )
    group.add_argument(
        "-j",
        "--num-workers",
        type=parse_positive,
        default=2,
        metavar="N",
        help="threads that read ahead and write behind the model (default: 2)",
    )
    group.add_argument(
        "--batch-seconds",
        type=parse_seconds,
        default=300.0,
        metavar="S",
        help="audio of one batch, three of which are in memory; a longer file is streamed. "
        "The tokens do not depend on it (default: 300)",
    )
    add_talking(verb)


def add_talking(verb: argparse.ArgumentParser, *, as_json: bool = True) -> None:
    """What is said about it, and whether it can be as JSON."""
    group = verb.add_argument_group("messages")
    if as_json:
        text = "JSON on standard output, one a line"
        group.add_argument("--json", action="store_true", help=text)
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v", "--verbose", action="count", default=0, help="say more; show where errors arise"
    )
    loudness.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
