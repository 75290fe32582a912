"""What a file name says of audio; what is in the file counts more."""

from __future__ import annotations

AUDIO_EXTENSIONS: tuple[str, ...] = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".snd", ".caf", ".rf64", ".w64"),
)
"""Lower-case extensions that a walk over a folder takes as audio."""

UNREADABLE_EXTENSIONS: tuple[str, ...] = (
    *(".m4a", ".aac", ".mp4", ".m4b", ".mov", ".mkv", ".mka", ".webm", ".avi", ".wma", ".wmv"),
    *(".ac3", ".amr", ".3gp", ".spx", ".ape", ".wv", ".tta", ".ts"),
)
"""Lower-case extensions of audio and video that must be converted first (libsndfile reads none)."""
