"""From `opus:6k` to the system that it means."""

from __future__ import annotations

import re
from pathlib import Path

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation.classic import CODEC2_MODES, codec2, opus
from fsq_audio.evaluation.neural import Neural
from fsq_audio.evaluation.system import System


def parse_baseline(text: str) -> System:
    """A baseline that can run here.

    Args:
        text: `opus:6k` (kbit/s), `codec2:1200` (a mode), or `hf:NAME` with NAME a folder or hub id
            for all its codebooks and, for the first N only, `hf:NAME@N`.

    Raises:
        ConfigError: there is no such baseline, or what it needs is missing.
    """
    codec, _, value = text.partition(":")
    if codec == "opus" and (match := re.fullmatch(r"(\d+(?:\.\d+)?)k", value)):
        kbps = float(match[1])
        if not 6 <= kbps <= 256:
            raise ConfigError(f"{text}: opusenc takes 6k to 256k")
        return opus(kbps)
    if codec == "codec2":
        if value not in CODEC2_MODES:
            raise ConfigError(f"{text}: the modes of codec2 are {', '.join(CODEC2_MODES)}")
        return codec2(value)
    if codec == "hf" and value:
        name, at, number = value.rpartition("@")
        if at and number.isdecimal() and not Path(value).exists():
            value, num_codebooks = name, max(1, int(number))
        else:
            num_codebooks = None
        neural = Neural(value, num_codebooks)
        neural.count_codebooks()
        return neural
    raise ConfigError(f"{text}: a baseline is opus:6k, codec2:1200 or hf:NAME, with other values")
