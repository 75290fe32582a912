"""Runs that are killed, interrupted, or two at a time: nothing is lost, doubled, or left half."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from cli_tools import Command, listing, save_tiny
from extraction_tools import write_corpus
from filelock import FileLock
from processes import start

from fsq_audio.audio import read_info, save
from fsq_audio.cli import main
from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.locks import only_run
from fsq_audio.tokens import AudioTokens
from fsq_audio.units.formats import get_format

NUM_FILES = 8


@dataclass(frozen=True)
class Job:
    """A command that can be killed.

    Attributes:
        arguments: what is typed, but for the output.
        progress: how far it is, from what is in the output.
        check: that what has its final name is whole, however the run ended.
        result: what a run that came to its end leaves; the same for all of them.
    """

    arguments: tuple[object, ...]
    progress: Callable[[Path], int]
    check: Callable[[Path], object]
    result: Callable[[Path], object]


def visible(folder: Path) -> dict[str, bytes]:
    """What is there under final names."""
    files = [name for name in listing(folder) if ".tmp" not in name] if folder.exists() else []
    return {name: (folder / name).read_bytes() for name in files}


def check_tokens(folder: Path) -> None:
    for path in folder.rglob("[!.]*.fsq"):
        AudioTokens.load(path)


def check_audio(folder: Path) -> None:
    for path in folder.rglob("[!.]*.wav"):
        read_info(path)


def check_lines(folder: Path) -> None:
    """Only the last line may be torn."""
    for line in lines_of(folder)[:-1]:
        json.loads(line)


def lines_of(folder: Path) -> list[bytes]:
    path = folder / "tokens.jsonl"
    return path.read_bytes().split(b"\n") if path.is_file() else []


def check_units(folder: Path) -> None:
    """All of it or nothing."""
    if folder.exists():
        source = get_format("npy").open_source(folder)
        assert sum(1 for split in source.splits for _ in source.read(split)) == NUM_FILES


def read_scores(folder: Path) -> list[tuple[str, ...]]:
    with open(folder / "rows.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["system"], row["id"], row["si_sdr"], row["mel_distance"]) for row in rows]


def count_journal(folder: Path) -> int:
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def count_files(folder: Path) -> int:
    return len(visible(folder))


def units_begun(folder: Path) -> int:
    return len(list(folder.parent.glob(".*.tmp/*"))) if folder.parent.is_dir() else 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short pieces of real speech, their tokens, and their units."""
    folder = tmp_path_factory.mktemp("faults")
    write_corpus(folder / "audio", NUM_FILES)
    model = save_tiny(tmp_path_factory)
    options = ["--model", str(model), "-q", "-o"]
    audio = str(folder / "audio")
    assert main(["tokenize", audio, *options, str(folder / "tokens")]) == 0
    assert main(["extract", audio, *options, str(folder / "units"), "--tasks", "2"]) == 0
    return folder


@pytest.fixture(scope="module")
def jobs(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    model = ("--model", save_tiny(tmp_path_factory))
    audio, quick = corpus / "audio", ("--batch-seconds", "5", "--num-workers", "1")
    return {
        "tokenize": Job(("tokenize", audio, *model, *quick), count_files, check_tokens, visible),
        "tokenize to lines": Job(
            ("tokenize", audio, *model, *quick, "--format", "jsonl"),
            lambda folder: len(lines_of(folder)),
            check_lines,
            visible,
        ),
        "decode": Job(
            ("decode", corpus / "tokens", *model, *quick), count_files, check_audio, visible
        ),
        "convert": Job(
            ("convert", corpus / "units", "--to", "npy", "--if-exists", "overwrite"),
            units_begun,
            check_units,
            visible,
        ),
        "evaluate": Job(
            ("evaluate", audio, *model, "--metrics", "si_sdr,mel_distance", "--num-workers", "1"),
            count_journal,
            check_audio,
            read_scores,
        ),
    }


VERBS = ["tokenize", "tokenize to lines", "decode", "convert", "evaluate"]
"""Of `extract` and of training, see `test_extraction.py` and `test_recipes.py`."""


@pytest.fixture(scope="module")
def whole(jobs: dict[str, Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What each leaves if nothing happens to it."""
    folder = tmp_path_factory.mktemp("whole")
    return {verb: finish(job, folder / verb.replace(" ", "-")) for verb, job in jobs.items()}


def finish(job: Job, output: Path) -> object:
    assert main([*map(str, job.arguments), "-o", str(output), "-q"]) == 0
    return job.result(output)


def stop(job: Job, output: Path, sign: signal.Signals, *, pause: float) -> int | None:
    """Ends a run soon after it has made something more; its exit code. It speaks into `said`."""
    before = job.progress(output)
    process = start(*job.arguments, "-o", output, said=output.with_name("said"))
    while process.is_alive() and job.progress(output) <= before:
        time.sleep(0.001)
    time.sleep(pause)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, sign)
    process.join()
    return process.exitcode


def measure(job: Job, output: Path) -> float:
    """Seconds from the first thing that a run makes to its end."""
    shutil.rmtree(output, ignore_errors=True)
    before = job.progress(output)
    process = start(*job.arguments, "-o", output)
    while process.is_alive() and job.progress(output) <= before:
        time.sleep(0.001)
    first = time.monotonic()
    process.join()
    return time.monotonic() - first


def kill_and_finish(job: Job, whole: object, folder: Path, choose: random.Random) -> int:
    """Kills a run a few times until it has come to its end; how often."""
    output, num_kills = folder / "out", 0
    shutil.rmtree(output, ignore_errors=True)
    span = measure(job, folder / "measured")
    for _ in range(3):
        code = stop(job, output, signal.SIGKILL, pause=choose.uniform(0, span))
        job.check(output)
        if code != -signal.SIGKILL:
            assert code == 0  # it was faster
            break
        num_kills += 1
    assert finish(job, output) == whole
    return num_kills


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_was_killed_is_continued(
    jobs: dict[str, Job], whole: dict[str, object], verb: str, tmp_path: Path
) -> None:
    kill_and_finish(jobs[verb], whole[verb], tmp_path, random.Random())


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_many_runs_that_were_killed_are_continued(
    jobs: dict[str, Job],
    whole: dict[str, object],
    verb: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    choose, rounds = random.Random(), int(os.environ.get("FAULT_ROUNDS", "20"))
    kills = [kill_and_finish(jobs[verb], whole[verb], tmp_path, choose) for _ in range(rounds)]
    with capsys.disabled():
        print(f"\n{verb}: {sum(kills)} kills in {rounds} rounds")
    assert sum(kills) >= rounds // 2


@pytest.mark.parametrize("verb", ["tokenize", "convert", "evaluate"])
def test_a_run_that_was_interrupted_says_so_and_is_continued(
    jobs: dict[str, Job], whole: dict[str, object], verb: str, tmp_path: Path
) -> None:
    job = jobs[verb]
    code = stop(job, tmp_path / "out", signal.SIGINT, pause=0)
    said = (tmp_path / "said").read_text()
    assert code in (0, 130), said
    assert "Traceback" not in said
    if code == 130:
        assert said.splitlines()[-1] == "fsq-audio: interrupted: run the same command to continue"
    job.check(tmp_path / "out")
    assert finish(job, tmp_path / "out") == whole[verb]


@pytest.mark.parametrize("verb", ["tokenize", "tokenize to lines", "convert", "evaluate"])
def test_two_runs_at_a_time(
    jobs: dict[str, Job], whole: dict[str, object], verb: str, tmp_path: Path
) -> None:
    both = [start(*jobs[verb].arguments, "-o", tmp_path / "out") for _ in range(2)]
    for process in both:
        process.join()
    # Both come to their end, or one is refused.
    assert sorted(process.exitcode or 0 for process in both) in ([0, 0], [0, 1])
    assert finish(jobs[verb], tmp_path / "out") == whole[verb]


@pytest.mark.parametrize("verb", ["tokenize to lines", "evaluate"])
def test_a_second_run_is_refused_where_it_would_do_harm(
    verb: str,
    corpus: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = Command(save_tiny(tmp_path_factory), capsys)
    out = tmp_path / "out"
    out.mkdir()
    lines = ["--format", "jsonl"] if "lines" in verb else ["--metrics", "si_sdr"]
    arguments = (verb.split()[0], corpus / "audio" / "84" / "121", "-o", out, *lines)
    with only_run(out / "tokens.jsonl" if "lines" in verb else out):
        told = command(*arguments)
    assert (told.code, listing(out)) == (1, [])
    assert "another run is writing there" in told.last
    assert command(*arguments).code == 0
    assert not [name for name in listing(out) if name.endswith(".lock")]


def test_a_place_that_cannot_be_locked_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".lock").mkdir()  # as root, who may write anywhere, can be refused, too
    with pytest.raises(ConfigError, match="cannot be written to: "), only_run(tmp_path):
        pass

    def has_none(*_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", has_none)
    with only_run(tmp_path / "tokens.jsonl"):
        pass  # rather so than not at all


def mount(folder: Path, size: str) -> bool:
    folder.mkdir()
    return shutil.which("mount") is not None and not os.system(
        f"mount -t tmpfs -o size={size} tmpfs {folder} 2>/dev/null"
    )


def test_a_full_disk(
    jobs: dict[str, Job], corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    if not mount(disk, "256k"):
        pytest.skip("no file system can be mounted here")
    try:
        for verb in ("tokenize", "convert", "evaluate"):
            out = disk / verb.replace(" ", "-")
            (disk / "filler").write_bytes(bytes(248 * 1024))
            code = main([*map(str, jobs[verb].arguments), "-o", str(out)])
            said = capfd.readouterr().err
            assert code in (1, 3), (verb, said)
            assert "No space left on device" in said, (verb, said)
            assert "Traceback" not in said
            jobs[verb].check(out)
            (disk / "filler").unlink()
            shutil.rmtree(out, ignore_errors=True)
        (disk / "filler").write_bytes(bytes(256 * 1024))
        with pytest.raises(AudioError, match=r"x\.flac: cannot be written .*No space left"):
            save(disk / "x.flac", torch.zeros(1, 16000), sample_rate=16000)
        assert [path.name for path in disk.iterdir()] == ["filler"]
    finally:
        os.system(f"umount {disk}")
