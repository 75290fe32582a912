"""What is built and installed, what is declared, and that CONTRIBUTING's walk leads somewhere."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import test_quantizer_contract as contract
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fsq_audio
from fsq_audio.cli import main
from fsq_audio.config import TokenizerConfig, from_mapping
from fsq_audio.quantizers import base
from fsq_audio.tokenizer import AudioTokenizer

ROOT = Path(__file__).parent.parent
EXTRAS = {
    "eval", "eval-more", "report", "cluster", "lhotse", "webdataset", "espnet", "transformers",
    "onnx", "datasets", "train", "units", "ray", "docs", "notebook", "test", "dev", "all",
}  # fmt: skip


def build(kind: str, source: Path, output: Path) -> Path:
    """Builds a wheel or an sdist with the setuptools of this environment, offline."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(output)!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return output / result.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building writes beside the sources."""
    folder = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    unwanted = shutil.ignore_patterns("__pycache__", "data", "downloads")
    for name in ("fsq_audio", "recipes", "configs", "docs", "egs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", source, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


def requirements(metadata: Message, extra: str) -> set[str]:
    """The libraries that an extra adds; "" for what everyone gets."""
    found = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    if not extra:
        return {canonicalize_name(one.name) for one in found if one.marker is None}
    return {
        canonicalize_name(one.name)
        for one in found
        if one.marker is not None and one.marker.evaluate({"extra": extra})
    }


def test_wheel_has_every_module_and_nothing_beside_the_package(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "fsq_audio").rglob("*.py")}
    assert len(modules) > 10
    assert {name for name in names if name.endswith(".py")} == modules
    assert {name.split("/")[0] for name in names} == {"fsq_audio"}


def test_wheel_has_the_licence_and_the_type_marker(wheel: zipfile.ZipFile) -> None:
    assert "fsq_audio/py.typed" in wheel.namelist()
    (name,) = [name for name in wheel.namelist() if name.endswith("LICENSE")]
    assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()


def test_wheel_has_the_checkpoint(wheel: zipfile.ZipFile) -> None:
    folder = ROOT / "fsq_audio" / "pretrained"
    names = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert wheel.read(f"fsq_audio/pretrained/{name}") == (folder / name).read_bytes()


def test_wheel_has_the_page_of_the_report(wheel: zipfile.ZipFile) -> None:
    files = sorted((ROOT / "fsq_audio" / "report").glob("page.[!p]*"))
    assert [path.name for path in files] == ["page.css", "page.html.j2", "page.js"]
    for path in files:
        assert wheel.read(f"fsq_audio/report/{path.name}") == path.read_bytes()


def test_version_and_command(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["Name"] == "fsq-audio"
    assert metadata["Version"] == fsq_audio.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert f"## [{fsq_audio.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == fsq_audio.__version__
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "fsq-audio = fsq_audio.cli:main" in wheel.read(name).decode()


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", source, folder)) as archive:
        # Made by the line above; `filter` came with patch releases of Python 3.10 and 3.11.
        filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **filters)
    (unpacked,) = [path for path in folder.iterdir() if path.is_dir()]
    return unpacked


def test_sdist_builds_the_same_wheel(sdist: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    again = zipfile.ZipFile(build("wheel", sdist, tmp_path))
    assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_sdist_has_what_is_committed(sdist: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    committed = {name for name in listed.stdout.decode().split("\0") if name}
    found = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    assert len(committed) > 100
    # What a checkout alone needs: hidden files and folders.
    assert {name for name in committed - found if not name.startswith(".")} == set()


def test_every_extra_is_there_and_filled(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS
    filled = {extra: requirements(metadata, extra) for extra in EXTRAS}
    assert all(filled.values())
    assert filled["all"] == set().union(*filled.values())


def test_bounds_are_the_lowest_that_were_tried_and_nothing_is_capped(metadata: Message) -> None:
    bounds = {}
    for text in metadata.get_all("Requires-Dist"):
        library = Requirement(text)
        (bound,) = library.specifier
        assert bound.operator == ">=", text
        if library.marker is None:
            bounds[library.name] = Version(bound.version)
    page = (ROOT / "docs" / "versions.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    (_, *names, _), (_, *lowest, _) = rows[:2]
    assert len(names) > 4
    assert [bounds[name] for name in names] == [Version(release) for release in lowest]


def test_workflows_run_what_is_there() -> None:
    folder = ROOT / ".github" / "workflows"
    if not folder.is_dir():
        pytest.skip("not a checkout")
    steps = [
        step["run"]
        for path in sorted(folder.glob("*.yml"))
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    scripts = re.findall(r"\bbash (\S+)", "\n".join(steps))
    assert set(scripts) == {".ci/run", ".ci/versions"}
    assert all((ROOT / script).is_file() for script in scripts)
    audited = re.findall(r"--extra (\S+)", "\n".join(steps))
    assert set(audited) <= EXTRAS
    named = re.search(r"\bits extras (.*?);", (ROOT / "SECURITY.md").read_text("utf-8"), re.DOTALL)
    assert named is not None
    assert re.findall(r"`(\w+)`", named[1]) == audited


def test_every_imported_library_is_declared(metadata: Message) -> None:
    core = requirements(metadata, "")
    declared = core | requirements(metadata, "all")
    distributions = importlib.metadata.packages_distributions()
    seen = set()
    for path in sorted([*(ROOT / "fsq_audio").rglob("*.py"), *(ROOT / "recipes").glob("*.py")]):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                if top == "fsq_audio" or (path.parent / f"{top}.py").is_file():
                    continue
                library = canonicalize_name(distributions.get(top, [top])[0])
                seen.add(library)
                # What only an extra brings may be missing: import it where it is used. `hf` is made
                # of classes of one, and its `__init__` says what is missing before all else.
                allowed = declared if node not in tree.body or path.parent.name == "hf" else core
                assert library in allowed, f"{path.relative_to(ROOT)}:{node.lineno} imports {top}"
    assert "pystoi" in seen
    assert core - seen <= {"torchaudio"}  # of the stack, though nothing needs it yet


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    text = (ROOT / "README.md").read_text("utf-8")
    first, units, wrapped = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "fsq-audio extract egs/samples -o units\n" in text
    (tmp_path / "egs").symlink_to(ROOT / "egs")
    monkeypatch.chdir(tmp_path)
    assert main(["extract", "egs/samples", "-o", "units"]) == 0

    def run(block: str) -> dict[str, Any]:
        scope: dict[str, Any] = {}
        exec(compile(block, "README.md", "exec"), scope)
        return scope

    assert run(first)["speech"].shape == (1, 84_800)
    made = run(units)
    assert len(made["ids"]) == 534
    assert (made["codes"] == made["item"].codes).all()
    assert run(wrapped)["speech"].shape == (1, 1, 85_120)  # the extractor pads to whole frames


def test_contributing_adds_a_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    code, values = (
        inspect.cleandoc(re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL).group(1))
        for kind in ("python", "yaml")
    )
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    exec(compile(code, "CONTRIBUTING.md", "exec"), {"__name__": "contributing"})
    config = from_mapping(TokenizerConfig, yaml.safe_load(values))
    assert AudioTokenizer.from_config(config).num_groups == config.quantizer["num_groups"]

    name = config.quantizer["name"]
    options = {key: value for key, value in config.quantizer.items() if key != "name"}
    monkeypatch.setitem(contract.OPTIONS, name, options)
    checks = [
        function
        for label, function in vars(contract).items()
        if label.startswith("test_") and list(inspect.signature(function).parameters) == ["name"]
    ]
    assert len(checks) > 8
    for check in checks:
        check(name)
