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


def recordings(speaker: str, **changes: object) -> object:
    """One voice of a made-up package, in the form of an entry of `CORPUS`."""
    fields: dict[str, object] = {
        "package": f"package-{speaker}",
        "folder": "usr/wav",
        "pattern": "**/*.*",
        "speaker_id": speaker,
        "chapter": "read",
        "language": "xx",
        "licence": "CC0",
        "attribution": "nobody",
    }
    return corpus.Recordings(**(fields | changes))


def unpack(
    downloads: Path, speaker: str, takes: dict[str, NDArray[np.generic]], sample_rate: int = 16000
) -> Path:
    """Write takes where `fetch_package` would leave them, and return the package's folder."""
    root = downloads / f"package-{speaker}"
    (root / "usr/wav").mkdir(parents=True, exist_ok=True)
    for name, samples in takes.items():
        path = root / "usr/wav" / (name if "." in name else f"{name}.wav")
        sf.write(path, samples, sample_rate, subtype=None if "." in name else "PCM_16")
    notice = root / "usr/share/doc" / f"package-{speaker}" / "copyright"
    notice.parent.mkdir(parents=True, exist_ok=True)
    notice.write_text("free\n")
    return root


def use_corpus(monkeypatch: pytest.MonkeyPatch, *voices: object) -> None:
    """Prepare these voices instead of Debian's, with whatever programs there are."""
    monkeypatch.setattr(corpus, "CORPUS", voices)
    monkeypatch.setattr(prepare, "CORPUS", voices)
    monkeypatch.setattr(decoding.shutil, "which", lambda tool: tool)


def read_manifest(path: Path) -> dict[str, dict[str, object]]:
    """Lines of a manifest by id."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["id"]: line for line in lines}


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
    fixed = {r.split for r in corpus.CORPUS if r.package == "pocketsphinx-testdata"}
    assert fixed == {"test-unseen", "test-commands"}


def test_later_packages_are_train_only() -> None:
    splits_of: dict[str, set[str | None]] = {}
    for entry in corpus.CORPUS:
        splits_of.setdefault(entry.package, set()).add(entry.split)
    assert len(corpus.packages()) == len(splits_of) == 12
    assert {package for package, chosen in splits_of.items() if "train" in chosen} == {
        "fillets-ng-data-cs",
        "fillets-ng-data-nl",
        "klettres-data",
        "ktuberling-data",
        "tuxpaint-stamps-default",
    }
    assert splits_of["ktuberling-data"] == {"train", "valid-unseen"}
    # Nothing else may be hashed: a name that is new to the hash changes the held-out splits.
    assert sum(chosen == {None} for chosen in splits_of.values()) == 6


def test_speakers_of_a_shared_package_differ() -> None:
    voices = [
        entry.speaker_id
        for entry in corpus.CORPUS
        if entry.package in {"klettres-data", "ktuberling-data", "tuxpaint-stamps-default"}
    ]
    assert len(voices) == len(set(voices)) == 58
    assert all("-" not in voice for voice in voices), "an id has three parts"


def test_faults() -> None:
    quiet = (voice(0) * 0.002).astype(np.int16)
    assert prepare.find_fault("a-en-silence_1", quiet).startswith("silence")
    assert prepare.find_fault("a-en-o", voice(0, 3999)).startswith("shorter")
    assert prepare.find_fault("a-en-beep", voice(0)).startswith("no speech")
    assert prepare.find_fault("a-en-o", voice(0, 4000)) is None
    seconds = np.arange(16000) / 16000
    for hum in (6000 * np.sin(2 * np.pi * 50 * seconds), np.full(16000, 6000.0)):
        assert prepare.find_fault("a-en-o", (voice(0) + hum).astype(np.int16)).startswith("hum")
    low = (6000 * np.sin(2 * np.pi * 80 * seconds)).astype(np.int16)
    assert prepare.find_fault("a-en-o", voice(0) + low) is None


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
    downloads, output = tmp_path / "downloads", tmp_path / "data"
    takes = {
        "one": {f"w-{k:02}": voice(k) for k in range(40)},
        "two": {"a": voice(100), "b": voice(101)},
    }
    takes["one"]["x-copy"] = takes["one"]["w-00"]
    takes["one"]["x-louder"] = (takes["one"]["w-01"] * 1.2).astype(np.int16)
    takes["one"]["x-silence"] = np.zeros(16000, np.int16)
    for speaker, samples_of in takes.items():
        root = unpack(downloads, speaker, samples_of)
        (root / "usr/text").write_text('( w-02 "Да." )\n( a "Нет." )\n', encoding="utf-8")
    use_corpus(
        monkeypatch,
        recordings("one", transcript="usr/text"),
        recordings("two", transcript="usr/text", split="test-unseen"),
    )

    prepare.prepare(output, downloads=downloads, num_workers=2)
    manifests = {path.name: path.read_bytes() for path in output.glob("*.jsonl")}
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.flac")}
    assert len(times) == 45
    lines = {
        name: (path.stem, line)
        for path in output.glob("*.jsonl")
        for name, line in read_manifest(path).items()
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


def test_a_train_only_package_leaves_the_other_splits_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    downloads, before, after = (tmp_path / name for name in ("downloads", "before", "after"))
    old = {f"w-{k:02}": voice(k) for k in range(60)}
    unpack(downloads, "one", old)
    use_corpus(monkeypatch, recordings("one"))
    prepare.prepare(before, downloads=downloads, num_workers=1)
    held_out = read_manifest(before / "test.jsonl")

    # "a_new" sorts before "one": no name of the new package may take the place of an old one.
    copied = next(iter(held_out)).rsplit("-", maxsplit=1)[-1].replace("_", "-")
    new = {f"v-{k:02}": voice(1000 + k, 8000) for k in range(60)}
    unpack(downloads, "a_new", new | {"copy": old[copied], "y": new["v-00"]})
    use_corpus(monkeypatch, recordings("one"), recordings("a_new", split="train"))
    monkeypatch.setattr(prepare, "LAST_PACKAGE", "package-a_new")
    prepare.prepare(after, downloads=downloads, num_workers=1)
    by_hash = {splits.hash_split(f"a_new-read-v_{k:02}") for k in range(60)}
    assert by_hash == {"train", "valid", "test"}, "else this shows nothing"
    for name in ("valid", "test", "test-unseen", "test-commands"):
        manifest = (after / f"{name}.jsonl").read_bytes()
        assert manifest == (before / f"{name}.jsonl").read_bytes(), name
    for line in held_out.values():
        path = str(line["audio_filepath"])
        assert (after / path).read_bytes() == (before / path).read_bytes()
    train = (after / "train.jsonl").read_bytes()
    assert train.startswith((before / "train.jsonl").read_bytes())
    added = read_manifest(after / "train.jsonl").keys() - read_manifest(before / "train.jsonl")
    assert added == {f"a_new-read-v_{k:02}" for k in range(60)}, "copies are kept once"
    first = (after / "train-first.jsonl").read_bytes()
    assert first == (before / "train.jsonl").read_bytes()
    assert (after / "dropped/a_new-read-copy.flac").exists()
    assert (after / "dropped/a_new-read-y.flac").exists()


def test_any_rate_from_16_khz_up_becomes_16_khz_mono(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    downloads, output = tmp_path / "downloads", tmp_path / "data"
    takes = {rate: voice(rate, rate) / 32768 for rate in (8000, 11025, 16000, 22050, 44100, 48000)}
    for rate, samples in takes.items():
        unpack(downloads, "one", {f"at-{rate}": samples}, rate)
    stereo = np.stack([takes[44100], -0.5 * takes[44100]], axis=1)
    unpack(downloads, "one", {"stereo": stereo}, 44100)
    seconds = np.arange(22050) / 22050
    loud = np.sin(2 * np.pi * 440 * seconds) + np.sin(2 * np.pi * 7000 * seconds)
    root = unpack(downloads, "one", {"loud.ogg": 2 * loud}, 22050)
    unpack(downloads, "one", {"nothing.ogg": np.zeros((0, 2)), "other": takes[16000]})
    (root / "usr/wav/empty.wav").touch()
    use_corpus(monkeypatch, recordings("one", split="train", exclude=("oth*.wav",)))
    prepare.prepare(output, downloads=downloads, num_workers=1)

    lines = read_manifest(output / "train.jsonl")
    expected = ("at_16000", "at_22050", "at_44100", "at_48000", "loud", "stereo")
    assert tuple(lines) == tuple(f"one-read-{name}" for name in expected)
    decoded = {}
    for name, line in lines.items():
        samples, sample_rate = sf.read(output / str(line["audio_filepath"]), dtype="int16")
        assert (samples.shape, sample_rate) == ((16000,), 16000)
        decoded[name.removeprefix("one-read-")] = samples.astype(float)
    np.testing.assert_array_equal(decoded["at_16000"], voice(16000))
    np.testing.assert_allclose(decoded["stereo"], decoded["at_44100"] / 4, atol=1)
    at_peak = np.abs(decoded["loud"]) >= 32766
    assert 1 <= at_peak.sum() < 20, "turned down, not clipped"


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
