"""From evaluations to one HTML file that needs nothing else: read this file first."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path

from fsq_audio import __version__
from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.metric import is_installed
from fsq_audio.files import replacing
from fsq_audio.report import charts, pictures
from fsq_audio.report.clips import choose_clips
from fsq_audio.report.content import Choice, Section, collect, to_data_url
from fsq_audio.report.results import Results


def check_installed() -> None:
    """Makes sure that a page can be made.

    Raises:
        ConfigError: a package is missing.
    """
    names = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}
    missing = [package for module, package in names.items() if not is_installed(module)]
    if missing:
        raise ConfigError(f"the page needs {', '.join(missing)}: pip install 'fsq-audio[report]'")


def write_page(evaluations: Sequence[Results], path: Path, choice: Choice) -> int:
    """Writes the page.

    Args:
        evaluations: each a section.
        path: of the HTML file.
        choice: what is shown.

    Returns:
        Bytes that were written.

    Raises:
        ConfigError: a package, a clip or a system is missing.
        AudioError: a recording is missing or cannot be read.
        OSError: the file cannot be written.
    """
    check_installed()
    chosen = choose_clips(evaluations, choice.systems, number=choice.number, names=choice.names)
    pairs = zip(evaluations, chosen, strict=True)
    sections = [collect(results, ids, choice) for results, ids in pairs]
    html = render(sections, title=choice.title)
    # What is not Unicode in a file name is written as its escape.
    data = html.encode("utf-8", "backslashreplace")
    with replacing(path) as beside:
        beside.write_bytes(data)
    return len(data)


def render(sections: Sequence[Section], *, title: str) -> str:
    """The page as text; everything that comes from outside is escaped.

    Args:
        sections: one for each evaluation.
        title: of the page.
    """
    import jinja2

    files = importlib.resources.files("fsq_audio.report")
    style, script = ((files / f"page.{end}").read_text("utf-8") for end in ("css", "js"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": charts.format_value}
    template = environment.from_string((files / "page.html.j2").read_text("utf-8"))
    return template.render(
        sections=sections,
        title=title,
        version=__version__,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        size=(charts.WIDTH, charts.HEIGHT),
        margins=(charts.LEFT, charts.RIGHT, charts.TOP, charts.BOTTOM),
        picture=(pictures.WIDTH, pictures.HEIGHT),
        scale=to_data_url("image/png", pictures.draw_scale()),
    )


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls a text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
