"""The twelve packages: what is recorded in them, by whom, under which licence, in which file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Telephone prompts that are tones or animals, the same in every language.
NOT_SPEECH = frozenset(
    {
        "ascending_2tone",
        "beep",
        "beeperr",
        "confbridge_join",
        "confbridge_leave",
        "descending_2tone",
        "tt_monkeys",
    }
)

FESTIVAL_LINE = re.compile(r'^\(\s*(\S+)\s+"(.*)"\s*\)\s*$')
SPHINX_LINE = re.compile(r"^(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\((\S+)\)\s*$")


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """One voice in one folder of one package.

    Attributes:
        package: Debian package that holds the folder.
        folder: Folder of the recordings, relative to where the package is unpacked.
        pattern: Files below the folder, as a glob.
        exclude: Files below the folder that are left out, as globs.
        speaker_id: Name of the voice; one human is one speaker, whatever the language.
        chapter: Middle folder of the LibriSpeech-style tree.
        language: ISO 639-1 code, or the package's own name of the language.
        licence: Short name of the licence of the recordings.
        attribution: Whom the package's copyright file names.
        transcript: Text file of the folder, relative to where the package is unpacked.
        split: Split that all files go to; by hash if None. `train` for a package that came later:
            the held-out splits stay what they were, and so do the figures on them.
    """

    package: str
    folder: str
    pattern: str
    speaker_id: str
    chapter: str
    language: str
    licence: str
    attribution: str
    exclude: tuple[str, ...] = ()
    transcript: str | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One recording as the package has it.

    Attributes:
        utterance_id: `speaker-chapter-utterance`, with no other hyphen in it.
        path: The file: raw G.722 at 64 kbit/s, or anything that libsndfile reads.
        recordings: Where it comes from.
        text: What is said, if the package tells.
    """

    utterance_id: str
    path: Path
    recordings: Recordings
    text: str | None


def _prompts(
    name: str, voice: str, speaker_id: str, *, licence: str, attribution: str
) -> Recordings:
    return Recordings(
        package=f"asterisk-core-sounds-{name}-g722",
        folder=f"usr/share/asterisk/sounds/{voice}",
        pattern="**/*.g722",
        speaker_id=speaker_id,
        chapter=name,
        language=name,
        licence=licence,
        attribution=attribution,
    )


_FILLETS_EXCLUDED = (
    "**/cs/*-x-*.ogg",  # animals, viruses, a computer: voices with effects
    "**/cs/k1-pap-*.ogg",  # a parrot
    "bathyscaph/cs/bat-p-*.ogg",  # a telephone line, little above 5.5 kHz
    "captain/cs/vl-leb-*.ogg",  # a skull
    "corals/cs/re-k-*.ogg",  # a coral
    "corridor/cs/ch-r-*.ogg",  # a robot dog
    "viking2/cs/dr-6-checheche.ogg",  # laughter
    "viking2/cs/dr-8-aaa.ogg",  # a scream
    "barrel/nl/bar_v_fotka.ogg",  # a second take of bar-v-fotka
)


def _fillets(language: str) -> Recordings:
    return Recordings(
        package=f"fillets-ng-data-{language}",
        folder="usr/share/games/fillets-ng/sound",
        pattern=f"**/{language}/*.ogg",
        exclude=_FILLETS_EXCLUDED,
        speaker_id=f"fillets_{language}",
        chapter="dialogue",
        language=language,
        licence="GPL-2",
        attribution=(
            "Fish Fillets - Next Generation (http://fillets.sourceforge.net): Ivo Danihelka, "
            "Pavel Danihelka, ALTAR interactive, Frederic Panico, Ronny Standtke, Simone "
            "Cociancich, Przemek Bojczuk"
        ),
        split="train",
    )


def _klettres(language: str, voice: str) -> Recordings:
    thanks = f"; sounds by {voice}" if voice else ""
    return Recordings(
        package="klettres-data",
        folder=f"usr/share/klettres/{language}",
        pattern="*/*.ogg",
        speaker_id=f"klettres_{language}",
        chapter="letters",
        language=language,
        licence="GPL-2+",
        attribution=(
            "Copyright 2001-2011 Anne-Marie Mahfouf, Eric Bischoff, Mark Kretschmann, "
            f"Michael Goettsche, Pino Toscano{thanks}"
        ),
        split="train",
    )


def _ktuberling(language: str) -> Recordings:
    return Recordings(
        package="ktuberling-data",
        folder=f"usr/share/ktuberling/sounds/{language}",
        pattern="*.*",
        speaker_id=f"ktuberling_{language}",
        chapter="words",
        language=language,
        licence="GPL-2+",
        attribution=(
            "Copyright 1999-2017 Albert Astals Cid, Éric Bischoff, Meni Livne, the KDE Team, "
            "Rosetta Contributors and Canonical Ltd; English sounds by John Calhoun"
        ),
        split="valid-unseen" if language in _KTUBERLING_HELD_OUT else "train",
    )


def _tuxpaint(language: str, voice: str) -> Recordings:
    thanks = f"; sounds by {voice}" if voice else ""
    return Recordings(
        package="tuxpaint-stamps-default",
        folder="usr/share/tuxpaint/stamps",
        pattern="**/*_desc.ogg" if language == "en" else f"**/*_{language}.ogg",
        speaker_id=f"tuxpaint_{language}",
        chapter="stamps",
        language=language,
        licence="GPL-2+",
        attribution=f"Copyright 2002-2022 Bill Kendrick{thanks}",
        split="train",
    )


# Whom KLettres' handbook thanks for the sounds of a language; it does not know all of them.
_KLETTRES_VOICES = {
    "ar": "",
    "cs": "Eva Mikulčíková",
    "da": "Erik Kjaer Pedersen",
    "de": "Helmut Kriege",
    "en": "Robert Wadley",
    "en_GB": "",
    "es": "Ana Belén Caballero and Juan Pedro Paredes",
    "fr": "Ludovic Grossard",
    "he": "Assaf Gorgon",
    "hu": "",
    "it": "Pietro Pasotti",
    "lt": "",
    "ml": "",
    "nb": "",
    "nds": "Manfred Wiese and Sönke Dibbern",
    "nl": "Geert Stams",
    "pt_BR": "Lindonjohnson Monte and Michelle Monte",
    "ru": "",
    "tn": "",
    "uk": "",
}
# Without fi, it, nds, pt and sv, which have 8 kHz only, and without the three other spellings of
# Serbian, which are copies of sr.
_KTUBERLING_LANGUAGES = (
    *("ca", "da", "de", "el", "en", "es", "fr", "ga", "gl", "lt", "nl", "nn", "ro", "ru", "sl"),
    *("sr", "uk", "wa"),
)
# Whom Tux Paint's list of changes names; numbers in most languages are from Schoolsplay. Without
# de and sl, which are voices to choose settings by, and ja and tw, which have too low a rate.
_TUXPAINT_VOICES = {
    "be": "Kseniya Buraya",
    "bg": "Krasimir Petkov",
    "ca": "Pere Pujal i Carabantes",
    "da": "Joe Dalton",
    "el": "Kiriaki Serafeim",
    "en": "",
    "en_GB": "John Arundel",
    "es": "Estefanía Ortiz",
    "fr": "Jacques Chion and PaulK",
    "it": "",
    "ko": "Sohyun Iris Lee",
    "lt": "Schoolsplay, prepared by Caroline Ford",
    "ml": "",
    "nb": "",
    "nl": "",
    "nn": "",
    "pt": "",
    "ro": "Tabbytha",
    "ru": "Edwin Veber",
    "sv": "",
}
# Voices to choose settings by, so that `test-unseen` need not be looked at. The German one may be
# in KLettres, too.
_KTUBERLING_HELD_OUT = ("de", "en", "sl")
_ALLISON = (
    "Copyright 2003-2010 Allison Smith (http://www.theivrvoice.com); "
    "financial contributions by Digium, Inc."
)
_FESTVOX = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
_SPHINX = "usr/share/pocketsphinx/test/data"

CORPUS = (
    _prompts("en", "en_US_f_Allison", "allison", licence="CC-BY-SA-3.0", attribution=_ALLISON),
    _prompts("es", "es_MX_f_Allison", "allison", licence="CC-BY-SA-3.0", attribution=_ALLISON),
    _prompts(
        "fr",
        "fr_CA_f_June",
        "june",
        licence="CC-BY-SA-3.0",
        attribution=(
            "Copyright 2006-2008 June Wallack (http://www.junewallack.com); translated by "
            "Clod Patry, Kristopher Lalletti and June Wallack; financial contributions by "
            "Digium, Inc., Unlimitel and BGM Informatique"
        ),
    ),
    _prompts(
        "it",
        "it_IT_m_Carlo",
        "carlo",
        licence="CC-BY-3.0",
        attribution=(
            "Copyright 2012 Carlo Flora (http://www.carloflora.com, "
            "http://www.segreterietelefoniche.it); translated by Silvia Petrin"
        ),
    ),
    _prompts(
        "ru",
        "ru_RU_f_IvrvoiceRU",
        "ivrvoice",
        licence="CC-BY-3.0",
        attribution="Copyright 2010 Maxim Topal (http://www.ivrvoice.ru)",
    ),
    Recordings(
        package="festvox-ru",
        folder=f"{_FESTVOX}/wav",
        pattern="*.wav",
        speaker_id="nsh",
        chapter="read",
        language="ru",
        licence="BSD-like (festvox-ru)",
        attribution="Copyright 2005 Nickolay V. Shmyrev",
        transcript=f"{_FESTVOX}/etc/txt.done.data",
    ),
    Recordings(
        package="pocketsphinx-testdata",
        folder=f"{_SPHINX}/librivox",
        pattern="*.wav",
        speaker_id="librivox",
        chapter="sense_and_sensibility_01",
        language="en",
        licence="Public domain (LibriVox), packaged under BSD-2-Clause",
        attribution=(
            "A LibriVox volunteer, Sense and Sensibility by Jane Austen, chapter 1; "
            "package copyright 1995-2014 Carnegie Mellon University, 2014-2015 Alpha Cephei Inc."
        ),
        transcript=f"{_SPHINX}/librivox/transcription",
        split="test-unseen",
    ),
    Recordings(
        package="pocketsphinx-testdata",
        folder=f"{_SPHINX}/cards",
        pattern="*.wav",
        speaker_id="cards",
        chapter="commands",
        language="en",
        licence="BSD-2-Clause",
        attribution=("Copyright 1995-2014 Carnegie Mellon University, 2014-2015 Alpha Cephei Inc."),
        transcript=f"{_SPHINX}/cards/cards.transcription",
        split="test-commands",
    ),
    _fillets("cs"),
    _fillets("nl"),
    *(_klettres(language, voice) for language, voice in _KLETTRES_VOICES.items()),
    *(_ktuberling(language) for language in _KTUBERLING_LANGUAGES),
    *(_tuxpaint(language, voice) for language, voice in _TUXPAINT_VOICES.items()),
)


def packages() -> list[str]:
    """The names of the Debian packages, each once, in the order of `CORPUS`."""
    return list(dict.fromkeys(recordings.package for recordings in CORPUS))


def make_utterance_id(recordings: Recordings, relative: Path) -> str:
    """Name a recording `speaker-chapter-utterance`.

    Args:
        recordings: Where the file comes from.
        relative: The file, relative to the folder of the recordings.

    Returns:
        The name. Folders and hyphens inside the utterance become underscores, because readers
        of LibriSpeech split a name at its hyphens.
    """
    utterance = relative.with_suffix("").as_posix()
    utterance = utterance.removeprefix(f"{recordings.chapter}_austen_64kb-")
    utterance = re.sub(r"[^0-9A-Za-z_]", "_", utterance)
    return f"{recordings.speaker_id}-{recordings.chapter}-{utterance}"


def parse_transcript(lines: str) -> dict[str, str]:
    """Read a transcript in Festival's or in Sphinx's format.

    Args:
        lines: `( ru_0001 "Text." )` or `<s> text </s> (0001)`, one recording a line.

    Returns:
        Name of the file (no extension) to text. Festival's stress marks (`+`) are removed.

    Raises:
        ValueError: If a line has neither format.
    """
    texts = {}
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        if festival := FESTIVAL_LINE.match(line):
            texts[festival[1]] = festival[2].replace("+", "").strip()
        elif sphinx := SPHINX_LINE.match(line):
            texts[sphinx[2]] = sphinx[1]
        else:
            raise ValueError(f"line {number} of the transcript is in no known format: {line!r}")
    return texts


def list_sources(downloads: Path) -> Iterator[Source]:
    """Every recording of the corpus.

    Args:
        downloads: Folder with one unpacked folder per package.

    Yields:
        The recordings, sorted within each folder.

    Raises:
        FileNotFoundError: If a package no longer holds what this module says.
    """
    for recordings in CORPUS:
        root = downloads / recordings.package
        texts: dict[str, str] = {}
        if recordings.transcript is not None:
            texts = parse_transcript((root / recordings.transcript).read_text(encoding="utf-8"))
        folder = root / recordings.folder
        excluded = {path for glob in recordings.exclude for path in folder.glob(glob)}
        paths = sorted(set(folder.glob(recordings.pattern)) - excluded)
        if not paths:
            raise FileNotFoundError(f"no {recordings.pattern} under {folder}")
        for path in paths:
            name = make_utterance_id(recordings, path.relative_to(folder))
            yield Source(
                utterance_id=name, path=path, recordings=recordings, text=texts.get(path.stem)
            )
