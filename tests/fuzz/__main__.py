"""Fuzzes one reader, guided by coverage; in the folder `tests`, after `pip install atheris`:

    python -m fuzz token_file -runs=1000000
    python -m fuzz run_config -max_total_time=600 /tmp/corpus

What follows the name goes to libFuzzer. A finding ends it, and is written to `crash-*`: once the
reader is mended, it becomes a file of `tests/fuzz/corpus/NAME`, which the default tests replay.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fsq_audio"]):
    from fuzz.targets import CORPUS, GROWTH, SECONDS, TARGETS, address_space, run

if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
    sys.exit(f"python -m fuzz {{{','.join(TARGETS)}}} [options of libFuzzer] [folders]")
name = sys.argv[1]
target = TARGETS[name]
with tempfile.TemporaryDirectory() as folder:
    for number, seed in enumerate(target.seeds()):
        (Path(folder) / f"seed{number}").write_bytes(seed)
    found = CORPUS / name
    places = [*sys.argv[2:], folder, *([str(found)] if found.is_dir() else [])]
    run(target, target.seeds()[0])  # imports what is imported late
    limit = address_space() + 2 * GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    options = [f"-timeout={SECONDS}", "-rss_limit_mb=3000", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *options, *places], lambda data: run(target, data) and None)
    atheris.Fuzz()
