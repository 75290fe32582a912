"""The listening page and the listening test: what is in them, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from cli_tools import Outcome, listing, make_noise, write_audio
from conftest import SAMPLES
from report_tools import EVIL, RATE, SILENT, make_evaluation

from fsq_audio.cli import main
from fsq_audio.errors import AudioError, ConfigError
from fsq_audio.evaluation.recordings import Recording
from fsq_audio.evaluation.registry import choose_metrics
from fsq_audio.evaluation.robustness import UnitEdits, sum_up_robustness
from fsq_audio.evaluation.run import Settings, evaluate
from fsq_audio.evaluation.system import degraded_folder
from fsq_audio.report import charts
from fsq_audio.report.clips import (
    Codes,
    Sound,
    begins_with,
    choose_clips,
    load_codes,
    load_sound,
    to_flac,
)
from fsq_audio.report.content import Choice
from fsq_audio.report.page import write_page
from fsq_audio.report.pictures import draw_codes, draw_spectrogram, loudest
from fsq_audio.report.results import read_results
from fsq_audio.report.table import clip_cell, summary_table
from fsq_audio.report.webmushra import low_pass, write_test
from fsq_audio.tokens import AudioTokens, pack

pytest.importorskip("jinja2")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_evaluation(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def evaluation(finished: Path, tmp_path: Path) -> Path:
    """One that a test may damage: as if it had been made where it is."""
    folder = Path(shutil.copytree(finished, tmp_path / "scores"))
    for name in ("journal.jsonl", "rows.csv"):
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text(text.replace(str(finished), str(folder)), "utf-8")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`command(folder, "-o", page)`."""

    def report(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main(["report", *map(str, arguments)])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return report


def read_page(folder: Path, page: Path, **choice: Any) -> str:
    write_page([read_results(folder)], page, Choice(**choice))
    return page.read_text("utf-8")


def test_the_page_is_one_file_that_asks_for_nothing(evaluation: Path, tmp_path: Path) -> None:
    html = read_page(evaluation, tmp_path / "sub/page.html", number=4)
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(links) > 10
    assert {link[:5] for link in links if not link.startswith("#")} == {"data:"}
    assert "@import" not in html
    assert "url(" not in html
    assert '<html lang="en">' in html
    assert "default-src 'none'" in html
    assert listing(tmp_path / "sub") == ["page.html"]


def test_names_and_texts_are_escaped(evaluation: Path, tmp_path: Path) -> None:
    html = read_page(evaluation, tmp_path / "page.html", names=[EVIL], title="<b>&\"'")
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<script>alert(2)" not in html
    assert "&lt;/bdi&gt;&lt;script&gt;alert(2)" in html
    assert "<title>&lt;b&gt;&amp;&#34;&#39;</title>" in html


def test_robustness_is_shown_as_it_is_written(evaluation: Path, tmp_path: Path) -> None:
    edits = [
        UnitEdits("ours-1", id, change, 0, distance, None if distance < 9 else "oh")
        for change, distances in (("mp3", (0.25, 0.75)), ("opus", (math.nan, math.nan)))
        for id, distance in zip(("one", "two"), distances, strict=True)
    ]
    summary = json.loads((evaluation / "summary.json").read_text("utf-8"))
    summary["systems"]["ours-2"]["robustness"] = sum_up_robustness(edits)
    (evaluation / "summary.json").write_text(json.dumps(summary), "utf-8")
    html = read_page(evaluation, tmp_path / "page.html")
    assert '<td>0.500 <span class="detail">[0.250, 0.750] n = 2</span></td>' in html
    assert '<th scope="row">opus</th><td>failed</td>' in html


def test_the_same_evaluation_gives_the_same_page(evaluation: Path, tmp_path: Path) -> None:
    first = read_page(evaluation, tmp_path / "a.html")
    assert read_page(evaluation, tmp_path / "b.html") == first
    quiet = read_page(evaluation, tmp_path / "c.html", systems=["ours-1", "ours-2"])
    assert str(tmp_path) not in quiet  # but in reasons for failures, nothing of this machine


def test_the_audio_is_what_was_evaluated(evaluation: Path, tmp_path: Path) -> None:
    html = read_page(evaluation, tmp_path / "page.html", names=["one"], systems=["ours-2", "copy"])
    names = re.findall(r'data-system="([^"]+)"', html)
    assert names == ["original", "ours-2", "copy"]
    found = re.findall(r"data:audio/flac;base64,([\w+/=]+)", html)
    paths = ["originals/one.wav", "audio/ours-2/one.wav", "copy/one.wav"]
    for data, name in zip(found, paths, strict=True):
        flac = tmp_path / "a.flac"
        flac.write_bytes(base64.b64decode(data))
        samples, rate = soundfile.read(flac, dtype="int16")
        expected, expected_rate = soundfile.read(evaluation / name, dtype="int16")
        assert rate == expected_rate
        np.testing.assert_array_equal(samples, expected)


def test_a_page_of_speech_stays_small(evaluation: Path, tmp_path: Path) -> None:
    size = len(read_page(evaluation, tmp_path / "page.html", names=["one", "two"]).encode())
    # Two clips of 1.5 s in four versions: 12 s of audio, and some 100 kB of everything else.
    assert size < 700_000
    shorter = read_page(evaluation, tmp_path / "page.html", names=["one", "two"], seconds=0.5)
    assert len(shorter.encode()) < size - 100_000
    assert "the first 0.50 s" in shorter


def test_what_failed_says_so_and_is_no_number(evaluation: Path, tmp_path: Path) -> None:
    html = read_page(evaluation, tmp_path / "page.html", names=[SILENT, "lost"])
    assert "failed (" in html
    assert "the reference is silent" in html
    assert re.search(r"failed \([^)]*copy has no audio file for lost\)", html)
    assert not re.search(r">\s*(nan|NaN|None|null|inf)\b", html)
    results = read_results(evaluation)
    row = results.rows["ours-1", SILENT]
    cell = clip_cell(row, "mel_distance")
    assert (cell.text, cell.key, cell.is_failed) == ("failed", None, True)
    assert cell.detail == "the reference is silent"
    equal = clip_cell(results.rows["copy", "one"], "si_sdr")
    assert (equal.is_failed, equal.key, equal.detail) == (False, None, "does not apply")


def test_the_summary_has_intervals_and_counts(evaluation: Path) -> None:
    results = read_results(evaluation)
    table = summary_table(results, ["ours-2", "copy"])
    column = table.columns.index("mel_distance ↓ (log10)")
    cell = table.rows["ours-2"][column]
    values = results.summary["systems"]["ours-2"]["metrics"]["mel_distance"]
    assert cell.key == values["mean"]
    assert cell.text == f"{values['mean']:.3f}"
    low, high = values["low"], values["high"]
    assert cell.detail == f"[{low:.3f}, {high:.3f}] n = 4, 1 failed"
    assert table.columns[:2] == ["bit/s nominal", "bit/s written"]
    nominal, written = table.rows["ours-2"][:2]
    assert (nominal.text, nominal.key) == ("997", pytest.approx(2 * math.log2(1000) * 50))
    assert written.key > nominal.key
    assert table.rows["copy"][0].key is None


def test_clips_are_spread_or_named(evaluation: Path) -> None:
    results = read_results(evaluation)
    # `lost` is left out, for a system has no audio of it.
    assert results.ids == ["lost", "one", SILENT, EVIL, "sub/two"]
    assert choose_clips([results], [], number=2, names=[]) == [[SILENT, "sub/two"]]
    assert choose_clips([results], [], number=9, names=[]) == [["one", SILENT, EVIL, "sub/two"]]
    assert choose_clips([results], [], number=1, names=["two", "lost"]) == [["sub/two", "lost"]]
    with pytest.raises(ConfigError, match=r"--clip three: 0 recordings.*such as lost"):
        choose_clips([results], [], number=1, names=["three"])
    with pytest.raises(ConfigError, match=r"no system mine: there are ours-1, ours-2, copy"):
        choose_clips([results], ["mine"], number=1, names=[])


def test_several_evaluations_make_one_page(evaluation: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(evaluation, tmp_path / "other"))
    page = tmp_path / "page.html"
    write_page([read_results(evaluation), read_results(other)], page, Choice(number=1))
    html = page.read_text("utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert "Summary (scores)" in html
    assert "Summary (other)" in html
    with pytest.raises(ConfigError, match="2 recordings are called that"):
        choose_clips([read_results(evaluation), read_results(other)], [], number=1, names=["one"])


def test_an_evaluation_may_have_been_moved(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"
    evaluation.rename(moved)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match=r"the original of one is not at .*--clip"):
        read_page(moved, tmp_path / "page.html", names=["one"])
    results = read_results(moved)
    assert results.degraded("ours-1", "one") == moved / "audio/ours-1/one.wav"


def test_missing_pieces_are_one_sentence_each(
    evaluation: Path, command: Callable[..., Outcome]
) -> None:
    page = evaluation / "page.html"

    def refused(*options: object, code: int = 1) -> str:
        outcome = command(evaluation, "-o", page, *options)
        assert (outcome.code, outcome.out) == (code, "")
        assert not page.exists()
        if code == 1:
            assert outcome.err.count("\n") == 1
        return str(outcome.err)

    assert "no system mine" in refused("--systems", "mine")
    assert "--clip nowhere" in refused("--clip", "nowhere")
    assert "expected a whole number" in refused("--clips", "0", code=2)
    assert "name the page to write" in command(evaluation).err
    assert command(evaluation).code == 2
    assert "is a folder" in command(evaluation, "-o", evaluation).err

    (evaluation / "tokens/ours-2/one.fsq").unlink()
    assert "one.fsq is not there: run the same fsq-audio evaluate" in refused("--clip", "one")
    (evaluation / "audio/ours-1/one.wav").unlink()
    assert "what ours-1 made of one is not there" in refused("--clip", "one")
    (evaluation / "originals/one.wav").unlink()
    assert "the original of one is not at" in refused("--clip", "one")
    (evaluation / "rate_distortion.json").unlink()
    assert "rate_distortion.json is not there" in refused()
    (evaluation / "summary.json").write_text('{"systems": 3}')
    assert "is damaged" in refused()
    (evaluation / "summary.json").unlink()
    assert "is not finished: run the same fsq-audio evaluate again" in refused()
    (evaluation / "journal.jsonl").unlink()
    assert "holds no evaluation (no summary.json): make one with fsq-audio" in refused()


def test_rows_that_do_not_fit_the_summary_are_refused(evaluation: Path) -> None:
    lines = (evaluation / "rows.csv").read_text("utf-8").splitlines(keepends=True)
    (evaluation / "rows.csv").write_text("".join(lines[:-1]), "utf-8")
    with pytest.raises(ConfigError, match="do not fit each other"):
        read_results(evaluation)


def test_a_missing_package_names_the_extra(
    evaluation: Path, command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsq_audio.report.page.is_installed", lambda name: name != "jinja2")
    outcome = command(evaluation, "-o", evaluation / "page.html")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "the page needs jinja2: pip install 'fsq-audio[report]'" in outcome.err


def test_the_verb(evaluation: Path, tmp_path: Path, command: Callable[..., Outcome]) -> None:
    page, folder = tmp_path / "page.html", tmp_path / "test"
    outcome = command(evaluation, "-o", page, "--clips", "1", "--webmushra", folder, "--json")
    assert outcome.code == 0, outcome.err
    first, second = map(json.loads, outcome.out.splitlines())
    assert first == {
        "status": "page", "output": str(page), "num_bytes": page.stat().st_size,
    }  # fmt: skip
    assert second == {"status": "webmushra", "output": str(folder), "num_trials": 1}
    outcome = command(evaluation, "-o", page, "--clips", "1")
    assert outcome.out == f"{page}: {page.stat().st_size / 1e6:.2f} MB, open it in a browser\n"


def test_a_name_that_is_not_unicode_is_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "originals" / "a\udcff.wav"
    try:
        write_audio(path, make_noise(0.5))
    except OSError:
        pytest.skip("this file system wants Unicode names")
    recording = Recording("a\udcff", path)
    settings = Settings(metrics=choose_metrics(["delay"]))
    system = degraded_folder(tmp_path / "originals", "same")
    evaluate([recording], [system], output=tmp_path / "scores", settings=settings)
    html = read_page(tmp_path / "scores", tmp_path / "page.html")
    assert "<bdi>a\\udcff</bdi>" in html
    assert "No curve can be drawn" in html


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    times = np.arange(RATE) / RATE
    tone = Sound((0.5 * np.sin(2 * np.pi * 6000 * times)).astype(np.float32), RATE)
    picture = draw_spectrogram(tone, seconds=2, highest=8000, top_db=loudest(tone))
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), float)
    height, width = pixels.shape
    row = pixels[:, : width // 3].mean(axis=1).argmax()
    assert row == pytest.approx(height * (1 - 6000 / 8000), abs=2)
    assert pixels[:, width * 5 // 8 :].max() < 10  # the second half lies beyond its end
    narrow = draw_spectrogram(tone, seconds=1, highest=16000, top_db=loudest(tone))
    pixels = np.asarray(Image.open(io.BytesIO(narrow)).convert("L"), float)
    assert pixels[: height // 2 - 4].max() < 10  # above its own half of the rate
    assert pixels.mean(axis=1).argmax() == pytest.approx(height * (1 - 6000 / 16000), abs=2)


def test_a_picture_of_codes_has_a_pixel_for_each() -> None:
    codes = Codes(np.array([[0, 500, 999], [999, 0, 1]]), codebook_size=1000, num_frames=3)
    image = Image.open(io.BytesIO(draw_codes(codes)))
    assert image.size == (3, 2)
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (pixels[0, 2] == pixels[1, 0]).all()
    assert (pixels[0, 0] == pixels[1, 1]).all()
    brightness = pixels.sum(axis=2)
    assert brightness[0, 0] < brightness[0, 1] < brightness[0, 2]


def test_streams_are_those_of_the_token_files_and_drawn_once(
    evaluation: Path, tmp_path: Path
) -> None:
    results = read_results(evaluation)
    found = {name: load_codes(results, name, "one", seconds=99) for name in results.systems}
    assert found["copy"] is None
    assert found["ours-2"] is not None
    assert found["ours-1"] is not None
    tokens = AudioTokens.load(evaluation / "tokens/ours-2/one.fsq")
    np.testing.assert_array_equal(found["ours-2"].codes, tokens.codes[0].numpy())
    assert begins_with(found["ours-2"], found["ours-1"])
    assert not begins_with(found["ours-1"], found["ours-2"])
    assert not begins_with(found["ours-2"], found["ours-2"])
    assert not begins_with(
        found["ours-2"], replace(found["ours-1"], codes=found["ours-1"].codes + 1)
    )
    html = read_page(evaluation, tmp_path / "page.html", names=["one"])
    assert re.findall(r"Tokens of ([\w-]+)", html) == ["ours-2"]
    assert "First groups of the same: ours-1." in html
    half = load_codes(results, "ours-2", "one", seconds=0.75)
    assert half is not None
    assert (half.codes.shape, half.num_frames) == ((2, 38), 75)


def test_streams_of_neural_baselines(evaluation: Path) -> None:
    results = read_results(evaluation)
    tokens = AudioTokens.load(evaluation / "tokens/ours-2/one.fsq").codes
    place = evaluation / "tokens/ours-2"
    (place / "one.fsq").unlink()
    header = (2).to_bytes(4, "little") + tokens.shape[2].to_bytes(4, "little")
    (place / "one.bin").write_bytes(header + pack(tokens.flatten(), 1000))
    found = load_codes(results, "ours-2", "one", seconds=99)
    assert found is not None
    np.testing.assert_array_equal(found.codes, tokens[0].numpy())


def test_flac_is_exact_to_sixteen_bits(tmp_path: Path) -> None:
    samples = np.array([0, 0.5, -1, 1, 1.5, 1 / 32768], np.float32)
    path = tmp_path / "a.flac"
    path.write_bytes(to_flac(Sound(samples, 44100)))
    back, rate = soundfile.read(path, dtype="int16")
    assert rate == 44100
    assert back.tolist() == [0, 16384, -32768, 32767, 32767, 1]


def test_flac_is_as_small_as_it_gets() -> None:
    speech = load_sound(SAMPLES[0])
    quick = io.BytesIO()
    soundfile.write(quick, speech.samples, RATE, format="FLAC", compression_level=0.0)
    assert len(to_flac(speech)) < 0.98 * len(quick.getvalue())


def test_beside_silence_nothing_looks_loud() -> None:
    silence = Sound(np.zeros(RATE, np.float32), RATE)
    noise = Sound(make_noise(1.0)[:, 0] * np.float32(1e-4), RATE)
    picture = draw_spectrogram(noise, seconds=1, highest=8000, top_db=loudest(silence))
    assert np.asarray(Image.open(io.BytesIO(picture)).convert("L")).max() < 128


def test_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "long.wav", make_noise(30))
    sound = load_sound(path, seconds=2.5)
    assert len(sound.samples) == 2.5 * RATE
    whole, _ = soundfile.read(path, dtype="float32", stop=len(sound.samples))
    np.testing.assert_array_equal(sound.samples, whole)


def test_points_stand_where_their_values_are() -> None:
    def system(written: float, nominal: float | None, mean: float) -> dict[str, Any]:
        values = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 3, "n_failed": 0}
        return {"rate": {"written": written, "nominal": nominal}, "metrics": {"stoi": values}}

    systems = {"a-1": system(1000, 500, 0.5), "a-2": system(2000, None, 0.7)}
    curves = {"stoi": {"a": [{"system": "a-1"}, {"system": "a-2"}], "b": [{"system": "hidden"}]}}
    (chart,) = charts.draw_charts(curves, systems, ["pesq_wb", "stoi"])
    (curve,) = chart.curves
    first, second = curve.points
    ticks = {tick.text: tick.place for tick in chart.across}
    assert first.x == pytest.approx(ticks["1"])
    assert second.x == pytest.approx(ticks["2"])
    assert first.nominal == pytest.approx(ticks["0.5"])
    assert second.nominal is None
    heights = {float(tick.text): tick.place for tick in chart.up}
    assert second.y < first.y  # higher values are further up
    assert first.high < first.y < first.low
    assert second.y == pytest.approx(
        np.interp(0.7, sorted(heights), sorted(heights.values())[::-1])
    )
    assert first.text == "a-1: 0.500 [0.400, 0.600], n = 3, 1000 bit/s written"


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0.7, 0.7), (2, 2), (-40, -20), (0.74, 0.99)])
def test_ticks_surround_all_values(low: float, high: float) -> None:
    step, first, last = charts._steps(low, high)
    assert first <= low <= high <= last
    assert first < last
    assert 1 <= round((last - first) / step) <= 12


def test_numbers_have_as_many_digits_as_they_deserve() -> None:
    values = [0.12345, -12.345, 372.2, 12918.4]
    assert [charts.format_value(each) for each in values] == ["0.123", "-12.35", "372.2", "12918"]


def test_the_listening_test_is_what_webmushra_reads(evaluation: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fsq"
    choice = Choice(names=["one", EVIL], title="Which?")
    assert write_test([read_results(evaluation)], folder, choice) == 2
    config = yaml.safe_load((folder / "mushra.yaml").read_text("utf-8"))
    # The keys of webMUSHRA's doc/experimenter.md.
    assert config.keys() == {
        "testname", "testId", "bufferSize", "stopOnErrors", "showButtonPreviousPage",
        "remoteService", "pages",
    }  # fmt: skip
    assert (config["testname"], config["testId"]) == ("Which?", "fsq")
    assert [page["type"] for page in config["pages"] if isinstance(page, dict)] == [
        "generic", "volume", "finish",
    ]  # fmt: skip
    shuffled, *trials = config["pages"][2]
    assert shuffled == "random"
    assert len(trials) == 2
    for trial in trials:
        assert re.fullmatch(r"[\w-]+", trial["id"])
        assert trial["createAnchor35"] is trial["createAnchor70"] is False
        # webMUSHRA adds the hidden reference itself.
        assert list(trial["stimuli"]) == ["anchor35", "anchor70", "ours-1", "ours-2", "copy"]
        paths = [trial["reference"], *trial["stimuli"].values()]
        assert {path.split("/")[:2] == ["configs", "fsq"] for path in paths} == {True}
        infos = [soundfile.info(folder / path.removeprefix("configs/fsq/")) for path in paths]
        assert {(info.frames, info.samplerate, info.channels) for info in infos} == {
            (24000, RATE, 1)
        }
        assert {info.format for info in infos} == {"WAV"}
    assert "<" not in trials[1]["content"]
    # A run over an older test of ours is fine; over anything else it is not.
    assert write_test([read_results(evaluation)], folder, choice) == 2
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.jpg").touch()
    with pytest.raises(ConfigError, match="holds other files"):
        write_test([read_results(evaluation)], other, choice)


def test_an_anchor_keeps_what_is_below_its_edge() -> None:
    times = np.arange(2 * RATE) / RATE
    for frequency, kept in ((100, True), (3400, True), (4000, False), (6000, False)):
        tone = np.sin(2 * np.pi * frequency * times).astype(np.float32)
        passed = low_pass(tone, sample_rate=RATE, edge=3500)
        assert passed.shape == tone.shape
        middle = slice(RATE // 2, RATE)
        if kept:  # nor is it late
            np.testing.assert_allclose(passed[middle], tone[middle], atol=0.01)
        else:
            assert np.abs(passed[middle]).max() < 10 ** (-50 / 20)


def test_a_narrow_original_has_no_wide_anchor(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "originals/a.wav", make_noise(1.0)[::2], rate=8000)
    settings = Settings(metrics=choose_metrics(["delay"]))
    system = degraded_folder(tmp_path / "originals", "same")
    evaluate([Recording("a", path)], [system], output=tmp_path / "scores", settings=settings)
    folder = tmp_path / "test"
    write_test([read_results(tmp_path / "scores")], folder, Choice())
    (trial,) = (path for path in folder.iterdir() if path.is_dir())
    assert listing(trial) == ["anchor35.wav", "reference.wav", "same.wav"]


def test_what_webmushra_would_refuse_is_refused(evaluation: Path, tmp_path: Path) -> None:
    results = read_results(evaluation)
    with pytest.raises(ConfigError, match="letters, digits"):
        write_test([results], tmp_path / "a b", Choice())
    with pytest.raises(ConfigError, match="12 s at most"):
        write_test([results], tmp_path / "a", Choice(seconds=13))
    with pytest.raises(AudioError, match=r"copy failed on lost.*--clip"):
        write_test([results], tmp_path / "a", Choice(names=["lost"]))
    many = [f"s{number}" for number in range(10)]
    changes = {"systems": many, "rows": {(name, "one"): results.rows["ours-1", "one"]
               for name in many}, "ids": ["one"]}  # fmt: skip
    with pytest.raises(ConfigError, match=r"10 systems.*12 stimuli.*--systems"):
        write_test([replace(results, **changes)], tmp_path / "a", Choice())
    named = {"systems": ["anchor35"], "rows": {("anchor35", "one"): results.rows["copy", "one"]}}
    with pytest.raises(ConfigError, match="called anchor35"):
        write_test([replace(results, **named, ids=["one"])], tmp_path / "a", Choice())
    assert not (tmp_path / "a").exists()
