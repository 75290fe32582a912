"""Formats of units, one a file; importing this package makes their names known."""

from fsq_audio.units.formats import (
    espnet,
    fairseq,
    fsq,
    jsonl,
    megatron,
    nemo,
    npy,
    parquet,
    shar,
    text,
    webdataset,
)
from fsq_audio.units.formats.base import (
    UnitFormat,
    UnitSource,
    WriteOptions,
    format_names,
    get_format,
    register_format,
)

__all__ = [
    "UnitFormat",
    "UnitSource",
    "WriteOptions",
    "espnet",
    "fairseq",
    "format_names",
    "fsq",
    "get_format",
    "jsonl",
    "megatron",
    "nemo",
    "npy",
    "parquet",
    "register_format",
    "shar",
    "text",
    "webdataset",
]
