"""What can go wrong, as a small tree: catch `FSQAudioError` to catch all of it."""

from __future__ import annotations


class FSQAudioError(Exception):
    """Base of every error that a user of the package can cause or mend."""


class ConfigError(FSQAudioError, ValueError):
    """A configuration or an argument is wrong; the message lists every fault found."""


class AudioError(FSQAudioError):
    """An audio file cannot be read or written, or its samples cannot be used."""


class TokenError(FSQAudioError, ValueError):
    """Tokens or a token file are damaged, or do not belong to this model."""


class CheckpointError(FSQAudioError):
    """A checkpoint is missing, damaged, or does not fit its configuration."""


class TrainingError(FSQAudioError):
    """A training cannot go on: it diverged, or its data cannot be read."""


class DeviceError(FSQAudioError):
    """The device has failed, or cannot hold one recording: no recording is to blame."""
