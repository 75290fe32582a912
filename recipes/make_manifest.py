"""Makes the manifest of a folder of recordings, so that a run need not look through it again.

    python recipes/make_manifest.py LibriSpeech/train-clean-100 data/train.jsonl

One JSON object a line: id, audio_filepath, num_samples, sample_rate, duration, and from LibriSpeech
and LibriTTS trees text, speaker_id and chapter_id. Several folders go into one manifest; an id that
repeats is left out, and the path stands for it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.files import replacing
from fsq_audio.training.sources import scan_folder


def make_manifest(folders: list[Path], manifest: Path, *, min_seconds: float) -> str:
    """Writes the manifest; its paths are relative to where it stands.

    Returns:
        A line that says what is in it.

    Raises:
        ConfigError: a folder is missing or holds no recording that can be opened.
    """
    found: list[dict[str, Any]] = []
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}")
        entries = [e for e in scan_folder(folder) if e["duration"] >= min_seconds]
        # An empty split must not pass in silence.
        if not entries:
            raise ConfigError(f"{folder} holds no recording of {min_seconds} s or more")
        for entry in entries:
            path = folder / entry["audio_filepath"]
            entry["audio_filepath"] = os.path.relpath(path, manifest.parent)
        found += entries
    # What several folders call alike is called by its path, as of every line without an id.
    times = Counter(entry["id"] for entry in found)
    lines = [
        json.dumps(
            {name: value for name, value in entry.items() if name != "id" or times[value] == 1},
            ensure_ascii=False,
        )
        for entry in found
    ]
    seconds = sum(entry["duration"] for entry in found)
    with replacing(manifest) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines), "utf-8")
    return f"{manifest}: {len(lines)} recordings, {seconds / 3600:.2f} h"


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("manifest", type=Path, help="what is written")
    parser.add_argument("--min-seconds", type=float, default=0.25, help="leave out shorter ones")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        print(
            make_manifest(arguments.folders, arguments.manifest, min_seconds=arguments.min_seconds)
        )
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
