"""Readers that are given any bytes: each must read them, or refuse them in one sentence of ours."""

from __future__ import annotations

import atexit
import contextlib
import gzip
import io
import json
import math
import resource
import shutil
import signal
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType

import soundfile
from unit_tools import make_info, make_items

from fsq_audio import audio, checkpoint
from fsq_audio.cli.lines import read_lines
from fsq_audio.config import to_mapping
from fsq_audio.corpus.headers import with_header
from fsq_audio.corpus.sources import Entry, read_entries
from fsq_audio.errors import FSQAudioError
from fsq_audio.evaluation.journal import Journal
from fsq_audio.evaluation.recordings import read_manifest
from fsq_audio.token_stream import TokenStreamReader, TokenStreamWriter
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.training.config import read_run_config
from fsq_audio.units.convert import convert, plan_conversion
from fsq_audio.units.formats import get_format
from fsq_audio.units.formats.base import Description, Destination, WriteOptions
from fsq_audio.units.parquet import write_shard

ROOT = Path(__file__).parent.parent.parent
CORPUS = Path(__file__).parent / "corpus"
"""What was found once: a folder for each target."""

SMALL_MODEL = ROOT / "tests" / "golden" / "release_0.1.0" / "model"

GROWTH = 2**30
"""Bytes of address space that reading a few kilobytes may take beyond what the process has."""
SECONDS = 20
"""That reading them may take, on a busy machine."""


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        read: takes any bytes, and a folder to put them in.
        seeds: real ones to begin with.
        is_fast: whether a million executions are a matter of minutes.
    """

    read: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    is_fast: bool = True


def run(target: Target, data: bytes) -> bool:
    """Whether the bytes were read, and not refused; anything else is raised.

    Raises:
        AssertionError: what was read is not sound, or what refuses it has several lines.
        Exception: a reader let something through that is none of our errors.
    """
    try:
        target.read(data, scratch())
    except FSQAudioError as error:
        sentence = str(error)
    else:
        return True
    assert "\n" not in sentence, sentence
    return False


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Memory that does not grow without bound, and an end to waiting."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"nothing after {SECONDS} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + GROWTH, before[1]))
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def address_space() -> int:
    """Bytes that this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@lru_cache
def scratch() -> Path:
    """A folder of this process, in memory where there is such a place."""
    memory = Path("/dev/shm")
    folder = Path(mkdtemp(prefix="fsq-audio-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Token files: as they are, and with sizes and checksum put right, so that what follows is reached.


def _token_file(data: bytes, folder: Path) -> None:
    path = folder / "x.fsq"
    path.write_bytes(data)
    tokens = AudioTokens.load(path)
    tokens.save(folder / "y.fsq")
    assert AudioTokens.load(folder / "y.fsq") == tokens


def _described_tokens(data: bytes, folder: Path) -> None:
    text, _, packed = data.partition(b"\n")
    said = text.decode("latin1")
    checksum = zlib.crc32(packed, zlib.crc32(said.encode()))
    size = len(packed)
    header = json.dumps(
        {
            "__metadata__": {"fsq_audio": f'{said},"crc":"{checksum:08x}"}}'},
            "codes": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
        }
    ).encode()
    _token_file(struct.pack("<Q", len(header)) + header + packed, folder)


def _golden() -> bytes:
    return (ROOT / "tests" / "golden" / "tokens_v1.fsq").read_bytes()


def _golden_description() -> list[bytes]:
    data = _golden()
    size = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + size])["__metadata__"]["fsq_audio"]
    return [text.rpartition(',"crc":')[0].encode() + b"\n" + data[8 + size :]]


def _token_stream(data: bytes, folder: Path) -> None:
    reader = TokenStreamReader(io.BytesIO(data))
    for piece in reader:
        assert piece.codes.shape[0] == reader.num_groups
        assert ((piece.codes >= 0) & (piece.codes < reader.format.codebook_size)).all()


def _token_streams() -> list[bytes]:
    tokens = AudioTokens.load(ROOT / "tests" / "golden" / "tokens_v1.fsq")[0]
    streams = []
    for binary in (False, True):
        buffer = io.BytesIO()
        writer = TokenStreamWriter(
            buffer, tokens.format, num_groups=tokens.num_groups, binary=binary
        )
        writer.write(tokens.codes[0, :, :2])
        writer.end(tokens.codes[0, :, 2:], int(tokens.lengths[0]))
        streams.append(buffer.getvalue())
    return streams


# Configurations.


def _run_config(data: bytes, folder: Path) -> None:
    (folder / "run.yaml").write_bytes(data)
    to_mapping(read_run_config(folder / "run.yaml"))


def _run_configs() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]


def _model_config(data: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(data)
    to_mapping(checkpoint.read_config(folder))


def _model_configs() -> list[bytes]:
    return [(checkpoint.PACKAGED / "config.json").read_bytes()]


def _model_folder(data: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(data)
    config = checkpoint.read_config(folder)
    checkpoint.check_shapes(lambda: AudioTokenizer(config), SMALL_MODEL)


def _small_model_configs() -> list[bytes]:
    return [(SMALL_MODEL / "config.json").read_bytes()]


# Lists of recordings.

_LINES = [
    {"audio_filepath": "a.wav", "duration": 1.5, "text": "GO DO YOU HEAR", "speaker": 84},
    {"audio_filepath": "a.wav", "offset": 0.25, "duration": 1, "id": "part", "chapter_id": "1"},
    {"audio_filepath": "b/c.flac", "num_samples": 8000, "sample_rate": 16000, "language": "en"},
]


def _manifest_lines() -> list[bytes]:
    return [b"".join(json.dumps(line).encode() + b"\n" for line in _LINES)]


def _manifest(data: bytes, folder: Path) -> None:
    (folder / "x.jsonl").write_bytes(data)
    _check_entries(folder / "x.jsonl")


def _compressed_manifest(data: bytes, folder: Path) -> None:
    (folder / "x.jsonl.gz").write_bytes(data)
    _check_entries(folder / "x.jsonl.gz")


def _compressed_manifests() -> list[bytes]:
    return [gzip.compress(lines, mtime=0) for lines in _manifest_lines()]


def _check_entries(source: Path) -> None:
    for entry in read_entries(source):
        assert 0 <= entry.seconds < math.inf, entry
        assert entry.start is None or 0 <= entry.start < math.inf, entry
        assert entry.num_samples >= 0, entry
        assert entry.sample_rate >= 0, entry


def _evaluation_manifest(data: bytes, folder: Path) -> None:
    (folder / "x.jsonl").write_bytes(data)
    read_manifest(folder / "x.jsonl")


def _shard(data: bytes, folder: Path) -> None:
    (folder / "x.tar").write_bytes(data)
    _check_entries(folder / "x.tar")


def _shards() -> list[bytes]:
    buffer = io.BytesIO()
    members = {"a.wav": _speech("WAV", "PCM_16"), "a.txt": b"GO", "a.json": b'{"speaker_id": 1}'}
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return [buffer.getvalue()]


# Audio.


def _audio(data: bytes, folder: Path) -> None:
    path = folder / "x.wav"
    path.write_bytes(data)
    header = with_header(Entry("x", path))
    info = audio.read_info(path)
    if header.fault is None and info.format not in ("MP3", "OGG"):
        assert header.num_samples >= info.num_samples
    num_samples = sum(block.shape[1] for block in audio.stream(path, sample_rate=16000))
    assert num_samples == audio.resampled_length(info.num_samples, info.sample_rate, 16000)


def _speech(container: str, subtype: str) -> bytes:
    path = ROOT / "egs" / "samples" / "librivox_sentence_1.flac"
    samples, rate = soundfile.read(path, start=16000, frames=1600)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def _audio_files() -> list[bytes]:
    return [
        _speech(container, subtype)
        for container, subtype in [
            ("WAV", "PCM_16"),
            ("WAV", "IMA_ADPCM"),
            ("FLAC", "PCM_16"),
            ("OGG", "VORBIS"),
            ("OGG", "OPUS"),
            ("MP3", "MPEG_LAYER_III"),
            ("AIFF", "PCM_24"),
            ("AU", "ULAW"),
            ("CAF", "ALAC_16"),
            ("W64", "FLOAT"),
            ("RF64", "PCM_16"),
        ]
    ]


# Units.

_INFO = make_info()
_SPLIT = "train"


@lru_cache
def _units(name: str) -> Path:
    """A folder of units of a format, written by us."""
    folder = Path(mkdtemp(dir=scratch()))
    unit_format = get_format(name)
    assert unit_format.write is not None
    place = unit_format.folder(folder, _SPLIT)
    place.mkdir(exist_ok=True)
    items = make_items(_INFO)[:3]
    to = Destination(
        folder=place, final=place, split=_SPLIT, info=_INFO, options=WriteOptions(layout="TG")
    )
    unit_format.write(iter(items), to)
    options = {"layout": "TG"} if name == "shar" else {}
    Description(format=name, options=options, splits={_SPLIT: len(items)}, info=_INFO).write(folder)
    return folder


@dataclass(frozen=True)
class _UnitFile:
    """One file of a folder of units; the others stay what they are."""

    format: str
    name: str

    def read(self, data: bytes, folder: Path) -> None:
        units = _units(self.format)
        (units / self.name).write_bytes(data)
        source = get_format(self.format).open_source(units)
        for split in source.splits:
            for item in source.read(split):
                source.info.check_item(item)

    def seeds(self) -> list[bytes]:
        data = (_units(self.format) / self.name).read_bytes()
        _units.cache_clear()  # the next one begins with a whole folder
        return [data]


def _unit_file(name: str, file: str, *, is_fast: bool = False) -> Target:
    each = _UnitFile(name, file)
    return Target(each.read, each.seeds, is_fast=is_fast)


def _parquet(data: bytes, folder: Path) -> None:
    (folder / "x.parquet").write_bytes(data)
    source = get_format("parquet").open_source(folder / "x.parquet")
    for split in source.splits:
        list(source.read(split))


def _parquets() -> list[bytes]:
    write_shard(scratch() / "seed.parquet", make_items(_INFO)[:3], _INFO)
    return [(scratch() / "seed.parquet").read_bytes()]


def _converted(data: bytes, folder: Path) -> None:
    """Lines become files of their own: none of them may be outside the output."""
    units = _units("jsonl")
    (units / f"{_SPLIT}.jsonl").write_bytes(data)
    number = data.count(b"\n") or 1
    Description(format="jsonl", options={}, splits={_SPLIT: number}, info=_INFO).write(units)
    before = set(folder.iterdir())
    output = folder / "converted"
    plan = plan_conversion(units, output, read_as="jsonl", write_as="npy", if_exists="overwrite")
    convert(plan)
    assert set(folder.iterdir()) <= before | {output}
    for path in output.rglob("*"):
        assert path.resolve().is_relative_to(output.resolve())


def _lines(data: bytes, folder: Path) -> None:
    (folder / "tokens.jsonl").write_bytes(data)
    read_lines(folder / "tokens.jsonl")


def _token_lines() -> list[bytes]:
    tokens = AudioTokens.load(ROOT / "tests" / "golden" / "tokens_v1.fsq")
    return [json.dumps(tokens.to_record("a/b")).encode() + b"\n"]


def _journal(data: bytes, folder: Path) -> None:
    (folder / "journal.jsonl").write_bytes(data)
    Journal(folder / "journal.jsonl")


def _journals() -> list[bytes]:
    produced = {"degraded": "a.wav", "num_bytes": None, "removed_delay": 0}
    measured = {"si_sdr": {"value": 1.5, "failure": None, "skipped": None, "total": 3}}
    entries: list[dict[str, object]] = [
        {"settings": "run", "values": {"sample_rate": 16000}},
        {"system": "ours", "id": "a", "produced": produced},
        {"system": "ours", "id": "a", "measured": measured},
    ]
    return [b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)]


TARGETS: dict[str, Target] = {
    "token_file": Target(_token_file, lambda: [_golden()]),
    "described_tokens": Target(_described_tokens, _golden_description),
    "token_stream": Target(_token_stream, _token_streams),
    "run_config": Target(_run_config, _run_configs),
    "model_config": Target(_model_config, _model_configs),
    "model_folder": Target(_model_folder, _small_model_configs, is_fast=False),
    "manifest": Target(_manifest, _manifest_lines),
    "compressed_manifest": Target(_compressed_manifest, _compressed_manifests),
    "evaluation_manifest": Target(_evaluation_manifest, _manifest_lines),
    "shard": Target(_shard, _shards, is_fast=False),
    "audio": Target(_audio, _audio_files, is_fast=False),
    "token_lines": Target(_lines, _token_lines),
    "journal": Target(_journal, _journals),
    "parquet": Target(_parquet, _parquets, is_fast=False),
    "units_description": _unit_file("jsonl", "fsq_audio.json"),
    "units_jsonl": _unit_file("jsonl", f"{_SPLIT}.jsonl"),
    "units_npy": _unit_file("npy", f"{_SPLIT}/plain_c0.npy"),
    "units_npy_items": _unit_file("npy", f"{_SPLIT}/items.jsonl"),
    "units_webdataset": _unit_file("webdataset", f"{_SPLIT}/000000.tar"),
    "units_shar_cuts": _unit_file("shar", f"{_SPLIT}/cuts.000000.jsonl.gz"),
    "units_shar_codes": _unit_file("shar", f"{_SPLIT}/codes.000000.tar"),
    "convert": Target(
        _converted, lambda: [(_units("jsonl") / f"{_SPLIT}.jsonl").read_bytes()], is_fast=False
    ),
}
