"""Every format of units, read back by the library that it is for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from token_tools import make_format
from unit_tools import HOP, NAMES, RATE, make_info, make_item, make_items, skip_without

from fsq_audio.cli.options.convert import READABLE_UNIT_FORMATS, UNIT_FORMATS, UNIT_PATTERNS
from fsq_audio.errors import ConfigError, FSQAudioError, TokenError
from fsq_audio.tokens import AudioTokens, Source
from fsq_audio.units.convert import convert, plan_conversion
from fsq_audio.units.formats import WriteOptions, format_names, get_format
from fsq_audio.units.formats.base import Description
from fsq_audio.units.item import StoreInfo, UnitItem
from fsq_audio.units.parquet import read_shard, write_shard
from fsq_audio.units.patterns import Pattern, pattern_names
from fsq_audio.units.store import find_shards, shard_name
from fsq_audio.units.text import UnitText
from fsq_audio.units.vocabulary import EOS, UnitVocabulary

# One that fits uint16 whatever the format, and one that no 16 bits hold: 140,000 units.
INFOS = {"small": make_info(), "large": make_info(codebook_size=70000)}


@pytest.fixture(autouse=True)
def _library(request: pytest.FixtureRequest) -> None:
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    skip_without(*parameters.values())


@pytest.fixture(params=INFOS)
def info(request: pytest.FixtureRequest) -> StoreInfo:
    return INFOS[request.param]


def make_store(folder: Path, info: StoreInfo, items: list[UnitItem], split: str = "train") -> Path:
    write_shard(folder / "data" / shard_name(split, 0, 1), items, info)
    return folder


def written(
    tmp_path: Path, info: StoreInfo, to: str, **options: Any
) -> tuple[Path, list[UnitItem]]:
    """The awkward items in a format."""
    items = make_items(info)
    store = make_store(tmp_path / "store", info, items)
    output = tmp_path / "100% out"  # a percent sign, for writers that take a path for a pattern
    plan = plan_conversion(
        store, output, read_as="parquet", write_as=to, options=WriteOptions(**options)
    )
    assert convert(plan) == len(items)
    return output, items


def read_back(folder: Path, name: str) -> dict[str, list[UnitItem]]:
    source = get_format(name).open_source(folder)
    return {split: list(source.read(split)) for split in source.splits}


def test_the_command_line_knows_all_formats() -> None:
    writable = {name for name in format_names() if get_format(name).write}
    readable = {name for name in format_names() if get_format(name).read or get_format(name).open}
    assert set(UNIT_FORMATS) == writable
    assert set(READABLE_UNIT_FORMATS) == readable
    flat = {name for name in pattern_names() if Pattern(name, 2, 3).is_flat}
    assert set(UNIT_PATTERNS) == flat


LOSSLESS = sorted(set(READABLE_UNIT_FORMATS) - {"fsq"})


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_keeps_all_gives_all_back(tmp_path: Path, info: StoreInfo, name: str) -> None:
    output, items = written(tmp_path, info, name)
    source = get_format(name).open_source(output)
    assert source.info == info
    assert source.splits == {"train": len(items)}
    assert list(source.read("train")) == items


@pytest.mark.parametrize("name", LOSSLESS)
def test_many_shards_and_none(tmp_path: Path, name: str) -> None:
    info = make_info()
    items = [make_item(info, f"item {number}", number % 5) for number in range(7)]
    store = make_store(tmp_path / "store", info, items)
    make_store(store, info, [], "empty")
    takes = "shard_size" in get_format(name).options
    options = WriteOptions(shard_size=3) if takes else WriteOptions()
    plan = plan_conversion(
        store, tmp_path / "out", read_as="parquet", write_as=name, options=options
    )
    assert convert(plan) == 7
    assert read_back(tmp_path / "out", name) == {"empty": [], "train": items}


@pytest.mark.parametrize("name", sorted(UNIT_FORMATS))
def test_a_store_of_two_splits_goes_whole(tmp_path: Path, name: str) -> None:
    info = make_info()
    store = make_store(tmp_path / "store", info, make_items(info))
    make_store(store, info, make_items(info)[:2], "valid")
    plan = plan_conversion(store, tmp_path / "out", read_as="parquet", write_as=name)
    assert convert(plan) == len(NAMES) + 2
    assert Description.read(tmp_path / "out").splits == {"train": len(NAMES), "valid": 2}
    assert {entry.name for entry in tmp_path.iterdir()} == {"store", "out"}


# Each by its own reader


def test_parquet_by_datasets(tmp_path: Path, info: StoreInfo) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    output, items = written(tmp_path, info, "parquet", shard_size=4)
    files = [str(path) for path in find_shards(output)]
    assert len(files) == 2
    for streaming in (True, False):
        rows = datasets.load_dataset(
            "parquet",
            data_files={"train": files},
            split="train",
            streaming=streaming,
            cache_dir=str(tmp_path / "cache"),
        )
        for row, item in zip(rows, items, strict=True):
            assert row["codes"] == item.codes.tolist()
            assert (row["id"], row["text"]) == (item.id, item.text)
            assert row["num_frames"] == item.num_frames


def test_jsonl_by_json(tmp_path: Path, info: StoreInfo) -> None:
    output, items = written(tmp_path, info, "jsonl")
    with open(output / "train.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert [row["key"] for row in rows] == [item.id for item in items]
    assert [row["code"] for row in rows] == [item.codes.tolist() for item in items]
    assert [row.get("text") for row in rows] == [item.text for item in items]


def codec_bpe() -> ModuleType:
    return pytest.importorskip("codec_bpe.core.utils", reason="codec-bpe is not installed")


def test_npy_by_codec_bpe(tmp_path: Path, info: StoreInfo) -> None:
    utils = codec_bpe()
    from codec_bpe.core.converter import UNICODE_OFFSET_LARGE, chars_to_codes, codes_to_chars
    from codec_bpe.tools.lm_dataset_builder import LMDatasetBuilder

    output, items = written(tmp_path, info, "npy")
    folder = output / "train"
    told = utils.get_codec_info(str(folder))
    assert told["num_codebooks"] == info.num_groups
    assert told["codebook_size"] == info.codebook_size
    assert told["framerate"] == info.frame_rate
    files = utils.get_codes_files(str(folder))
    by_name = {item.id: item for item in items}
    assert [str(Path(file).relative_to(folder)) for file in files] == sorted(
        f"{name}_c0.npy" for name in by_name
    )
    for file in files:
        codes = np.load(file)
        name = str(Path(file).relative_to(folder)).removesuffix("_c0.npy")
        assert codes.dtype == np.int32
        assert np.array_equal(codes, by_name[name].codes)
        arguments = (info.num_groups, info.codebook_size)
        if codes.size:
            text = codes_to_chars(codes, info.codebook_size, unicode_offset=UNICODE_OFFSET_LARGE)
            back = chars_to_codes(text, *arguments, unicode_offset=UNICODE_OFFSET_LARGE)
            assert back == codes.tolist()
    # Its builder of data for language models finds recordings by their names.
    builder = LMDatasetBuilder(None, *arguments, unicode_offset=UNICODE_OFFSET_LARGE)
    assert [len(group) for group in builder._group_codes_files(files)] == [1] * len(items)


def read_fairseq(folder: Path, split: str, label_rate: float) -> list[list[str]]:
    """As fairseq's hubert_dataset.py reads and checks; the names are its own."""
    lines = (folder / f"{split}.tsv").read_text("utf-8").split("\n")
    assert lines.pop() == ""
    root = lines.pop(0).strip()
    assert os.path.isabs(root)
    names, sizes = zip(*(line.strip().split("\t") for line in lines), strict=True)
    with open(folder / f"{split}.km", encoding="utf-8") as file:
        labels = [line.rstrip() for line in file]
    assert len(labels) == len(names)
    for size, label in zip(sizes, labels, strict=True):
        assert abs(int(size) / RATE - len(label.split()) / label_rate) <= 0.1
    return [label.split() for label in labels]


@pytest.mark.parametrize("pattern", UNIT_PATTERNS)
def test_fairseq_by_its_rules(tmp_path: Path, info: StoreInfo, pattern: str) -> None:
    output, items = written(
        tmp_path, info, "fairseq", pattern=pattern, audio_root=os.path.abspath("audio")
    )
    labels = read_fairseq(output, "train", info.frame_rate * info.num_groups)
    inverse = Pattern(pattern, info.num_groups, info.codebook_size).invert
    for label, item in zip(labels, items, strict=True):
        assert np.array_equal(inverse([int(unit) for unit in label]), item.codes)
    first, *rows = (output / "train.tsv").read_text("utf-8").splitlines()
    assert first == os.path.abspath("audio")
    assert rows == [f"{item.id}.flac\t{item.num_samples}" for item in items]
    # dict.km.txt: fairseq's Dictionary takes "symbol count" lines, each symbol once.
    with open(output / "dict.km.txt", encoding="utf-8") as file:
        symbols = [line.rsplit(" ", 1) for line in file]
    assert [symbol for symbol, _ in symbols] == [str(u) for u in range(2 * info.codebook_size)]
    assert sum(int(count) for _, count in symbols) == sum(item.codes.size for item in items)


def test_fairseq_transcripts_and_shards(tmp_path: Path) -> None:
    output, items = written(tmp_path, make_info(), "fairseq", shard_size=4)
    words = (output / "train.wrd").read_text("utf-8").split("\n")
    spelled = (output / "train.ltr").read_text("utf-8").split("\n")
    assert words == [*(item.text or "" for item in items), ""]
    assert [line.replace(" ", "").replace("|", " ").strip() for line in spelled] == words
    assert spelled[0].endswith(" |")
    counts = dict(
        line.rsplit(" ", 1) for line in (output / "dict.ltr.txt").read_text("utf-8").splitlines()
    )
    assert int(counts["|"]) == sum(line.split().count("|") for line in spelled)
    assert set(" ".join(spelled).split()) == set(counts)
    shards = sorted(path.name for path in output.glob("*.km"))
    assert shards == ["train_0_2.km", "train_1_2.km"]
    numbers = [len((output / name).read_text().split("\n")) - 1 for name in shards]
    assert numbers == [4, 2]


def test_fairseq_without_transcripts_has_no_files_of_them(tmp_path: Path) -> None:
    info = make_info()
    items = [make_item(info, "no audio known", 3)]
    store = make_store(tmp_path / "store", info, items)
    convert(plan_conversion(store, tmp_path / "out", read_as="parquet", write_as="fairseq"))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["dict.km.txt", "fsq_audio.json", "train.km", "train.tsv"]
    assert (tmp_path / "out" / "train.tsv").read_text() == "/\nno audio known\t953\n"


def test_nemo_by_json(tmp_path: Path, info: StoreInfo) -> None:
    output, items = written(tmp_path, info, "nemo")
    with open(output / "train.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row, item in zip(rows, items, strict=True):
        assert row["audio_filepath"] == os.path.abspath(item.audio_path or "")
        assert row["duration"] == item.duration
        assert row.get("text") == item.text
        assert row["codes"] == item.codes.tolist()


def test_webdataset_is_read_whole_under_a_launcher(
    tmp_path: Path, info: StoreInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("webdataset")
    output, items = written(tmp_path, info, "webdataset", shard_size=4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(read_back(output, "webdataset")["train"]) == len(items)


@pytest.mark.parametrize("layout", ["TG", "GT"])
def test_shar_by_lhotse(tmp_path: Path, info: StoreInfo, layout: str) -> None:
    lhotse = pytest.importorskip("lhotse")
    output, items = written(tmp_path, info, "shar", layout=layout, shard_size=4)
    cuts = list(lhotse.CutSet.from_shar(in_dir=output / "train"))
    for cut, item in zip(cuts, items, strict=True):
        assert cut.id == item.id
        expected = item.codes.T if layout == "TG" else item.codes
        assert np.array_equal(cut.load_codes(), expected)
        assert np.array_equal(cut.codes.load(), expected)
        texts = [supervision.text for supervision in cut.supervisions]
        assert texts == ([item.text] if item.text or item.speaker_id else [])
        assert cut.custom["num_samples"] == item.num_samples
    if layout == "TG":
        long = cuts[3].codes
        half = long.load(start=0.0, duration=20 * HOP / RATE)
        assert np.array_equal(half, items[3].codes.T[:20])
    assert read_back(output, "shar") == {"train": items}


@pytest.mark.parametrize("hop", [1, 3, 7, 320, 640, 1280])
def test_lhotse_does_not_round_a_frame_away(tmp_path: Path, hop: int) -> None:
    lhotse = pytest.importorskip("lhotse")
    info = make_info(hop_length=hop)
    items = [
        make_item(info, f"{n}", n, num_samples=max(0, (n - 1) * hop + 1) if n else 0)
        for n in (0, 1, 2, 3, 10, 999)
    ]
    store = make_store(tmp_path / "store", info, items)
    convert(plan_conversion(store, tmp_path / "out", read_as="parquet", write_as="shar"))
    cuts = list(lhotse.CutSet.from_shar(in_dir=tmp_path / "out" / "train"))
    assert [len(cut.load_codes()) for cut in cuts] == [item.num_frames for item in items]


def test_webdataset_by_webdataset(tmp_path: Path, info: StoreInfo) -> None:
    webdataset = pytest.importorskip("webdataset")
    output, items = written(tmp_path, info, "webdataset", shard_size=4)
    shards = sorted(str(path) for path in (output / "train").glob("*.tar"))
    assert [Path(shard).name for shard in shards] == ["000000.tar", "000001.tar"]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    for sample, item in zip(samples, items, strict=True):
        assert "." not in sample["__key__"]
        assert sample["json"]["id"] == item.id
        assert np.array_equal(sample["codes.npy"], item.codes)
        assert sample["codes.npy"].dtype == np.int32
        assert sample.get("txt") == item.text


def read_indexed(prefix: Path) -> list[np.ndarray]:
    """As megatron.core.datasets.indexed_dataset reads, from its layout; no document is left out."""
    data = prefix.with_suffix(".idx").read_bytes()
    assert data[:9] == b"MMIDIDX\x00\x00"
    assert int.from_bytes(data[9:17], "little") == 1
    dtype = np.dtype({4: np.int32, 8: np.uint16}[data[17]])
    num_sequences = int.from_bytes(data[18:26], "little")
    num_documents = int.from_bytes(data[26:34], "little")
    lengths = np.frombuffer(data, np.int32, num_sequences, 34)
    pointers = np.frombuffer(data, np.int64, num_sequences, 34 + lengths.nbytes)
    place = 34 + lengths.nbytes + pointers.nbytes
    documents = np.frombuffer(data, np.int64, num_documents, place)
    assert place + documents.nbytes == len(data)
    assert documents.tolist() == list(range(num_sequences + 1))
    bin_data = prefix.with_suffix(".bin").read_bytes()
    assert lengths.sum() * dtype.itemsize == len(bin_data)
    return [
        np.frombuffer(bin_data, dtype, length, pointer)
        for length, pointer in zip(lengths, pointers, strict=True)
    ]


@pytest.mark.parametrize(
    ("groups", "codebook_size", "dtype"),
    # Three special tokens: 65,499 and 65,500 ids.
    [(2, 1000, "uint16"), (1, 65496, "uint16"), (1, 65497, "int32"), (2, 70000, "int32")],
)
@pytest.mark.parametrize("pattern", UNIT_PATTERNS)
def test_megatron_by_its_layout(
    tmp_path: Path, groups: int, codebook_size: int, dtype: str, pattern: str
) -> None:
    pytest.importorskip("datatrove")
    info = make_info(num_groups=groups, codebook_size=codebook_size)
    output, items = written(tmp_path, info, "megatron", pattern=pattern)
    told = json.loads((output / "vocabulary.json").read_text())
    documents = read_indexed(output / "train")
    assert {document.dtype.name for document in documents} == {dtype}
    inverse = Pattern(pattern, groups, codebook_size).invert
    for document, item in zip(documents, items, strict=True):
        assert document[-1] == told["special_ids"][EOS]
        units = document[:-1].astype(np.int64) - told["first_unit_id"]
        assert np.array_equal(inverse(units), item.codes)
    assert told["size"] == groups * codebook_size + 3


def test_megatron_by_megatron(tmp_path: Path, info: StoreInfo) -> None:
    library = pytest.importorskip(
        "megatron.core.datasets.indexed_dataset", reason="megatron-core is not installed"
    )
    output, _ = written(tmp_path, info, "megatron")
    dataset = library.IndexedDataset(str(output / "train"))
    documents = read_indexed(output / "train")
    assert len(dataset) == len(documents)
    for index, document in enumerate(documents):
        assert np.array_equal(dataset[index], document)


@pytest.mark.parametrize("pattern", UNIT_PATTERNS)
def test_espnet_by_kaldiio(tmp_path: Path, info: StoreInfo, pattern: str) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    output, items = written(tmp_path, info, "espnet", pattern=pattern)
    arrays = kaldiio.load_scp(str(output / "train" / "wav.scp"))
    names = [item.id.replace("%", "%25").replace(" ", "%20") for item in items]
    assert list(arrays) == names
    inverse = Pattern(pattern, info.num_groups, info.codebook_size).invert
    for name, item in zip(names, items, strict=True):
        assert arrays[name].dtype == np.int32
        assert np.array_equal(inverse(arrays[name]), item.codes)
    in_order = dict(kaldiio.load_ark(str(output / "train" / "codes.ark")))
    assert list(in_order) == names
    texts = dict(
        line.split(None, 1) for line in (output / "train" / "text").read_text("utf-8").splitlines()
    )
    assert texts == {n: i.text for n, i in zip(names, items, strict=True) if i.text is not None}
    speakers = (output / "train" / "utt2spk").read_text("utf-8").splitlines()
    assert speakers[0] == "plain speaker.0"
    assert len(speakers) == len(items)


@pytest.mark.parametrize("template", ["", "s", "<a{g}><b{i}>"])
def test_text_by_tokenizers(tmp_path: Path, info: StoreInfo, template: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    if template == "s":
        info = replace(info, num_groups=1)
    output, items = written(tmp_path, info, "text", template=template)
    tokenizer = tokenizers.Tokenizer.from_file(str(output / "tokenizer.json"))
    vocabulary = UnitVocabulary(info.num_groups, info.codebook_size)
    pattern = Pattern("flatten", info.num_groups, info.codebook_size)
    lines = (output / "train.txt").read_text("utf-8").split("\n")
    assert lines.pop() == ""
    for line, item in zip(lines, items, strict=True):
        units = vocabulary.to_units(tokenizer.encode(line).ids)
        assert np.array_equal(pattern.invert(units), item.codes)
        text = UnitText(info.num_groups, info.codebook_size, template)
        assert np.array_equal(text.parse(line), units)


# Token files


def save_tokens(path: Path, num_samples: int, *, channels: int = 1, **changes: Any) -> AudioTokens:
    form = make_format(**changes)
    num_frames = -(-num_samples // form.hop_length)
    codes = torch.arange(channels * 2 * num_frames).view(channels, 2, num_frames) % 1000
    tokens = AudioTokens(
        codes=codes,
        lengths=torch.full((channels,), num_samples),
        format=form,
        source=Source(form.sample_rate, num_samples, channels, "split" if channels > 1 else "mix"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens.save(path)
    return tokens


def test_token_files_are_units(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    one = save_tokens(folder / "v1.2.fsq", 1)
    two = save_tokens(folder / "sub.d" / "ü.fsq", 1000, channels=2)
    save_tokens(folder / ".hidden.fsq", 1)
    source = get_format("fsq").open_source(folder)
    assert source.info == StoreInfo.from_format(one.format, 2)
    items = list(source.read("train"))
    assert [item.id for item in items] == ["sub.d/ü_c0", "sub.d/ü_c1", "v1.2"]
    assert [item.num_samples for item in items] == [1000, 1000, 1]
    for item, codes in zip(items, [*two.codes, *one.codes], strict=True):
        assert np.array_equal(item.codes, codes.numpy())
    (alone,) = get_format("fsq").open_source(folder / "v1.2.fsq").read("train")
    assert alone == items[2]


def test_a_damaged_token_file_costs_only_itself(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save_tokens(folder / "b.fsq", 700)
    save_tokens(folder / "d.fsq", 700)
    (folder / "a.fsq").write_bytes(b"")
    (folder / "c.fsq").write_bytes((folder / "b.fsq").read_bytes()[:-1])
    plan = plan_conversion(folder, tmp_path / "out", read_as="fsq", write_as="parquet")
    with pytest.raises(TokenError, match=r"a\.fsq"):
        convert(plan, stop_at_failure=True)
    assert not (tmp_path / "out").exists()
    plan = plan_conversion(folder, tmp_path / "out", read_as="fsq", write_as="parquet")
    assert convert(plan) == 2
    assert [failure.path.name for failure in plan.source.failures] == ["a.fsq", "c.fsq"]
    errors = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    assert [Path(json.loads(line)["path"]).name for line in errors] == ["a.fsq", "c.fsq"]


def test_tokens_of_two_models_are_no_units(tmp_path: Path) -> None:
    save_tokens(tmp_path / "in" / "a.fsq", 700)
    save_tokens(tmp_path / "in" / "b.fsq", 700, fingerprint="other")
    plan = plan_conversion(tmp_path / "in", tmp_path / "out", read_as="fsq", write_as="jsonl")
    with pytest.raises(TokenError, match=r"b\.fsq: holds tokens of model other"):
        convert(plan)
    assert not (tmp_path / "out").exists()


# What is refused


def refused(tmp_path: Path, to: str, items: list[UnitItem], **options: Any) -> str:
    info = make_info(num_groups=len(items[0].codes))
    store = make_store(tmp_path / "store", info, items)
    with pytest.raises(FSQAudioError) as caught:
        convert(
            plan_conversion(
                store,
                tmp_path / "out",
                read_as="parquet",
                write_as=to,
                options=WriteOptions(**options),
            )
        )
    assert {entry.name for entry in tmp_path.iterdir()} == {"store"}
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", "a//b", "./a", "a\0b"])
@pytest.mark.parametrize("to", ["npy", "shar"])
def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, name: str, to: str) -> None:
    message = refused(tmp_path, to, [make_item(make_info(), name, 2)])
    assert "its name is no plain path" in message


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("jsonl", {"pattern": "coarse_first"}, "jsonl takes no option, and not pattern"),
        ("fairseq", {"layout": "GT"}, "takes audio_root, pattern, shard_size, and not layout"),
        ("fairseq", {"pattern": "delay"}, "'delay' gives rows"),
        ("megatron", {"pattern": "zigzag"}, "unknown pattern 'zigzag'"),
        ("text", {"template": "<{i}>"}, "needs {n}, or {i}"),
        ("shar", {"layout": "GG"}, "layout must be 'TG' or 'GT'"),
        ("parquet", {"shard_size": 0}, "shard_size must be 1 or more"),
        ("fairseq", {"audio_root": "/elsewhere"}, "is not under --audio-root /elsewhere"),
        ("fsq", {}, "units cannot be written as 'fsq'"),
        ("mp3", {}, "unknown format of units 'mp3'"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, to: str, options: dict[str, Any], message: str
) -> None:
    item = make_item(make_info(), "a", 2, audio_path="a.flac")
    assert message in refused(tmp_path, to, [item], **options)


def test_a_tab_in_a_path_is_refused_by_fairseq(tmp_path: Path) -> None:
    item = make_item(make_info(), "a", 2, audio_path="a\tb.flac")
    assert "fairseq cannot name" in refused(tmp_path, "fairseq", [item])


def test_two_items_of_one_name_are_refused(tmp_path: Path) -> None:
    skip_without("webdataset")
    items = [make_item(make_info(), "a", 2), make_item(make_info(), "a", 3)]
    assert "two items are called 'a'" in refused(tmp_path, "webdataset", items)


@pytest.mark.parametrize("name", ["fairseq", "nemo", "megatron", "espnet", "text"])
def test_what_loses_something_is_not_read_back(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="units cannot be read back from"):
        get_format(name).open_source(tmp_path)


def lose_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text("utf-8").splitlines(True)[:-1]), "utf-8")


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("jsonl", "train.jsonl", lose_last_line),
        ("jsonl", "train.jsonl", tear),
        ("jsonl", "train.jsonl", remove),
        ("npy", "train/items.jsonl", lose_last_line),
        ("npy", "train/plain_c0.npy", tear),
        ("npy", "train/plain_c0.npy", remove),
        ("shar", "train/codes.000000.tar", remove),
        ("webdataset", "train/000000.tar", remove),
        ("webdataset", "train/000000.tar", lambda path: path.write_bytes(b"x" * 5000)),
        ("jsonl", "fsq_audio.json", tear),
        ("jsonl", "fsq_audio.json", remove),
        ("jsonl", "fsq_audio.json", lambda path: path.write_text('{"version": 2}')),
        ("jsonl", "fsq_audio.json", lambda path: path.write_text("[]")),
    ],
)
def test_a_damaged_folder_is_said_in_one_sentence(
    tmp_path: Path, name: str, file: str, damage: Callable[[Path], None]
) -> None:
    output, _ = written(tmp_path, make_info(), name)
    damage(output / file)
    with pytest.raises(TokenError) as caught:
        read_back(output, name)
    assert str(output) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    output, _ = written(tmp_path, make_info(), "jsonl")
    with pytest.raises(TokenError, match="is of the format jsonl, not npy"):
        read_back(output, "npy")


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("shar", "lhotse", "lhotse"),
        ("webdataset", "webdataset", "webdataset"),
        ("megatron", "datatrove", "cluster"),
        ("espnet", "kaldiio", "espnet"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    for module in [library, *(each for each in sys.modules if each.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    message = refused(tmp_path, name, [make_item(make_info(), "a", 2)])
    assert f"needs {library}: pip install 'fsq-audio[{extra}]'" in message


# What is there already


def test_only_converted_units_are_replaced(tmp_path: Path) -> None:
    info = make_info()
    store = make_store(tmp_path / "store", info, make_items(info))
    output = tmp_path / "out"
    output.mkdir()  # an empty folder is as good as none

    def plan(**changes: Any) -> Any:
        usual = {"read_as": "parquet", "write_as": "jsonl", "if_exists": "skip"}
        return plan_conversion(store, output, **{**usual, **changes})

    convert(plan())
    before = (output / "train.jsonl").stat().st_ino
    assert plan().is_done
    for change in ({"write_as": "nemo"}, {"if_exists": "error"}):
        with pytest.raises(ConfigError, match="choose another folder"):
            plan(**change)
    with pytest.raises(ConfigError, match=r"store holds something else than converted units"):
        plan_conversion(output, store, read_as="jsonl", write_as="npy", if_exists="overwrite")
    convert(plan(write_as="nemo", if_exists="overwrite"))
    assert json.loads((output / "train.jsonl").read_text("utf-8").split("\n")[0])["id"] == "plain"
    assert (output / "train.jsonl").stat().st_ino != before
    with pytest.raises(ConfigError, match="holds the input"):
        plan_conversion(store, tmp_path, read_as="parquet", write_as="jsonl")
    make_store(store, info, make_items(info)[:3])
    convert(plan(if_exists="overwrite"))
    make_store(store, info, make_items(info)[:2])
    with pytest.raises(ConfigError, match="holds 3 items of 'train', the input 2"):
        plan()
    make_store(store, make_info(fingerprint="other"), [])
    with pytest.raises(ConfigError, match="of model 0123456789abcdef, this run writes"):
        plan()


def test_what_came_since_is_converted_or_said(tmp_path: Path) -> None:
    info, output = make_info(), tmp_path / "out"
    items = make_items(info)

    def plan(store: Path, **changes: Any) -> Any:
        usual = {"read_as": "parquet", "write_as": "jsonl", "if_exists": "skip"}
        return plan_conversion(store, output, **{**usual, **changes})

    store = make_store(tmp_path / "store", info, items)
    convert(plan(store))
    write_shard(store / "data" / shard_name("valid", 0, 1), items[:2], info)
    # A split alone would replace the others.
    for if_exists in ("skip", "overwrite"):
        with pytest.raises(ConfigError, match=r"holds 'train', too, which would be lost"):
            plan(store, splits=["valid"], if_exists=if_exists)
    convert(plan(store))
    assert {path.name for path in output.glob("*.jsonl")} == {"train.jsonl", "valid.jsonl"}
    assert plan(store).is_done
    assert plan(store, splits=["valid"]).is_done
    # Another store of as many items.
    other = make_store(tmp_path / "other", info, [*items[1:], make_item(info, "another", 9)])
    write_shard(other / "data" / shard_name("valid", 0, 1), items[:2], info)
    with pytest.raises(ConfigError, match="units of another input, or the input has changed"):
        plan(other)


def test_an_output_inside_the_input_is_no_other_input(tmp_path: Path) -> None:
    output, _ = written(tmp_path, make_info(), "jsonl")
    usual = {"read_as": "jsonl", "write_as": "npy", "if_exists": "skip"}
    convert(plan_conversion(output, output / "npy", **usual))
    assert plan_conversion(output, output / "npy", **usual).is_done


def test_what_convert_did_not_write_stays(tmp_path: Path) -> None:
    info, output = make_info(), tmp_path / "out"
    store = make_store(tmp_path / "store", info, make_items(info))
    usual = {"read_as": "parquet", "write_as": "jsonl"}
    convert(plan_conversion(store, output, **usual))
    (output / "bpe.json").touch()
    assert plan_conversion(store, output, **usual, if_exists="skip").is_done
    with pytest.raises(ConfigError, match=r"holds bpe\.json, not of a conversion.*move it away"):
        plan_conversion(store, output, **usual, if_exists="overwrite")
    (output / "bpe.json").unlink()
    convert(plan_conversion(store, output, **usual, if_exists="overwrite"))


def test_parquet_to_parquet_keeps_all_in_other_shards(tmp_path: Path) -> None:
    output, items = written(tmp_path, make_info(), "parquet", shard_size=4)
    assert [path.name for path in find_shards(output)] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert [item for path in find_shards(output) for item in read_shard(path)] == items
