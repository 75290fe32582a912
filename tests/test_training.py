from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from conftest import build_tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from fsq_audio.errors import AudioError, CheckpointError, ConfigError
from fsq_audio.layers import Context
from fsq_audio.training.config import OptimizerConfig
from fsq_audio.training.data import CropDataset
from fsq_audio.training.losses import PowerSpectrum, SpectralLoss, saturation_loss
from fsq_audio.training.recordings import Recording, read_at_rate, read_span
from fsq_audio.training.schedules import learning_rate_factor, warmup_cosine
from fsq_audio.training.sources import read_manifest
from fsq_audio.training.state import Checkpoints, WeightAverage


@pytest.fixture
def ramp(tmp_path: Path) -> Recording:
    """A recording in which each sample tells where it stands."""
    samples = np.arange(1, 4001, dtype=np.float32) / 4096
    soundfile.write(tmp_path / "ramp.flac", samples, 16000, subtype="PCM_24")
    return Recording(tmp_path / "ramp.flac", 4000, 16000)


def crops(recording: Recording, **changes: object) -> CropDataset:
    options = {
        "sample_rate": 16000,
        "crop_samples": 800,
        "context": Context(100, 50),
        "gain_db": 0.0,
        "speed": 0.0,
        "seed": 0,
        "num_items": 50,
        **changes,
    }
    return CropDataset([recording], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (-5, 5), (3990, 4010), (-5, 4005), (5000, 5010)]
)
def test_spans_are_exact_with_zeros_beyond_the_ends(ramp: Recording, start: int, stop: int) -> None:
    places = np.arange(start, stop)
    expected = np.where((places >= 0) & (places < 4000), (places + 1) / 4096, 0)
    assert np.allclose(read_span(ramp, start=start, stop=stop).numpy(), expected, atol=1e-6)


def test_crops_depend_on_seed_and_index_alone(ramp: Recording) -> None:
    first, again, other = crops(ramp), crops(ramp, num_items=7), crops(ramp, seed=1)
    assert torch.equal(first[3], again[3])
    assert not torch.equal(first[3], first[4])
    assert not torch.equal(first[3], other[3])


def test_crops_reach_over_both_ends_and_are_contiguous(ramp: Recording) -> None:
    starts, stops = 0, 0
    for crop in crops(ramp, num_items=200):
        assert crop.shape == (950,)
        inside = crop.nonzero()[:, 0]
        steps = crop[inside].diff() * 4096
        assert torch.allclose(steps, torch.ones_like(steps), atol=1e-2)
        starts += int(crop[100]) == 0 and bool(crop[:100].eq(0).all())
        stops += bool(crop[-50:].eq(0).all())
    assert starts > 0
    assert stops > 0


def test_a_recording_shorter_than_a_crop_is_whole_inside(ramp: Recording) -> None:
    for crop in crops(ramp, crop_samples=5000, num_items=20):
        assert int((crop[100:-50] != 0).sum()) == 4000


def test_long_recordings_are_drawn_more_often(ramp: Recording, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "low.flac", np.full(400, -0.5, np.float32), 16000)
    low = Recording(tmp_path / "low.flac", 400, 16000)
    dataset = CropDataset(
        [ramp, low],
        sample_rate=16000,
        crop_samples=100,
        context=Context(0, 0),
        gain_db=0,
        speed=0,
        seed=0,
        num_items=600,
    )
    share = sum(float(crop.min()) < 0 for crop in dataset) / 600
    assert 0.04 < share < 0.16


def test_speed_moves_pitch_within_its_range(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(32000))
    soundfile.write(tmp_path / "tone.flac", tone, 16000)
    dataset = crops(
        Recording(tmp_path / "tone.flac", 32000, 16000),
        speed=0.25,
        crop_samples=8000,
        context=Context(300, 200),
    )
    pitches = []
    for crop in dataset:
        assert crop.shape == (8500,)
        pitches.append(float(torch.fft.rfft(crop, n=160000).abs().argmax()) / 10)
    assert min(pitches) > 1000 / 1.26
    assert max(pitches) < 1000 * 1.26
    assert max(pitches) / min(pitches) > 1.3


@settings(max_examples=20)
@given(gain_db=st.floats(0, 40))
def test_gain_never_clips(gain_db: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "loud.flac"
    if not path.exists():
        soundfile.write(path, np.full(2000, 0.9, np.float32), 16000)
    dataset = crops(Recording(path, 2000, 16000), gain_db=gain_db, num_items=5)
    assert all(float(crop.abs().max()) <= 1 + 1e-6 for crop in dataset)


@pytest.mark.parametrize("rate", [8000, 24000])
def test_another_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) * 0.5
    soundfile.write(tmp_path / "tone.wav", tone, rate, subtype="FLOAT")
    recording = Recording(tmp_path / "tone.wav", rate, rate)
    span = read_at_rate(recording, start=-160, stop=16000, sample_rate=16000)
    assert span.shape == (16160,)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * 0.5
    assert np.abs(span[160 + 500 : -500].numpy() - expected[500:-500]).max() < 0.01
    crop = crops(recording, num_items=1, crop_samples=4000)[0]
    spectrum = torch.fft.rfft(crop * torch.hann_window(len(crop))).abs()
    assert float(spectrum.argmax()) * 16000 / len(crop) == pytest.approx(440, abs=8)


def test_a_file_that_is_shorter_than_its_manifest_says_is_an_error(ramp: Recording) -> None:
    longer = Recording(ramp.path, 5000, 16000)
    with pytest.raises(AudioError, match="manifest says 5000"):
        read_span(longer, start=3000, stop=4500)
    lost = Recording(ramp.path.with_name("lost.flac"), 5000, 16000)
    with pytest.raises(AudioError, match=r"cannot read .*lost\.flac: no such file"):
        read_span(lost, start=3000, stop=4500)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no recording"), ("{}", "line 1"), ("nonsense", "line 1"), ("[1]", "line 1")],
)
def test_a_wrong_manifest_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(ConfigError, match="cannot read"):
        read_manifest(tmp_path / "other.jsonl")


def test_manifest_paths_start_at_its_folder(tmp_path: Path) -> None:
    line = {"audio_filepath": "a/b.flac", "num_samples": 5, "sample_rate": 16000, "more": 1}
    (tmp_path / "m.jsonl").write_text(json.dumps(line) + "\n")
    assert read_manifest(tmp_path / "m.jsonl") == [Recording(tmp_path / "a/b.flac", 5, 16000)]


def test_a_manifest_without_a_rate_has_that_of_the_header(ramp: Recording) -> None:
    line = {"audio_filepath": ramp.path.name, "num_samples": ramp.num_samples, "duration": 0.25}
    path = ramp.path.with_name("no_rate.jsonl")
    path.write_text(json.dumps(line) + "\n")
    (found,) = read_manifest(path)
    assert (found.num_samples, found.sample_rate) == (ramp.num_samples, ramp.sample_rate)


@pytest.fixture
def losses() -> SpectralLoss:
    return SpectralLoss(sample_rate=16000, windows=(256, 1024), bands=(32, 80), magnitudes=True)


def test_a_waveform_has_no_distance_to_itself(losses: SpectralLoss) -> None:
    waveform = torch.randn(2, 4000)
    assert losses(waveform, waveform) == {"mel": 0, "stft": 0}


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_factor_of_ten_is_a_distance_of_one(losses: SpectralLoss, factor: float) -> None:
    waveform = torch.randn(2, 4000)
    for distance in losses(waveform * factor, waveform).values():
        assert float(distance) == pytest.approx(1, abs=0.02)


def test_below_seventy_decibels_all_is_silence(losses: SpectralLoss) -> None:
    quiet = torch.randn(2, 4000) * 1e-5
    assert all(float(distance) < 0.01 for distance in losses(quiet, torch.zeros(2, 4000)).values())


def test_gradients_are_finite_in_silence(losses: SpectralLoss) -> None:
    output = torch.zeros(1, 4000, requires_grad=True)
    sum(losses(output, torch.randn(1, 4000)).values()).backward()  # type: ignore[union-attr]
    assert output.grad is not None
    assert bool(torch.isfinite(output.grad).all())


@pytest.mark.parametrize("length", [8, 9])
def test_the_gradient_of_a_power_spectrum_is_that_of_its_definition(length: int) -> None:
    frames = torch.randn(2, 3, length, dtype=torch.float64, requires_grad=True)
    powers = PowerSpectrum.apply(frames)
    assert torch.allclose(powers, torch.fft.rfft(frames).abs().square())
    assert torch.autograd.gradcheck(PowerSpectrum.apply, (frames,))


def test_saturation_counts_only_what_lies_beyond_two() -> None:
    assert float(saturation_loss(torch.tensor([[[-2.0, 0.0, 2.0]]]))) == 0
    assert float(saturation_loss(torch.tensor([[[-5.0, 0.0, 0.0]]]))) == pytest.approx(3)


def test_weight_average_warms_up_and_follows_the_formula() -> None:
    model = build_tiny()
    average = WeightAverage(model, decay=0.9)
    name = "decoder.norm.bias"
    expected = average.weights[name].clone()
    for step in range(1, 30):
        with torch.no_grad():
            model.decoder.norm.bias += 1
        average.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.decoder.norm.bias.detach()
        torch.testing.assert_close(average.weights[name], expected)
    restored = WeightAverage(model, decay=0.9)
    restored.load_state_dict(average.state_dict())
    assert restored.num_updates == 29
    assert torch.equal(restored.weights[name], average.weights[name])
    fsq = "quantizer.quantizer.fsq.convention"
    assert torch.equal(average.weights[fsq], model.state_dict()[fsq])


def test_half_written_checkpoints_are_never_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.steps() == []
    for name in ("step-00000005", "step-00000010.tmp", "step-7", "other"):
        (tmp_path / name).mkdir()
    assert checkpoints.steps() == [5]

    class Broken:
        is_main_process = True
        process_index = 0

        def load_state(self, folder: str) -> None:
            raise RuntimeError(f"size mismatch in {folder}")

    with pytest.raises(CheckpointError, match="was the configuration"):
        checkpoints.load_newest(Broken())  # type: ignore[arg-type]
    # What a killed run left is gone, what is not a checkpoint's is not touched.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "step-00000005", "step-7"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "random_states_0.pkl"])
@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_damaged_checkpoint_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, share: float
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    try:
        accelerator, model = Accelerator(), torch.nn.Linear(3, 3)
        accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
        checkpoints = Checkpoints(tmp_path, keep=2)
        checkpoints.save(accelerator, step=5)
        assert checkpoints.load_newest(accelerator) == 5
        file = tmp_path / "step-00000005" / name
        whole = file.read_bytes()
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"cannot resume from .*step-00000005: "):
            checkpoints.load_newest(accelerator)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_more_processes_may_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    try:
        accelerator = Accelerator()
        accelerator.prepare(torch.nn.Linear(3, 3))
        checkpoints = Checkpoints(tmp_path, keep=2)
        accelerator.step = 7  # passes so far
        checkpoints.save(accelerator, step=5)
        (tmp_path / "step-00000005" / "random_states_0.pkl").unlink()  # as a new process sees it
        assert checkpoints.load_newest(accelerator) == 5
        # With another number of processes comes another number of passes in a step.
        assert accelerator.step == 0
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_a_resumed_run_has_the_options_that_it_is_given() -> None:
    def begin(rate: float, *, decay: float, max_steps: int) -> tuple[torch.optim.AdamW, Any]:
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([parameter], lr=rate, betas=(0.8, 0.9), weight_decay=decay)
        config = OptimizerConfig(learning_rate=rate, warmup_steps=4)
        return optimizer, warmup_cosine(optimizer, config, max_steps=max_steps)

    def go_on(optimizer: torch.optim.AdamW, schedule: Any, *, steps: int) -> list[float]:
        rates = []
        for _ in range(steps):
            optimizer.step()
            schedule.step()
            rates += schedule.get_last_lr()
        return rates

    optimizer, schedule = begin(0.1, decay=0.01, max_steps=20)
    go_on(optimizer, schedule, steps=9)
    saved = optimizer.state_dict(), schedule.state_dict()
    rest = go_on(optimizer, schedule, steps=5)
    for rate, decay, max_steps in (0.1, 0.01, 20), (0.002, 0.5, 20), (0.1, 0.01, 40):
        again, resumed = begin(rate, decay=decay, max_steps=max_steps)
        again.load_state_dict(copy.deepcopy(saved[0]))
        resumed.load_state_dict(saved[1])
        (group,) = again.param_groups
        factor = learning_rate_factor(9, warmup_steps=4, max_steps=max_steps)
        assert (group["lr"], group["weight_decay"]) == (rate * factor, decay)
        after = go_on(again, resumed, steps=5)
        assert (after == rest) == ((rate, max_steps) == (0.1, 20))
        assert after[0] == rate * learning_rate_factor(10, warmup_steps=4, max_steps=max_steps)


def test_learning_rate_schedule() -> None:
    factors = [learning_rate_factor(step, warmup_steps=100, max_steps=1100) for step in range(1101)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == factors[100] == 1
    assert factors[600] == pytest.approx(0.5)
    assert factors[1100] == pytest.approx(0, abs=1e-9)
    assert all(math.isfinite(factor) for factor in factors)
