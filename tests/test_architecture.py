"""The import arrows, what importing costs and does, and what every module and config must have."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsq_audio.training.config import read_run_config

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fsq_audio"
FRONT_DOOR = "__init__"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "recipes").rglob("*.py"), *(ROOT / "egs").glob("*/*.py")])
LAUNCHERS = sorted((ROOT / "configs" / "accelerate").glob("*.yaml"))
CONFIGS = sorted(set((ROOT / "configs").rglob("*.yaml")) - set(LAUNCHERS))

# A room may import the rooms of its line, and whatever those may import. A room is a file or a
# folder of fsq_audio (`__init__` is the package's own), or one of the folders beside it.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "layers": set(),
    "config": {"errors"},
    "locks": {"errors"},
    "files": set(),
    "audio": {"errors"},
    "tokens": {"files", "errors"},
    "units": {"tokens", "files", "errors"},
    "blocks": {"layers"},
    "quantizers": {"config", "errors"},
    "filters": {"errors"},
    "fourier": set(),
    "encoder": {"layers", "config", "filters", "fourier"},
    "source": {"layers", "config"},
    "heads": {"layers", "config", "filters", "fourier", "blocks", "source"},
    "decoder": {"heads"},
    "checkpoint": {"config", "errors"},
    "card": {"errors"},
    "coder": {"audio", "blocks", "errors", "layers", "quantizers", "source", "tokens"},
    "tokenizer": {
        "blocks", "card", "checkpoint", "coder", "config", "decoder", "encoder", "quantizers",
        "tokens",
    },
    "streaming": {"tokenizer", "source"},
    "token_stream": {"tokens"},
    "__init__": {"streaming", "tokenizer"},
    "arithmetic": {"tokenizer"},
    "benchmark": {"tokenizer", "audio"},
    "hf": {"tokenizer"},
    "batches": {"errors"},
    "corpus": {"audio", "errors"},
    "encoding": {"coder", "audio", "tokens"},
    "evaluation": {"tokenizer", "arithmetic", "audio", "corpus", "locks"},
    "export": {
        "__init__", "checkpoint", "coder", "config", "errors", "fourier", "tokenizer", "tokens",
    },
    "language_model": {"units", "errors"},
    "training": {
        "tokenizer", "arithmetic", "audio", "corpus", "language_model", "locks", "units",
    },
    "report": {"__init__", "evaluation", "audio"},
    "cli": {
        "__init__", "arithmetic", "batches", "benchmark", "corpus", "encoding", "evaluation",
        "export", "extraction", "locks", "report", "streaming", "token_stream", "tokenizer",
        "training", "units",
    },
    "extraction": {"__init__", "batches", "corpus", "encoding", "tokenizer", "units"},
    "__main__": {"cli"},
    "recipes": {
        "__init__", "audio", "evaluation", "language_model", "tokenizer", "tokens", "training",
        "units",
    },
    "egs": set(),  # they call commands only
}  # fmt: skip

HEAVY = {"accelerate", "huggingface_hub", "librosa", "numpy", "torch", "torchaudio"}


@dataclass(frozen=True)
class Import:
    """One imported name and where it stands."""

    target: str
    line: int
    at_import: bool


def find_imports(source: str, module: str) -> Iterator[Import]:
    """Every dotted name that a module's source imports, wherever it stands."""
    tree = ast.parse(source)
    late = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(outer, ast.If) and ast.unparse(outer.test).endswith("TYPE_CHECKING"))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, *base.split(".")]).rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(name, node.lineno, at_import=id(node) not in late)


def room_of_import(target: str) -> str | None:
    """The room that a dotted name is of; None if it is not ours."""
    top, *rest = target.split(".")
    if top in {"recipes", "egs", "tests"}:
        return top
    if top != "fsq_audio":
        return None
    known = rest and ((PACKAGE / f"{rest[0]}.py").is_file() or (PACKAGE / rest[0]).is_dir())
    return rest[0] if known else FRONT_DOOR


def room_of_file(path: Path) -> str:
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    return rest[0] if top == "fsq_audio" else top


def below(room: str) -> set[str]:
    """All rooms that a room may import, itself included."""
    found: set[str] = set()
    todo = [room]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo += ARROWS[current]
    return found


def find_faults(source: str, path: Path) -> list[str]:
    """The imports of a file that go against the arrows."""
    relative = path.relative_to(ROOT)
    room = room_of_file(path)
    # A package's own `__init__` counts as a module inside it, so that its dots resolve.
    module = ".".join(relative.with_suffix("").parts)
    faults = []
    for found in find_imports(source, module):
        target = room_of_import(found.target)
        if target is not None and target not in below(room):
            faults.append(f"{relative}:{found.line}: {room} must not import {target}")
        if found.target.split(".")[0] == "torchaudio" and found.at_import:
            faults.append(f"{relative}:{found.line}: torchaudio must be imported where it is used")
    return faults


def run_python(code: str) -> str:
    """What a fresh interpreter prints last."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


def test_every_room_has_its_line_and_every_line_its_room() -> None:
    rooms = {room_of_file(path) for path in [*MODULES, *SCRIPTS]}
    assert rooms == set(ARROWS)


def test_arrows_go_round_in_no_circle() -> None:
    for room, targets in ARROWS.items():
        for target in targets:
            assert room not in below(target), f"{room} -> {target} -> ... -> {room}"


def test_evaluation_and_training_do_not_see_each_other() -> None:
    assert "training" not in below("evaluation")
    assert "evaluation" not in below("training")


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    assert find_faults(path.read_text("utf-8"), path) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fsq_audio/errors.py", "import fsq_audio"),
        ("fsq_audio/errors.py", "import fsq_audio.config as c"),
        ("fsq_audio/audio/file.py", "from fsq_audio import layers"),
        ("fsq_audio/audio/file.py", "from .. import layers"),
        ("fsq_audio/audio/file.py", "def f():\n    from fsq_audio.tokenizer import AudioTokenizer"),
        ("fsq_audio/audio/file.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
                               "    from fsq_audio.tokenizer import AudioTokenizer"),
        ("fsq_audio/quantizers/__init__.py", "from ..audio import stream"),
        ("fsq_audio/quantizers/fsq.py", "from ..audio import stream"),
        ("fsq_audio/training/data.py", "from fsq_audio.evaluation.perceptual import stoi"),
        ("fsq_audio/tokenizer.py", "from fsq_audio import AudioTokens"),
        ("fsq_audio/tokenizer.py", "from recipes import train_tokenizer"),
        ("fsq_audio/tokenizer.py", "try:\n    import torchaudio\nexcept OSError:\n    pass"),
        ("fsq_audio/cli/tokenize.py", "from fsq_audio import __main__"),
        ("egs/debian_speech/prepare.py", "import fsq_audio.training.data"),
        ("recipes/train_tokenizer.py", "def f():\n    import fsq_audio.cli"),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(file: str, source: str) -> None:
    assert len(find_faults(source, ROOT / file)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fsq_audio/audio/file.py", "from ..errors import AudioError\nimport torch, soundfile"),
        ("fsq_audio/quantizers/fsq.py", "from . import base\nfrom .bounds import Bound"),
        ("fsq_audio/quantizers/__init__.py", "from .base import DROPPED"),
        ("fsq_audio/tokenizer.py", "def f():\n    import torchaudio"),
        ("fsq_audio/cli/tokenize.py", "from fsq_audio.tokenizer import AudioTokenizer"),
        ("fsq_audio/cli/tokenize.py", "from fsq_audio import __version__"),
    ],
)
def test_a_right_import_is_not(file: str, source: str) -> None:
    assert find_faults(source, ROOT / file) == []


@pytest.mark.parametrize(
    "code",
    [
        "import fsq_audio",
        "from fsq_audio.cli import main",
        "from fsq_audio.cli import main; assert main(['--help']) == 0",
        "from fsq_audio.cli import main; assert main(['tokenize', '--help']) == 0",
        "from fsq_audio.cli import main; assert main(['--version']) == 0",
    ],
)
def test_what_must_answer_at_once_loads_nothing_heavy(code: str) -> None:
    # Half a second goes fast: the verbs' modules, and torch with them, come when a verb runs.
    loaded = json.loads(run_python(f"import json, sys\n{code}\nprint(json.dumps([*sys.modules]))"))
    assert HEAVY.isdisjoint(loaded)
    rooms = {room_of_import(name) for name in loaded} - {None}
    assert FRONT_DOOR in rooms
    assert rooms <= {FRONT_DOOR, "cli", "errors"}


def test_importing_every_module_does_nothing() -> None:
    # The one module that is a subclass of an extra's classes, and cannot be imported without.
    pytest.importorskip("transformers", reason="transformers is not installed")
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if path.name != "__main__.py"
    ]
    script = f"""
import importlib, json, logging, random, sys, threading
import accelerate, librosa, numpy, pydantic, soundfile, torch

def state():
    return dict(
        seeds=[str(random.getstate()), str(numpy.random.get_state()), str(torch.initial_seed())],
        threads=[torch.get_num_threads(), threading.active_count()],
        torch=[str(torch.get_default_dtype()), torch.is_grad_enabled()],
        loggers=[len(logging.getLogger().handlers), logging.getLogger().level],
    )

before = state()
for name in {names!r}:
    importlib.import_module(name)
changed = [name for name, value in state().items() if value != before[name]]
print(json.dumps([*changed, *({{"torchaudio"}} & set(sys.modules))]))
"""
    assert len(names) == len(MODULES) - 1
    assert json.loads(run_python(script)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_all_configs_are_found() -> None:
    assert CONFIGS
    assert LAUNCHERS
    found = sorted(path for path in (ROOT / "configs").rglob("*") if path.is_file())
    assert found == sorted([*CONFIGS, *LAUNCHERS])


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
def test_every_launcher_opens_with_its_command_and_is_right(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    command = path.read_text("utf-8").splitlines()[0]
    assert command.startswith(f"# accelerate launch --config_file configs/accelerate/{path.name} ")
    config = re.search(r"--config (\S+)", command)
    assert config is not None
    assert (ROOT / config[1]).is_file()
    settings = load_config_from_file(str(path))
    assert settings.num_processes >= settings.num_machines >= 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_opens_with_its_command_and_is_right(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    command = re.fullmatch(
        r"# accelerate launch (?:--\S+ )*recipes/(\w+\.py) --config (\S+) --output (\S+)", first
    )
    assert command, first
    recipe, config, output = command.groups()
    assert (ROOT / "recipes" / recipe).is_file()
    assert config == str(path.relative_to(ROOT))
    assert Path(output).name == path.stem
    # Those of another recipe have a folder of their own, and its tests read them.
    assert (recipe == "train_tokenizer.py") == (path.parent == ROOT / "configs")
    if recipe == "train_tokenizer.py":
        assert output == f"runs/{path.stem}"
        read_run_config(path)
