"""The decoder's source: exact phases, band-limited pulses, a pitch that training teaches."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch
from conftest import PERIODS, SOURCE, build_tiny, hum
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fsq_audio.config import PITCH_HZ
from fsq_audio.errors import ConfigError
from fsq_audio.filters import mel_filters
from fsq_audio.heads import sharpened
from fsq_audio.source import TURN, RunningSource, even_noise, pulse_train
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.training.losses import SourceLoss
from fsq_audio.training.pitch import VoicingEstimate, estimate_pitch

RATE = 16000
ADVANCES = st.lists(
    st.integers(round(PITCH_HZ[0] / RATE * TURN), round(PITCH_HZ[1] / RATE * TURN)),
    min_size=1,
    max_size=40,
)


def source_model() -> AudioTokenizer:
    return build_tiny("spectral-harmonic_noise")


def start_phases(advances: Tensor, *, step: int) -> Tensor:
    """`[B, N]` phases at the start of each subframe, as frames of one subframe have them."""
    return RunningSource(subframes=1, step=step).push(advances)[:, 1]


def steady(hertz: float, num_subframes: int) -> Tensor:
    return torch.full((1, num_subframes), round(hertz / RATE * TURN))


@given(ADVANCES, st.sampled_from([2, 80, 160]))
def test_phases_are_the_exact_sum_of_what_each_sample_gains(values: list[int], step: int) -> None:
    expected, phase, before = [], 0, values[0]
    for value in values:
        expected.append(phase % TURN)
        phase += (before + value) * step // 2
        before = value
    assert start_phases(torch.tensor([values]), step=step)[0].tolist() == expected


def test_phases_of_ten_hours_do_not_drift() -> None:
    num_subframes, advance = 10 * 3600 * 100, round(PITCH_HZ[1] / RATE * TURN)
    phases = start_phases(torch.full((1, num_subframes), advance), step=160)
    assert int(phases[0, -1]) == advance * 160 * (num_subframes - 1) % TURN


@pytest.mark.parametrize("hertz", [50.0, 91.0, 200.0, 312.5, 560.0])
def test_pulses_are_all_harmonics_in_phase_at_unit_power(hertz: float) -> None:
    advances = steady(hertz, 100)
    pulses = pulse_train(advances, start_phases(advances, step=160), step=160)[0]
    assert pulses.square().mean().item() == pytest.approx(1, rel=0.03)
    harmonics = torch.arange(1, math.floor(RATE / 2 / hertz) + 1, dtype=torch.float64)
    time = torch.arange(1600, dtype=torch.float64) / RATE
    cosines = torch.cos(2 * math.pi * hertz * harmonics[:, None] * time).sum(0)
    expected = cosines * math.sqrt(2 / len(harmonics))
    torch.testing.assert_close(pulses[:1600].double(), expected, rtol=0, atol=5e-2)


def test_a_glide_has_no_jump_where_subframes_meet() -> None:
    hertz = torch.linspace(100, 110, 50)
    advances = (hertz / RATE * TURN).round().long()[None]
    phases = start_phases(advances, step=160)
    # One harmonic is enough to see a jump: the phase itself, sample by sample.
    turns = (phases[0, 1:] - phases[0, :-1]) % TURN / TURN
    means = (hertz[1:-1] + hertz[:-2]) / 2
    torch.testing.assert_close(turns[1:].float(), (means / RATE * 160) % 1, rtol=1e-4, atol=1e-4)


def test_no_advance_is_silence() -> None:
    advances = steady(200, 8)
    advances[:, 3:5] = 0
    pulses = pulse_train(advances, start_phases(advances, step=160), step=160)
    loud = pulses.view(8, 160).square().mean(1) > 0
    assert loud.tolist() == [True] * 3 + [False] * 2 + [True] * 3
    assert bool(pulses.isfinite().all())


def test_the_noise_is_white_and_never_changes() -> None:
    noise = even_noise(81920)
    content = noise.numpy().astype("<f2").tobytes()
    assert hashlib.sha256(content).hexdigest().startswith("7d8e9292a12c7022")
    assert torch.equal(noise[:40960], noise[40960:])
    assert torch.equal(noise[:61440], even_noise(61440))
    assert noise.square().mean().item() == pytest.approx(1, rel=0.01)
    octaves = [
        torch.fft.rfft(noise)[n : 2 * n].abs().square().mean() / 81920 for n in (2560, 20480)
    ]
    assert [float(power) for power in octaves] == pytest.approx([1, 1], rel=0.05)


@pytest.mark.parametrize(("length", "bands"), [(256, 40), (512, 64), (1024, 100)])
@pytest.mark.parametrize("start", [0, 41, 20000])
def test_the_noise_hardly_fluctuates(length: int, bands: int, start: int) -> None:
    """In no mel band at no time is it much louder or softer, wherever one looks."""
    noise = even_noise(81920)[start:][:40960]
    spectra = torch.stft(
        noise, length, length // 4, window=torch.hann_window(length), return_complex=True
    )[:, 4:-4]
    filters = mel_filters(sample_rate=16000, window_length=length, bands=bands)
    decibels = 10 * torch.log10(filters @ spectra.abs().square() / (3 / 8 * length))
    assert float(decibels.abs().mean()) < 0.7  # of Gaussian noise: 2.0 to 2.7


def test_the_noise_has_no_period() -> None:
    """Taking its fluctuations out has not made a buzz of it."""
    frames = even_noise(81920).unfold(0, 1024, 512) * torch.hann_window(1024)
    correlation = torch.fft.irfft(torch.fft.rfft(frames, n=2048).abs().square())
    peaks = (correlation[:, 28:321] / correlation[:, :1]).amax(1)  # 50 to 570 Hz
    assert float(peaks.mean()) < 0.1  # of Gaussian noise: 0.11; of a voice: 0.5 and more


@pytest.mark.parametrize("start", [0, 5, 128, 1000])
def test_the_spectra_of_the_noise_are_those_of_the_noise(start: int) -> None:
    """They come from a table, which goes round and round as the noise does."""
    head = source_model().decoder.head
    num_frames = 8 + sum(head.context)
    places = (start - head.context.left) * head.hop + torch.arange(num_frames * head.hop)
    expected = head._spectra_around(head.noise[places % len(head.noise)][None])
    found = head._noise(torch.tensor([start]), num_frames)
    inside = slice(head.subframes, -head.subframes)  # at the ends, "around" knows of zeros alone
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one[:, inside], other[:, inside], rtol=0, atol=1e-4)


def test_a_long_recording_keeps_its_phase_over_windows(speech: Tensor) -> None:
    """The decoder is given one pitch for 20 s: no seam, whatever the windows."""
    model = source_model()
    num_frames = 300 + sum(model.decoder.context)
    source = hum(model, num_frames, hertz=91.0)
    assert source is not None
    subframes = SOURCE["subframes"]
    phases = source[0, subframes : 2 * subframes].T.flatten()
    gained = round(91.0 / RATE * TURN) * (model.hop_length // subframes)
    assert torch.equal((phases[1:] - phases[:-1]) % TURN, torch.full((len(phases) - 1,), gained))


def test_decoding_asks_for_the_pitch_once_and_for_all(speech: Tensor) -> None:
    """A recording that is decoded alone or with others, whole or as a stream, is the same."""
    model = source_model()
    tokens = model.encode(torch.stack([speech, speech.flip(0)]), [len(speech), 30000])
    both = model.decode(tokens)
    alone = model.decode(model.encode(speech.flip(0)[:30000]))
    assert torch.equal(both[1, :30000], alone[0])
    long = model.encode(speech.repeat(3))
    assert torch.equal(torch.cat(list(model.decode_stream(long)), dim=1), model.decode(long))


def test_a_source_needs_an_even_step_and_no_causality() -> None:
    head = {**SOURCE, "subframes": 64, "window_length": 10}
    with pytest.raises(ConfigError, match="even step, got 5 samples"):
        build_tiny("spectral-harmonic_noise", decoder={"head": head})
    with pytest.raises(ConfigError, match="harmonic_noise looks ahead"):
        build_tiny("spectral-harmonic_noise", causal=True)


def test_lags_need_a_window_of_two_periods() -> None:
    front_end = {**PERIODS, "window_length": 512}
    with pytest.raises(ConfigError, match="must hold two periods of 50 Hz for its lags, got 512"):
        build_tiny("spectral-harmonic_noise", encoder={"front_end": front_end})


@pytest.mark.parametrize("hertz", [70.0, 91.0, 130.0, 220.0, 400.0])
def test_the_pitch_of_a_buzz_is_found_to_a_hundredth(hertz: float) -> None:
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    harmonics = torch.arange(1, int(3500 / hertz), dtype=torch.float64)[:, None]
    buzz = (torch.cos(2 * math.pi * hertz * harmonics * time) / harmonics).sum(0).float()
    centres = torch.arange(2000, 14000, 320)
    frequency, periodicity = estimate_pitch(buzz[None] * 0.05, centres, sample_rate=RATE)
    torch.testing.assert_close(frequency, torch.full_like(frequency, hertz), rtol=0.01, atol=0)
    assert float(periodicity.min()) > 0.95


def test_noise_and_silence_are_hardly_periodic() -> None:
    centres = torch.arange(2000, 14000, 320)
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    assert float(estimate_pitch(noise, centres, sample_rate=RATE)[1].mean()) < 0.7
    frequency, periodicity = estimate_pitch(torch.zeros(1, RATE), centres, sample_rate=RATE)
    assert float(periodicity.max()) < 0.01
    assert bool(frequency.isfinite().all())


class AppleTensor(Tensor):
    """Lies on the CPU, and says that it is on a device without float64."""

    device = torch.device("mps")


class Apple(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = getattr(function, "__name__", ""), dict(kwargs or {})
        if name in ("to", "cpu"):
            place = AppleTensor if AppleTensor.device in args else Tensor
            return args[0].as_subclass(place)
        if kwargs.get("device") == AppleTensor.device:
            return function(*args, **kwargs | {"device": "cpu"}).as_subclass(AppleTensor)
        kinds = {type(each) for each in args if isinstance(each, Tensor) and each.dim()}
        assert len(kinds) < 2, f"{name} of tensors on two devices"
        result = function(*args, **kwargs)
        assert not isinstance(result, AppleTensor) or result.dtype != torch.float64, name
        return result


def test_the_pitch_asks_no_float64_of_a_device_that_has_none(speech: Tensor) -> None:
    waveform, centres = speech[None], torch.arange(0, len(speech), 320)
    expected = estimate_pitch(waveform, centres, sample_rate=RATE)
    places = waveform.as_subclass(AppleTensor), centres.as_subclass(AppleTensor)
    with Apple():
        found = estimate_pitch(*places, sample_rate=RATE)
    for result, value in zip(found, expected, strict=True):
        assert isinstance(result, AppleTensor)
        assert torch.equal(result.as_subclass(Tensor), value)


def test_the_pitch_of_speech_agrees_with_probabilistic_yin(speech: Tensor) -> None:
    import librosa

    expected, voiced, _ = librosa.pyin(
        speech.numpy(), fmin=60, fmax=400, sr=RATE, frame_length=2048, hop_length=320
    )
    centres = torch.arange(len(expected)) * 320
    frequency, periodicity = estimate_pitch(speech[None], centres, sample_rate=RATE)
    sure = torch.from_numpy(voiced) & (periodicity[0] > 0.8)
    ratio = (frequency[0].double() / torch.from_numpy(expected))[sure]
    assert int(sure.sum()) > 30
    assert float(((ratio.log2().abs()) < 1 / 12).double().mean()) > 0.85


def buzz(hertz: float, num_samples: int) -> Tensor:
    """A steady voice without breath: `[1, S]`."""
    time = torch.arange(num_samples, dtype=torch.float64) / RATE
    harmonics = torch.arange(1, int(7500 / hertz), dtype=torch.float64)[:, None]
    waves = torch.cos(2 * math.pi * hertz * harmonics * time) / harmonics
    return 0.05 * waves.sum(0).float()[None]


def test_the_source_loss_is_zero_for_the_truth_and_one_for_an_octave() -> None:
    model = source_model()
    context, hop, hertz = model.encoder.context, model.hop_length, 150.0
    voice = buzz(hertz, sum(context) + 20 * hop)
    truth = torch.full((1, 20 * SOURCE["subframes"]), math.log2(hertz / PITCH_HZ[0]))
    loss = SourceLoss(sample_rate=RATE, voicing_bands=8)
    voiced = torch.ones(*truth.shape, 8)
    pitch, voicing = loss(truth, voiced, voice, context=context)
    assert float(pitch) < 0.01
    assert float(voicing) < 0.01
    pitch, voicing = loss(truth + 1, 1 - voiced, voice, context=context)
    assert float(pitch) == pytest.approx(1, abs=0.01)
    assert float(voicing) == pytest.approx(1, abs=0.01)
    assert float(loss(truth, voiced, torch.zeros_like(voice), context=context)[0]) < 0.01


@pytest.mark.parametrize("hertz", [70.0, 130.0, 220.0, 400.0])
def test_a_buzz_is_voiced_in_every_band_and_noise_in_none(hertz: float) -> None:
    estimate = VoicingEstimate(sample_rate=RATE, bands=16)
    centres = torch.arange(2000, 14000, 320)
    frequency = torch.full((1, len(centres)), hertz)
    assert float(estimate(buzz(hertz, RATE), centres, frequency).mean()) > 0.95
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    assert float(estimate(noise, centres, frequency).mean()) < 0.25
    assert float(estimate(torch.zeros(1, RATE), centres, frequency).max()) == 0


def test_breath_above_a_voice_is_told_from_it() -> None:
    estimate = VoicingEstimate(sample_rate=RATE, bands=16)
    spectrum = torch.fft.rfft(buzz(150.0, RATE))
    spectrum[:, 3000:] = 0
    noise = torch.fft.rfft(torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)))
    noise[:, :3000] = 0
    mixed = torch.fft.irfft(spectrum + 0.01 * noise, n=RATE)
    centres = torch.arange(4000, 12000, 320)
    found = estimate(mixed, centres, torch.full((1, len(centres)), 150.0)).mean(1)[0]
    # On the mel scale, 3 kHz is two thirds of the way up.
    assert float(found[:9].min()) > 0.9
    assert float(found[-4:].max()) < 0.3


def test_shares_of_the_voice_learn_from_its_periodicity_alone(speech: Tensor) -> None:
    """A spectral distance would rather have pulses than noise, and makes fricatives buzz."""
    model = source_model().train()
    crops = speech[None, : sum(model.encoder.context) + 8 * model.hop_length]
    result = model(crops)
    assert result.voicing is not None
    result.waveform.square().mean().backward()
    head = model.decoder.head
    assert head.shares.weight.grad is None
    assert float(head.gains.weight.grad.abs().max()) > 0
    model(crops).voicing.mean().backward()
    assert float(head.shares.weight.grad.abs().max()) > 0


@pytest.mark.parametrize(("share", "is_voiced"), [(1.0, True), (0.0, False)])
def test_the_share_mixes_pulses_and_noise_at_one_power(share: float, is_voiced: bool) -> None:
    head = source_model().decoder.head
    num_frames = 40 + sum(head.context)
    source = hum(source_model(), num_frames, hertz=125.0)
    x = torch.zeros(1, num_frames, head.gains.in_features)
    voicing = torch.full((1, num_frames * head.subframes, head.shares.out_features // 4), share)
    torch.nn.init.zeros_(head.gains.bias)
    samples = head(x, source, voicing).detach()
    assert samples.square().mean().item() == pytest.approx(1, rel=0.2)
    centres = torch.arange(2000, samples.shape[1] - 2000, 320)
    _, periodicity = estimate_pitch(samples, centres, sample_rate=RATE)
    assert bool(periodicity.median() > 0.95) == is_voiced


def test_shares_are_sharpened_in_decoding_only() -> None:
    head = source_model().decoder.head
    num_frames = 40 + sum(head.context)
    source = hum(source_model(), num_frames, hertz=125.0)
    x = torch.zeros(1, num_frames, head.gains.in_features)
    voicing = torch.full((1, num_frames * head.subframes, head.shares.out_features // 4), 0.7)
    periodicities = []
    for mode in True, False:
        samples = head.train(mode)(x, source, voicing).detach()
        centres = torch.arange(2000, samples.shape[1] - 2000, 320)
        _, periodicity = estimate_pitch(samples, centres, sample_rate=RATE)
        periodicities.append(float(periodicity.mean()))
    learnt, used = periodicities
    assert learnt < used - 0.1


def test_sharpened_shares_keep_their_order_and_their_ends() -> None:
    found = sharpened(torch.linspace(0, 1, 101))
    assert found[[0, 100]].tolist() == [0, 1]
    assert bool((found.diff() > 0).all())
    assert torch.allclose(found + found.flip(0), torch.ones(101))
    assert float(found[15]) < 0.05
    assert float(found[85]) > 0.95
