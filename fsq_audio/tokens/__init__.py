"""Tokens: codes, their lengths and what is needed to decode them; the token file `.fsq`.

Shapes: B items (the channels of a recording, or a batch), G groups kept, T frames, codes in
[0, K) where K is the codebook size.
"""

from __future__ import annotations

from fsq_audio.tokens.audio_tokens import OUTSIDE, AudioTokens
from fsq_audio.tokens.file import FILE_VERSION
from fsq_audio.tokens.format import Source, TokenFormat
from fsq_audio.tokens.packing import pack, packed_size, unpack

__all__ = [
    "FILE_VERSION",
    "OUTSIDE",
    "AudioTokens",
    "Source",
    "TokenFormat",
    "pack",
    "packed_size",
    "unpack",
]
