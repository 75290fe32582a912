"""What strangers give runs nothing, leads nowhere, and is not believed before it is checked."""

from __future__ import annotations

import ast
import io
import json
import pickle
import tarfile
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
from cli_tools import Command, listing, save_tiny, write_audio
from conftest import build_tiny
from fuzz.targets import limited
from unit_tools import make_info, make_items, skip_without

from fsq_audio.checkpoint import find_folder
from fsq_audio.corpus.sources import read_entries
from fsq_audio.errors import CheckpointError, ConfigError, FSQAudioError, TokenError
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.training.config import read_run_config
from fsq_audio.units.files import read_npy
from fsq_audio.units.parquet import write_shard

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "fsq_audio").rglob("*.py"))
INFO = make_info()

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "extractall",
    "extract", "unpack_archive", "mktemp", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
FORBIDDEN_OPTIONS = {
    ("shell", True), ("allow_pickle", True), ("weights_only", False), ("trust_remote_code", True),
}  # fmt: skip


def find_dangers(source: str) -> Iterator[str]:
    """What runs what it is given: imports, calls and options of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            yield from (f"import {name}" for name in names & FORBIDDEN_IMPORTS)
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_IMPORTS:
            yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            is_method = isinstance(node.func, ast.Attribute)
            # `model.eval()` and `re.compile` are others.
            last = name.rpartition(".")[2] if last_counts(name) else name
            if name in FORBIDDEN_CALLS or (is_method and last in FORBIDDEN_CALLS):
                yield name
            if name == "yaml.load" and "_Loader" not in ast.unparse(node):
                yield ast.unparse(node)
            for option in node.keywords:
                if isinstance(option.value, ast.Constant):
                    found = (option.arg, option.value.value)
                    if found in FORBIDDEN_OPTIONS:
                        yield f"{name}({option.arg}={option.value.value})"


def last_counts(name: str) -> bool:
    return name.rpartition(".")[2] in {"extractall", "extract", "unpack_archive", "mktemp"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(path: Path) -> None:
    assert list(find_dangers(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from marshal import loads", "eval(x)", "exec(x)", "torch.load(path)",
        "subprocess.run(x, shell=True)", "np.load(x, allow_pickle=True)", "archive.extractall()",
        "os.system(x)", "yaml.load(x)", "yaml.unsafe_load(x)", "torch.load(x, weights_only=False)",
    ],
)  # fmt: skip
def test_a_danger_is_found(source: str) -> None:
    assert list(find_dangers(source))


@pytest.mark.parametrize("source", ["model.eval()", "re.compile(x)", "np.load(x)", "torch.save(x)"])
def test_what_is_harmless_is_not(source: str) -> None:
    assert list(find_dangers(source)) == []


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_shard(tmp_path / "store" / "train-00000-of-00001.parquet", make_items(INFO), INFO)
    return tmp_path / "store"


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


def test_a_pickle_in_a_webdataset_is_not_read(
    command: Command, store: Path, tmp_path: Path
) -> None:
    skip_without("webdataset")
    units, mark = tmp_path / "units", tmp_path / "mark"
    assert command("convert", store, "-o", units, "--to", "webdataset").code == 0
    shard = units / "train" / "000000.tar"
    with tarfile.open(shard) as archive:
        members = [(each, archive.extractfile(each).read()) for each in archive]  # type: ignore[union-attr]
    for extension in ("pyd", "pth", "pickle"):
        name = members[0][0].name.partition(".")[0]
        members.insert(1, (tarfile.TarInfo(f"{name}.{extension}"), pickle.dumps(Evil(mark))))
    with tarfile.open(shard, "w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    done = command("convert", units, "-o", tmp_path / "back", "--from", "webdataset", "--to", "npy")
    assert done.code == 0, done.err
    assert not mark.exists()


def test_a_lhotse_cut_runs_no_command(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    write_audio(tmp_path / "a.wav")
    recording = lhotse.Recording.from_file(tmp_path / "a.wav")
    mark = tmp_path / "mark"
    source = lhotse.audio.AudioSource("command", [0], f"touch {mark}; cat {tmp_path}/a.wav")
    recording.sources = [source]
    cut = recording.to_cut()
    for each in (cut, cut.append(cut)):
        lhotse.CutSet.from_cuts([each]).to_file(tmp_path / "cuts.jsonl.gz")
        with pytest.raises(ConfigError, match="gets its audio from a command, and none is run"):
            list(read_entries(tmp_path / "cuts.jsonl.gz"))
    assert not mark.exists()


def test_codes_of_a_shar_are_read_from_nowhere_else(
    command: Command, store: Path, tmp_path: Path
) -> None:
    skip_without("shar")
    import gzip

    units = tmp_path / "units"
    assert command("convert", store, "-o", units, "--to", "shar").code == 0
    (units / "train" / "codes.000000.tar").unlink()
    cuts = units / "train" / "cuts.000000.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(cuts.read_bytes()).splitlines()]
    for line in lines:
        array = line["custom"]["codes"]["array"]
        array |= {"storage_type": "numpy_files", "storage_path": "/", "storage_key": "etc/passwd"}
    text = "".join(json.dumps(line) + "\n" for line in lines)
    cuts.write_bytes(gzip.compress(text.encode()))
    told = command("convert", units, "-o", tmp_path / "out", "--from", "shar", "--to", "npy")
    assert told.code == 1
    assert "are not in the shard" in told.last


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\0b", "..", "."])
def test_an_item_does_not_leave_its_folder(
    command: Command, store: Path, tmp_path: Path, name: str
) -> None:
    units = tmp_path / "in" / "units"
    assert command("convert", store, "-o", units, "--to", "jsonl").code == 0
    path = units / "train.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "key": name}), *others]) + "\n")
    before = listing(tmp_path)
    out = tmp_path / "in" / "out"
    told = command("convert", units, "-o", out, "--from", "jsonl", "--to", "npy")
    assert told.code == 1
    assert "its name is no plain path" in told.last
    assert listing(tmp_path) == before


@pytest.mark.parametrize("split", ["../../x", "/x", "..", "a/b"])
def test_a_split_does_not_leave_its_folder(
    command: Command, store: Path, tmp_path: Path, split: str
) -> None:
    units = tmp_path / "in" / "units"
    assert command("convert", store, "-o", units, "--to", "jsonl").code == 0
    path = units / "fsq_audio.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "splits": {split: 1}}))
    before = listing(tmp_path)
    out = tmp_path / "in" / "out"
    told = command("convert", units, "-o", out, "--from", "jsonl", "--to", "npy")
    assert told.code == 1
    assert "plain" in told.last
    assert listing(tmp_path) == before


def test_members_of_a_tar_are_read_where_they_are(command: Command, tmp_path: Path) -> None:
    data = write_audio(tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").unlink()
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("../../evil.wav", "/tmp/evil2.wav"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    done = command("extract", tmp_path / "x.tar", "-o", tmp_path / "out" / "units", "--json")
    assert (done.code, done.rows[-1]["num_done"]) == (0, 2), done.err
    there = [name for name in listing(tmp_path) if not name.startswith("out/units/")]
    assert there == ["x.tar"]
    assert not list(tmp_path.parent.glob("*evil*"))
    assert not Path("/tmp/evil2.wav").exists()


@pytest.mark.parametrize(
    "name", ["../..", "../x", "owner/../../x", "owner/..", "a/b/c", "owner/na me", "x\0y", ""]
)
def test_a_hub_id_does_not_traverse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    with pytest.raises(CheckpointError):
        find_folder(name, cache_dir=tmp_path / "cache", local_files_only=True)
    assert listing(tmp_path) == []


def token_file(**changes: object) -> bytes:
    """The golden file with other words in its description; its checksum is left as it was."""
    data = (ROOT / "tests" / "golden" / "tokens_v1.fsq").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    text = json.dumps({**json.loads(header["__metadata__"]["fsq_audio"]), **changes})
    header["__metadata__"]["fsq_audio"] = text
    said = json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + data[8 + size :]


@pytest.mark.parametrize(
    "changes", [{"S": 2**40}, {"S": 2**62, "hop": 1}, {"B": 2**40}, {"G": 2**40}, {"K": 2**63}]
)
def test_a_token_file_is_not_believed_to_be_large(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    (tmp_path / "x.fsq").write_bytes(token_file(**changes))
    with limited(), pytest.raises(TokenError, match=r"make \d+ bytes of codes, not"):
        AudioTokens.load(tmp_path / "x.fsq")


def a_model_of_a_stranger(folder: Path, **changes: object) -> Path:
    """Weights of a small model, and a configuration that asks for another (`a__b` is a.b)."""
    build_tiny("spectral-harmonic_noise").save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        *places, last = name.split("__")
        reduce(getitem, places, values)[last] = value
    (folder / "config.json").write_text(json.dumps(values))
    return folder


STAGE = {"name": "vq", "codebook_size": 2**20, "dim": 10**6}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoder__trunk__channels": 10**6}, r"does not fit its configuration: .*\[.*1000000.*\]"),
        ({"encoder__trunk__channels": 10**17}, "asks for tensors of impossible sizes"),
        ({"encoder__trunk__channels": 10**30}, "asks for tensors of impossible sizes"),
        ({"encoder__trunk__expansion": 10**9}, "does not fit its configuration"),
        ({"encoder__trunk__kernel_size": 10**9 + 1}, "does not fit its configuration"),
        ({"encoder__trunk__num_blocks": 10**9}, "num_blocks: Input should be less than"),
        ({"encoder__trunk__num_blocks": 100}, "does not fit its configuration: missing"),
        ({"encoder__front_end__window_length": 10**9}, "window_length: Input should be less than"),
        ({"encoder__front_end__bands": 10**9}, "bands: Input should be less than"),
        ({"encoder__front_end__lags": 10**9}, "lags: Input should be less than"),
        (
            {
                "encoder__front_end__bands": 1024,
                "encoder__front_end__lags": 1024,
                "encoder__front_end__window_length": 2**14,
            },
            "does not fit its configuration",
        ),
        (
            {"encoder__front_end": {"name": "conv", "strides": [320] + [1] * 200}},
            "asks for tensors of impossible sizes",
        ),
        ({"decoder__trunk__channels": 10**6}, "does not fit its configuration"),
        ({"decoder__head__pitch_channels": 10**7}, "does not fit its configuration"),
        ({"decoder__head__window_length": 320 * 10**8}, "window_length: Input should be less"),
        ({"hop_length": 10**12}, "hop_length: Input should be less than"),
        ({"sample_rate": 10**400}, "sample_rate: Input should be less than"),
        ({"quantizer__num_groups": 10**9}, "num_groups must be an integer from 1 to 1024"),
        ({"quantizer": STAGE}, "does not fit its configuration"),
        ({"quantizer": {"name": "residual_vq", "stage": STAGE, "num_groups": 8}}, "does not fit"),
        ({"quantizer": {"name": "residual_vq", "stage": STAGE, "num_groups": 2**40}}, "from 1 to"),
    ],
)
def test_a_model_is_not_built_before_its_weights_are_seen(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    folder = a_model_of_a_stranger(tmp_path / "model", **changes)
    with limited(), pytest.raises(FSQAudioError, match=sentence) as told:
        AudioTokenizer.from_pretrained(folder)
    assert "\n" not in str(told.value)


def test_a_configuration_of_a_stranger_takes_no_memory_in_transformers(tmp_path: Path) -> None:
    hf = pytest.importorskip("fsq_audio.hf", reason="transformers is not installed")
    folder = a_model_of_a_stranger(tmp_path / "model", quantizer=STAGE)
    with limited():
        config = hf.FSQAudioConfig(**json.loads((folder / "config.json").read_text()))
        assert (config.num_codebooks, config.codebook_size) == (1, 2**20)


def test_an_array_is_not_believed_to_be_large() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.int32))
    data = buffer.getvalue()
    assert read_npy(data).shape == (2, 3)
    with limited(), pytest.raises(TokenError, match="does not take 24 bytes"):
        read_npy(data.replace(b"(2, 3)", b"(2, %d)" % 2**40).replace(b" " * 12, b"", 1))
    objects = io.BytesIO()
    np.save(objects, np.array([{}]), allow_pickle=True)
    with pytest.raises(TokenError):
        read_npy(objects.getvalue())


def test_a_few_lines_of_yaml_do_not_become_gigabytes(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{names}]")
    (tmp_path / "x.yaml").write_text("\n".join(lines))
    (tmp_path / "endless.yaml").write_text("a: &a [*a]")
    with limited(), pytest.raises(ConfigError, match="its aliases stand for"):
        read_run_config(tmp_path / "endless.yaml")
    with (
        limited(),
        pytest.raises(ConfigError, match="its aliases stand for more than 100000 values"),
    ):
        read_run_config(tmp_path / "x.yaml")


def test_a_few_compressed_bytes_do_not_become_gigabytes(tmp_path: Path) -> None:
    import gzip

    with gzip.open(tmp_path / "x.jsonl.gz", "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write(bytes(2**20))
    with limited(), pytest.raises(ConfigError, match="has a line of 16777216 bytes or more"):
        list(read_entries(tmp_path / "x.jsonl.gz"))
