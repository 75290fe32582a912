"""What a page shows, collected from an evaluation: players, token streams, tables, charts."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fsq_audio.report import charts, pictures
from fsq_audio.report.clips import Codes, Sound, begins_with, load_codes, load_sound, to_flac
from fsq_audio.report.results import Results
from fsq_audio.report.table import (
    Cell,
    Failure,
    Table,
    clip_cell,
    clip_table,
    count_failures,
    summary_table,
)


@dataclass(frozen=True)
class Choice:
    """What of the evaluations is shown.

    Attributes:
        number: of clips of each evaluation, unless some are named.
        names: of clips.
        systems: names; empty for all.
        seconds: of a longer clip that are kept.
        title: of the page.
    """

    number: int = 3
    names: Sequence[str] = ()
    systems: Sequence[str] = ()
    seconds: float = 10.0
    title: str = "Listening page"


@dataclass(frozen=True)
class Player:
    """One version of a clip.

    Attributes:
        name: of the system, or "original".
        rates: nominal and written bitrate in words.
        audio: a data URL; None where there is none.
        spectrogram: a data URL.
        sample_rate: in Hz.
        reason: why there is no audio.
        cells: key metrics, by name.
    """

    name: str
    rates: str
    audio: str | None = None
    spectrogram: str | None = None
    sample_rate: int | None = None
    reason: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """The codes of a system as a picture.

    Attributes:
        system: its name.
        image: a data URL.
        codes: what is drawn.
        others: systems that keep its first groups.
    """

    system: str
    image: str
    codes: Codes
    others: Sequence[str]


@dataclass(frozen=True)
class Clip:
    """A recording to listen to.

    Attributes:
        id: of the recording.
        text: what is said, if known.
        language: its code, if known.
        duration: of the whole recording in seconds.
        seconds: that are heard.
        highest: frequency of the spectrograms in kHz.
        players: the original first.
        streams: token streams.
        table: all metrics.
    """

    id: str
    text: str | None
    language: str | None
    duration: float
    seconds: float
    highest: float
    players: Sequence[Player]
    streams: Sequence[Stream]
    table: Table

    @property
    def name(self) -> str:
        """The last part of the id."""
        return self.id.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """What comes before it."""
        return self.id.rpartition("/")[0]


@dataclass(frozen=True)
class Section:
    """One evaluation on the page.

    Attributes:
        results: of the evaluation.
        clips: to listen to.
        are_named: whether somebody named them.
        table: the summary.
        failures: reasons for missing values.
        key_charts: rate-distortion of the key metrics.
        charts: of the others.
        families: of the systems in the charts.
        books: health of the codebooks by system.
        fingerprints: of the models by system.
    """

    results: Results
    clips: Sequence[Clip]
    are_named: bool
    table: Table
    failures: Sequence[Failure]
    key_charts: Sequence[charts.Chart]
    charts: Sequence[charts.Chart]
    families: Sequence[str]
    books: Mapping[str, Any]
    fingerprints: Mapping[str, str]


def to_data_url(kind: str, data: bytes) -> str:
    """A file inside the page."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def collect(results: Results, ids: Sequence[str], choice: Choice) -> Section:
    """Everything of an evaluation that the page shows.

    Args:
        results: of the evaluation.
        ids: of the recordings that are heard.
        choice: what else is shown.

    Raises:
        ConfigError: there is no such system.
        AudioError: a recording is missing or cannot be read.
        TokenError: tokens are missing or damaged.
    """
    systems = results.choose(choice.systems)
    summaries = {name: results.summary["systems"][name] for name in systems}
    curves = results.curves["curves"]
    all_charts = charts.draw_charts(curves, summaries, results.metrics)
    key = [metric for metric in results.metrics if metric in curves][:6]
    settled = {name: results.journal.settled(f"system {name}") for name in systems}
    return Section(
        results=results,
        clips=[_clip(results, systems, id, choice.seconds) for id in ids],
        are_named=bool(choice.names),
        table=summary_table(results, systems),
        failures=count_failures(results, systems),
        key_charts=[chart for chart in all_charts if chart.metric in key],
        charts=[chart for chart in all_charts if chart.metric not in key],
        families=charts.find_families(curves),
        books=_books(summaries),
        fingerprints={name: each.get("fingerprint", "") for name, each in settled.items()},
    )


def _books(summaries: Mapping[str, Any]) -> dict[str, Any]:
    """Systems with codebooks; of those that keep the first groups of another, only the other."""
    health = {name: each["health"] for name, each in summaries.items() if each["health"]}
    return {
        name: summaries[name]
        for name, own in health.items()
        if not any(len(other) > len(own) and other[: len(own)] == own for other in health.values())
    }


def _clip(results: Results, systems: Sequence[str], id: str, seconds: float) -> Clip:
    original = load_sound(results.original(id), seconds=seconds)
    paths = {name: results.degraded(name, id) for name in systems}
    sounds = {
        name: load_sound(path, seconds=original.seconds)
        for name, path in paths.items()
        if path is not None
    }
    highest = max(each.sample_rate for each in (original, *sounds.values())) / 2
    top_db = pictures.loudest(original)

    def show(name: str, sound: Sound, **more: Any) -> Player:
        image = pictures.draw_spectrogram(
            sound, seconds=original.seconds, highest=highest, top_db=top_db
        )
        return Player(
            name,
            audio=to_data_url("audio/flac", to_flac(sound)),
            spectrogram=to_data_url("image/webp", image),
            sample_rate=sound.sample_rate,
            **more,
        )

    players = [show("original", original, rates="")]
    for name in systems:
        row, rates = results.rows[name, id], _rates(results, name)
        if name in sounds:
            cells = {metric: clip_cell(row, metric) for metric in results.metrics[:3]}
            players.append(show(name, sounds[name], rates=rates, cells=cells))
        else:
            players.append(Player(name, rates, reason=row.failures.get("audio", "no audio")))
    settled = results.journal.settled(f"recording {id}")
    durations = (results.rows[name, id].duration for name in systems)
    return Clip(
        id=id,
        text=settled.get("text"),
        language=settled.get("language"),
        duration=next(filter(None, durations), original.seconds),
        seconds=original.seconds,
        highest=highest / 1000,
        players=players,
        streams=_streams(results, systems, id, original.seconds),
        table=clip_table(results, systems, id),
    )


def _streams(results: Results, systems: Sequence[str], id: str, seconds: float) -> list[Stream]:
    """The token streams; what is the beginning of another one is not drawn again."""
    found = {name: load_codes(results, name, id, seconds=seconds) for name in systems}
    codes = {name: each for name, each in found.items() if each is not None}
    return [
        Stream(
            name,
            to_data_url("image/png", pictures.draw_codes(own)),
            own,
            [other for other, each in codes.items() if begins_with(own, each)],
        )
        for name, own in codes.items()
        if not any(begins_with(each, own) for each in codes.values())
    ]


def _rates(results: Results, system: str) -> str:
    rate = results.summary["systems"][system]["rate"]
    parts = [
        f"{rate[name]:.0f} bit/s {name}"
        for name in ("nominal", "written")
        if rate[name] is not None and math.isfinite(rate[name])
    ]
    return ", ".join(parts) or "bitrate not known"
