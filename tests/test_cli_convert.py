"""`fsq-audio convert`: from recordings to every format, and what it says and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_tools import Command, listing, save_tiny
from conftest import SAMPLES
from test_units_formats import make_store
from unit_tools import make_info, make_items, skip_without

from fsq_audio.cli.options.convert import UNIT_FORMATS
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.units.formats import get_format
from fsq_audio.units.parquet import read_shard
from fsq_audio.units.store import find_shards, read_info


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", make_info(), make_items(make_info()))


def test_speech_goes_through_every_format_to_audio(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, command: Command
) -> None:
    skip_without(*UNIT_FORMATS)
    assert len(SAMPLES) == 2
    tokens, units = tmp_path / "tokens", tmp_path / "units"
    assert command("tokenize", *SAMPLES, "-o", tokens).code == 0
    done = command("convert", tokens, "-o", units, "--from", "fsq", "--to", "parquet", "--json")
    assert done.code == 0
    (row,) = done.rows
    assert (row["status"], row["num_items"], row["num_failed"]) == ("done", 2, 0)
    by_name = {path.stem: AudioTokens.load(tokens / f"{path.stem}.fsq") for path in SAMPLES}
    (shard,) = find_shards(units)
    items = list(read_shard(shard))
    assert sum(item.codes.size for item in items) == row["num_codes"]
    for item in items:
        assert np.array_equal(item.codes, by_name[item.id].codes[0].numpy())
        assert item.num_samples == int(by_name[item.id].lengths[0])
    for name in UNIT_FORMATS:
        out = tmp_path / name
        assert command("convert", units, "-o", out, "--to", name).code == 0
        if get_format(name).read is not None:
            back = tmp_path / f"{name} back"
            assert command("convert", out, "-o", back, "--from", name, "--to", "parquet").code == 0
            # The same items, so the very same bytes.
            assert find_shards(back)[0].read_bytes() == shard.read_bytes()
    model = AudioTokenizer.from_pretrained(save_tiny(tmp_path_factory))
    assert read_info(units).format == model.format


def test_what_it_says(command: Command, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = command("convert", store, "-o", out, "--to", "npy", "--dry-run")
    assert (plan.code, plan.out) == (0, f"would write {out} (npy)\n")
    assert not out.exists()
    done = command("convert", store, "-o", out, "--to", "npy")
    assert done.code == 0
    assert done.out.startswith(f"{store} -> {out}: 6 recordings, ")
    assert done.err == ""
    again = command("convert", store, "-o", out, "--to", "npy", "--json")
    assert (again.code, again.rows[0]["status"]) == (0, "skipped")
    for options in (("--if-exists", "error"), ("--split", "test"), ("--layout", "GT")):
        refused = command("convert", store, "-o", out, "--to", "npy", *options)
        assert refused.code == 2
        assert refused.last.startswith("fsq-audio convert: error: ")
    over = command("convert", store, "-o", out, "--to", "npy", "--if-exists", "overwrite", "-q")
    assert (over.code, over.out, over.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "mp3"], 2, "invalid choice: 'mp3'"),
        (["--to", "jsonl", "--shard-size", "0"], 2, "expected a whole number from 1 on"),
        (["--to", "jsonl", "--from", "jsonl"], 1, "is no folder of units that fsq_audio wrote"),
        (["--to", "jsonl", "--from", "fsq"], 1, "the folder holds no file that ends in .fsq"),
    ],
)
def test_wrong_use(
    command: Command, store: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    outcome = command("convert", store, "-o", tmp_path / "out", *arguments)
    assert outcome.code == code
    assert message in outcome.last
    assert not (tmp_path / "out").exists()


def test_a_folder_of_token_files_is_told_from_a_store(command: Command, tmp_path: Path) -> None:
    (tmp_path / "tokens" / "a").mkdir(parents=True)
    (tmp_path / "tokens" / "a" / "b.fsq").touch()
    refused = command("convert", tmp_path / "tokens", "-o", tmp_path / "out", "--to", "npy")
    assert refused.code == 2
    assert "add --from fsq" in refused.last


def test_a_damaged_store_leaves_nothing(command: Command, store: Path, tmp_path: Path) -> None:
    (path,) = find_shards(store)
    path.write_bytes(path.read_bytes()[:-100])
    before = listing(tmp_path)
    outcome = command("convert", store, "-o", tmp_path / "out", "--to", "jsonl")
    assert outcome.code == 1
    assert "is no parquet file, or damaged" in outcome.last
    assert listing(tmp_path) == before


def test_token_files_that_fail_are_noted_and_tried_again(command: Command, tmp_path: Path) -> None:
    tokens, out = tmp_path / "tokens", tmp_path / "out"
    command("tokenize", SAMPLES[0], "-o", tokens)
    whole = (tokens / f"{SAMPLES[0].stem}.fsq").read_bytes()
    (tokens / "torn.fsq").write_bytes(whole[:-5])
    arguments = (tokens, "-o", out, "--from", "fsq", "--to", "jsonl")
    stopped = command("convert", *arguments, "--on-error", "fail")
    assert stopped.code == 1
    assert "torn.fsq" in stopped.last
    assert not out.exists()
    done = command("convert", *arguments)
    assert done.code == 3
    assert "torn.fsq" in done.err
    assert done.out.endswith("; 1 files failed\n")
    (line,) = (out / "errors.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == str(tokens / "torn.fsq")
    (tokens / "torn.fsq").write_bytes(whole)
    mended = command("convert", *arguments, "--json")
    assert (mended.code, mended.rows[0]["num_items"]) == (0, 2)
    assert not (out / "errors.jsonl").exists()
    assert command("convert", *arguments, "--json").rows[0]["status"] == "skipped"


def test_a_store_of_several_splits(command: Command, store: Path, tmp_path: Path) -> None:
    make_store(store, make_info(), make_items(make_info())[:2], "valid")
    for splits, files in ((["valid"], {"valid.jsonl"}), ([], {"train.jsonl", "valid.jsonl"})):
        out = tmp_path / f"out {len(splits)}"
        options = [word for split in splits for word in ("--split", split)]
        assert command("convert", store, "-o", out, "--to", "jsonl", *options).code == 0
        assert set(listing(out)) == {"fsq_audio.json", *files}


def test_what_extract_wrote_is_converted(command: Command, tmp_path: Path) -> None:
    units, out = tmp_path / "units", tmp_path / "out"
    assert command("extract", SAMPLES[0].parent, "-o", units).code == 0
    done = command("convert", units, "-o", out, "--to", "jsonl", "--json")
    assert (done.code, done.rows[0]["num_items"]) == (0, 2)
    items = {item.id: item for shard in find_shards(units) for item in read_shard(shard)}
    (split,) = get_format("jsonl").open_source(out).splits
    with open(out / f"{split}.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert {row["key"] for row in rows} == set(items)
    for row in rows:
        assert row["code"] == items[row["key"]].codes.tolist()
        assert row["audio_path"] == items[row["key"]].audio_path
