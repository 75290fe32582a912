"""A listening test for webMUSHRA (Schoeffler et al. 2018), after ITU-R BS.1534-3."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from fsq_audio.audio import read_info
from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.report.clips import HIGHEST_RATE, choose_clips, load_sound, to_integers
from fsq_audio.report.content import Choice
from fsq_audio.report.results import Results

ANCHORS = {"anchor35": 3500.0, "anchor70": 7000.0}
"""Low-pass versions of the reference, in Hz; the names are webMUSHRA's own."""
ROLL_OFF = 500.0
"""Hz from the edge of the pass band to full attenuation, as BS.1534-3 asks of the low anchor."""
ATTENUATION = 60.0
"""In dB; BS.1534-3 asks for 25 at half a kilohertz, and 50 at one."""
MOST_STIMULI = 12
"""Of a trial, hidden reference and anchors included."""
LONGEST = 12.0
"""Seconds; webMUSHRA refuses a longer stimulus."""
FADE = 0.01
"""Seconds over which an excerpt ends."""


INSTRUCTIONS = (
    "Use headphones, in a quiet room. Each page has a reference and several versions of it, in "
    "random order. Rate how close each version is to the reference: 100 if you hear no "
    "difference. One version is the reference itself, hidden: at least one rating on a page "
    "should be 100."
)


@dataclass(frozen=True)
class Trial:
    """One page of the test.

    Attributes:
        id: of the page, and the folder of its files.
        results: of the evaluation.
        recording: id of the original.
        paths: of what the systems made, by system.
    """

    id: str
    results: Results
    recording: str
    paths: Mapping[str, Path]


def write_test(evaluations: Sequence[Results], folder: Path, choice: Choice) -> int:
    """Writes `mushra.yaml` and the WAV files that it names.

    Args:
        evaluations: that the trials are from.
        folder: to be copied into webMUSHRA's `configs`; its name is part of the paths.
        choice: of clips and systems.

    Returns:
        Number of trials.

    Raises:
        ConfigError: the folder holds something else or has a name that a URL cannot have, or
            webMUSHRA would refuse the test.
        AudioError: a recording is missing or cannot be read.
        OSError: the folder cannot be written.
    """
    name = folder.resolve().name
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise ConfigError(f"--webmushra {folder}: its name goes into a URL: use letters, digits, -")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "mushra.yaml").is_file():
        raise ConfigError(f"--webmushra {folder} holds other files: give a new folder")
    if choice.seconds > LONGEST:
        raise ConfigError(f"--seconds {choice.seconds:g}: webMUSHRA takes {LONGEST:g} s at most")
    trials = list(_find_trials(evaluations, choice))
    rate = min(HIGHEST_RATE, max(_rate(path) for each in trials for path in _all_paths(each)))
    stimuli = {}
    for trial in trials:
        place = folder / trial.id
        place.mkdir(parents=True, exist_ok=True)
        stimuli[trial.id] = _write_trial(trial, place, rate=rate, seconds=choice.seconds)
    text = _configure(name, trials, stimuli, title=choice.title)
    (folder / "mushra.yaml").write_text(text, "utf-8", errors="backslashreplace")
    return len(trials)


def low_pass(samples: NDArray[np.float32], *, sample_rate: int, edge: float) -> NDArray[np.float32]:
    """Samples `[S]` without what is above an edge, not delayed.

    Args:
        samples: at `sample_rate`.
        sample_rate: in Hz, above twice the edge.
        edge: of the pass band, in Hz.
    """
    centre, width = edge + ROLL_OFF / 2, 2 * math.pi * ROLL_OFF / sample_rate
    # Kaiser's formulas: length and shape of the window for an attenuation.
    half = math.ceil((ATTENUATION - 7.95) / (2.285 * width) / 2)
    beta = 0.1102 * (ATTENUATION - 8.7)
    times = np.arange(-half, half + 1)
    taps = 2 * centre / sample_rate * np.sinc(2 * centre / sample_rate * times)
    taps *= np.kaiser(len(times), beta)
    size = 1 << (len(samples) + len(taps)).bit_length()
    result = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(taps / taps.sum(), size), size)
    return result[half : half + len(samples)].astype(np.float32)


def _find_trials(evaluations: Sequence[Results], choice: Choice) -> Iterator[Trial]:
    chosen = choose_clips(evaluations, choice.systems, number=choice.number, names=choice.names)
    number = 0
    for results, ids in zip(evaluations, chosen, strict=True):
        systems = results.choose(choice.systems)
        if clash := {"reference", *ANCHORS} & set(systems):
            raise ConfigError(
                f"a system of {results.folder} is called {clash.pop()}, which webMUSHRA takes for "
                f"something else: leave it out with --systems"
            )
        if len(systems) + 1 + len(ANCHORS) > MOST_STIMULI:
            raise ConfigError(
                f"{len(systems)} systems, the reference and the anchors are more than the "
                f"{MOST_STIMULI} stimuli of a trial: choose some with --systems"
            )
        for id in ids:
            number += 1
            paths = {name: results.degraded(name, id) for name in systems}
            missing = [name for name, path in paths.items() if path is None]
            if missing:
                raise AudioError(
                    f"{results.folder}: {', '.join(missing)} failed on {id}: choose other "
                    f"recordings with --clip, or other systems with --systems"
                )
            slug = re.sub(r"[^A-Za-z0-9_]+", "-", Path(id).name).strip("-")[:40]
            found = {name: path for name, path in paths.items() if path is not None}
            yield Trial(f"trial{number:02}_{slug}".rstrip("_"), results, id, found)


def _all_paths(trial: Trial) -> list[Path]:
    return [trial.results.original(trial.recording), *trial.paths.values()]


def _rate(path: Path) -> int:
    return read_info(path).sample_rate


def _write_trial(trial: Trial, place: Path, *, rate: int, seconds: float) -> list[str]:
    """Writes the files of a trial, all of one rate and length; the names of its stimuli."""
    original = trial.results.original(trial.recording)
    reference = load_sound(original, sample_rate=rate)
    is_cut = reference.seconds > seconds
    length = min(len(reference.samples), round(seconds * rate))
    sounds = {"reference": reference.samples}
    for name, edge in ANCHORS.items():
        if _rate(original) >= 2 * (edge + ROLL_OFF):
            sounds[name] = low_pass(reference.samples, sample_rate=rate, edge=edge)
    for name, path in trial.paths.items():
        sounds[name] = load_sound(path, sample_rate=rate).samples
    for name, samples in sounds.items():
        whole = np.pad(samples, (0, max(0, length - len(samples))))[:length]
        if is_cut:
            faded = min(length, round(FADE * rate))
            whole[length - faded :] *= np.linspace(1, 0, faded, dtype=np.float32)
        soundfile.write(place / f"{name}.wav", to_integers(whole), rate, subtype="PCM_16")
    return [name for name in sounds if name != "reference"]


def _configure(
    folder: str, trials: Sequence[Trial], stimuli: Mapping[str, Sequence[str]], *, title: str
) -> str:
    """The configuration; webMUSHRA's parser knows a part of YAML, which this keeps to.

    webMUSHRA puts names and contents into its page as HTML, and adds the hidden reference itself.
    """
    first = f"configs/{folder}/{trials[0].id}/reference.wav"
    lines = [
        f"testname: {_quote(title)}",
        f"testId: {_quote(folder)}",
        "bufferSize: 2048",
        "stopOnErrors: true",
        "showButtonPreviousPage: true",
        "remoteService: service/write.php",
        "pages:",
        "    - type: generic",
        "      id: instructions",
        "      name: Instructions",
        f"      content: {_quote(INSTRUCTIONS)}",
        "    - type: volume",
        "      id: volume",
        "      name: Volume",
        f"      content: {_quote('Choose a comfortable volume, and leave it as it is then.')}",
        f"      stimulus: {_quote(first)}",
        "      defaultVolume: 0.5",
        "    -",
        "        - random",
    ]
    for trial in trials:
        place = f"configs/{folder}/{trial.id}"
        lines += [
            "        - type: mushra",
            f"          id: {_quote(trial.id)}",
            # Numbers would be out of order, for the trials are shuffled.
            "          name: Rate each version",
            f"          content: {_quote(html.escape(_said(trial)))}",
            "          showWaveform: true",
            "          enableLooping: true",
            "          randomize: true",
            "          showConditionNames: false",
            f"          reference: {_quote(f'{place}/reference.wav')}",
            "          createAnchor35: false",
            "          createAnchor70: false",
            "          stimuli:",
            *(
                f"              {_quote(name)}: {_quote(f'{place}/{name}.wav')}"
                for name in stimuli[trial.id]
            ),
        ]
    lines += [
        "    - type: finish",
        "      name: Thank you",
        "      content: Your ratings are sent when you press the button.",
        "      showResults: false",
        "      writeResults: true",
    ]
    return "\n".join(lines) + "\n"


def _said(trial: Trial) -> str:
    text = trial.results.journal.settled(f"recording {trial.recording}").get("text")
    return f"“{text}”" if text else "Compare with the reference."


def _quote(text: str) -> str:
    """A double-quoted scalar: what JSON writes, YAML reads."""
    return json.dumps(text, ensure_ascii=False)
