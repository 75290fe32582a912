from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import soundfile
import torch
from cli_tools import Command, save_tiny, write_audio
from conftest import SAMPLES, build_tiny

from fsq_audio.cli import main
from fsq_audio.errors import ConfigError
from fsq_audio.evaluation import neural
from fsq_audio.evaluation.baselines import parse_baseline
from fsq_audio.evaluation.cost import peak_memory, reset_peak_memory
from fsq_audio.evaluation.metric import Share
from fsq_audio.evaluation.model import ModelSystem, count_gmacs
from fsq_audio.evaluation.outcome import Evaluation
from fsq_audio.evaluation.rate_distortion import rate_distortion
from fsq_audio.evaluation.rates import count_usage
from fsq_audio.evaluation.recordings import Recording, check_recordings, read_manifest
from fsq_audio.evaluation.registry import METRICS, choose_metrics
from fsq_audio.evaluation.robustness import changes, unit_edit_distances
from fsq_audio.evaluation.run import Settings, evaluate
from fsq_audio.evaluation.superb import SuperbCodec
from fsq_audio.evaluation.system import CodeTable, Degraded, System, degraded_folder
from fsq_audio.evaluation.tables import format_table
from fsq_audio.tokens import AudioTokens

RATE = 16000
SIGNAL = Settings(metrics=choose_metrics(["signal"]))
PROGRAMS = {"opus:6k": "opusenc", "opus:12k": "opusenc", "codec2:1200": "c2enc",
            "codec2:3200": "c2enc"}  # fmt: skip


@pytest.fixture
def clips(tmp_path: Path) -> list[Recording]:
    """One and a half seconds of speech, and of another."""
    recordings = []
    for name, path in zip(("one", "sub/two"), SAMPLES, strict=True):
        samples, _ = soundfile.read(path, start=RATE, stop=5 * RATE // 2, dtype="float32")
        place = write_audio(tmp_path / "originals" / f"{name}.wav", samples)
        recordings.append(Recording(name, place))
    return recordings


def read_rows(output: Path) -> list[dict[str, str]]:
    with open(output / "rows.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(recordings: list[Recording], systems: list[System], output: Path) -> Evaluation:
    return evaluate(recordings, systems, output=output, settings=SIGNAL)


def copy_of(recordings: list[Recording], folder: Path) -> Degraded:
    for recording in recordings:
        place = folder / f"{recording.id}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recording.path, place)
    return degraded_folder(folder, "copy")


def test_everything_is_written_and_fits_together(clips: list[Recording], tmp_path: Path) -> None:
    model = build_tiny()
    systems = [ModelSystem(model, 1), ModelSystem(model, 2), copy_of(clips, tmp_path / "copy")]
    output = tmp_path / "out"
    found = run(clips, systems, output)

    summary = json.loads((output / "summary.json").read_text("utf-8"))
    assert summary == json.loads(json.dumps(found.summary))
    assert list(summary["systems"]) == ["ours-1", "ours-2", "copy"]
    assert summary["recordings"] == 2
    copy, ours = summary["systems"]["copy"], summary["systems"]["ours-2"]
    assert (copy["kind"], ours["kind"]) == ("degraded", "model")
    assert copy["metrics"]["mel_distance"] == {
        "mean": 0, "low": 0, "high": 0, "n": 2, "n_failed": 0,
    }  # fmt: skip
    assert copy["metrics"]["si_sdr"]["n"] == copy["metrics"]["si_sdr"]["n_failed"] == 0
    assert copy["rate"] == {"written": None, "nominal": None, "entropy": None}
    assert ours["metrics"]["mel_distance"]["mean"] > 0

    sizes = [(output / "tokens/ours-2" / f"{each.id}.fsq").stat().st_size for each in clips]
    assert ours["rate"]["written"] == pytest.approx(8 * sum(sizes) / 3)
    assert ours["rate"]["nominal"] == pytest.approx(2 * math.log2(1000) * 50)
    assert summary["systems"]["ours-1"]["rate"]["nominal"] == pytest.approx(math.log2(1000) * 50)
    entropies = [group["entropy_bits"] for group in ours["health"]]
    assert ours["rate"]["entropy"] == pytest.approx(50 * sum(entropies))
    assert [group["num_codes"] for group in ours["health"]] == [150, 150]
    assert [len(levels) for levels in ours["health"][0]["level_histograms"]] == [8, 5, 5, 5]
    assert ours["cost"]["parameters"] == sum(each.numel() for each in model.parameters())
    assert ours["cost"]["encode_rtf"] > 0
    if peak_memory() is not None:  # Linux
        assert 5e7 < ours["cost"]["process_peak_memory_bytes"] < 5e10
    assert "process_peak_memory_bytes" not in copy["cost"]

    rows = read_rows(output)
    assert [(row["system"], row["id"]) for row in rows] == [
        (system.name, each.id) for system in systems for each in clips
    ]
    mean = np.mean([float(row["mel_distance"]) for row in rows if row["system"] == "ours-2"])
    assert ours["metrics"]["mel_distance"]["mean"] == pytest.approx(mean)
    assert rows[2]["degraded"] == "audio/ours-2/one.wav"
    assert soundfile.info(output / rows[2]["degraded"]).frames == 24000
    assert (rows[0]["reference"], rows[4]["degraded"]) == (
        str(clips[0].path), str(tmp_path / "copy/one.wav")
    )  # fmt: skip
    assert {row["failures"] for row in rows[4:]} == {"{}"}
    assert list(json.loads(rows[0]["failures"])) == ["delay"]  # which a random model has not
    assert found.failed == []
    scp = (output / "audio/ours-1/wav.scp").read_text("utf-8").splitlines()
    assert [line.split()[0] for line in scp] == ["one", "sub/two"]
    versa = [json.loads(line) for line in (output / "versa.jsonl").read_text().splitlines()]
    assert versa[0].keys() == {"key", "system", "si_snr"}

    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(output / "rows.parquet").to_pylist()
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert table[-1]["si_sdr"] is None


def test_a_bad_file_is_named_counted_and_stops_nothing(
    clips: list[Recording], tmp_path: Path
) -> None:
    broken = tmp_path / "originals/broken.wav"
    broken.write_bytes(b"RIFF")
    silent = Recording(
        "silent", write_audio(tmp_path / "originals/silent.wav", np.zeros((RATE, 1), np.float32))
    )
    recordings = [clips[0], Recording("broken", broken), silent]
    found = run(recordings, [ModelSystem(build_tiny(), 1)], tmp_path / "out")
    values = found.summary["systems"]["ours-1"]["metrics"]["mel_distance"]
    assert (values["n"], values["n_failed"]) == (1, 2)
    row = next(row for row in found.rows if row.recording.id == "broken")
    assert str(broken) in row.failures["audio"]
    assert row.degraded is None
    row = next(row for row in found.rows if row.recording.id == "silent")
    assert row.failures["mel_distance"] == "the reference is silent"
    assert read_rows(tmp_path / "out")[1]["mel_distance"] == ""


def test_scraps_and_silence_are_counted_as_failed(clips: list[Recording], tmp_path: Path) -> None:
    samples, _ = soundfile.read(clips[0].path, frames=RATE // 10, dtype="float32")
    scrap = Recording("scrap", write_audio(tmp_path / "originals/scrap.wav", samples))
    silence = write_audio(tmp_path / "originals/silent.wav", np.zeros((RATE, 1), np.float32))
    recordings = [scrap, Recording("silent", silence)]
    metrics = choose_metrics(["signal", "perceptual", "pitch", "difference_wer"])
    system = copy_of(recordings, tmp_path / "copy")
    settings = Settings(metrics=metrics)
    found = evaluate(recordings, [system], output=tmp_path / "out", settings=settings)
    values = found.summary["systems"]["copy"]["metrics"]
    assert len(values) >= 7
    defined = {"si_sdr", "delay"}  # for a few samples as well
    for name, each in values.items():
        lost = 1 if name in defined else 2
        assert (name, each["n_failed"]) == (name, lost)
        assert (each["mean"] is None) == (name != "delay")
        assert all(row.failures[name] for row in found.rows[2 - lost :])


def test_a_file_name_that_is_not_unicode(tmp_path: Path) -> None:
    path = tmp_path / "originals" / "a\udcff.wav"
    try:
        write_audio(path)
    except OSError:
        pytest.skip("this file system wants Unicode names")
    system = degraded_folder(tmp_path / "originals", "same")
    run([Recording("a\udcff", path)], [system], tmp_path / "out")
    with open(tmp_path / "out/rows.csv", encoding="utf-8", errors="surrogateescape") as file:
        assert next(csv.DictReader(file))["id"] == "a\udcff"
    parquet = pytest.importorskip("pyarrow.parquet")
    (row,) = parquet.read_table(tmp_path / "out/rows.parquet").to_pylist()
    assert row["id"] == r"a\udcff"


def test_what_is_done_is_not_done_again(
    clips: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, output = build_tiny(), tmp_path / "out"
    run(clips[:1], [ModelSystem(model, 1)], output)
    first = read_rows(output)
    with open(output / "journal.jsonl", "a", encoding="utf-8") as file:
        file.write('{"system": "ours-1", "id": "sub/t')  # a run was killed here
    encoded: list[int] = []
    encode = type(model).encode

    def counted(self: Any, waveform: Any, *given: Any, **options: Any) -> AudioTokens:
        encoded.append(waveform.shape[-1])
        return encode(self, waveform, *given, **options)

    monkeypatch.setattr(type(model), "encode", counted)
    monkeypatch.setattr("fsq_audio.evaluation.model.count_gmacs", lambda model: 0.0)
    run(clips, [ModelSystem(model, 1)], output)
    assert encoded == [24000]
    assert read_rows(output)[:1] == first
    run(clips, [ModelSystem(model, 1)], output)
    assert encoded == [24000]


@pytest.mark.parametrize("damage", ["deleted", "cut short", "no audio"])
def test_what_is_missing_or_damaged_is_made_again(
    damage: str, clips: list[Recording], tmp_path: Path
) -> None:
    model, output = build_tiny(), tmp_path / "out"
    first = run(clips, [ModelSystem(model, 2)], output)
    tokens, wav = output / "tokens/ours-2/sub/two.fsq", output / "audio/ours-2/sub/two.wav"
    whole = tokens.read_bytes(), wav.read_bytes()
    if damage == "deleted":
        tokens.unlink()
    elif damage == "cut short":
        tokens.write_bytes(whole[0][:-3])
    else:
        wav.write_bytes(b"RIFF")
    again = run(clips, [ModelSystem(model, 2)], output)
    assert (tokens.read_bytes(), wav.read_bytes()) == whole
    for name in ("metrics", "rate", "health"):
        assert again.summary["systems"]["ours-2"][name] == first.summary["systems"]["ours-2"][name]
    assert not again.failed


def test_a_folder_of_results_can_be_moved(
    clips: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_tiny()
    monkeypatch.chdir(tmp_path)
    run(clips, [ModelSystem(model, 1)], Path("out"))  # relative, as one types it
    rows = read_rows(Path("out"))
    (tmp_path / "other").mkdir()
    shutil.move("out", tmp_path / "other/moved")
    monkeypatch.chdir("/")
    encoded: list[int] = []
    monkeypatch.setattr(type(model), "encode", lambda *given, **options: encoded.append(1))
    found = run(clips, [ModelSystem(model, 1)], tmp_path / "other/moved")
    assert encoded == []
    assert found.rows[0].degraded == tmp_path / "other/moved/audio/ours-1/one.wav"
    assert read_rows(tmp_path / "other/moved") == rows
    assert {row["degraded"] for row in rows} == {
        "audio/ours-1/one.wav", "audio/ours-1/sub/two.wav"
    }  # fmt: skip


def test_word_errors_are_pooled_over_all_words(clips: list[Recording], tmp_path: Path) -> None:
    shares = iter([Share(2, 2), Share(1, 8)])
    wer = replace(METRICS["wer"], function=lambda pair: next(shares), needs=())
    with patch.dict(METRICS, {"wer": wer}):
        settings = Settings(metrics=[wer], recogniser=str(tmp_path))
        (tmp_path / "model.bin").touch()
        recordings = [replace(each, text="words") for each in clips]
        systems = [copy_of(clips, tmp_path / "copy")]
        found = evaluate(recordings, systems, output=tmp_path / "out", settings=settings)
        again = evaluate(recordings, systems, output=tmp_path / "out", settings=settings)
    values = found.summary["systems"]["copy"]["metrics"]["wer"]
    assert values == {
        "mean": 0.3, "low": 0.125, "high": 1, "n": 2, "n_failed": 0,
        "pooled_over": "words", "total": 10,
    }  # fmt: skip
    assert again.summary["systems"]["copy"]["metrics"]["wer"] == values
    rows = read_rows(tmp_path / "out")
    assert [(row["wer"], row["wer_words"]) for row in rows] == [("1.0", "2"), ("0.125", "8")]


def test_results_of_another_model_or_original_are_refused(
    clips: list[Recording], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(clips[:1], [copy_of(clips, tmp_path / "copy")], output)
    with pytest.raises(ConfigError, match=r"holds results of system copy.*another folder"):
        run(clips[:1], [degraded_folder(tmp_path / "originals", "copy")], output)
    other = write_audio(tmp_path / "elsewhere/one.wav")
    with pytest.raises(ConfigError, match="holds results of recording one"):
        run([Recording("one", other)], [degraded_folder(tmp_path / "copy", "copy")], output)
    # Of the same names and sizes, but other sound.
    for path in (tmp_path / "copy/one.wav", clips[0].path):
        before = path.read_bytes()
        path.write_bytes(before[:-2] + bytes([before[-2] ^ 1, before[-1]]))
        with pytest.raises(ConfigError, match=r"holds results of .*one.* with \{'digest'"):
            run(clips[:1], [degraded_folder(tmp_path / "copy", "copy")], output)
        path.write_bytes(before)
    journal = (output / "journal.jsonl").read_bytes()
    model = build_tiny()
    run(clips[:1], [ModelSystem(model, 1)], output)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(ConfigError, match=r"ours-1 with \{'fingerprint'"):
        run(clips[:1], [ModelSystem(model, 1)], output)
    assert (output / "journal.jsonl").read_bytes().startswith(journal)


def test_ids_and_names_must_not_clash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would both be a"):
        check_recordings([Recording("a", Path("a.wav")), Recording("a", Path("a.flac"))])
    with pytest.raises(ConfigError, match="leads out"):
        check_recordings([Recording("../a", Path("a.wav"))])
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        check_recordings([])
    folder = degraded_folder(tmp_path, "x")
    with pytest.raises(ConfigError, match="two systems are called x"):
        evaluate([Recording("a", Path("a.wav"))], [folder, folder], output=tmp_path,
                 settings=SIGNAL)  # fmt: skip


def test_a_manifest_gives_paths_words_and_languages(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"audio_filepath": "a/b.flac", "text": "Да.", "language": "ru"}\n\n')
    assert read_manifest(path) == [Recording("a/b", tmp_path / "a/b.flac", "Да.", "ru")]
    # To Unicode a line ends in many ways; to JSON none of them ends a string.
    text = "one\u2028two\x85three"
    line = json.dumps({"audio_filepath": "a.wav", "text": text}, ensure_ascii=False)
    path.write_text(line + "\n", "utf-8")
    assert read_manifest(path) == [Recording("a", tmp_path / "a.wav", text)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"audio_filepath": "a"}\n[1]\n', r"set\.jsonl:2: expected a JSON object"),
        (b'{"audio_filepath": ""}', r"set\.jsonl:1: expected a JSON object"),
        (b'{"audio_filepath": "\xff"}', r"set\.jsonl:1: expected a JSON object"),
        (b"\n", "names no recording"),
        (None, "cannot read .*: No such file"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "set.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_manifest(path)


def test_known_counts() -> None:
    codes = torch.tensor([[[0, 0, 0, 0, 2, 2, 3, 3]]])
    usage = count_usage([codes], CodeTable(codebook_size=4, frame_rate=50))
    assert usage.groups[0]["usage"] == 0.75
    assert usage.groups[0]["entropy_bits"] == pytest.approx(1.5)
    assert usage.entropy == pytest.approx(75)
    assert usage.pairs == []


def test_multiply_adds_are_those_of_the_layers() -> None:
    model = build_tiny()
    pointwise = sum(
        module.in_features * module.out_features
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    )
    # Every linear layer runs at 50 frames a second, and once more for each frame of context.
    assert count_gmacs(model) >= 50 * pointwise / 1e9
    assert count_gmacs(model) < 3 * 50 * pointwise / 1e9


@pytest.mark.parametrize("text", list(PROGRAMS))
def test_classic_codecs_come_back_aligned_with_their_true_rate(
    text: str, clips: list[Recording], tmp_path: Path
) -> None:
    if shutil.which(PROGRAMS[text]) is None:
        pytest.skip(f"{PROGRAMS[text]} is not installed")
    system = parse_baseline(text)
    produced = system.produce(clips[0], output=tmp_path)
    assert soundfile.info(produced.degraded).frames == 24000
    assert produced.num_bytes is not None
    rate = produced.num_bytes * 8 / 1.5
    assert system.nominal_rate is not None
    assert 0.8 * system.nominal_rate < rate < 1.5 * system.nominal_rate + 3000
    settings = Settings(metrics=choose_metrics(["delay", "stoi"]))
    found = evaluate(clips[:1], [system], output=tmp_path / "out", settings=settings)
    is_vocoder = text.startswith("codec2")
    if is_vocoder:
        assert "no delay can be told" in found.rows[0].failures["delay"]
    else:
        assert abs(found.rows[0].values["delay"]) <= 8
    assert found.rows[0].values["stoi"] > (0.3 if is_vocoder else 0.6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("opus:1k", "6k to 256k"),
        ("codec2:9", "modes of codec2"),
        ("mp3:8k", "a baseline is opus:6k"),
        ("hf:", "a baseline is opus:6k"),
    ],
)
def test_unknown_baselines_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_baseline(text)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="apt-get install opus-tools"):
        parse_baseline("opus:6k")
    with pytest.raises(ConfigError, match="apt-get install codec2"):
        parse_baseline("codec2:1200")


def save_codec(kind: str, folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A small random model of a neural codec, saved as others' weights are."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)  # of some random models, all codes are one
    options: dict[str, Any]
    if kind == "dac":
        options = {"encoder_hidden_size": 8, "downsampling_ratios": [4, 8],
                   "decoder_hidden_size": 32, "upsampling_ratios": [8, 4], "n_codebooks": 3,
                   "codebook_size": 16, "codebook_dim": 4, "sampling_rate": 16000}  # fmt: skip
        config = transformers.DacConfig(**{**options, **changes})
        model = transformers.DacModel(config)
    elif kind == "encodec":
        options = {"sampling_rate": 24000, "num_filters": 4, "hidden_size": 16,
                   "codebook_dim": 16, "codebook_size": 1024, "num_lstm_layers": 1,
                   "target_bandwidths": [1.5, 3.0, 6.0]}  # fmt: skip
        config = transformers.EncodecConfig(**{**options, **changes})
        model = transformers.EncodecModel(config)
    else:
        options = {"hidden_size": 32, "num_filters": 4, "num_hidden_layers": 1,
                   "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2,
                   "head_dim": 16, "codebook_dim": 16, "codebook_size": 2048,
                   "num_quantizers": 8, "vector_quantization_hidden_dimension": 16,
                   "upsample_groups": 32}  # fmt: skip
        config = transformers.MimiConfig(**{**options, **changes})
        model = transformers.MimiModel(config)
    with torch.no_grad():  # books of zeros would have one code
        for name, buffer in model.named_buffers():
            if name.endswith(("codebook.embed", "embed_sum")):
                buffer.normal_()
        if kind == "encodec":  # whose latents are small beside that
            for parameter in model.encoder.layers[-1].parameters():
                parameter *= 50
    model.save_pretrained(folder / kind)
    return folder / kind


@pytest.mark.parametrize(
    ("kind", "name", "num_codebooks", "bits", "frames_per_second"),
    [
        ("dac", "dac@2", 2, 4, 500),
        ("dac", "dac", 3, 4, 500),
        ("encodec", "encodec", 8, 10, 75),
        ("encodec", "encodec@5", 5, 10, 75),
        ("mimi", "mimi", 8, 11, 12.5),
        ("mimi", "mimi@3", 3, 11, 12.5),
    ],
)
def test_neural_baselines_from_a_saved_random_model(
    kind: str,
    name: str,
    num_codebooks: int,
    bits: int,
    frames_per_second: float,
    clips: list[Recording],
    tmp_path: Path,
) -> None:
    system = parse_baseline(f"hf:{save_codec(kind, tmp_path).parent / name}")
    output = tmp_path / "out"
    found = run(clips[:1], [system], output)
    assert not [row.failures for row in found.rows if set(row.failures) - {"delay"}]
    values = found.summary["systems"][name]
    rate = num_codebooks * bits * frames_per_second
    assert values["rate"]["nominal"] == pytest.approx(rate)
    frames = math.ceil(1.5 * frames_per_second)
    num_bits = 64 + num_codebooks * bits * frames  # two sizes, and the codes, in whole bytes
    assert values["rate"]["written"] * 1.5 == pytest.approx(num_bits, rel=0.01, abs=8)
    assert [group["num_codes"] for group in values["health"]] == [frames] * num_codebooks
    assert max(group["usage"] for group in values["health"]) > 1.5 / 2**bits
    assert soundfile.info(str(found.rows[0].degraded)).frames == 24000
    assert found.rows[0].values["mel_distance"] > 0
    # Again, from what is there, and with a file of codes that is cut short.
    packed = output / f"tokens/{name}/one.bin"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-1])
    run(clips[:1], [system], output)
    assert packed.read_bytes() == whole


def test_the_verb_with_a_neural_baseline(
    command: Command, clips: list[Recording], tmp_path: Path
) -> None:
    folder = save_codec("mimi", tmp_path)
    options = ["-o", tmp_path / "out", "--metrics", "signal", "--json"]
    outcome = command("evaluate", clips[0].path, *options, "--baseline", f"hf:{folder}@2")
    assert (outcome.code, outcome.err) == (0, "")
    assert list(json.loads(outcome.out)["systems"]) == ["ours-2", "mimi@2"]


def test_neural_baselines_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        parse_baseline(f"hf:{tmp_path / 'nothing'}")
    folder = save_codec("encodec", tmp_path)
    with pytest.raises(ConfigError, match="@9: it has 8 codebooks"):
        parse_baseline(f"hf:{folder}@9")
    stereo = save_codec("encodec", tmp_path / "stereo", audio_channels=2)
    with pytest.raises(ConfigError, match="2 channels"):
        parse_baseline(f"hf:{stereo}")
    chunks = save_codec("encodec", tmp_path / "chunks", chunk_length_s=1.0, overlap=0.01)
    with pytest.raises(ConfigError, match="cut into chunks"):
        parse_baseline(f"hf:{chunks}")


def test_other_weights_are_another_system(clips: list[Recording], tmp_path: Path) -> None:
    place = f"hf:{save_codec('dac', tmp_path)}"
    run(clips[:1], [parse_baseline(place)], tmp_path / "out")
    neural.load_codec.cache_clear()
    neural._hash_weights.cache_clear()
    save_codec("dac", tmp_path, seed=1)
    with pytest.raises(ConfigError, match=r"system dac with \{'weights'"):
        run(clips[:1], [parse_baseline(place)], tmp_path / "out")


def test_curves_and_their_deltas() -> None:
    def system(rate: float, value: float) -> dict[str, Any]:
        return {"rate": {"written": rate}, "metrics": {"stoi": {"mean": value}}}

    systems = {f"a-{k}": system(1000 * 2**k, 0.5 + 0.1 * k) for k in range(4)}
    systems |= {f"b-{k}": system(2000 * 2**k, 0.5 + 0.1 * k) for k in range(4)}
    systems["c-0"] = system(500, 0.3)
    families = {name: name[0] for name in systems}
    found = rate_distortion({"systems": systems}, families)
    assert [point["rate"] for point in found["curves"]["stoi"]["a"]] == [1000, 2000, 4000, 8000]
    (delta,) = found["deltas"]["stoi"]
    assert (delta["anchor"], delta["test"]) == ("a", "b")
    pytest.importorskip("bjontegaard")
    assert delta["rate"] == pytest.approx(100, abs=0.1)  # twice the bits for the same quality


def test_robustness_of_tokens() -> None:
    pytest.importorskip("rapidfuzz")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 6400).astype(np.float32)

    def broken(samples: np.ndarray) -> np.ndarray:
        raise RuntimeError("oh")

    ways = {"none": lambda same: same, "backwards": lambda given: given[::-1], "broken": broken}
    found = unit_edit_distances(build_tiny(), samples, ways)
    assert [each.value for each in found["none"]] == [0, 0]
    assert all(0.1 < each.value <= 1 for each in found["backwards"])
    assert [each.failure for each in found["broken"]] == ["oh", "oh"]


def test_what_a_recording_goes_through(clips: list[Recording]) -> None:
    samples, _ = soundfile.read(clips[0].path, dtype="float32")
    power = np.mean(samples**2)
    found = {name: change(samples) for name, change in changes(RATE).items()}
    assert list(found) == ["gain_-6dB", "noise_30dB", "shift_5", "mp3", "opus"]
    np.testing.assert_allclose(found["gain_-6dB"], samples * 0.501187, rtol=1e-5)
    noise = found["noise_30dB"] - samples
    assert 10 * math.log10(np.mean(noise**2) / power) == pytest.approx(-30, abs=0.2)
    np.testing.assert_array_equal(found["shift_5"][5:], samples)
    for name in ("mp3", "opus"):  # aligned, and not the same
        assert len(found[name]) == len(samples)
        error = np.mean((found[name] - samples) ** 2)
        assert 1e-6 * power < error < 0.2 * power
    assert "opus" not in changes(22050)


def test_robustness_is_counted_written_and_not_done_again(
    clips: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rapidfuzz")
    silent = write_audio(tmp_path / "originals/silent.wav", np.zeros((RATE, 1), np.float32))
    recordings = [*clips, Recording("silent", silent)]
    model, output = build_tiny(), tmp_path / "out"
    settings = replace(SIGNAL, metrics=choose_metrics(["mel_distance"]), robustness=True)
    systems = [ModelSystem(model, 1), ModelSystem(model, 2)]
    found = evaluate(recordings, systems, output=output, settings=settings)
    one, two = (
        found.summary["systems"][name]["robustness"]["unit_edit_distance"]
        for name in ("ours-1", "ours-2")
    )
    for change in changes(RATE):
        assert one[change] == two[change][:1]
        for group in two[change]:
            assert (group["n"], group["n_failed"]) == (2, 1)
            assert 0 <= group["low"] <= group["mean"] <= group["high"]
    assert two["opus"][0]["mean"] > 0
    lost = found.rows[2]
    assert lost.failures["robustness"] == "opus: the recording is silent"
    with open(output / "robustness.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 5 * (1 + 2)
    own = [row for row in rows if (row["system"], row["change"], row["group"]) ==
           ("ours-2", "mp3", "1")]  # fmt: skip
    assert [row["id"] for row in own] == ["one", "sub/two", "silent"]
    values = [float(row["unit_edit_distance"]) for row in own[:2]]
    assert np.mean(values) == pytest.approx(two["mp3"][1]["mean"])
    assert own[2]["unit_edit_distance"] == ""
    assert "unit edits, mp3" in format_table(found.summary)

    asked: list[int] = []
    encode = type(model).encode

    def counted(self: Any, waveform: Any, *given: Any, **options: Any) -> AudioTokens:
        asked.append(1)
        return encode(self, waveform, *given, **options)

    monkeypatch.setattr(type(model), "encode", counted)
    again = evaluate(recordings, systems, output=output, settings=settings)
    assert asked == []
    assert again.summary["systems"] == found.summary["systems"]


def test_the_peak_of_memory_begins_again() -> None:
    if peak_memory() is None:
        pytest.skip("this system does not count")
    reset_peak_memory()
    before = peak_memory()
    np.ones(200_000_000, np.uint8).sum()
    during = peak_memory()
    reset_peak_memory()
    after = peak_memory()
    assert during - before > 150_000_000
    assert during - after > 150_000_000


def test_the_superb_adapter() -> None:
    model = build_tiny()
    codec = SuperbCodec(model, num_groups=1)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
    unit = codec.extract_unit({"audio": {"array": samples}})
    assert unit.unit.shape == (1, 13)
    assert codec.decode_unit(unit.stuff_for_synth).shape == (4000,)
    data = codec.synth({"id": "x", "audio": {"array": samples, "sampling_rate": 8000}})
    assert data["audio"]["array"].shape == (4000,)
    assert data["audio"]["sampling_rate"] == 8000


@pytest.fixture
def command(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(save_tiny(tmp_path_factory), capsys)


def test_the_verb(
    command: Command,
    clips: list[Recording],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["-o", tmp_path / "out", "--metrics", "signal", "--num-groups", "1..G"]
    outcome = command("evaluate", tmp_path / "originals", *options, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    summary = json.loads(outcome.out)
    assert list(summary["systems"]) == ["ours-1", "ours-2"]
    assert summary["recogniser"] is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shutil.rmtree(tmp_path / "out")
    table = command("evaluate", tmp_path / "originals", *options)
    assert table.code == 0
    assert "100%|" in table.err
    assert "mel_distance ↓ (log10)" in table.out
    write_audio(tmp_path / "originals/empty.wav", np.zeros((RATE, 1), np.float32))
    outcome = command("evaluate", tmp_path / "originals", *options)
    assert outcome.code == 3
    assert "empty.wav: ours-1: mel_distance: the reference is silent" in outcome.err


def test_wrong_use_is_one_sentence(command: Command, tmp_path: Path) -> None:
    where = ["-o", tmp_path / "out"]
    clip = write_audio(tmp_path / "a.wav")
    assert command("evaluate", clip, *where, "--metrics", "mos").code == 2
    assert command("evaluate", clip, *where, "--num-groups", "3").code == 2
    assert command("evaluate", clip, *where, "--num-groups", "0").code == 2
    assert command("evaluate", clip, *where, "--degraded", "nowhere").code == 2
    outcome = command("evaluate", tmp_path / "b.wav", *where)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    outcome = command("evaluate", clip, *where, "--recogniser", tmp_path)
    assert (outcome.code, "no folder with a Whisper model" in outcome.err) == (1, True)
    assert main(["evaluate"]) == 2


def test_pairs_of_files(command: Command, tmp_path: Path) -> None:
    one, two = write_audio(tmp_path / "a/one.wav"), write_audio(tmp_path / "b/two.wav")
    shutil.copy(one, tmp_path / "b/other name.wav")
    lines = [
        {"audio_filepath": "a/one.wav", "degraded_filepath": "b/other name.wav"},
        {"audio_filepath": "b/two.wav", "degraded_filepath": str(one)},
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, lines)), "utf-8")

    def distances(where: str, reference: Path, degraded: object) -> list[float]:
        options = ["-o", tmp_path / where, "--metrics", "mel_distance"]
        outcome = command("evaluate", reference, "--degraded", degraded, *options)
        assert outcome.code == 0, outcome.err
        rows = read_rows(tmp_path / where)
        return [float(row["mel_distance"]) for row in rows if not row["system"].startswith("ours")]

    same, different = distances("manifest", pairs, pairs)
    assert same == 0 < different
    assert distances("file", one, f"other={two}") == [pytest.approx(different, rel=0.2)]
    outcome = command("evaluate", pairs, "-o", tmp_path / "x", "--degraded", two)
    assert outcome.code == 2
    assert "one file, for 2 originals" in outcome.err
    pairs.write_text(json.dumps({"audio_filepath": "a/one.wav"}), "utf-8")
    outcome = command("evaluate", one, "-o", tmp_path / "x", "--degraded", pairs)
    assert outcome.code == 1
    assert "pairs.jsonl:1: expected a JSON object with degraded_filepath" in outcome.err


def test_a_missing_package_costs_its_columns_only(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fsq_audio.evaluation.metric.is_installed", lambda name: name not in {"pesq", "pystoi"}
    )
    clip = write_audio(tmp_path / "a.wav")
    options = ["-o", tmp_path / "out", "--metrics", "delay,pesq_wb,stoi"]
    outcome = command("evaluate", clip, *options)
    assert outcome.code == 0, outcome.err
    assert "left out: pesq_wb needs pesq: pip install 'fsq-audio[eval]'" in outcome.out
    assert "stoi" not in read_rows(tmp_path / "out")[0]


@pytest.mark.slow
def test_the_packaged_model_on_the_samples(tmp_path: Path) -> None:
    folder = SAMPLES[0].parent
    code = main(["evaluate", str(folder), "-o", str(tmp_path), "-j", "2", "--robustness"])
    assert code == 0
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    (values,) = summary["systems"].values()
    assert values["metrics"]["stoi"]["mean"] > 0.6 or "stoi" in summary["missing"]
