"""What is said and where: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO


def one_line(text: str) -> str:
    """Text with what would break a line or a terminal escaped: file names hold anything."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class Console:
    """Prints for one run, and draws its progress bar when a terminal is there to see it.

    Attributes:
        as_json: whether results are JSON objects instead of sentences.
    """

    def __init__(self, *, as_json: bool = False, verbose: int = 0, quiet: bool = False) -> None:
        """Opens nothing yet.

        Args:
            as_json: results are JSON objects instead of sentences.
            verbose: above 0, details are said too.
            quiet: results as sentences, remarks and the bar are left out.
        """
        self.as_json = as_json
        self._verbose = verbose
        self._quiet = quiet
        self._bar: Any = None

    def result(self, values: Mapping[str, Any], sentence: str | None = None) -> None:
        """Data: a JSON object, or a sentence, if there is one, unless quiet."""
        if self.as_json:
            self._print(json.dumps(values), sys.stdout)
        elif sentence is not None and not self._quiet:
            self._print(one_line(sentence), sys.stdout)

    def remark(self, sentence: str) -> None:
        """Worth knowing; silent when quiet."""
        if not self._quiet:
            self._print(one_line(sentence), sys.stderr)

    def detail(self, sentence: str) -> None:
        """Said only when verbose."""
        if self._verbose:
            self._print(one_line(sentence), sys.stderr)

    def trace(self, error: BaseException) -> None:
        """Where an error arose, only when verbose."""
        if self._verbose:
            self._print("".join(traceback.format_exception(error)).rstrip(), sys.stderr)

    def error(self, sentence: str) -> None:
        """What went wrong, always."""
        self._print(f"fsq-audio: {one_line(sentence)}", sys.stderr)

    def start_bar(self) -> None:
        """Shows a bar from now on, in seconds of audio, if standard error is a terminal."""
        if self._quiet or not sys.stderr.isatty():
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=0,
            unit="s",
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio "
            "[{elapsed}<{remaining}, {rate_noinv_fmt}]",
        )

    def move_bar(self, seconds: float, *, total: float) -> None:
        """Sets the bar to `seconds` of about `total`."""
        if self._bar is not None:
            self._bar.total = max(total, seconds)
            self._bar.update(seconds - self._bar.n)

    @property
    def is_live(self) -> bool:
        """Whether somebody watches a terminal."""
        return not self._quiet and sys.stderr.isatty()

    def show(self, sentence: str) -> None:
        """How far it is: one line that changes on a terminal, a line each time elsewhere."""
        if not self.is_live:
            self.remark(sentence)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(file=sys.stderr, dynamic_ncols=True, bar_format="{desc}")
        self._bar.set_description_str(one_line(sentence))

    def end_bar(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, text: str, stream: TextIO) -> None:
        encoding = stream.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        if self._bar is None:
            print(text, file=stream, flush=True)
        else:
            self._bar.write(text, file=stream)
            stream.flush()
