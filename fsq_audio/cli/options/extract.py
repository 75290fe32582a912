"""Options of `fsq-audio extract`."""

from __future__ import annotations

from pathlib import Path

from fsq_audio.cli.options.shared import add_groups, add_model, add_talking
from fsq_audio.cli.options.values import parse_positive, parse_range, parse_seconds, parse_split
from fsq_audio.cli.options.verb import Verbs, add_verb

_EXTRACT = """\
INPUT is a folder (LibriSpeech and LibriTTS trees give transcripts and speakers), a manifest (.jsonl
with audio_filepath and, where known, duration, offset, id, text, speaker_id), a lhotse CutSet
(.jsonl.gz), WebDataset shards ('corpus-*.tar'), or an audio file. Channels are mixed. OUT gets
data/SPLIT-00000-of-N.parquet, one shard a task, and errors-SPLIT-*.jsonl. The same command goes on
where it stopped, in the same bytes; another model, other inputs or settings are refused."""


def add_extract(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs,
        "extract",
        "turn a corpus into units for language models, on one machine or many",
        details=_EXTRACT,
        exit_codes=(
            "exit codes: 0 all done, or given to Slurm; 1 stopped by an error; 2 wrong usage; "
            "3 done,\nbut some recordings failed; 130 interrupted: run the same command again."
        ),
    )
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
    verb.add_argument(
        "--retry-failed",
        action="store_true",
        help="make the shards again in which recordings failed: for a disk or network that is "
        "well again",
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
