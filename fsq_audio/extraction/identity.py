"""What tells whether inputs are still those that a run was begun with, without opening audio."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fsq_audio.audio import AUDIO_EXTENSIONS
from fsq_audio.corpus.sources import expand
from fsq_audio.corpus.walk import identity, walk

_BLOCK = 2**20


def digest_of(source: str, *, leave_out: Path) -> str:
    """A digest of what a name stands for.

    Of lists (manifests, cut sets) the content counts; of audio, shards and transcripts the names
    and sizes.

    Args:
        source: as for `fsq_audio.corpus.sources.read_entries`.
        leave_out: a folder that is not walked.

    Raises:
        ConfigError: nothing is there.
        AudioError: a folder cannot be listed.
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in expand(source):
        if path.is_dir():
            for file in walk(path, leave_out=identity(leave_out)):
                if file.suffix.lower() in (*AUDIO_EXTENSIONS, ".txt"):
                    _add(digest, file.relative_to(path), file)
        elif path.suffix.lower() in (*AUDIO_EXTENSIONS, ".tar"):
            _add(digest, path, path)
        else:
            with open(path, "rb") as file_of_lines:
                while block := file_of_lines.read(_BLOCK):
                    digest.update(block)
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, name: Path, file: Path) -> None:
    try:
        size = file.stat().st_size
    except OSError:  # a broken link: its recording will fail
        size = -1
    digest.update(os.fsencode(name) + b"\0%d\0" % size)
