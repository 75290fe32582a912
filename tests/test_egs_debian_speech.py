from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

EGS = Path(__file__).resolve().parents[1] / "egs"


def load(name: str) -> ModuleType:
    """Import a script of the folder under a name that no other folder's script has."""
    spec = importlib.util.spec_from_file_location(
        f"debian_speech_{name}", EGS / "debian_speech" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(EGS / "debian_speech"))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


prepare = load("prepare")
corpus = sys.modules["debian_corpus"]
decoding = sys.modules["debian_decode"]
splits = sys.modules["debian_splits"]


def voice(seed: int, num_samples: int = 16000) -> NDArray[np.int16]:
    """Noise with most of its energy at low frequencies, as a voice has."""
    noise = np.random.default_rng(seed).standard_normal(num_samples + 15)
    slow = np.convolve(noise, np.ones(16) / 4, mode="valid")
    return (slow * 3000).clip(-32768, 32767).astype(np.int16)


def test_split_of_a_name_never_changes() -> None:
    names = ["nsh-read-ru_0001", "nsh-read-ru_0010", "allison-en-dictate_playback"]
    assert [splits.hash_split(name) for name in names] == ["train", "test", "valid"]


def test_split_shares() -> None:
    shares = Counter(splits.hash_split(f"name-{k}") for k in range(20000))
    assert shares["train"] / 20000 == pytest.approx(0.95, abs=0.006)
    assert shares["valid"] / 20000 == pytest.approx(0.025, abs=0.005)
    assert shares["test"] / 20000 == pytest.approx(0.025, abs=0.005)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_names_of_a_pair_share_a_split(numbers: list[tuple[int, int]]) -> None:
    names = [f"name-{k}" for k in range(31)]
    pairs = [(f"name-{a}", f"name-{b}") for a, b in numbers]
    group_of = splits.group_names(names, pairs)
    chosen = splits.assign_splits(group_of)
    assert set(chosen) == set(names)
    for first, second in pairs:
        assert group_of[first] == group_of[second]
        assert chosen[first] == chosen[second]
    unpaired = set(names) - {name for pair in pairs for name in pair}
    assert all(group_of[name] == name for name in unpaired)


def test_hash_sees_every_sample() -> None:
    samples = voice(0)
    other = samples.copy()
    other[-1] += 1
    assert splits.hash_samples(samples) == splits.hash_samples(samples.copy())
    assert splits.hash_samples(samples) != splits.hash_samples(other)


def test_one_recording_under_two_names_is_found() -> None:
    recording = voice(1)
    recut = np.concatenate([np.zeros(1000, np.int16), (recording[200:] * 0.7).astype(np.int16)])
    longer = np.concatenate([recording, voice(2)])
    takes = [recording, voice(3), recut, longer, voice(4)]
    openings = np.stack([splits.take_opening(take) for take in takes])
    assert splits.find_shared_openings(openings) == [(0, 2), (0, 3), (2, 3)]


def test_transcripts() -> None:
    festival = '( ru_0001 "Я вид+ел, да." )\n\n( ru_0002 "Да \\" нет." )\n'
    assert corpus.parse_transcript(festival) == {
        "ru_0001": "Я видел, да.",
        "ru_0002": 'Да \\" нет.',
    }
    sphinx = "<s> ten of clubs  </s> (001)\nfive five (a_64kb-0004)\n"
    assert corpus.parse_transcript(sphinx) == {"001": "ten of clubs", "a_64kb-0004": "five five"}
    with pytest.raises(ValueError, match="line 2"):
        corpus.parse_transcript('( a "b" )\nno transcript\n')


@pytest.mark.parametrize(
    ("voice_index", "relative", "expected"),
    [
        (0, "digits/day-2.g722", "allison-en-digits_day_2"),
        (0, "vm-Cust1.g722", "allison-en-vm_Cust1"),
        (5, "ru_0001.wav", "nsh-read-ru_0001"),
        (
            6,
            "sense_and_sensibility_01_austen_64kb-0870.wav",
            "librivox-sense_and_sensibility_01-0870",
        ),
    ],
)
def test_utterance_id(voice_index: int, relative: str, expected: str) -> None:
    name = corpus.make_utterance_id(corpus.CORPUS[voice_index], Path(relative))
    assert name == expected
    assert len(name.split("-")) == 3


def test_evaluation_packages_are_never_trained_on() -> None:
    assert len(corpus.packages()) == 7
    fixed = {r.split for r in corpus.CORPUS if r.package == "pocketsphinx-testdata"}
    assert fixed == {"test-unseen", "test-commands"}


def test_faults() -> None:
    quiet = (voice(0) * 0.002).astype(np.int16)
    assert prepare.find_fault("a-en-silence_1", quiet).startswith("silence")
    assert prepare.find_fault("a-en-o", voice(0, 3999)).startswith("shorter")
    assert prepare.find_fault("a-en-beep", voice(0)).startswith("no speech")
    assert prepare.find_fault("a-en-o", voice(0, 4000)) is None


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoding.shutil, "which", lambda tool: None if tool == "ffmpeg" else tool)
    with pytest.raises(SystemExit, match="ffmpeg is not installed") as exit_info:
        prepare.prepare(tmp_path / "data", downloads=tmp_path / "downloads", num_workers=1)
    assert isinstance(exit_info.value.code, str), "a message, hence exit code 1"
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_no_flac(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_half(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"fLaC")
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding.sf, "write", write_half)
    with pytest.raises(KeyboardInterrupt):
        decoding.write_flac(voice(0), tmp_path / "a.flac")
    assert not list(tmp_path.glob("*.flac"))


def test_prepare_and_prepare_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    voices = tuple(
        corpus.Recordings(
            package=f"package-{speaker}",
            folder="usr/wav",
            pattern="**/*.wav",
            speaker_id=speaker,
            chapter="read",
            language="xx",
            licence="CC0",
            attribution="nobody",
            transcript="usr/text",
            split=split,
        )
        for speaker, split in (("one", None), ("two", "test-unseen"))
    )
    downloads, output = tmp_path / "downloads", tmp_path / "data"
    takes = {
        "one": {f"w-{k:02}": voice(k) for k in range(40)},
        "two": {"a": voice(100), "b": voice(101)},
    }
    takes["one"]["x-copy"] = takes["one"]["w-00"]
    takes["one"]["x-louder"] = (takes["one"]["w-01"] * 1.2).astype(np.int16)
    takes["one"]["x-silence"] = np.zeros(16000, np.int16)
    for speaker, recordings in takes.items():
        root = downloads / f"package-{speaker}"
        (root / "usr/wav").mkdir(parents=True)
        for name, samples in recordings.items():
            sf.write(root / "usr/wav" / f"{name}.wav", samples, 16000, subtype="PCM_16")
        (root / "usr/text").write_text('( w-02 "Да." )\n( a "Нет." )\n', encoding="utf-8")
        notice = root / "usr/share/doc" / f"package-{speaker}" / "copyright"
        notice.parent.mkdir(parents=True)
        notice.write_text("free\n")
    monkeypatch.setattr(corpus, "CORPUS", voices)
    monkeypatch.setattr(prepare, "CORPUS", voices)
    monkeypatch.setattr(decoding.shutil, "which", lambda tool: tool)

    prepare.prepare(output, downloads=downloads, num_workers=2)
    manifests = {path.name: path.read_bytes() for path in output.glob("*.jsonl")}
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.flac")}
    assert len(times) == 45
    lines = {
        line["id"]: (path.stem, line)
        for path in output.glob("*.jsonl")
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }
    assert len(lines) == 43, "all but the silence and the copy"
    assert {split for split, _ in lines.values()} > {"train", "test-unseen"}
    assert lines["one-read-x_louder"][0] == lines["one-read-w_01"][0]
    assert {name for name, (split, _) in lines.items() if split == "test-unseen"} == {
        "two-read-a",
        "two-read-b",
    }
    assert lines["one-read-w_02"][1]["text"] == "Да."
    assert "text" not in lines["one-read-w_03"][1]
    for _, line in lines.values():
        info = sf.info(output / line["audio_filepath"])
        assert (info.frames, info.samplerate) == (line["num_samples"], line["sample_rate"])
    samples, _ = sf.read(output / lines["one-read-w_03"][1]["audio_filepath"], dtype="int16")
    np.testing.assert_array_equal(samples, takes["one"]["w-03"])
    assert "nobody" in (output / "LICENCES.md").read_text(encoding="utf-8")

    lost = next(path for path in times if path.stem == "one-read-w_07")
    lost.unlink()
    (output / "train.jsonl").unlink()
    prepare.prepare(output, downloads=downloads, num_workers=1)
    assert {path.name: path.read_bytes() for path in output.glob("*.jsonl")} == manifests
    again = {path: path.stat().st_mtime_ns for path in output.rglob("*.flac")}
    assert {path for path in times if again[path] != times[path]} == {lost}


def test_samples_are_speech_at_16_khz() -> None:
    paths = sorted((EGS / "samples").glob("*.flac"))
    assert [path.name for path in paths] == [
        "librivox_sentence_1.flac",
        "librivox_sentence_2.flac",
    ]
    assert sum(path.stat().st_size for path in paths) < 400_000
    for path, seconds in zip(paths, (5.3, 7.1), strict=True):
        samples, sample_rate = sf.read(path, dtype="int16")
        assert (sample_rate, samples.ndim) == (16000, 1)
        assert len(samples) == round(seconds * 16000)
        assert prepare.find_fault(path.stem, samples) is None
    readme = (EGS / "samples" / "README.md").read_text(encoding="utf-8")
    assert all(path.name in readme for path in paths)
