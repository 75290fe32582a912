"""How a run goes on, stops, is continued, and what it says on the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Command, listing, make_noise, save_tiny, write_audio

from fsq_audio.cli.console import Console
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


@pytest.fixture
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory, shift=0.1)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three short files."""
    for name in ("a.wav", "sub/b.flac", "sub/c.wav"):
        write_audio(tmp_path / "in" / name)
    return tmp_path / "in"


def stamps(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What tells whether a file was written again."""
    files = {name: folder / name for name in listing(folder)}
    return {name: (path.stat().st_ino, path.read_bytes()) for name, path in files.items()}


@pytest.mark.parametrize("verb", ["tokenize", "reconstruct"])
def test_a_run_is_continued(command: Command, inputs: Path, tmp_path: Path, verb: str) -> None:
    out = tmp_path / "out"
    assert command(verb, inputs, "-o", out).code == 0
    before = stamps(out)
    missing = sorted(before)[1]
    (out / missing).unlink()
    done = command(verb, inputs, "-o", out, "--json")
    assert (done.code, done.statuses) == (0, ["skipped", "done", "skipped"])
    assert done.rows[-1]["num_skipped"] == 2
    after = stamps(out)
    assert after.pop(missing)[1] == before.pop(missing)[1]
    assert after == before
    again = command(verb, inputs, "-o", out, "--if-exists", "overwrite", "--json")
    assert (again.code, again.statuses) == (0, ["done"] * 3)
    assert {name: data for name, (_, data) in stamps(out).items()}.items() >= {
        name: data for name, (_, data) in before.items()
    }.items()
    refused = command(verb, inputs / "a.wav", "-o", out, "--if-exists", "error")
    assert refused.code == 3
    assert "a." in refused.err
    assert "exists (--if-exists error)" in refused.err


def test_existing_tokens_of_another_make_are_not_skipped(
    command: Command, tmp_path: Path, other_model: Path
) -> None:
    source = write_audio(tmp_path / "a.wav", make_noise(channels=2))
    mono = write_audio(tmp_path / "mono.wav")
    out = tmp_path / "out"
    assert command("tokenize", source, mono, "-o", out).code == 0
    mine, theirs = (
        AudioTokenizer.from_pretrained(folder).fingerprint
        for folder in (command.model, other_model)
    )
    before = stamps(out)
    told = command("tokenize", source, "-o", out, model=other_model)
    assert told.code == 3
    assert f"a.fsq holds tokens of model {mine}, this run is of {theirs}" in told.err
    told = command("tokenize", source, "-o", out, "--num-groups", 1)
    assert told.code == 3
    assert "a.fsq holds tokens of 2 groups, this run keeps 1" in told.err
    told = command("tokenize", source, mono, "-o", out, "--channels", "split", "--json")
    assert (told.code, told.statuses) == (3, ["failed", "skipped"])
    assert "a.fsq holds tokens of --channels mix, this run is of split" in told.err
    (out / "errors.jsonl").unlink()
    assert stamps(out) == before
    (out / "a.fsq").write_bytes(before["a.fsq"][1][:-1])
    assert command("tokenize", source, "-o", out).code == 3
    overwrite = ["--if-exists", "overwrite"]
    assert command("tokenize", source, "-o", out, *overwrite, model=other_model).code == 0
    assert AudioTokens.load(out / "a.fsq").format.fingerprint == theirs


def test_lines_of_other_channels_are_not_skipped(command: Command, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "a.wav", make_noise(channels=2))
    mono = write_audio(tmp_path / "mono.wav")
    lines = ("tokenize", source, mono, "-o", tmp_path / "t.jsonl", "--json", "--format", "jsonl")
    assert command(*lines).statuses == ["done", "done"]
    assert command(*lines).statuses == ["skipped", "skipped"]
    told = command(*lines, "--channels", "split")
    assert (told.code, told.statuses) == (3, ["failed", "skipped"])
    assert "holds tokens of --channels mix, this run is of split" in told.err


def test_a_folder_of_npy_is_of_one_model(
    command: Command, inputs: Path, tmp_path: Path, other_model: Path
) -> None:
    arguments = ("tokenize", inputs, "-o", tmp_path / "out", "--format", "npy")
    assert command(*arguments).code == 0
    assert command(*arguments).code == 0
    told = command(*arguments, model=other_model)
    assert told.code == 1
    assert "codec_info.json holds tokens of model" in told.err
    assert command(*arguments, "--if-exists", "overwrite", model=other_model).code == 0


def test_errors_are_those_of_the_last_run(command: Command, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (inputs / "bad.wav").write_text("no")
    assert command("tokenize", inputs, "-o", out).code == 3
    assert len((out / "errors.jsonl").read_text().splitlines()) == 1
    assert command("tokenize", inputs, "-o", out).code == 3
    assert len((out / "errors.jsonl").read_text().splitlines()) == 1
    write_audio(inputs / "bad.wav")
    assert command("tokenize", inputs, "-o", out).code == 0
    assert listing(out) == ["a.fsq", "bad.fsq", "sub/b.fsq", "sub/c.fsq"]
    (inputs / "bad.wav").write_text("no")
    assert command("tokenize", inputs / "bad.wav", "-o", tmp_path / "x" / "y.fsq").code == 3
    assert listing(tmp_path / "x") == ["y.fsq.errors.jsonl"]


@pytest.mark.parametrize("workers", ["1", "4"])
def test_on_error_fail_stops(command: Command, inputs: Path, tmp_path: Path, workers: str) -> None:
    (inputs / "bad.wav").write_text("no")
    out = tmp_path / "out"
    done = command(
        *("tokenize", inputs, "-o", out, "--on-error", "fail", "--batch-seconds", "0.6"),
        *("-j", workers, "--json"),
    )
    assert done.code == 1
    assert [row["status"] for row in done.rows] == ["done"]
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"fsq-audio: error: {inputs / 'bad.wav'}: ")
    assert {"a.fsq"} <= set(listing(out)) <= {"a.fsq", "sub/b.fsq", "sub/c.fsq"}


def test_jsonl(command: Command, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--format", "jsonl", "-j", "4", "--batch-seconds", "0.6"]
    assert command("tokenize", inputs, "-o", out, *options).code == 0
    assert listing(out) == ["tokens.jsonl"]
    lines = [json.loads(line) for line in (out / "tokens.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["a", "sub/b", "sub/c"]
    model = AudioTokenizer.from_pretrained(command.model)
    for line, name in zip(lines, ("a.wav", "sub/b.flac", "sub/c.wav"), strict=True):
        assert line == model.encode_file(inputs / name).to_record(line["key"])
    named = tmp_path / "named.jsonl"
    assert command("tokenize", inputs, "-o", named).code == 0
    assert named.read_bytes() == (out / "tokens.jsonl").read_bytes()


@pytest.mark.parametrize("torn", [0, 1, 10])
def test_jsonl_is_continued(command: Command, inputs: Path, tmp_path: Path, torn: int) -> None:
    file = tmp_path / "x.jsonl"
    command("tokenize", inputs, "-o", file)
    whole = file.read_bytes()
    first, second, third = whole.splitlines(keepends=True)
    # The line of b, and a line that a kill tore, or none.
    file.write_bytes(second + third[: -torn or 0] * bool(torn))
    done = command("tokenize", inputs, "-o", file, "--json")
    assert (done.code, done.statuses) == (0, ["done", "skipped", "done"])
    assert file.read_bytes() == second + first + third
    before = stamps(tmp_path)
    done = command("tokenize", inputs, "-o", file, "--json")
    assert (done.code, done.statuses) == (0, ["skipped"] * 3)
    assert stamps(tmp_path) == before


def test_jsonl_overwrites_lines(
    command: Command, inputs: Path, tmp_path: Path, other_model: Path
) -> None:
    file = tmp_path / "x.jsonl"
    command("tokenize", inputs, "-o", file)
    first, second, third = file.read_bytes().splitlines(keepends=True)
    some = ("tokenize", inputs / "sub", "--root", inputs, "-o", file)
    told = command(*some, model=other_model)
    assert told.code == 3
    assert "line 'sub/b', holds tokens of model" in told.err
    assert command(*some, "--if-exists", "error").code == 3
    assert file.read_bytes() == first + second + third
    (tmp_path / "x.jsonl.errors.jsonl").unlink()
    assert command(*some, "--if-exists", "overwrite", model=other_model).code == 0
    new = file.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["key"] for line in new] == ["sub/b", "sub/c", "a"]
    assert new[2] == first
    assert new[0] != second
    assert [name for name in listing(tmp_path) if not name.startswith("in/")] == ["x.jsonl"]
    file.write_bytes(b"{}\n" + first)
    told = command(*some)
    assert told.code == 1
    assert "x.jsonl: line 1 is no record of tokens" in told.err


def test_a_line_that_does_not_fit_on_the_disk_is_not_there(
    command: Command, inputs: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    file = tmp_path / "x.jsonl"
    write_audio(inputs / "a.wav", make_noise(5))  # errors.jsonl must fit
    command("tokenize", inputs, "-o", file)
    whole = file.read_bytes()
    first = whole.splitlines(keepends=True)[0]
    file.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(first) + 20, hard))
    try:
        done = command("tokenize", inputs, "-o", file, "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (done.code, done.statuses) == (3, ["done", "failed", "failed"])
    assert "No space left on device" in done.err
    assert file.read_bytes() == first
    assert command("tokenize", inputs, "-o", file).code == 0
    assert file.read_bytes() == whole


@pytest.mark.parametrize("verb", ["tokenize", "reconstruct", "decode"])
def test_dry_run_writes_nothing(
    command: Command, inputs: Path, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if verb == "decode":
        command("tokenize", inputs, "-o", inputs)
    command(verb, inputs / "sub", "--root", inputs, "-o", out)
    before = stamps(tmp_path)
    monkeypatch.delattr(AudioTokenizer, "from_pretrained")
    for if_exists, status in {"skip": "skip", "overwrite": "overwrite", "error": "fail"}.items():
        done = command(verb, inputs, "-o", out, "--dry-run", "--json", "--if-exists", if_exists)
        assert done.code == 0
        statuses = [row["status"] for row in done.rows]
        assert statuses == ["would write", f"would {status}", f"would {status}"]
    told = command(verb, inputs, "-o", out, "--dry-run").out.splitlines()
    assert told[0].startswith(f"would write {inputs / 'a'}.")
    assert told[1].startswith(f"would skip {inputs / 'sub' / 'b'}.")
    assert stamps(tmp_path) == before


def test_quiet_and_verbose(command: Command, inputs: Path, tmp_path: Path) -> None:
    (inputs / "bad.wav").write_text("no")
    usual = command("tokenize", inputs, "-o", tmp_path / "a")
    assert len(usual.out.splitlines()) == 3
    assert len(usual.err.splitlines()) == 2
    assert usual.last.startswith("3 done, 0 skipped, 1 failed; 1.5 s of audio in ")
    quiet = command("tokenize", inputs, "-o", tmp_path / "b", "-q")
    assert quiet.out == ""
    assert len(quiet.err.splitlines()) == 1
    verbose = command("tokenize", inputs, "-o", tmp_path / "a", "-v")
    assert "Traceback" in verbose.err
    assert f"{inputs / 'a.wav'}: done before" in verbose.err
    assert "Traceback" in command("tokenize", inputs, "-o", tmp_path / "a", "-v", model=inputs).err
    assert "Traceback" not in usual.err


def break_save(error: BaseException) -> Callable[..., None]:
    save = AudioTokens.save

    def broken(self: AudioTokens, path: Path) -> None:
        if path.name == "b.fsq":
            raise error
        save(self, path)

    return broken


def test_an_unexpected_error_is_told_with_its_type(
    command: Command, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(AudioTokens, "save", break_save(ValueError("seven is too many")))
    done = command("tokenize", inputs, "-o", out)
    assert done.code == 3
    noted = json.loads((out / "errors.jsonl").read_text())
    expected = {
        "path": str(inputs / "sub" / "b.flac"),
        "error": "ValueError: seven is too many",
    }
    assert noted == expected
    assert f"fsq-audio: {expected['path']}: {expected['error']}" in done.err
    assert listing(out) == ["a.fsq", "errors.jsonl", "sub/c.fsq"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(MemoryError(), 1, "out of memory"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_what_ends_a_run(
    command: Command,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(AudioTokens, "save", break_save(error))
    done = command("tokenize", inputs, "-o", tmp_path / "out", "--batch-seconds", "0.6")
    assert done.code == code
    assert said in done.last
    assert "a.fsq" in listing(tmp_path / "out")


def test_an_error_in_a_batch_is_told_of_its_file(
    command: Command, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = write_audio(inputs / "bad.wav", make_noise(0.25))
    encode = AudioTokenizer.encode

    def picky(self: AudioTokenizer, waveform: object, lengths: list[int], **rest: int) -> object:
        if 4000 in lengths:
            raise RuntimeError("not this one")
        return encode(self, waveform, lengths, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(AudioTokenizer, "encode", picky)
    done = command("tokenize", inputs, "-o", tmp_path / "out", "--json")
    assert (done.code, done.statuses) == (3, ["done", "failed", "done", "done"])
    assert done.rows[1]["input"] == str(bad)
    assert done.rows[1]["error"] == "RuntimeError: not this one"


def test_outputs_that_cannot_be(command: Command, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = command("tokenize", inputs, "-o", tmp_path / "file" / "out")
    assert told.code == 1
    assert len(told.err.splitlines()) == 1
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").write_text("")
    (out / "a.fsq").mkdir()
    done = command("tokenize", inputs, "-o", out)
    assert done.code == 3
    assert len(done.err.splitlines()) == 4


def test_no_bar_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        console = Console()
        console.start_bar()
        console.move_bar(30, total=60)
        console.result({}, "data")
        console.end_bar()
        said = capsys.readouterr()
        assert said.out == "data\n"
        assert ("30/60 s of audio" in said.err) is is_terminal
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        console = Console()
        console.show("1 of 2 tasks")
        console.show("2 of 2 tasks")
        console.end_bar()
        said = capsys.readouterr().err
        assert "1 of 2 tasks" in said
        assert "2 of 2 tasks" in said
        assert ("\r" in said) is is_terminal
    console = Console(quiet=True)
    console.start_bar()
    console.move_bar(30, total=60)
    assert capsys.readouterr().err == ""
