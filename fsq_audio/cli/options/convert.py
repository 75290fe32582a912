"""Options of `fsq-audio convert`."""

from __future__ import annotations

from pathlib import Path

from fsq_audio.cli.options.shared import add_talking
from fsq_audio.cli.options.values import parse_positive
from fsq_audio.cli.options.verb import Verbs, add_verb

UNIT_FORMATS = (
    "parquet", "jsonl", "npy", "fairseq", "nemo", "shar", "webdataset", "megatron", "espnet",
    "text",
)  # fmt: skip
READABLE_UNIT_FORMATS = ("parquet", "fsq", "jsonl", "npy", "shar", "webdataset")
UNIT_PATTERNS = ("flatten", "coarse_first")

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


def add_convert(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs, "convert", "turn units into the format of another project", details=_CONVERT
    )
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
        help="what to do about converted units in OUT (default: skip); those of another input, "
        "model, format or option are never skipped, and anything else in OUT is never replaced",
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
