"""Which files a command line means, and where their outputs go."""

from __future__ import annotations

import io
import os
import string
import sys
from pathlib import Path

import pytest
from cli_tools import Command, listing, save_tiny, write_audio
from hypothesis import given
from hypothesis import strategies as st

from fsq_audio.cli.console import one_line
from fsq_audio.cli.inputs import find_inputs

EXTENSIONS = (".wav", ".flac")


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with empty files in it."""
    names = ["b.wav", "a.flac", "B.WAV", "notes.txt", "film.mp4", ".hidden.wav", ".trash/x.wav"]
    for name in [*names, "sub/c.wav", "sub/deep er/d.wav", "tub/c.wav"]:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def found(*inputs: str, filelist: str | None = None, root: Path | None = None) -> dict[str, str]:
    result = find_inputs(inputs, filelist=filelist, root=root, extensions=EXTENSIONS)
    return {str(file.path): str(file.relative) for file in result.files}


def test_a_folder_is_walked_in_order(tree: Path) -> None:
    names = ["B.WAV", "a.flac", "b.wav", "sub/c.wav", "sub/deep er/d.wav", "tub/c.wav"]
    expected = {f"data/{name}": name for name in names}
    assert list(found("data").items()) == list(expected.items())
    assert found("data/") == expected
    result = find_inputs(
        ["data"], filelist=None, root=None, extensions=EXTENSIONS, convertible=(".mp4",)
    )
    assert result.passed_over == [Path("data/film.mp4")]


def test_patterns_keep_what_follows_their_fixed_part(tree: Path) -> None:
    assert found("data/*.wav") == {"data/b.wav": "b.wav"}
    assert found("data/**/c.wav") == {"data/sub/c.wav": "sub/c.wav", "data/tub/c.wav": "tub/c.wav"}
    assert found("data/?ub/*") == {
        "data/sub/c.wav": "sub/c.wav",
        "data/sub/deep er/d.wav": "sub/deep er/d.wav",
        "data/tub/c.wav": "tub/c.wav",
    }
    assert found("data/**") == found("data")
    assert found("data/*.txt") == {"data/notes.txt": "notes.txt"}
    assert "data/notes.txt" not in found("data/*")


def test_a_file_with_wildcards_in_its_name_is_itself(tree: Path) -> None:
    (tree / "[ab].wav").touch()
    assert found("data/[ab].wav") == {"data/[ab].wav": "[ab].wav"}


def test_a_file_counts_whatever_its_name(tree: Path) -> None:
    assert found("data/notes.txt", "data/.hidden.wav") == {
        "data/notes.txt": "notes.txt",
        "data/.hidden.wav": ".hidden.wav",
    }


def test_the_same_file_counts_once(tree: Path) -> None:
    assert list(found("data/b.wav", "data", str(tree / "b.wav"))) == [
        *[str(tree / "b.wav"), "data/B.WAV", "data/a.flac"],
        *["data/sub/c.wav", "data/sub/deep er/d.wav", "data/tub/c.wav"],
    ]


def test_root_keeps_folders(tree: Path) -> None:
    expected = {"data/sub/c.wav": "sub/c.wav", "data/tub/c.wav": "tub/c.wav"}
    assert found("data/sub/c.wav", "data/tub/c.wav", root=Path("data")) == expected
    assert found("data/tub", root=tree) == {"data/tub/c.wav": "tub/c.wav"}


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_lists(tree: Path, monkeypatch: pytest.MonkeyPatch, separator: bytes) -> None:
    names = [b"data/b.wav", b"data/missing *.wav", b"", b"data/sub", b" data/ b.wav"]
    data = separator.join(names) + separator
    expected = {
        "data/b.wav": "b.wav",
        "data/missing *.wav": "missing *.wav",
        "data/sub/c.wav": "c.wav",
        "data/sub/deep er/d.wav": "deep er/d.wav",
        " data/ b.wav": " b.wav",
    }
    Path("list").write_bytes(data)
    assert found(filelist="list") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert found("-") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert found("data/a.flac", filelist="-") == {"data/a.flac": "a.flac", **expected}


def test_nul_separates_names_with_newlines(tree: Path) -> None:
    Path("list").write_bytes(b"data/two\nlines.wav\0data/b.wav\0")
    assert list(found(filelist="list")) == ["data/two\nlines.wav", "data/b.wav"]


def test_links_are_followed_but_not_in_circles(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "sub" / "other").symlink_to(tree / "tub", target_is_directory=True)
    (tree / "tub" / "other").symlink_to(tree / "sub", target_is_directory=True)
    (tree / "itself").symlink_to(tree / "itself")
    (tree / "itself.wav").symlink_to(tree / "itself.wav")
    (tree / "gone.wav").symlink_to(tree / "nothing")
    names = [name for name in found("data").values() if "/" in name or "s" in name or "g" in name]
    assert names == [
        *["gone.wav", "itself.wav", "sub/c.wav", "sub/deep er/d.wav", "sub/other/c.wav"],
        *["tub/c.wav", "tub/other/c.wav", "tub/other/deep er/d.wav"],
    ]


def test_nothing_to_do_is_said(command: Command, tree: Path) -> None:
    Path("empty").mkdir()
    Path("list").touch()
    for arguments, sentence in {
        ("empty",): "empty: the folder holds no file that ends in .wav,",
        ("data/b.wav", "empty"): "empty: the folder holds no file that ends in .wav,",
        ("none.wav",): "none.wav: no such file or folder",
        ("data/*.w64",): "data/*.w64: the pattern matches no file that ends in .wav,",
        ("--filelist", "list"): "the list of inputs is empty",
        ("--filelist", "none"): "none: the list cannot be read: No such file",
    }.items():
        told = command("tokenize", *arguments, "-o", "out")
        assert told.code == 1
        assert told.err.startswith(f"fsq-audio: error: {sentence}")
        assert len(told.err.splitlines()) == 1
    assert ".mp3" in command("tokenize", "empty", "-o", "out").err
    assert ".fsq" in command("decode", "data", "-o", "out").err
    Path("empty", "memo.m4a").touch()
    told = command("tokenize", "empty", "-o", "out").err
    assert told.endswith("; empty/memo.m4a, for one, must be converted first\n")
    assert not Path("out").exists()


def plan(command: Command, *arguments: object, verb: str = "tokenize") -> dict[str, str]:
    done = command(verb, *arguments, "--dry-run", "--json")
    assert done.code == 0, done.err
    return {row["input"]: row["output"] for row in done.rows}


def test_outputs_mirror_inputs(command: Command, tree: Path) -> None:
    (tree / "B.WAV").unlink()
    assert plan(command, "data", "-o", "out") == {
        "data/a.flac": "out/a.fsq",
        "data/b.wav": "out/b.fsq",
        "data/sub/c.wav": "out/sub/c.fsq",
        "data/sub/deep er/d.wav": "out/sub/deep er/d.fsq",
        "data/tub/c.wav": "out/tub/c.fsq",
    }
    assert plan(command, "data/b.wav", "data/sub", "-o", "out", "--format", "npy") == {
        "data/b.wav": "out/b.npy",
        "data/sub/c.wav": "out/c.npy",
        "data/sub/deep er/d.wav": "out/deep er/d.npy",
    }
    assert plan(command, "data/b.wav", "-o", "some/x.fsq") == {"data/b.wav": "some/x.fsq"}
    assert plan(command, "data/tub", "-o", "o", "--keep-extension") == {
        "data/tub/c.wav": "o/c.wav.fsq"
    }
    assert not Path("out").exists()


def test_only_known_extensions_are_taken_off(command: Command, tree: Path) -> None:
    for name in ("v1.2", "take.2.wav", "x.txt"):
        (tree / name).touch()
    assert plan(command, "data/v1.2", "data/take.2.wav", "data/x.txt", "-o", "out") == {
        "data/v1.2": "out/v1.2.fsq",
        "data/take.2.wav": "out/take.2.fsq",
        "data/x.txt": "out/x.txt.fsq",
    }


def test_a_folder_may_be_named_like_a_file(command: Command, tree: Path) -> None:
    Path("out.fsq").mkdir()
    assert plan(command, "data/b.wav", "-o", "out.fsq") == {"data/b.wav": "out.fsq/b.fsq"}
    assert plan(command, "data/b.wav", "-o", "out.v2") == {"data/b.wav": "out.v2/b.fsq"}


@pytest.mark.parametrize("form", ["fsq", "npy", "jsonl"])
def test_collisions_are_found_before_any_work(command: Command, tree: Path, form: str) -> None:
    (tree / "sub" / "c.flac").touch()
    for inputs, names in {
        ("data/sub",): ("data/sub/c.flac", "data/sub/c.wav"),
        ("data/tub/c.wav", "data/sub/c.wav"): ("data/tub/c.wav", "data/sub/c.wav"),
    }.items():
        told = command("tokenize", *inputs, "-o", "out", "--format", form)
        assert told.code == 2
        assert f"{names[0]} and {names[1]} would both become 'c'" in told.err
    assert not Path("out").exists()
    assert len(plan(command, "data/sub", "-o", "out", "--keep-extension")) == 3
    both = ("data/tub/c.wav", "data/sub/c.wav")
    assert len(plan(command, *both, "-o", "out", "--root", "data")) == 2


def test_no_input_is_overwritten(command: Command, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "in" / "a.wav")
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    for out in (tmp_path / "in", tmp_path / "link", source):
        told = command("reconstruct", source, "-o", out, "--if-exists", "overwrite")
        assert told.code == 2
        assert "is an input: choose another --output" in told.err
    assert source.read_bytes() == before


def test_outputs_inside_the_inputs_are_not_walked(command: Command, tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav")
    out = tmp_path / "out"
    for _ in range(2):
        assert command("reconstruct", tmp_path, "-o", out).code == 0
    assert listing(out) == ["a.wav"]
    # One named file has no folder of its own.
    assert set(plan(command, tmp_path, "-o", out / "x.jsonl")) == {
        str(tmp_path / "a.wav"),
        str(out / "a.wav"),
    }


NAMES = ["-o.wav", "a b.wav", "zwei\nZeilen.wav", "жук.wav", "日本.flac", "'\"$x;.wav", "%s{}.wav"]


def test_any_name_works(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = list(NAMES)
    if sys.platform == "linux":
        names.append(os.fsdecode(b"\xff.wav"))
    for name in names:
        write_audio(tmp_path / "in" / name)
    done = command("tokenize", "in", "-o", "out")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(names)
    assert listing(tmp_path / "out") == sorted(
        str(Path(name).with_suffix(".fsq")) for name in names
    )
    assert command("decode", "out", "-o", "back", "--json").code == 0
    assert len(listing(tmp_path / "back")) == len(names)
    monkeypatch.chdir(tmp_path / "in")
    assert command("tokenize", "-o", "../dash", "--", "-o.wav").code == 0
    assert listing(tmp_path / "dash") == ["-o.fsq"]
    lines = command("tokenize", "../in", "-o", "../lines", "--format", "jsonl", "--json")
    assert lines.code == 0
    assert len((tmp_path / "lines" / "tokens.jsonl").read_bytes().splitlines()) == len(names)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    if set(text) <= set(string.ascii_letters + " äж"):
        assert shown == text
