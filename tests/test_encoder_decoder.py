from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from conftest import hum

from fsq_audio.blocks import WINDOW_FRAMES
from fsq_audio.config import ISTFTHead, SpectralFrontEnd
from fsq_audio.encoder import SpectralProjection
from fsq_audio.errors import ConfigError
from fsq_audio.filters import band_shares, lag_filters, mel_filters
from fsq_audio.heads import InverseSTFT, overlap_add, synthesis_window
from fsq_audio.tokenizer import AudioTokenizer


def test_encoder_is_the_same_function_wherever_it_looks(any_tiny: AudioTokenizer) -> None:
    encoder, hop = any_tiny.encoder, any_tiny.hop_length
    waveform = torch.randn(1, 30 * hop + sum(encoder.context)) * 0.1
    whole = encoder(waveform)
    assert whole.shape[-1] == 30
    part = encoder(waveform[:, 10 * hop : 20 * hop + sum(encoder.context)])
    torch.testing.assert_close(part, whole[..., 10:20], rtol=1e-4, atol=1e-5)


def test_decoder_is_the_same_function_wherever_it_looks(any_tiny: AudioTokenizer) -> None:
    decoder, hop, start = any_tiny.decoder, any_tiny.hop_length, WINDOW_FRAMES
    num_frames = start + 20 + sum(decoder.context)
    latents, source = torch.randn(1, 32, num_frames), hum(any_tiny, num_frames)
    whole = decoder(latents, source)
    assert whole.shape == (1, (start + 20) * hop)
    seen = slice(start, start + 10 + sum(decoder.context))
    part = decoder(latents[..., seen], None if source is None else source[..., seen])
    expected = whole[:, start * hop : (start + 10) * hop]
    torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)


def test_frames_and_samples_are_aligned(any_tiny: AudioTokenizer) -> None:
    """A click moves the frames around it, and a frame moves the samples around it."""
    hop, causal = any_tiny.hop_length, any_tiny.config.causal
    encoder, decoder = any_tiny.encoder, any_tiny.decoder
    silence = torch.zeros(1, 60 * hop + sum(encoder.context))
    click = silence.clone()
    click[:, encoder.context.left + 30 * hop + hop // 2] = 1.0
    moved = (encoder(click) - encoder(silence)).abs().sum(1)[0]
    assert moved[30] > 0
    if causal:
        assert float(moved[:30].max()) == 0
    latents = torch.zeros(1, 32, 60 + sum(decoder.context))
    source = hum(any_tiny, latents.shape[-1])
    pulse = latents.clone()
    pulse[..., decoder.context.left + 30] = 1.0
    changed = (decoder(pulse, source) - decoder(latents, source)).abs()[0].view(60, hop).sum(1)
    assert changed[30] > 0
    if causal:
        assert float(changed[:30].max()) == 0
    else:
        reach = changed.nonzero()[:, 0].double()
        assert abs(float(reach.mean()) - 30) <= 1


def test_gradients_reach_every_weight(any_tiny: AudioTokenizer) -> None:
    context = any_tiny.encoder.context
    waveform = torch.randn(2, 12 * any_tiny.hop_length + sum(context)) * 0.1
    result = any_tiny(waveform)
    loss = result.waveform.square().mean()
    if result.octaves is not None:
        assert result.voicing is not None
        loss = loss + result.octaves.mean() + result.voicing.mean()
    loss.backward()
    without = [n for n, p in any_tiny.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_full_scale_sine_has_power_one_in_its_bin() -> None:
    config = SpectralFrontEnd(window_length=256, bands=None)
    front_end = SpectralProjection(config, sample_rate=16000, hop=64, channels=129, causal=False)
    with torch.no_grad():
        front_end.project.weight.copy_(torch.eye(129))
        front_end.project.bias.zero_()
    sine = torch.sin(2 * torch.pi * 20 / 256 * torch.arange(64 * 9 + sum(front_end.context)))
    power = torch.exp((front_end(sine[None])[0] - 2.5) / 0.25)
    assert power.argmax(0).tolist() == [20] * 9
    torch.testing.assert_close(power[20], torch.ones(9), rtol=1e-4, atol=0)
    assert float(power[30:].max()) < 1e-6


@pytest.mark.parametrize(
    ("rate", "length", "bands"), [(16000, 1024, 100), (16000, 256, 40), (24000, 2048, 128)]
)
def test_mel_filters_have_the_shapes_of_librosa(rate: int, length: int, bands: int) -> None:
    filters = mel_filters(sample_rate=rate, window_length=length, bands=bands)
    theirs = librosa.filters.mel(sr=rate, n_fft=length, n_mels=bands)
    expected = torch.from_numpy(theirs / theirs.sum(axis=1, keepdims=True))
    torch.testing.assert_close(filters, expected, rtol=1e-5, atol=1e-6)


def test_more_bands_than_bins_are_refused() -> None:
    with pytest.raises(ConfigError, match="200 mel bands are too many for a window of 256"):
        mel_filters(sample_rate=16000, window_length=256, bands=200)


def test_band_shares_interpolate() -> None:
    shares = band_shares(mel_filters(sample_rate=16000, window_length=640, bands=80))
    torch.testing.assert_close(shares.sum(0), torch.ones(321))
    assert float(shares.min()) >= 0
    rising = torch.arange(80.0) @ shares
    assert bool((rising.diff() >= 0).all())
    assert (float(rising[0]), float(rising[-1])) == (0.0, 79.0)


def test_lag_filters_read_between_samples() -> None:
    filters = lag_filters(lowest=50, highest=560, sample_rate=16000, lags=84)
    lags = filters @ torch.arange(filters.shape[1]).float()
    torch.testing.assert_close(lags[[0, -1]], torch.tensor([16000 / 560, 320.0]))
    octaves = torch.log2(lags)
    torch.testing.assert_close(octaves.diff(), octaves.diff().mean().expand(83), rtol=1e-2, atol=0)


@pytest.mark.parametrize("hertz", [70.0, 91.0, 150.0, 400.0])
def test_the_encoder_sees_the_period_of_a_deep_voice(hertz: float) -> None:
    config = SpectralFrontEnd(lags=84)
    front_end = SpectralProjection(config, sample_rate=16000, hop=320, channels=184, causal=False)
    with torch.no_grad():
        front_end.project.weight.copy_(torch.eye(184))
        front_end.project.bias.zero_()
    time = torch.arange(8 * 320 + sum(front_end.context)) / 16000
    # Harmonics that fall by 12 dB an octave, as those of a voice do.
    harmonics = torch.arange(1, int(4000 / hertz))[:, None]
    voice = 0.1 * (torch.cos(2 * torch.pi * hertz * harmonics * time) / harmonics**2).sum(0)
    periods = front_end(voice[None])[0, 100:]
    # Past the flank of the peak at lag zero.
    found = 560 * (50 / 560) ** ((periods[8:].argmax(0) + 8) / 83)
    assert bool(((found / hertz).log2().abs() < 1 / 24).all())


@pytest.mark.parametrize("level", [1e-4, 1e-2, 0.5])
def test_spectral_features_follow_the_level(level: float) -> None:
    front_end = SpectralProjection(
        SpectralFrontEnd(), sample_rate=16000, hop=320, channels=8, causal=False
    )
    time = torch.arange(10 * 320 + sum(front_end.context)) / 16000
    quiet = front_end(level * torch.sin(2 * torch.pi * 500 * time)[None])
    loud = front_end(2 * level * torch.sin(2 * torch.pi * 500 * time)[None])
    assert quiet.shape == (1, 8, 10)
    assert not torch.allclose(quiet, loud, atol=1e-3)


@pytest.mark.parametrize(("length", "step"), [(640, 320), (960, 320), (1280, 320), (512, 128)])
def test_analysis_and_synthesis_windows_give_the_signal_back(length: int, step: int) -> None:
    signal = torch.from_numpy(np.random.default_rng(0).standard_normal(40 * step)).float()[None]
    pieces = signal.unfold(-1, length, step) * torch.hann_window(length)
    result = overlap_add(pieces, synthesis_window(length, step), step)
    inner = slice(length, signal.shape[-1] - length)
    torch.testing.assert_close(result[:, inner], signal[:, inner], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("subframes", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_istft_head_keeps_its_promise_of_context(subframes: int, causal: bool) -> None:
    config = ISTFTHead(window_length=640, subframes=subframes)
    head = InverseSTFT(config, hop=320, channels=4, causal=causal)
    x = torch.randn(1, 12 + sum(head.context), 4)
    reference = head(x)
    assert reference.shape == (1, 12 * 320)
    # More context than promised changes nothing.
    wider = torch.cat([torch.randn(1, 3, 4), x, torch.randn(1, 3, 4)], dim=1)
    torch.testing.assert_close(head(wider)[:, 3 * 320 : 15 * 320], reference)
