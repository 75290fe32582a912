"""How values are read from what is typed."""

from __future__ import annotations

import argparse
import re


def parse_positive(text: str) -> int:
    """A whole number from 1 on."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def parse_counts(text: str) -> list[int]:
    """Whole numbers from 1 on, between commas."""
    return [parse_positive(part) for part in text.split(",")]


def parse_split(text: str) -> str:
    """The name of a split."""
    if not re.fullmatch(r"\w+", text):
        raise argparse.ArgumentTypeError(f"expected letters, digits and _, got {text!r}")
    return text


def parse_range(text: str) -> range:
    """`A-B`, both included, or `A`."""
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else True)):
        raise argparse.ArgumentTypeError(f"expected a range such as 0-49, got {text!r}")
    tasks = range(int(first), int(last or first) + 1)
    if not tasks:
        raise argparse.ArgumentTypeError(f"expected a range such as 0-49, got {text!r}")
    return tasks


def parse_names(text: str) -> list[str]:
    """Names between commas."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def parse_groups(text: str) -> list[int]:
    """Numbers of groups; `1..G` is [1, 0], since only the model knows its G."""
    first, dots, last = text.partition("..")
    if not dots:
        return parse_counts(text)
    if last == "G":
        return [parse_positive(first), 0]
    numbers = list(range(parse_positive(first), parse_positive(last) + 1))
    if not numbers:
        raise argparse.ArgumentTypeError(f"expected a range such as 1..4, got {text!r}")
    return numbers


def parse_seconds(text: str) -> float:
    """Seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return value


def parse_rate(text: str) -> int | str:
    """Hz, or `original`."""
    try:
        return text if text == "original" else parse_positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected Hz or original, got {text!r}") from None


def parse_device(text: str) -> str:
    """A kind of device, or one of several."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda, cuda:N or mps, got {text!r}")
    return text
