"""Units of whole corpora: exact, resumed after any kill, shared, never stopped by a bad file."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_tools import Command, listing, save_tiny
from extraction_tools import WORDS, read_store, shards, write_corpus, write_manifest
from processes import start

from fsq_audio.cli.extract import read_options
from fsq_audio.errors import FSQAudioError
from fsq_audio.extraction import executors
from fsq_audio.extraction.executors import run_local
from fsq_audio.extraction.progress import Watch
from fsq_audio.extraction.run import Run, read_run
from fsq_audio.extraction.work import Step, _load
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.units.store import read_info

TASKS = ("--tasks", "6")


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("speech") / "corpus")


@pytest.fixture(scope="session")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    process = start("extract", corpus, "-o", out, *TASKS, "--model", save_tiny(tmp_path_factory))
    process.join()
    assert process.exitcode == 0
    return shards(out)


def test_units_are_the_tokens(command: Command, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("extract", corpus, "-o", out, *TASKS, "--batch-seconds", 2.5)
    assert done.code == 0
    assert "12 recordings done, 0 failed" in done.out
    assert "h per hour" in done.err
    items = read_store(out)
    model = AudioTokenizer.from_pretrained(command.model)
    assert len(items) == 12
    for path in sorted(corpus.rglob("*.flac")):
        item, tokens = items[path.stem], model.encode_file(path)
        assert np.array_equal(item.codes, tokens.codes[0].numpy())
        assert (item.num_samples, item.sampling_rate) == (int(tokens.lengths[0]), 16000)
        assert item.audio_path == str(path)
        assert item.text == f"{WORDS} {int(path.stem[-4:])}"
        assert (item.speaker_id, item.chapter_id) == ("84", path.parent.name)
    assert list(items) == sorted(items)  # in the order of the corpus
    assert read_info(out).fingerprint == model.fingerprint
    # Another size of batches, and fewer groups: the same codes.
    first = tmp_path / "first"
    assert command("extract", corpus, "-o", first, "--num-groups", 1).code == 0
    for name, item in read_store(first).items():
        assert np.array_equal(item.codes, items[name].codes[:1])
    assert sorted(path.name for path in (first / "data").iterdir()) == [
        "train-00000-of-00001.parquet"
    ]


def test_three_kills_leave_no_trace(
    corpus: Path, whole: dict[str, bytes], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path / "out"
    seed = random.SystemRandom().randrange(10**6)
    choose = random.Random(seed)
    arguments = ("extract", corpus, "-o", out, *TASKS, "--model", save_tiny(tmp_path_factory))
    kills = 0
    while kills < 3:
        process = start(*arguments)
        while process.is_alive() and len(list(out.glob("data/*.parquet"))) < 2 * kills:
            time.sleep(0.001)
        time.sleep(choose.uniform(0, 0.05))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it was done before: once more from the start
            assert process.exitcode == 0, seed
            shutil.rmtree(out)
            kills = 0
    process = start(*arguments)
    process.join()
    assert process.exitcode == 0, seed
    assert shards(out) == whole, seed
    # Nothing temporary is left, there or beside.
    assert not [name for name in listing(out) if "tmp" in name or "scratch" in name], seed


def test_a_kill_before_any_file_has_its_name_leaves_no_trace(
    corpus: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    (tmp_path / "corpus" / "84" / "broken.wav").write_bytes(b"")
    out, model = tmp_path / "out", save_tiny(tmp_path_factory)
    arguments = ("extract", tmp_path / "corpus", "-o", out, "--tasks", "1", "--model", model)
    names = set()
    for count in range(1, 99):
        process = start(*arguments, dies_at=count)
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
        names |= {name for name in listing(out) if name.endswith(".tmp")}
        process = start(*arguments)
        process.join()
        assert process.exitcode == 3  # one failed
        assert not [name for name in listing(out) if name.endswith(".tmp") or "scratch" in name]
        shutil.rmtree(out)
    # Recordings, plan, progress twice, list of failures, shard twice.
    assert count == 8
    assert len(names) == 7 - 1  # but for the shard, which was made under a name of its own


def test_bad_files_cost_only_themselves(
    command: Command, corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    chapter = tmp_path / "corpus" / "84" / "122"
    intact = (chapter / "84-122-0006.flac").read_bytes()
    (chapter / "84-122-0006b.flac").write_bytes(intact[: len(intact) // 2])
    (chapter / "84-122-0006c.flac").write_bytes(b"")
    (chapter / "84-122-0007b.wav").symlink_to("nothing.wav")
    soundfile.write(chapter / "nan.wav", np.full(99, np.nan, np.float32), 16000, subtype="FLOAT")
    out = tmp_path / "out"
    done = command("extract", tmp_path / "corpus", "-o", out, "--json", *TASKS)
    assert done.code == 3
    assert (done.rows[-1]["num_done"], done.rows[-1]["num_failed"]) == (12, 4)
    lists = sorted(out.glob("errors-train-*-of-00006.jsonl"))
    errors = [json.loads(line) for path in lists for line in path.read_text().splitlines()]
    reasons = {error["id"].rpartition("/")[2]: error["error"] for error in errors}
    assert sorted(reasons) == ["84-122-0006b", "84-122-0006c", "84-122-0007b", "nan"]
    assert "damaged or cut short" in reasons["84-122-0006b"]
    assert "is empty (0 bytes)" in reasons["84-122-0006c"]
    assert "no such file" in reasons["84-122-0007b"]
    assert "nan, not a finite number" in reasons["nan"]
    items = read_store(out)
    model = AudioTokenizer.from_pretrained(command.model)
    for path in sorted(corpus.rglob("*.flac")):
        assert np.array_equal(items[path.stem].codes, model.encode_file(path).codes[0].numpy())
    before = shards(out)
    again = command("extract", tmp_path / "corpus", "-o", out, "--json")
    assert (again.code, again.rows[-1]["num_failed"]) == (3, 4)
    assert shards(out) == before


def test_a_device_that_fails_is_no_fault_of_the_recordings(
    command: Command,
    corpus: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore advice")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(AudioTokenizer, "encode_block", broken)
        failed = command("extract", corpus, "-o", out, *TASKS)
        assert failed.code == 1
        assert "the device failed, and no recording is to blame: CUDA error: an ill" in failed.last
        assert not (out / "data").exists() or shards(out) == {}
        tokenized = command("tokenize", corpus, "-o", tmp_path / "tokens")
        assert (tokenized.code, "no recording is to blame" in tokenized.last) == (1, True)
    assert command("extract", corpus, "-o", out, *TASKS).code == 0
    assert shards(out) == whole


def test_what_failed_is_tried_again_when_asked(
    command: Command, corpus: Path, tmp_path: Path
) -> None:
    """A disk that fails for a while costs no recording for good."""
    shutil.copytree(corpus, tmp_path / "corpus")
    paths = sorted((tmp_path / "corpus").rglob("*.flac"))
    lines = [{"audio_filepath": str(p), "duration": soundfile.info(p).duration} for p in paths]
    manifest = write_manifest(tmp_path / "corpus.jsonl", lines)
    out, aside = tmp_path / "out", tmp_path / "aside.flac"
    paths[3].rename(aside)
    assert command("extract", manifest, "-o", out, *TASKS).code == 3
    before = {shard: shard.stat().st_mtime_ns for shard in (out / "data").iterdir()}
    aside.rename(paths[3])
    assert command("extract", manifest, "-o", out).code == 3
    assert len(read_store(out)) == 11
    done = command("extract", manifest, "-o", out, "--retry-failed")
    assert (done.code, len(read_store(out))) == (0, 12)
    assert not list(out.glob("errors-*"))
    after = {shard: shard.stat().st_mtime_ns for shard in (out / "data").iterdir()}
    assert sum(after[shard] != before[shard] for shard in before) == 1


def test_two_machines_share_a_corpus(
    corpus: Path, whole: dict[str, bytes], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = save_tiny(tmp_path_factory)
    out = tmp_path / "out"
    arguments = ("extract", corpus, "-o", out, *TASKS, "--model", model, "--only-tasks")
    both = [start(*arguments, tasks) for tasks in ("0-2", "3-5")]
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert shards(out) == whole
    # Even if nobody told them what to share.
    out = tmp_path / "again"
    arguments = ("extract", corpus, "-o", out, *TASKS, "--model", model)
    both = [start(*arguments), start(*arguments)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert shards(out) == whole


def begin(command: Command, corpus: Path, out: Path, **options: Path) -> tuple[Run, Step]:
    """A run of six tasks, of which one is done."""
    assert command("extract", corpus, "-o", out, *TASKS, "--only-tasks", "2", **options).code == 0
    step = Step(out, "train", "cpu", num_threads=1, num_readers=1, batch_seconds=300)
    return read_run(out, "train"), step


def test_a_process_on_each_device(
    command: Command, corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run, step = begin(command, corpus, out)
    run_local(run, step, range(6), devices=["cpu", "cpu"], workers=1)
    assert shards(out) == whole


def test_what_another_run_does_comes_last(
    command: Command, corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run, step = begin(command, corpus, out)
    with run.lock(0):
        step.run(0, run.plan.num_tasks, waits=False)
        assert not run.shard(0).is_file()
        working = threading.Thread(
            target=run_local, args=(run, step, range(6)), kwargs={"devices": ["cpu"], "workers": 1}
        )
        working.start()
        deadline = time.monotonic() + 60
        while len(shards(out)) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(shards(out)) == 5
    working.join()
    assert shards(out) == whole


def test_a_mistake_on_a_device_is_one_sentence(
    command: Command, corpus: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(command.model, tmp_path / "model")
    run, step = begin(command, corpus, tmp_path / "out", model=model)
    shutil.rmtree(model)
    with pytest.raises(FSQAudioError, match="the work on cpu, cpu stopped"):
        run_local(run, step, range(6), devices=["cpu", "cpu"], workers=1)
    _load.cache_clear()  # as in a process of its own
    with pytest.raises(SystemExit, match=r"fsq-audio: .*model"):  # which Python prints
        executors._run_apart(step, range(6), 6)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_a_pool_gives_the_same_bytes(
    command: Command, corpus: Path, whole: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    pytest.importorskip("datatrove")
    out = tmp_path / "out"
    arguments = ("extract", corpus, "-o", out, *TASKS, "--workers", workers)
    assert command(*arguments, "--only-tasks", "1-4").code == 0
    assert len(shards(out)) == 4
    done = command(*arguments)
    assert done.code == 0
    assert "INFO" not in done.err
    assert shards(out) == whole
    assert sorted(path.name for path in (out / "run" / "train" / "completions").iterdir()) == [
        f"{task:05d}" for task in range(6)
    ]


@pytest.mark.slow
def test_ray_gives_the_same_bytes(
    command: Command, corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("datatrove")
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fsq-audio[ray]'")
    out = tmp_path / "out"
    options = ("--executor", "ray", "--executor-options", "mem_per_cpu_gb=1")
    try:
        assert command("extract", corpus, "-o", out, *TASKS, *options, "--workers", 2).code == 0
    finally:
        ray.shutdown()
    assert shards(out) == whole


@pytest.mark.slow
def test_slurm_gets_jobs_that_give_the_same_bytes(
    command: Command,
    corpus: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slurm itself is not here: a script does one by one what `sbatch` would queue."""
    pytest.importorskip("datatrove")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(
        "#!/bin/bash\n"
        'script="${@: -1}"\n'
        "array=$(sed -n 's/^#SBATCH --array=0-//p' $script)\n"
        "for task in $(seq 0 ${array:-0}); do\n"
        "  SLURM_ARRAY_TASK_ID=$task RUN_OFFSET=0 SLURM_NODELIST=here bash $script >&2 || exit 1\n"
        "done\n"
        "echo Submitted batch job 1\n"
    )
    (programs / "scontrol").write_text("#!/bin/bash\necho here\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    for folder in (Path(sys.executable).parent, programs):
        monkeypatch.setenv("PATH", str(folder), prepend=":")
    out = tmp_path / "out"
    done = command(
        *("extract", corpus, "-o", out, *TASKS, "--executor", "slurm"),
        *("--executor-options", "time=01:00:00", "--executor-options", "partition=cpu"),
        *("--executor-options", "with_srun=false", "--executor-options", "tasks_per_job=3"),
    )
    assert done.code == 0, done.err
    assert shards(out) == whole
    script = (out / "run" / "train" / "launch_script.slurm").read_text()
    assert "#SBATCH --partition=cpu\n" in script
    assert "#SBATCH --array=0-1\n" in script


def test_a_run_goes_on_only_as_it_was_begun(
    command: Command, corpus: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    out = tmp_path / "out"
    same = ("extract", tmp_path / "corpus", "-o", out)
    assert command(*same, "--tasks", 3).code == 0
    before = shards(out)
    assert command(*same).code == 0
    other = save_tiny(tmp_path_factory, shift=0.1)
    mine, theirs = (
        AudioTokenizer.from_pretrained(folder).fingerprint for folder in (command.model, other)
    )
    for refused, reason in (
        (command(*same, model=other), f"was begun with model {mine}, not {theirs}"),
        (command(*same, "--split", "valid", model=other), f"with model {mine}, not {theirs}"),
        (command(*same, "--num-groups", 1), "--num-groups 2, not 1"),
        (command(*same, "--tasks", 4), "3 tasks, not 4"),
        (command("extract", corpus, "-o", out), f"not {corpus}"),
    ):
        assert refused.code == 1
        assert reason in refused.last
    (tmp_path / "corpus" / "84" / "121" / "84-121-0001.flac").unlink()
    refused = command(*same)
    assert refused.code == 1
    assert f"other files or lines in {tmp_path / 'corpus'}" in refused.last
    assert shards(out) == before
    # Another split of the same model has its place beside.
    assert command(*same, "--split", "valid").code == 0
    assert set(shards(out)) == {*before, "valid-00000-of-00001.parquet"}
    shutil.rmtree(out / "run")
    refused = command(*same)
    assert refused.code == 1
    assert "shards of split 'train' that no run" in refused.last


def test_a_shard_that_was_lost_is_made_again(
    command: Command, corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("extract", corpus, "-o", out, *TASKS)
    assert command(*arguments).code == 0
    (out / "data" / "train-00003-of-00006.parquet").unlink()
    told = command(*arguments, "--dry-run", "--json")
    assert told.rows[-1]["num_tasks_left"] == 1
    assert command(*arguments).code == 0
    assert shards(out) == whole


def test_every_kind_of_input(command: Command, corpus: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    files = sorted(corpus.rglob("*.flac"))[:3]
    samples = soundfile.read(files[2], dtype="float32")[0]
    stereo = np.stack([samples, samples[::-1]], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 24000, subtype="FLOAT")
    start, num_samples = 0.25, 8000
    part = soundfile.read(files[1], dtype="float32")[0][4000 : 4000 + num_samples]
    soundfile.write(tmp_path / "part.wav", part, 16000, subtype="FLOAT")
    manifest = write_manifest(
        tmp_path / "m.jsonl",
        [
            {"audio_filepath": str(files[0]), "text": "one", "speaker_id": 7, "id": "a.b"},
            {"audio_filepath": str(files[1]), "duration": 0.5, "offset": start, "id": "part"},
            {"audio_filepath": "stereo.wav", "duration": 1.0, "speaker": "x"},
        ],
    )
    cut = lhotse.Recording.from_file(files[1]).to_cut().truncate(offset=start, duration=0.5)
    segment = lhotse.SupervisionSegment("s", cut.recording_id, 0, 0.5, text="two", speaker="y")
    cut.supervisions = [segment]
    cut.id = "cut"
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl.gz")
    with tarfile.open(tmp_path / "shard-0.tar", "w") as archive:
        for name, path in (("k.1", files[0]), ("l", files[1])):
            archive.add(path, f"{name}.flac")
            (tmp_path / "text").write_text(json.dumps({"text": name, "speaker_id": "z"}))
            archive.add(tmp_path / "text", f"{name}.json")
        (tmp_path / "text").write_bytes(files[0].read_bytes()[:1000])
        archive.add(tmp_path / "text", "cut short.flac")
    out = tmp_path / "out"
    done = command(
        *("extract", manifest, tmp_path / "cuts.jsonl.gz", tmp_path / "shard-*.tar"),
        *(files[2], corpus.parent / "corpus" / "84" / "122", "-o", out, "--tasks", 2),
    )
    assert done.code == 3
    (error,) = (
        json.loads(line) for p in out.glob("errors-*.jsonl") for line in p.read_text().splitlines()
    )
    assert error["id"] == "cut short"
    assert f"{tmp_path}/shard-0.tar::cut short" in error["error"]
    items = read_store(out)
    sources = {
        "a.b": files[0],
        "part": tmp_path / "part.wav",
        "stereo": tmp_path / "stereo.wav",
        "cut": tmp_path / "part.wav",
        "k.1": files[0],
        "l": files[1],
        files[2].stem: files[2],
    }
    model = AudioTokenizer.from_pretrained(command.model)
    for name, path in sources.items():
        assert np.array_equal(items[name].codes, model.encode_file(path).codes[0].numpy()), name
    told = {name: (items[name].text, items[name].speaker_id) for name in sources}
    assert told["a.b"] == ("one", "7")
    assert told["stereo"] == (None, "x")
    assert told["cut"] == ("two", "y")
    assert told["k.1"] == ("k.1", "z")
    # None of a part is taken for the whole file.
    assert items["a.b"].audio_path == str(files[0])
    for name in ("part", "cut"):
        assert items[name].audio_path == f"{files[1]}::{name}"
    assert items["l"].audio_path == f"{tmp_path}/shard-0.tar::l"
    assert len(items) == len(sources) + 5


def test_the_plan_is_told_and_nothing_is_written(
    command: Command, corpus: Path, tmp_path: Path
) -> None:
    done = command("extract", corpus, "-o", tmp_path / "out", "--dry-run", "--json", *TASKS)
    assert done.code == 0
    (row,) = done.rows
    assert (row["num_recordings"], row["num_tasks"]) == (12, 6)
    assert row["seconds"] == pytest.approx(12.4, abs=0.1)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nowhere"], 1, "no file or folder at"),
        (["--executor-options", "a=1"], 2, "--executor-options are those of"),
        (["--executor", "ray", "--only-tasks", "0-1"], 2, "--only-tasks is for"),
        (["--only-tasks", "3-9"], 2, "--only-tasks: the last task is 0"),
        (["--only-tasks", "5-3"], 2, "expected a range"),
        (["--num-groups", "9"], 2, "the model has 2"),
        (["--split", "a-b"], 2, "expected letters"),
        (["--executor", "slurm", "--executor-options", "nothing.yaml"], 2, "or a YAML file"),
        (["--device", "cuda:99"], 1, "--device cuda:99: torch finds"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Command, corpus: Path, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    refused = command("extract", corpus / "84" / "123", *arguments, "-o", tmp_path / "out")
    assert refused.code == code
    assert reason in refused.last


def test_a_time_limit_stays_what_was_typed(tmp_path: Path) -> None:
    path = tmp_path / "slurm.yaml"
    path.write_text("time: 24:00:00\ncpus_per_task: 2\n")
    assert read_options([str(path), "time=12:00:00"]) == {"time": "12:00:00", "cpus_per_task": 2}


def test_options_of_an_executor_must_be_utf8(
    command: Command, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_bytes(b"partition: \xff")
    options = ("--executor", "slurm", "--executor-options", tmp_path / "a.yaml")
    refused = command("extract", corpus, "-o", tmp_path / "out", *options)
    assert refused.code == 2
    assert "no UTF-8" in refused.last


def test_two_recordings_of_one_name_are_refused(
    command: Command, corpus: Path, tmp_path: Path
) -> None:
    speech = next(corpus.rglob("*.flac"))
    for name in ("a.flac", "a.wav"):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(speech, tmp_path / "in" / name)
    refused = command("extract", tmp_path / "in", "-o", tmp_path / "out")
    assert refused.code == 1
    assert "would both have the id 'a'" in refused.last


def test_a_missing_datatrove_is_named(
    command: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datatrove.executor", None)
    arguments = ("extract", corpus / "84" / "121", "-o", tmp_path / "out", "--tasks", 2)
    refused = command(*arguments, "--workers", 2)
    assert refused.code == 1
    assert "--workers above 1 needs datatrove: pip install 'fsq-audio[cluster]'" in refused.last
    assert command(*arguments).code == 0


def test_progress_counts_what_is_done(command: Command, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("extract", corpus, "-o", out, *TASKS, "--only-tasks", "0-2").code == 0
    run = read_run(out, "train")
    watch = Watch(run, range(6))
    assert watch.num_final == 3
    assert watch.look().seconds == pytest.approx(sum(run.plan.seconds[:3]))
    # A task that was begun and stopped counts for nothing; one that goes on counts.
    run.progress(4).write_text('{"seconds": 1, "num_done": 1, "num_failed": 0, "is_final": false}')
    assert Watch(run, range(6)).look().num_done == watch.look().num_done - 1
    assert "task 3 of 6" in watch.sentence()
