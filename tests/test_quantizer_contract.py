"""What every quantizer must keep: registered ones, and a projection around each."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from fsq_audio.errors import ConfigError, TokenError
from fsq_audio.quantizers import (
    DROPPED,
    LatentsError,
    Projected,
    Quantized,
    Quantizer,
    base,
    build_quantizer,
    quantizer_names,
    register_quantizer,
)

# One entry for each registered name, or `test_every_registered_quantizer_is_tested` fails.
OPTIONS: dict[str, dict[str, object]] = {
    "fsq": {"levels": [8, 5, 5, 5], "noise": 0.5},
    "group_fsq": {"levels": [8, 5, 5], "num_groups": 3, "noise": 0.5, "group_dropout": 0.5},
    "residual_fsq": {"levels": [8, 5, 5], "num_groups": 3, "group_dropout": 0.5},
    "vq": {"codebook_size": 48, "dim": 5, "gradient": "rotation"},
    "entropy_vq": {"codebook_size": 48, "dim": 5},
    "ema_vq": {"codebook_size": 48, "dim": 5},
    "restart_vq": {"codebook_size": 48, "dim": 5},
    "kmeans_vq": {"codebook_size": 48, "dim": 5},
    "sqvae": {"codebook_size": 48, "dim": 5, "variance": "IV"},
    "gumbel_vq": {"codebook_size": 48, "dim": 5},
    "cosine_vq": {"codebook_size": 48, "dim": 3, "width": 7},
    "residual_vq": {
        "stage": {"name": "restart_vq", "codebook_size": 48, "dim": 5},
        "num_groups": 2,
        "group_dropout": 0.5,
    },
}

quantizers = pytest.mark.parametrize("name", sorted(OPTIONS))


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_quantizer(name, OPTIONS[name]).eval()


def random_latents(quantizer: nn.Module, num_items: int = 5, num_frames: int = 37) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_items, quantizer.channels, num_frames, generator=generator)


def test_every_registered_quantizer_is_tested() -> None:
    assert sorted(OPTIONS) == quantizer_names()


@quantizers
def test_shapes_types_and_ranges(name: str) -> None:
    quantizer = build(name)
    assert isinstance(quantizer, Quantizer)
    result = quantizer(random_latents(quantizer))
    assert result.quantized.shape == (5, quantizer.channels, 37)
    assert result.quantized.dtype == torch.float32
    assert result.codes.shape == (5, quantizer.num_groups, 37)
    assert result.codes.dtype == torch.int64
    assert 0 <= int(result.codes.min()) <= int(result.codes.max()) < quantizer.codebook_size
    assert all(loss.dim() == 0 for loss in result.losses.values())
    bits = quantizer.num_groups * math.log2(quantizer.codebook_size)
    assert quantizer.bits_per_frame == pytest.approx(bits)


@quantizers
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (1, 1)])
def test_empty_and_tiny_batches_pass(name: str, shape: tuple[int, int]) -> None:
    quantizer = build(name)
    result = quantizer(random_latents(quantizer, *shape))
    assert result.codes.shape == (shape[0], quantizer.num_groups, shape[1])
    assert quantizer.decode(result.codes).shape == (shape[0], quantizer.channels, shape[1])


@quantizers
def test_description_is_json_and_names_the_book(name: str) -> None:
    quantizer = build(name)
    facts = json.loads(json.dumps(quantizer.describe()))
    assert facts == quantizer.describe()
    assert facts["name"] == name
    assert facts["num_groups"] == quantizer.num_groups
    assert facts["codebook_size"] == quantizer.codebook_size


@quantizers
@pytest.mark.parametrize(
    "rearrange",
    [
        pytest.param(lambda z: z.transpose(1, 2).contiguous().transpose(1, 2), id="channels_last"),
        pytest.param(lambda z: z.permute(2, 0, 1).contiguous().permute(1, 2, 0), id="time_first"),
        pytest.param(lambda z: torch.stack([z, z], dim=-1)[..., 1], id="strided"),
        pytest.param(lambda z: torch.cat([z[:1], z])[1:], id="offset"),
        pytest.param(lambda z: z[:1].repeat(len(z), 1, 1)[:1].expand_as(z), id="expanded"),
    ],
)
def test_memory_layout_changes_no_bit(name: str, rearrange: Callable[[Tensor], Tensor]) -> None:
    quantizer = build(name)
    view = rearrange(random_latents(quantizer))
    result, expected = quantizer(view), quantizer(view.clone(memory_format=torch.contiguous_format))
    assert torch.equal(result.codes, expected.codes)
    assert torch.equal(result.quantized, expected.quantized)


@quantizers
def test_batch_composition_and_order_change_no_bit(name: str) -> None:
    quantizer = build(name)
    latents = random_latents(quantizer)
    whole = quantizer(latents)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = quantizer(latents[order])
    assert torch.equal(shuffled.codes, whole.codes[order])
    assert torch.equal(shuffled.quantized, whole.quantized[order])
    for item in range(5):
        for start, stop in [(0, 37), (0, 1), (5, 18), (36, 37)]:
            part = quantizer(latents[item : item + 1, :, start:stop])
            assert torch.equal(part.codes[0], whole.codes[item, :, start:stop])
            assert torch.equal(part.quantized[0], whole.quantized[item, :, start:stop])


@quantizers
def test_a_mask_changes_no_real_frame(name: str) -> None:
    quantizer = build(name)
    latents = random_latents(quantizer)
    mask = torch.arange(37) < torch.tensor([37, 1, 20, 5, 36])[:, None]
    padded = torch.where(mask[:, None], latents, 100.0)
    result, expected = quantizer(padded, mask), quantizer(latents)
    real = mask[:, None].expand_as(result.codes)
    assert torch.equal(result.codes[real], expected.codes[real])


@quantizers
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_bit(name: str, dtype: torch.dtype) -> None:
    quantizer = build(name)
    latents = random_latents(quantizer)
    expected = quantizer(latents)
    with torch.autocast("cpu", dtype=dtype):
        result = quantizer(latents)
        decoded = quantizer.decode(expected.codes)
    assert torch.equal(result.codes, expected.codes)
    assert torch.equal(result.quantized, expected.quantized)
    assert torch.equal(decoded, expected.quantized)


@quantizers
def test_decoded_codes_are_what_was_quantized(name: str) -> None:
    quantizer = build(name)
    result = quantizer(random_latents(quantizer))
    assert torch.equal(quantizer.decode(result.codes), result.quantized)


@quantizers
def test_a_fully_dropped_frame_decodes_to_zero(name: str) -> None:
    quantizer = build(name)
    codes = torch.full((2, quantizer.num_groups, 3), DROPPED)
    assert quantizer.decode(codes).count_nonzero() == 0


@quantizers
def test_codes_out_of_range_are_refused(name: str) -> None:
    quantizer = build(name)
    for wrong in (quantizer.codebook_size, DROPPED - 1):
        codes = torch.zeros(1, quantizer.num_groups, 2, dtype=torch.int64)
        codes[0, -1, 1] = wrong
        with pytest.raises(TokenError, match=str(wrong)):
            quantizer.decode(codes)


@quantizers
def test_latents_that_are_not_finite_are_refused(name: str) -> None:
    quantizer = build(name)
    latents = random_latents(quantizer)
    latents[2, 1, 30] = math.nan
    with pytest.raises(LatentsError, match="batch 2, channel 1, frame 30"):
        quantizer(latents)


@quantizers
def test_evaluation_changes_no_state_and_repeats(name: str) -> None:
    quantizer = build(name)
    before = copy.deepcopy(quantizer.state_dict())
    first, second = (quantizer(random_latents(quantizer)) for _ in range(2))
    assert torch.equal(first.quantized, second.quantized)
    after = quantizer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@quantizers
def test_gradients_reach_the_latents_in_training(name: str) -> None:
    quantizer = build(name).train()
    latents = random_latents(quantizer).requires_grad_()
    result = quantizer(latents)
    (result.quantized.square().sum() + sum(result.losses.values())).backward()
    assert latents.grad is not None
    assert bool(torch.isfinite(latents.grad).all())
    assert latents.grad.count_nonzero() > 0


@quantizers
def test_saved_weights_give_the_same_codes(name: str) -> None:
    quantizer = build(name)
    torch.manual_seed(1)
    other = build_quantizer(name, OPTIONS[name]).eval()
    other.load_state_dict(quantizer.state_dict())
    latents = random_latents(quantizer)
    assert torch.equal(other(latents).codes, quantizer(latents).codes)
    assert other.describe() == quantizer.describe()


@quantizers
def test_half_precision_weights_give_the_codes_of_the_loaded_model(name: str) -> None:
    quantizer = build(name)
    stored = {
        key: value.half() if value.is_floating_point() else value
        for key, value in quantizer.state_dict().items()
    }
    first, second = build(name), build(name)
    for model in (first, second):
        model.load_state_dict(stored)
    rounded = {
        key: value.half() if value.is_floating_point() else value
        for key, value in first.state_dict().items()
    }
    second.load_state_dict(rounded)  # saved once more: nothing moves
    latents = random_latents(quantizer)
    result = first(latents)
    assert torch.equal(second(latents).codes, result.codes)
    assert torch.equal(first.decode(result.codes), result.quantized)


# Training


def train_step(quantizer: nn.Module, latents: Tensor, mask: Tensor | None = None) -> Quantized:
    """One pass and the end of its step, with random numbers that repeat."""
    torch.manual_seed(3)
    result: Quantized = quantizer.train()(latents, mask)
    end_step(quantizer)
    return result


def end_step(quantizer: nn.Module, *, is_taken: bool = True) -> None:
    Projected(quantizer, channels=4).end_step(is_taken=is_taken)


def same_state(first: nn.Module, second: nn.Module) -> bool:
    state, other = first.state_dict(), second.state_dict()
    assert state.keys() == other.keys()
    return all(torch.equal(state[key], other[key]) for key in state)


@quantizers
def test_padded_frames_enter_no_loss_and_no_statistic(name: str) -> None:
    mask = torch.arange(37) < torch.tensor([37, 1, 20, 5, 36])[:, None]
    first, second = build(name), build(name)
    latents = random_latents(first)
    results = [
        train_step(quantizer, torch.where(mask[:, None], latents, padding), mask)
        for quantizer, padding in ((first, 100.0), (second, -3.0))
    ]
    assert same_state(first, second)
    assert results[0].losses.keys() == results[1].losses.keys()
    for key, loss in results[0].losses.items():
        assert torch.equal(loss, results[1].losses[key]), key
    real = mask[:, None].expand(-1, first.channels, -1)
    assert torch.equal(results[0].quantized[real], results[1].quantized[real])


@quantizers
def test_a_refused_step_leaves_nothing_behind(name: str) -> None:
    first, second = build(name), build(name)
    latents = random_latents(first)
    first.train()(latents * 50)
    assert same_state(first, second), "a pass moved something before the end of its step"
    end_step(first, is_taken=False)
    assert same_state(first, second)
    for quantizer in (first, second):
        train_step(quantizer, latents)
    assert same_state(first, second)


@quantizers
def test_steps_repeat_from_what_is_saved(name: str) -> None:
    first, second = build(name), build(name)
    for step in range(3):
        train_step(first, random_latents(first) + step)
    second.load_state_dict(first.state_dict())
    for quantizer in (first, second):
        train_step(quantizer, random_latents(first) - 1)
    assert same_state(first, second)


@quantizers
def test_every_parameter_gets_a_gradient_in_training(name: str) -> None:
    # Several processes wait for those that do not.
    quantizer = build(name).train()
    result = quantizer(random_latents(quantizer).requires_grad_())
    (result.quantized.square().sum() + sum(result.losses.values())).backward()
    for key, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key


# Projections


def project(name: str) -> Projected:
    torch.manual_seed(0)
    return Projected(build_quantizer(name, OPTIONS[name]), channels=24).eval()


@quantizers
def test_projection_keeps_the_contract(name: str) -> None:
    projected = project(name)
    assert isinstance(projected, Quantizer)
    assert projected.describe() == build(name).describe()
    latents = random_latents(projected)
    result = projected(latents)
    assert result.quantized.shape == latents.shape
    assert result.codes.shape == (5, projected.num_groups, 37)
    assert torch.equal(projected.decode(result.codes), result.quantized)
    layout = projected(latents.transpose(1, 2).contiguous().transpose(1, 2))
    assert torch.equal(layout.codes, result.codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = projected(latents)
        decoded = projected.decode(result.codes)
    assert torch.equal(mixed.quantized, result.quantized)
    assert torch.equal(decoded, result.quantized)


@quantizers
def test_projection_in_float64_and_bfloat16_decodes_what_it_quantized(name: str) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        projected = project(name).to(dtype)
        result = projected(random_latents(projected).to(dtype))
        assert result.quantized.dtype == dtype
        assert torch.equal(projected.decode(result.codes), result.quantized)


def test_a_dropped_group_is_zero_before_the_projection_back() -> None:
    projected = project("group_fsq").train()
    projected.project_out.bias.data.fill_(3.0)
    codes = torch.full((1, 3, 4), DROPPED)
    assert bool((projected.decode(codes) == 3.0).all())


def test_initialize_gives_scalars_of_mean_0_and_std_1() -> None:
    projected = project("group_fsq")
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(24, 24, generator=generator)
    latents = mixing @ torch.randn(6, 24, 200, generator=generator) + 5
    before = projected.scalars(latents)
    assert (before.std(dim=(0, 2)) - 1).abs().max() > 0.1
    projected.initialize(latents)
    after = projected.scalars(latents)
    assert after.mean(dim=(0, 2)).abs().max() < 1e-5
    assert (after.std(dim=(0, 2), correction=0) - 1).abs().max() < 1e-5
    again = projected.scalars(latents[:1, :, :3])
    assert torch.allclose(again, after[:1, :, :3], atol=1e-5)


def test_initialize_leaves_padding_out() -> None:
    latents = torch.randn(3, 24, 50, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(50) < torch.tensor([50, 30, 7])[:, None]
    padded = torch.where(mask[:, None], latents, torch.linspace(-90, 70, 24)[:, None])
    projected = project("group_fsq")
    projected.initialize(padded, mask)
    rows = projected.scalars(padded).transpose(1, 2)[mask]
    assert rows.mean(dim=0).abs().max() < 1e-5
    assert (rows.std(dim=0, correction=0) - 1).abs().max() < 1e-5


def test_initialize_refuses_silence() -> None:
    with pytest.raises(ConfigError, match="does not change"):
        project("group_fsq").initialize(torch.zeros(2, 24, 10))
    with pytest.raises(ConfigError, match="two frames"):
        project("group_fsq").initialize(torch.randn(1, 24, 1))


def test_projection_trains_all_its_weights() -> None:
    projected = project("group_fsq").train()
    projected(random_latents(projected)).quantized.square().sum().backward()
    for key, parameter in projected.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.count_nonzero() > 0, key


def test_projection_takes_quantizers_only() -> None:
    with pytest.raises(ConfigError, match="Linear"):
        Projected(nn.Linear(2, 2), channels=3)
    with pytest.raises(ConfigError, match="channels"):
        Projected(build("fsq"), channels=0)


# Registry


def test_all_faults_of_the_options_are_in_one_message() -> None:
    options = {"levels": ["8", True, 5], "noise": "no", "bound": "other", "group": 1}
    with pytest.raises(ConfigError) as caught:
        build_quantizer("group_fsq", options)
    message = str(caught.value)
    for fault in ("levels.0", "levels.1", "num_groups: missing", "noise", "bound", "group: "):
        assert fault in message
    assert "levels.2" not in message


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'fsq', 'group_fsq'"):
        build_quantizer("fsk", {})


def test_faults_between_options_are_refused_too() -> None:
    with pytest.raises(ConfigError, match="symmetric"):
        build_quantizer("fsq", {"levels": [2, 2]})


def test_a_quantizer_from_outside_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))

    @register_quantizer("ours")
    class Ours(nn.Module):
        def __init__(self, *, size: int, kind: Literal["a", "b"] = "a") -> None:
            super().__init__()
            self.size, self.kind = size, kind

    built = build_quantizer("ours", {"size": 3})
    assert isinstance(built, Ours)
    assert (built.size, built.kind) == (3, "a")
    assert "ours" in quantizer_names()
    with pytest.raises(ConfigError, match="taken by"):
        register_quantizer("ours")(Ours)
    with pytest.raises(ConfigError, match="kind"):
        build_quantizer("ours", {"size": 3, "kind": "c"})


def test_positional_arguments_cannot_be_registered() -> None:
    class Positional(nn.Module):
        def __init__(self, size: int, **rest: object) -> None:
            super().__init__()

    with pytest.raises(ConfigError, match="size, rest"):
        register_quantizer("positional")(Positional)
    assert "positional" not in quantizer_names()
