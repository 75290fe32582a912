"""Any bytes are read, or refused in one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz.targets import CORPUS, TARGETS, limited, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit_tools import skip_without

TESTS = Path(__file__).parent
FOUND = sorted(path for path in CORPUS.rglob("*") if path.is_file())

EDIT = st.tuples(st.floats(0, 1), st.integers(0, 16), st.binary(max_size=8))
"""A place, how many bytes go there, and which come instead."""


def skip_without_library(name: str) -> None:
    skip_without(*[each for each in ("shar", "webdataset") if each in name])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited through /proc")
@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once(path: Path) -> None:
    name = path.parent.name
    skip_without_library(name)
    run(TARGETS[name], TARGETS[name].seeds()[0])  # imports take memory, too
    with limited():
        run(TARGETS[name], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_real_files_are_read(name: str) -> None:
    skip_without_library(name)
    for seed in TARGETS[name].seeds():
        assert run(TARGETS[name], seed)


@pytest.mark.parametrize("name", TARGETS)
def test_real_files_with_edits(name: str) -> None:
    skip_without_library(name)
    target = TARGETS[name]
    seeds = target.seeds()

    @settings(
        max_examples=100 if target.is_fast else 25,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(seeds), st.lists(EDIT, min_size=1, max_size=4))
    def check(data: bytes, edits: list[tuple[float, int, bytes]]) -> None:
        for share, num_removed, added in edits:
            place = round(share * len(data))
            data = data[:place] + added + data[place + num_removed :]
        run(target, data)

    check()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 2**64, 10**400, -1, 0])
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["", ".", "..", "/", "../x", "a\nb", "a\0b", "\ud800", "train"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a JSON value."""
    found = [path]
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += places(value[key], (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = replaced(copy[path[0]], path[1:], other)
    return copy


OF_JSON = [
    "described_tokens", "model_config", "model_folder", "manifest", "evaluation_manifest",
    "token_lines", "journal", "units_description", "units_jsonl", "units_npy_items", "convert",
]  # fmt: skip


@pytest.mark.parametrize("name", OF_JSON)
def test_real_files_with_other_values(name: str) -> None:
    target = TARGETS[name]
    head, *tail = target.seeds()[0].split(b"\n", 1)
    is_whole = name in ("model_config", "model_folder", "units_description")
    if name == "described_tokens":
        head += b"}"  # which the checksum goes before
    values = json.loads(target.seeds()[0] if is_whole else head)

    @settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.sampled_from(places(values)), JSON), min_size=1, max_size=2))
    def check(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        changed = values
        for path, other in changes:
            with contextlib.suppress(LookupError, TypeError, AttributeError):
                changed = replaced(changed, path, other)
        text = json.dumps(changed, separators=(",", ":")).encode()
        if name == "described_tokens":
            text = text[:-1]
        run(target, text if is_whole else b"\n".join([text, *tail]))

    check()


def test_every_finding_is_of_a_target() -> None:
    assert FOUND
    assert {path.parent.name for path in FOUND} <= set(TARGETS)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_guided_by_coverage(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed")
    runs = os.environ.get("FUZZ_RUNS", "100000" if TARGETS[name].is_fast else "10000")
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", name, f"-runs={runs}", f"-artifact_prefix={tmp_path}/"],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
