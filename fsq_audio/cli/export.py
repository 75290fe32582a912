"""`fsq-audio export`: a model as graphs for other runtimes."""

from __future__ import annotations

from argparse import Namespace

from fsq_audio.cli.session import load_model, make_console
from fsq_audio.export.files import export_model


def run(arguments: Namespace) -> bool:
    """Runs the verb; True: what cannot be written ends it."""
    model, folder = load_model(arguments.model), arguments.output
    export = export_model(model, folder, kind=arguments.kind)
    names = sorted(export.files)
    num_bytes = sum((folder / name).stat().st_size for name in names)
    make_console(arguments).result(
        {"output": str(folder), "model": model.fingerprint, "files": names, "bytes": num_bytes},
        f"{folder}: {', '.join(names)}, {num_bytes} bytes, of model {model.fingerprint}",
    )
    return True
