"""Audio files to waveforms and back: soundfile decodes and encodes, soxr resamples.

A file is always read forwards, in blocks, so ten hours need no more memory than ten seconds, and
what is wrong with it is said in one sentence (`AudioError`) instead of being read as less audio.
Shapes: C channels, S samples of a whole file, n samples of one block.
"""

from __future__ import annotations

from fsq_audio.audio.extensions import AUDIO_EXTENSIONS, UNREADABLE_EXTENSIONS
from fsq_audio.audio.reading import AudioInfo, Channels, load, read_info, stream
from fsq_audio.audio.resampling import Resampler, resampled_length
from fsq_audio.audio.writing import AudioWriter, save

__all__ = [
    "AUDIO_EXTENSIONS",
    "UNREADABLE_EXTENSIONS",
    "AudioInfo",
    "AudioWriter",
    "Channels",
    "Resampler",
    "load",
    "read_info",
    "resampled_length",
    "save",
    "stream",
]
