"""Files that earlier releases wrote are read for ever, or refused by name.

`tests/golden/make.py` made them; neither they nor what is expected of them may change.
"""

from __future__ import annotations

import json
import re
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

from fsq_audio import tokens as tokens_module
from fsq_audio.cli.lines import read_lines
from fsq_audio.errors import TokenError
from fsq_audio.token_stream import TokenStreamReader
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.units.files import read_npy

SET = Path(__file__).parent / "golden" / "v1"
MANIFEST: dict[str, dict[str, Any]] = json.loads((SET / "manifest.json").read_text("utf-8"))
OWN = "b9241785774582f1"
SHIPPED = "f00d94e47c1b3f89"
NAMES = ("one_sample", "speech", "two_channels")


def expected(num_groups: int, name: str) -> dict[str, Any]:
    return MANIFEST[f"groups_{num_groups}_fsq/{name}.fsq"]


def test_the_set_is_complete() -> None:
    fsq = {str(path.relative_to(SET)) for path in SET.rglob("*.fsq")}
    assert fsq == set(MANIFEST)
    assert len(fsq) == 3 * len(NAMES) + 2
    shapes = {tuple(entry["shape"]) for entry in MANIFEST.values()}
    assert shapes >= {(1, 1, 1), (1, 4, 25), (2, 2, 11), (1, 4, 133)}


@pytest.mark.parametrize("path", sorted(MANIFEST))
def test_a_token_file_is_read(path: str) -> None:
    assert facts(AudioTokens.load(SET / path)) == MANIFEST[path]


@pytest.mark.parametrize("num_groups", [1, 2, 4])
def test_plain_codes_are_read_and_written_as_they_were(num_groups: int, tmp_path: Path) -> None:
    lines = SET / f"groups_{num_groups}_jsonl" / "tokens.jsonl"
    assert {line.fingerprint for line in read_lines(lines).by_key.values()} == {OWN}
    for name, line in zip(NAMES, lines.read_text("utf-8").splitlines(), strict=True):
        entry = expected(num_groups, name)
        record = json.loads(line)
        path = SET / f"groups_{num_groups}_npy" / f"{name}.npy"
        array = read_npy(path.read_bytes())
        for plain in (array, np.array(record["codes"])):
            codes = torch.from_numpy(plain.reshape(entry["shape"]).copy())
            assert hash_of(codes) == entry["sha256"]
        assert record["num_samples"] == entry["num_samples"]

        tokens = AudioTokens.load(SET / f"groups_{num_groups}_fsq" / f"{name}.fsq")
        assert tokens.to_record(record["key"]) == record
        tokens.save(tmp_path / "x.fsq")
        tokens.save_npy(tmp_path / "x.npy")
        assert (tmp_path / "x.npy").read_bytes() == path.read_bytes()
        assert AudioTokens.load(tmp_path / "x.fsq") == tokens


@pytest.mark.parametrize("num_groups", [1, 2, 4])
@pytest.mark.parametrize("suffix", ["jsonl", "bin"])
def test_a_stream_is_read(num_groups: int, suffix: str) -> None:
    entry = expected(num_groups, "speech")
    with (SET / f"stream_{num_groups}.{suffix}").open("rb") as file:
        reader = TokenStreamReader(file)
        pieces = list(reader)
    assert (reader.format.fingerprint, reader.num_groups) == (OWN, num_groups)
    assert pieces[-1].num_samples == entry["num_samples"]
    assert hash_of(torch.cat([piece.codes for piece in pieces], dim=1)[None]) == entry["sha256"]


def test_an_old_model_decodes_old_tokens() -> None:
    model = AudioTokenizer.from_pretrained(SET / "model")
    assert model.fingerprint == OWN
    decoded, _ = soundfile.read(SET / "speech.flac", dtype="float32")
    for path in sorted(SET.glob("groups_*_fsq/*.fsq")):
        tokens = AudioTokens.load(path)
        waveform = model.decode(tokens)
        assert list(waveform.shape) == [len(tokens), int(tokens.lengths[0])]
        if path.parent.name == "groups_4_fsq" and path.stem == "speech":
            # Other machines and releases of torch round otherwise.
            torch.testing.assert_close(waveform[0], torch.from_numpy(decoded), rtol=0, atol=1e-3)
            assert float(waveform.square().mean().sqrt()) > 0.003


def test_tokens_of_what_shipped_decode_or_are_refused_by_name() -> None:
    model = AudioTokenizer.from_pretrained()
    for path in sorted((SET / "pretrained").glob("*.fsq")):
        tokens = AudioTokens.load(path)
        if tokens.format.fingerprint == model.fingerprint:
            assert model.decode(tokens).shape[1] == int(tokens.lengths[0])
        else:
            names = f"belong to model {SHIPPED}, not to this model, {model.fingerprint}"
            with pytest.raises(TokenError, match=names):
                model.decode(tokens)


def test_tokens_of_another_model_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(SET / "model", capsys)
    of_another = SET / "pretrained" / "librivox_sentence_1.fsq"
    told = command("decode", of_another, "-o", tmp_path / "x.wav")
    assert told.code != 0
    assert f"belong to model {SHIPPED}, not to this model, {OWN}: decode them with" in told.err
    assert not (tmp_path / "x.wav").exists()


def test_files_of_a_later_release_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = SET / "groups_4_fsq" / "speech.fsq"
    with safetensors.safe_open(path, "numpy") as file:
        text, packed = file.metadata()["fsq_audio"], file.get_tensor("codes")
    start = text.replace('{"v":1,', '{"v":2,').rpartition(',"crc":')[0]
    text = f'{start},"crc":"{tokens_module._checksum(start, packed.tobytes())}"}}'
    later = tmp_path / "later.fsq"
    later.write_bytes(safetensors.numpy.save({"codes": packed}, metadata={"fsq_audio": text}))
    sentence = f"{later}: is of version 2; this release reads version 1: upgrade fsq_audio"
    with pytest.raises(TokenError, match=re.escape(sentence)):
        AudioTokens.load(later)
    told = Command(SET / "model", capsys)("decode", later, "-o", tmp_path / "x.wav")
    assert told.code != 0
    assert sentence in told.err
    for suffix in ("jsonl", "bin"):
        data = (SET / f"stream_4.{suffix}").read_bytes()
        (tmp_path / "stream").write_bytes(data.replace(b'"version": 1', b'"version": 2', 1))
        with (
            (tmp_path / "stream").open("rb") as file,
            pytest.raises(TokenError, match="is of version 2; this release reads version 1"),
        ):
            TokenStreamReader(file)
