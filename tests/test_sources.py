"""Where recordings come from, what is done when they cannot be read, noise and rooms."""

from __future__ import annotations

import gzip
import io
import json
import logging
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT

from fsq_audio.corpus import manifests
from fsq_audio.corpus.sources import read_entries
from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.layers import Context
from fsq_audio.training.augment import Equalizer, Noise, Reverb
from fsq_audio.training.config import EqualizerConfig, NoiseConfig, ReverbConfig
from fsq_audio.training.data import CropDataset
from fsq_audio.training.recordings import Recording, read_span
from fsq_audio.training.sources import read_recordings, scan_folder


def samples(seed: int, length: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


def write(path: Path, seed: int = 0, length: int = 4000, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples(seed, length), rate, subtype="PCM_16")
    return path


def test_any_folder_is_a_corpus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "b" / "two.wav", 1, 3000, 24000)
    write(tmp_path / "a.FLAC", 2)
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    (tmp_path / "notes.txt").write_text("not audio")
    (tmp_path / "memo.M4A").write_bytes(b"for ffmpeg")
    with caplog.at_level(logging.WARNING):
        recordings = read_recordings(tmp_path)
    assert [(r.path.name, r.num_samples, r.sample_rate) for r in recordings] == [
        ("a.FLAC", 4000, 16000),
        ("two.wav", 3000, 24000),
    ]
    assert "broken.wav" in caplog.text
    assert "passed over 1 files that must be converted first, such as" in caplog.text
    assert "memo.M4A" in caplog.text


def test_a_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no recording"):
        read_recordings(tmp_path)


def test_librispeech_and_libritts_trees_give_transcripts_and_speakers(tmp_path: Path) -> None:
    speech = write(tmp_path / "LS" / "84" / "121123" / "84-121123-0000.flac").parent
    # What Unicode takes for the end of a line is none of a transcript.
    (speech / "84-121123.trans.txt").write_text("84-121123-0000 GO DO\u2028YOU HEAR\n", "utf-8")
    tts = write(tmp_path / "TTS" / "1034" / "1211" / "1034_1211_000001_000001.wav")
    tts.with_suffix(".normalized.txt").write_text("He was gone.\n")
    first, second = scan_folder(tmp_path)
    assert first == {
        "id": "84-121123-0000",
        "audio_filepath": "LS/84/121123/84-121123-0000.flac",
        "num_samples": 4000,
        "sample_rate": 16000,
        "duration": 0.25,
        "text": "GO DO\u2028YOU HEAR",
        "speaker_id": "84",
        "chapter_id": "121123",
    }
    assert (second["text"], second["speaker_id"]) == ("He was gone.", "1034")


def test_a_manifest_is_made_and_read(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "recipes"))
    from make_manifest import make_manifest

    write(tmp_path / "audio" / "x" / "a.wav")
    write(tmp_path / "audio" / "short.wav", length=100)
    manifest = tmp_path / "lists" / "train.jsonl"
    line = make_manifest([tmp_path / "audio"], manifest, min_seconds=0.1)
    assert "1 recordings" in line
    assert json.loads(manifest.read_text())["audio_filepath"] == "../audio/x/a.wav"
    recording = read_recordings(manifest)[0]
    assert read_span(recording, start=0, stop=4000).abs().max() > 0.4
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(ConfigError, match=folder):
            make_manifest([tmp_path / "audio", tmp_path / folder], manifest, min_seconds=0.1)


def test_ids_of_a_manifest_are_plain_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    lines = [
        {"audio_filepath": str(path)},
        {"audio_filepath": "../x/b.c.wav", "duration": 1},
        {"audio_filepath": "a.wav", "id": 0},
        {"audio_filepath": "a.wav", "id": ""},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = list(manifests.read_manifest(tmp_path / "m.jsonl"))
    assert [entry.id for entry in found] == [str(path)[1:-4], "x/b.c", "0", "a"]
    assert [entry.num_samples for entry in found] == [4000, 0, 4000, 4000]


def test_headers_that_a_manifest_lacks_are_read_on_threads_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [write(tmp_path / f"{n}.wav", length=100 + n).name for n in range(4)]
    lines = [{"audio_filepath": name} for name in names]
    lines.insert(2, {"audio_filepath": "far.wav", "duration": 1})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    two, info = threading.Barrier(2, timeout=20), soundfile.info

    def slow(name: str) -> object:
        two.wait()  # for another that is read at the same time; else a fault, and no length
        return info(name)

    monkeypatch.setattr("fsq_audio.corpus.headers.soundfile.info", slow)
    found = [entry.num_samples for entry in manifests.read_manifest(tmp_path / "m.jsonl")]
    assert found == [100, 101, 0, 102, 103]


def test_a_name_that_no_path_can_have_costs_only_itself(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    lines = [json.dumps({"audio_filepath": name}) + "\n" for name in ("\ud800.wav", "a.wav")]
    (tmp_path / "m.jsonl").write_text("".join(lines))
    (recording,) = read_recordings(tmp_path / "m.jsonl")
    assert recording.path.name == "a.wav"


def test_a_manifest_of_several_folders_has_other_ids(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "recipes"))
    from make_manifest import make_manifest

    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        write(folder / "0001.wav")
        write(folder / f"{folder.name}.wav")
    manifest = tmp_path / "m.jsonl"
    make_manifest(folders, manifest, min_seconds=0.1)
    ids = {entry.id for entry in manifests.read_manifest(manifest)}
    assert ids == {"one/0001", "one", "two/0001", "two"}


@pytest.mark.parametrize("name", ["duration", "num_samples", "sample_rate", "offset"])
@pytest.mark.parametrize(
    "value", ["Infinity", "NaN", "-1", "1" + 400 * "0", '"x"', "[1]", '{"a": 1}']
)
def test_a_manifest_with_a_wrong_number_is_refused(tmp_path: Path, name: str, value: str) -> None:
    line = f'{{"audio_filepath": "a.wav", "duration": 1, "{name}": {value}}}'
    (tmp_path / "m.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match=r"m\.jsonl, line 1, is no manifest entry: "):
        list(read_entries(tmp_path / "m.jsonl"))


def test_a_manifest_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    data = gzip.compress(b'{"audio_filepath": "a.wav", "duration": 1}\n')
    (tmp_path / "m.jsonl.gz").write_bytes(data[:-9])
    with pytest.raises(ConfigError, match=r"cannot read .*m\.jsonl\.gz: "):
        list(read_entries(tmp_path / "m.jsonl.gz"))


def test_a_transcript_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "84" / "121123" / "84-121123-0000.flac")
    (path.parent / "84-121123.trans.txt").write_bytes(b"84-121123-0000 \xff\n")
    with pytest.raises(AudioError, match=r"cannot read the transcript .*84-121123\.trans\.txt"):
        list(read_entries(tmp_path))


def test_a_part_of_a_file_needs_its_length(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"audio_filepath": "a.wav", "offset": 2.5}\n')
    with pytest.raises(ConfigError, match="a line with an offset needs a duration"):
        list(read_entries(tmp_path / "m.jsonl"))


@pytest.mark.parametrize("kind", ["file or folder", "tar shard"])
def test_a_source_that_is_not_there_is_named(tmp_path: Path, kind: str) -> None:
    name = tmp_path / ("none.tar" if kind == "tar shard" else "none")
    with pytest.raises(ConfigError, match=f"no {kind} at {name}"):
        list(read_entries(name))


def test_members_of_tar_shards_read_like_files(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard:06d}.tar", "w") as archive:
            for key in "ab":
                data = write(tmp_path / "x.flac", ord(key) + shard).read_bytes()
                for name, content in ((f"{key}.flac", data), (f"{key}.txt", b"words")):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    recordings = read_recordings(str(tmp_path / "*.tar"))
    assert len(recordings) == 4
    expected = samples(ord("b") + 1)
    found = read_span(recordings[3], start=1000, stop=3000).numpy()
    assert np.abs(found - expected[1000:3000]).max() < 1e-4
    with pytest.raises(ConfigError, match="no tar shard"):
        read_recordings(str(tmp_path / "other" / "*.tar"))
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="cannot read the tar shard"):
        read_recordings(str(tmp_path / "bad.tar"))


def test_webdataset_shards_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    data = write(tmp_path / "x.flac", 7).read_bytes()
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as sink:
        sink.write({"__key__": "k", "flac": data, "json": {"text": "words"}})
    recordings = read_recordings(str(tmp_path / "w.tar"))
    assert [(r.num_samples, r.sample_rate) for r in recordings] == [(4000, 16000)]


def test_lhotse_cuts_read_themselves(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    recording = lhotse.Recording.from_file(write(tmp_path / "r.wav", 3))
    cut = recording.to_cut().truncate(offset=0.05, duration=0.15)
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl.gz")
    found = read_recordings(tmp_path / "cuts.jsonl.gz")
    assert [(r.num_samples, r.sample_rate) for r in found] == [(2400, 16000)]
    span = read_span(found[0], start=-10, stop=500)
    assert float(span[:10].abs().max()) == 0
    assert np.abs(span[10:].numpy() - samples(3)[800:1300]).max() < 1e-4


def dataset(recordings: list[Recording], **changes: object) -> CropDataset:
    options = {
        "sample_rate": 16000,
        "crop_samples": 800,
        "context": Context(0, 0),
        "gain_db": 0.0,
        "speed": 0.0,
        "seed": 0,
        "num_items": 40,
        **changes,
    }
    return CropDataset(recordings, **options)  # type: ignore[arg-type]


def test_corrupt_recordings_are_replaced_and_counted_the_same_way_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = Recording(write(tmp_path / "good.wav"), 4000, 16000)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    nan = np.full(4000, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", nan, 16000, subtype="FLOAT")
    others = [Recording(tmp_path / name, 4000, 16000) for name in ("bad.wav", "nan.wav")]
    first, again = dataset([good, *others]), dataset([good, *others])
    crops = [first[index] for index in range(40)]
    assert 20 < first.num_failed < 40
    assert len(caplog.messages) == 2  # each is named once
    assert all(bool(torch.isfinite(crop).all()) for crop in crops)
    # In another order, as other workers would: the same crops.
    assert all(torch.equal(again[index], crops[index]) for index in reversed(range(40)))
    assert again.num_failed == first.num_failed
    untouched = dataset([good])
    assert untouched[0].shape == crops[0].shape
    assert untouched.num_failed == 0
    with pytest.raises(AudioError, match="10 recordings in a row"):
        dataset(others)[0]


def test_recordings_weigh_by_duration_whatever_their_rate(tmp_path: Path) -> None:
    fast = Recording(write(tmp_path / "fast.wav", 0, 32000, 32000), 32000, 32000)
    slow = Recording(write(tmp_path / "slow.wav", 0, 8000, 8000), 8000, 8000)
    assert dataset([fast, slow])._ends.tolist() == [16000, 32000]


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    speech = torch.from_numpy(samples(0, 16000))
    config = NoiseConfig(probability=1.0, snr_db=(10.0, 10.0))
    noise = Noise(config, sample_rate=16000)
    added = [noise(speech, np.random.default_rng(n)) - speech for n in (1, 1, 2)]
    assert torch.equal(added[0], added[1])
    assert not torch.equal(added[0], added[2])
    ratio = 10 * torch.log10(speech.square().sum() / added[2].square().sum())
    assert float(ratio) == pytest.approx(10, abs=0.01)
    never = Noise(NoiseConfig(probability=0.0), sample_rate=16000)
    assert never(speech, np.random.default_rng(0)) is speech


def test_recorded_noise_and_rooms_come_from_folders(tmp_path: Path) -> None:
    write(tmp_path / "noise" / "short.wav", 5, 700)
    speech = torch.from_numpy(samples(0, 2000))
    noise = Noise(NoiseConfig(folder=str(tmp_path / "noise"), probability=1.0), sample_rate=16000)
    assert noise(speech, np.random.default_rng(0)).shape == (2000,)
    response = np.zeros(500, np.float32)
    response[100] = 0.5  # a pure delay: the direct sound stays where it was
    (tmp_path / "rooms").mkdir()
    soundfile.write(tmp_path / "rooms" / "delay.wav", response, 16000, subtype="FLOAT")
    room = Reverb(ReverbConfig(folder=str(tmp_path / "rooms"), probability=1.0), sample_rate=16000)
    torch.testing.assert_close(room(speech, np.random.default_rng(0)), speech, atol=1e-4, rtol=0)


def test_made_rooms_ring_and_keep_the_level() -> None:
    click = torch.zeros(16000)
    click[1000] = 1.0
    room = Reverb(ReverbConfig(probability=1.0, decay_seconds=(0.3, 0.3)), sample_rate=16000)
    wet = room(click, np.random.default_rng(0))
    assert float(wet[:1000].abs().max()) < 1e-4
    assert int(wet.abs().argmax()) == 1000
    assert float(wet.square().sum()) == pytest.approx(1, rel=1e-3)
    early, late = wet[1001:3000].square().sum(), wet[5800:7800].square().sum()
    assert float(early) > 1000 * float(late) > 0


def test_the_equalizer_is_smooth_without_delay_and_keeps_the_level() -> None:
    click = torch.zeros(16000)
    click[8000] = 1.0
    change = Equalizer(EqualizerConfig(probability=1.0, gain_db=8.0), sample_rate=16000)
    heard = change(click, np.random.default_rng(0))
    assert int(heard.abs().argmax()) == 8000
    assert float(heard.square().sum()) == pytest.approx(1, rel=1e-3)
    assert float(heard[:6000].square().sum() + heard[10000:].square().sum()) < 1e-3
    decibels = 20 * torch.fft.rfft(heard).abs().log10()
    octaves = decibels[[125, 250, 500, 1000, 2000, 4000]]
    assert 3 < float(octaves.max() - octaves.min()) <= 16
    # Straight lines between octaves: no more than 16 dB in one, nothing abrupt.
    assert float(decibels[100:7900].diff().abs().max()) < 0.5
    assert not torch.equal(heard, change(click, np.random.default_rng(1)))
    never = Equalizer(EqualizerConfig(probability=0.0), sample_rate=16000)
    assert torch.equal(never(click, np.random.default_rng(0)), click)


def test_crops_with_augmentations_depend_on_seed_and_index_alone(tmp_path: Path) -> None:
    recording = Recording(write(tmp_path / "r.wav"), 4000, 16000)
    extras = [
        Reverb(ReverbConfig(probability=0.5), sample_rate=16000),
        Noise(NoiseConfig(probability=0.5), sample_rate=16000),
        Equalizer(EqualizerConfig(probability=0.5), sample_rate=16000),
    ]
    plain, first, again = (
        dataset([recording], augmentations=more, num_items=12) for more in ([], extras, extras)
    )
    assert all(torch.equal(first[n], again[n]) for n in reversed(range(12)))
    same = [torch.equal(plain[n], first[n]) for n in range(12)]
    assert any(same)
    assert not all(same)
