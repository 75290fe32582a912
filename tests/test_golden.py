"""Files that earlier releases wrote are read for ever, or refused by name.

`tests/golden/make.py` made them; neither they nor what is expected of them may change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import soundfile
import torch
from cli_tools import Command
from golden.make import facts, hash_of

from fsq_audio.cli.lines import read_lines
from fsq_audio.errors import TokenError
from fsq_audio.token_stream import TokenStreamReader
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.tokens import file as token_file
from fsq_audio.units.files import read_npy

GOLDEN = Path(__file__).parent / "golden"
SETS = sorted(GOLDEN.glob("release_*"))
FILES = [path for folder in SETS for path in sorted(folder.rglob("*.fsq"))]
NAMES = ("one_sample", "speech", "two_channels")


@dataclass(frozen=True)
class Golden:
    """The set of a release; `own` names its small model, `shipped` what shipped then."""

    folder: Path

    @property
    def manifest(self) -> dict[str, dict[str, Any]]:
        values: dict[str, dict[str, Any]] = json.loads((self.folder / "manifest.json").read_text())
        return values

    def expected(self, num_groups: int, name: str) -> dict[str, Any]:
        return self.manifest[f"groups_{num_groups}_fsq/{name}.fsq"]

    @property
    def own(self) -> str:
        return str(self.expected(4, "speech")["fingerprint"])

    @property
    def shipped(self) -> str:
        return str(self.manifest["pretrained/librivox_sentence_1.fsq"]["fingerprint"])


@pytest.fixture(params=SETS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def test_the_sets_are_complete() -> None:
    assert (GOLDEN / "release_0.1.0").is_dir()
    for golden in map(Golden, SETS):
        fsq = {str(path.relative_to(golden.folder)) for path in golden.folder.rglob("*.fsq")}
        assert fsq == set(golden.manifest)
        assert len(fsq) == 3 * len(NAMES) + 2
        shapes = {tuple(entry["shape"]) for entry in golden.manifest.values()}
        assert shapes >= {(1, 1, 1), (1, 4, 25), (2, 2, 11)}


def test_the_first_set_has_not_changed() -> None:
    golden = Golden(GOLDEN / "release_0.1.0")
    assert (golden.own, golden.shipped) == ("b9241785774582f1", "1b775968603a03cf")
    assert golden.expected(4, "speech")["sha256"].startswith("7969e2536e39d6fc")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_a_token_file_is_read(path: Path) -> None:
    folder = GOLDEN / path.relative_to(GOLDEN).parts[0]
    assert facts(AudioTokens.load(path)) == Golden(folder).manifest[str(path.relative_to(folder))]


@pytest.mark.parametrize("num_groups", [1, 2, 4])
def test_plain_codes_are_read_and_written_as_they_were(
    golden: Golden, num_groups: int, tmp_path: Path
) -> None:
    lines = golden.folder / f"groups_{num_groups}_jsonl" / "tokens.jsonl"
    assert {line.fingerprint for line in read_lines(lines).by_key.values()} == {golden.own}
    for name, line in zip(NAMES, lines.read_text("utf-8").splitlines(), strict=True):
        entry, record = golden.expected(num_groups, name), json.loads(line)
        path = golden.folder / f"groups_{num_groups}_npy" / f"{name}.npy"
        for plain in (read_npy(path.read_bytes()), np.array(record["codes"])):
            codes = torch.from_numpy(plain.reshape(entry["shape"]).copy())
            assert hash_of(codes) == entry["sha256"]
        assert record["num_samples"] == entry["num_samples"]

        tokens = AudioTokens.load(golden.folder / f"groups_{num_groups}_fsq" / f"{name}.fsq")
        assert tokens.to_record(record["key"]) == record
        tokens.save_npy(tmp_path / "x.npy")
        assert (tmp_path / "x.npy").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("num_groups", [1, 2, 4])
@pytest.mark.parametrize("suffix", ["jsonl", "bin"])
def test_a_stream_is_read(golden: Golden, num_groups: int, suffix: str) -> None:
    entry = golden.expected(num_groups, "speech")
    with (golden.folder / f"stream_{num_groups}.{suffix}").open("rb") as file:
        reader = TokenStreamReader(file)
        pieces = list(reader)
    assert (reader.format.fingerprint, reader.num_groups) == (golden.own, num_groups)
    assert pieces[-1].num_samples == entry["num_samples"]
    assert hash_of(torch.cat([piece.codes for piece in pieces], dim=1)[None]) == entry["sha256"]


def test_an_old_model_decodes_old_tokens(golden: Golden) -> None:
    model = AudioTokenizer.from_pretrained(golden.folder / "model")
    assert model.fingerprint == golden.own
    for path in sorted(golden.folder.glob("groups_*_fsq/*.fsq")):
        tokens = AudioTokens.load(path)
        waveform = model.decode(tokens)
        assert list(waveform.shape) == [len(tokens), int(tokens.lengths[0])]
    tokens = AudioTokens.load(golden.folder / "groups_4_fsq" / "speech.fsq")
    decoded, _ = soundfile.read(golden.folder / "speech.flac", dtype="float32")
    waveform = model.decode(tokens)[0]
    assert float(waveform.square().mean().sqrt()) > 0.003
    # Other machines and releases of torch round otherwise.
    torch.testing.assert_close(waveform, torch.from_numpy(decoded), rtol=0, atol=1e-3)


def test_tokens_of_what_shipped_decode_or_are_refused_by_name(golden: Golden) -> None:
    model = AudioTokenizer.from_pretrained()
    for path in sorted((golden.folder / "pretrained").glob("*.fsq")):
        tokens = AudioTokens.load(path)
        if golden.shipped == model.fingerprint:
            assert model.decode(tokens).shape[1] == int(tokens.lengths[0])
        else:
            names = f"belong to model {golden.shipped}, not to this model, {model.fingerprint}"
            with pytest.raises(TokenError, match=names):
                model.decode(tokens)


def test_tokens_of_another_model_are_refused_by_name(
    golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(golden.folder / "model", capsys)
    of_another = golden.folder / "pretrained" / "librivox_sentence_1.fsq"
    told = command("decode", of_another, "-o", tmp_path / "x.wav")
    assert told.code != 0
    names = f"belong to model {golden.shipped}, not to this model, {golden.own}: decode them with"
    assert names in told.err
    assert not (tmp_path / "x.wav").exists()


def test_files_of_a_later_release_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = Golden(GOLDEN / "release_0.1.0")
    path = golden.folder / "groups_4_fsq" / "speech.fsq"
    with safetensors.safe_open(path, "numpy") as file:
        text, packed = file.metadata()["fsq_audio"], file.get_tensor("codes")
    start = text.replace('{"v":1,', '{"v":99,').rpartition(',"crc":')[0]
    text = f'{start},"crc":"{token_file._checksum(start, packed.tobytes())}"}}'
    later = tmp_path / "later.fsq"
    later.write_bytes(safetensors.numpy.save({"codes": packed}, metadata={"fsq_audio": text}))
    sentence = f"{later}: is of version 99; this release reads version 1: upgrade fsq_audio"
    with pytest.raises(TokenError, match=re.escape(sentence)):
        AudioTokens.load(later)
    told = Command(golden.folder / "model", capsys)("decode", later, "-o", tmp_path / "x.wav")
    assert told.code != 0
    assert sentence in told.err
    for suffix in ("jsonl", "bin"):
        data = (golden.folder / f"stream_4.{suffix}").read_bytes()
        # The same length: the binary form has that of its header before it.
        (tmp_path / "stream").write_bytes(data.replace(b'"version": 1', b'"version": 9', 1))
        with (
            (tmp_path / "stream").open("rb") as file,
            pytest.raises(TokenError, match="is of version 9; this release reads version 1"),
        ):
            TokenStreamReader(file)
