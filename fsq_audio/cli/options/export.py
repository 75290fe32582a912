"""Options of `fsq-audio export`."""

from __future__ import annotations

from pathlib import Path

from fsq_audio.cli.options.shared import add_talking
from fsq_audio.cli.options.verb import EXIT_CODES_OF_ONE_OUTPUT, Verbs, add_verb

_EXPORT = """\
onnx   encoder.onnx, decoder.onnx and, where the decoder has a source, pitch.onnx, for ONNX Runtime:
       fsq-audio tokenize, decode and reconstruct --model OUT --backend onnx
torch  the same as .pt2 files, for torch.export.load

Any number of windows of any length; docs/export.md says what goes in and comes out."""


def add_export(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = add_verb(
        verbs,
        "export",
        "write a model as graphs that other runtimes run",
        details=_EXPORT,
        exit_codes=EXIT_CODES_OF_ONE_OUTPUT,
    )
    verb.add_argument("kind", choices=("onnx", "torch"), help="of the graphs")
    verb.add_argument(
        "--model",
        default="default",
        metavar="PATH_OR_HUB_ID",
        help='folder, hub id, or "default", the one in the package (default)',
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder")
    add_talking(verb)
