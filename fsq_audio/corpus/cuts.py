"""The cuts of lhotse; each reads itself from wherever lhotse can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsq_audio.corpus.entries import Entry
from fsq_audio.errors import ConfigError


def read_cuts(path: Path) -> Iterator[Entry]:
    """The cuts of a CutSet; text and speaker come from their supervisions.

    Raises:
        ConfigError: lhotse is not installed, or the file is no CutSet.
    """
    lhotse = _lhotse(path)
    try:
        for cut in lhotse.CutSet.from_file(path):
            yield cut_entry(cut)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"cannot read the CutSet {path}: {reason}") from error


def cut_entry(cut: Any) -> Entry:
    """The entry of one cut.

    Raises:
        ConfigError: its audio is what a command prints: a list of recordings must not run any.
    """
    sources: list[Any] = []
    for track in getattr(cut, "tracks", [cut]):
        recording = getattr(getattr(track, "cut", track), "recording", None)
        sources += [] if recording is None else recording.sources
        if any(source.type == "command" for source in sources):
            raise ConfigError(
                f"the cut {cut.id} gets its audio from a command, and none is run: save it first, "
                f"with lhotse's save_audios"
            )
    is_of_one_file = len(sources) == 1 and sources[0].type == "file"
    texts = [s.text for s in cut.supervisions if s.text is not None]
    speakers = {s.speaker for s in cut.supervisions if s.speaker is not None}
    return Entry(
        id=cut.id,
        path=Path(sources[0].source if is_of_one_file else cut.id),
        num_samples=cut.num_samples,
        sample_rate=cut.sampling_rate,
        seconds=cut.duration,
        cut=cut,
        text=" ".join(texts) if texts else None,
        speaker_id=speakers.pop() if len(speakers) == 1 else None,
    )


def cut_from_values(values: dict[str, Any]) -> Any:
    """The cut that `cut.to_dict()` described.

    Raises:
        ConfigError: lhotse is not installed.
    """
    return _lhotse("a lhotse cut").serialization.deserialize_item(values)


def _lhotse(what: object) -> Any:
    try:
        import lhotse
        import lhotse.serialization
    except ImportError:
        raise ConfigError(f"{what} needs lhotse: pip install 'fsq-audio[lhotse]'") from None
    return lhotse
