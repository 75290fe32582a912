"""The code in the documents runs and prints what they show; the reference and the notebook too."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLES

GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDES]
# Whisper, PESQ, a training from larger weights, tracing: half a minute each of a free core.
SLOW = {"README.md", "evaluate.md", "export.md"}
# Whole pages of what cannot run here, each block with its reason.
NOTHING_RUNS = {"docs/README.md", "docs/robustness.md", "docs/scale.md", "docs/versions.md"}
# Shown, not run. What has no name could be a command that nobody tries.
SHOWN = {"text", "json", "yaml", "mermaid"}
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>.+?) -->\n)?^(?P<indent> *)```(?P<language>\S*)\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code, and what stands below it as its output."""

    language: str
    code: str
    mark: str | None
    output: str | None = None

    @property
    def runs(self) -> bool:
        return self.language in ("bash", "python") and self.mark is None


def read_blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = list(BLOCK.finditer(text))
    fences = re.findall(r"^ *```", text, re.MULTILINE)
    assert len(fences) == 2 * len(found), f"{page}: a fence is not closed, or stands in another"
    blocks: list[Block] = []
    end = -1
    for match in found:
        language, mark = match["language"], match["mark"]
        known = language in SHOWN or language in ("bash", "python")
        assert known, f"{page}: name the language of ```{language}: text, if it is an output"
        assert mark is None or mark.startswith(("not run: ", "ci: ", "api reference")), mark
        code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        if language == "text" and blocks and text[end : match.start()].strip() == "":
            last = blocks.pop()
            blocks.append(Block(last.language, last.code, last.mark, output=code))
        else:
            blocks.append(Block(language, code, mark))
        end = match.end()
    return blocks


def check_output(shown: str, printed: str) -> None:
    """Each line shown was printed, in this order; numbers may differ, `...` stands for anything."""
    lines = iter([_without_numbers(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        parts = [re.escape(part) for part in _without_numbers(line).split("...")]
        wanted = re.compile(".*".join(parts))
        assert any(wanted.fullmatch(one) for one in lines), f"not printed: {line!r}\n\n{printed}"


def _without_numbers(line: str) -> str:
    line = re.sub(r"-?\d+(\.(?=\d)\d+)?", "#", line.rpartition("\r")[2])
    return " ".join(line.split())


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a reader has: the checkout, and recordings."""
    for name in ("configs", "egs", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "recordings").mkdir()
    for name, sample in zip("ab", SAMPLES, strict=True):
        shutil.copy(sample, tmp_path / "recordings" / f"{name}.flac")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Commands of the environment that runs the tests, activated or not.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run_bash(code: str) -> str:
    command = ["bash", "-euo", "pipefail", "-c", code]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, f"{code}\n{result.stdout}"
    return result.stdout


def run_python(code: str, scope: dict[str, object], *, where: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, where, "exec"), scope)
    return printed.getvalue()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW else [])
        for page in PAGES
        if str(page.relative_to(ROOT)) not in NOTHING_RUNS
    ],
    ids=lambda page: page.name,
)
def test_code_of_a_page_runs(page: Path, workplace: Path) -> None:
    if page.name in SLOW:
        for library in ("pesq", "jiwer", "faster_whisper", "matplotlib", "transformers"):
            pytest.importorskip(library, reason=f"{library} is not installed")
    scope: dict[str, object] = {"__name__": page.stem}
    blocks = [block for block in read_blocks(page) if block.runs]
    assert blocks, "it belongs to NOTHING_RUNS"
    for block in blocks:
        if block.language == "bash":
            printed = run_bash(block.code)
        else:
            printed = run_python(block.code, scope, where=page.name)
        if block.output is not None:
            check_output(block.output, printed)


def test_every_guide_is_read_and_says_what_is_not_run() -> None:
    names = {page.name for page in GUIDES}
    assert names >= {"README.md", "tokenize.md", "train.md", "evaluate.md", "units.md", "scale.md"}
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in PAGES:
        blocks = read_blocks(page)
        assert blocks
        runs = any(block.runs for block in blocks)
        assert runs != (str(page.relative_to(ROOT)) in NOTHING_RUNS)
        assert page.name == "README.md" or f"({page.name})" in index


def test_what_is_shown_is_compared() -> None:
    check_output("a 1.5\n...\n2 b, ... c", "a -2\nx\n3 b, 4 and c\n")
    for wrong in ("b 1", "x\na 1", "a 1 2", "a"):
        with pytest.raises(AssertionError, match="not printed"):
            check_output(wrong, "a -2\nx\n")


def test_links_lead_somewhere() -> None:
    pages = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "fsq_audio" / "README.md"]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in target
    ]
    assert len(links) > 40
    assert not {target for page, target in links if not (page.parent / target).exists()}


@pytest.mark.slow
def test_reference_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    (block,) = [
        block for block in read_blocks(ROOT / "docs" / "README.md") if block.mark == "api reference"
    ]
    _, *options = shlex.split(block.code.replace("\\\n", " "))
    options[options.index("-o") + 1] = str(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "pdoc", *options], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "Warn" not in result.stderr
    for name in options:
        if name.startswith("fsq_audio."):
            assert (tmp_path / f"{name.replace('.', '/')}.html").is_file()
    assert "AudioTokenizer" in (tmp_path / "fsq_audio" / "tokenizer.html").read_text("utf-8")
    page = (tmp_path / "fsq_audio" / "coder.html").read_text("utf-8")
    assert "Coder.encode" in page
    assert "no samples, NaN or infinity" in page


def test_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = ROOT / "docs" / "listen.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "clear its outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    shown = [output.get("data", {}) for cell in code for output in cell.outputs]
    assert sum("<audio" in data.get("text/html", "") for data in shown) == 5
    assert sum("image/png" in data for data in shown) == 3
