"""Where recordings come from: manifests, folders, lhotse cut sets, tar shards."""

from __future__ import annotations

import glob
import io
import json
import logging
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soundfile

from fsq_audio.errors import ConfigError
from fsq_audio.training.recordings import Recording

_LOG = logging.getLogger(__name__)
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64"})


def read_recordings(source: str | Path) -> list[Recording]:
    """The recordings that an option such as `data.train` names.

    Args:
        source: a folder; `*.jsonl.gz`, a lhotse CutSet; `*.tar`, shards (a pattern is expanded);
            anything else is a manifest.

    Raises:
        ConfigError: it cannot be read or holds no recording.
    """
    text = str(source)
    if Path(source).is_dir():
        folder = Path(source)
        recordings = [_recording(folder, entry) for entry in scan_folder(folder)]
    elif text.endswith(".jsonl.gz"):
        recordings = read_cuts(text)
    elif text.endswith(".tar"):
        recordings = read_shards(text)
    else:
        return read_manifest(source)
    if not recordings:
        raise ConfigError(f"{source} holds no recording that can be read")
    return recordings


def read_manifest(path: str | Path) -> list[Recording]:
    """Reads a manifest: JSON lines with `audio_filepath`, `num_samples` and `sample_rate`.

    Args:
        path: the manifest; relative audio paths start at its folder.

    Raises:
        ConfigError: it cannot be read, a line is wrong, or it names no recording.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the manifest {path}: {error.strerror}") from error
    recordings = []
    for number, line in enumerate(lines, start=1):
        try:
            recordings.append(_recording(path.parent, json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}, is no manifest entry: {error!r}") from error
    if not recordings:
        raise ConfigError(f"the manifest {path} names no recording")
    return recordings


def scan_folder(folder: Path) -> list[dict[str, Any]]:
    """The manifest entries of every audio file under a folder, sorted by path.

    Transcripts are taken from LibriSpeech (`*.trans.txt`) and LibriTTS (`*.normalized.txt`) trees,
    with speaker and chapter, which there are the two folders above a file. Files that cannot be
    opened are named in the log and left out.

    Returns:
        Entries with `id`, `audio_filepath` (relative), `num_samples`, `sample_rate`, `duration`
        in seconds, and where known `text`, `speaker_id`, `chapter_id`.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    transcripts = _librispeech_transcripts(folder)

    def entry(path: Path) -> dict[str, Any] | None:
        try:
            info = soundfile.info(str(path))
        except (OSError, RuntimeError) as error:
            _LOG.warning("left out, cannot be opened: %s (%s)", path, error)
            return None
        if info.frames == 0:
            _LOG.warning("left out, holds no sample: %s", path)
            return None
        relative = path.relative_to(folder)
        values: dict[str, Any] = {
            "id": relative.with_suffix("").as_posix(),
            "audio_filepath": relative.as_posix(),
            "num_samples": info.frames,
            "sample_rate": info.samplerate,
            "duration": round(info.frames / info.samplerate, 4),
        }
        normalized = path.with_suffix(".normalized.txt")
        text = transcripts.get(path.stem)
        if text is None and normalized.is_file():
            text = normalized.read_text("utf-8").strip()
        if text is not None:
            values |= {
                "id": path.stem,
                "text": text,
                "speaker_id": path.parent.parent.name,
                "chapter_id": path.parent.name,
            }
        return values

    with ThreadPoolExecutor() as pool:
        return [values for values in pool.map(entry, paths) if values is not None]


def read_cuts(path: str) -> list[Recording]:
    """The cuts of a lhotse CutSet; each reads itself from wherever lhotse can read.

    Raises:
        ConfigError: lhotse is not installed, or the file is no CutSet.
    """
    try:
        import lhotse
    except ImportError:
        raise ConfigError(f"{path} needs lhotse: pip install 'fsq-audio[lhotse]'") from None
    try:
        cuts = lhotse.CutSet.from_file(path).to_eager()
    except Exception as error:
        raise ConfigError(f"cannot read the CutSet {path}: {error}") from error
    return [Recording(Path(c.id), c.num_samples, c.sampling_rate, cut=c) for c in cuts]


def read_shards(pattern: str) -> list[Recording]:
    """The audio files inside uncompressed tar shards, as WebDataset writes them.

    The shards are read once to index them; later each crop is one seek. So, unlike a stream with a
    shuffle buffer, a crop stays a function of its index, and a run resumes exactly.

    Raises:
        ConfigError: no such shard, or one cannot be read.
    """
    shards = sorted(glob.glob(pattern))
    if not shards:
        raise ConfigError(f"no tar shard at {pattern}")
    with ThreadPoolExecutor() as pool:
        return [member for members in pool.map(_index_shard, shards) for member in members]


def _index_shard(shard: str) -> list[Recording]:
    recordings = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile() or Path(member.name).suffix.lower() not in SUFFIXES:
                    continue
                file = archive.extractfile(member)
                assert file is not None
                try:
                    info = soundfile.info(io.BytesIO(file.read()))
                except RuntimeError as error:
                    _LOG.warning("left out, cannot be opened: %s in %s (%s)", member, shard, error)
                    continue
                place = (member.offset_data, member.size)
                recordings.append(Recording(Path(shard), info.frames, info.samplerate, place))
    except (OSError, tarfile.TarError) as error:
        raise ConfigError(f"cannot read the tar shard {shard}: {error}") from error
    return recordings


def _librispeech_transcripts(folder: Path) -> dict[str, str]:
    texts = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for line in path.read_text("utf-8").splitlines():
            name, _, text = line.partition(" ")
            texts[name] = text
    return texts


def _recording(folder: Path, entry: dict[str, Any]) -> Recording:
    return Recording(
        folder / entry["audio_filepath"], int(entry["num_samples"]), int(entry["sample_rate"])
    )
