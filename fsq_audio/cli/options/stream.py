"""Options of `fsq-audio stream`."""

from __future__ import annotations

from fsq_audio.cli.options.shared import add_groups, add_model, add_talking
from fsq_audio.cli.options.values import parse_positive
from fsq_audio.cli.options.verb import Parser, Verbs

STREAM_FORMATS = ("jsonl", "binary")
PCM_ENCODINGS = ("s16le", "f32le")

_STREAM = """\
encode       PCM on standard input -> codes on standard output
decode       those codes -> PCM
reconstruct  PCM -> PCM, to hear what is kept

PCM is raw, of one channel, such as from ffmpeg -i INPUT -ac 1 -ar 16000 -f s16le -. What goes out
goes out at once; fsq-audio stream DIRECTION -v tells how long it waits."""


def add_stream(verbs: Verbs) -> None:
    """Adds the verb."""
    summary = "turn live audio into codes, and codes into audio, through pipes"
    stream = verbs.add_parser(
        "stream", help=summary, description=f"{summary.capitalize()}.\n\n{_STREAM}"
    )
    directions = stream.add_subparsers(metavar="DIRECTION", required=True, parser_class=Parser)
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
