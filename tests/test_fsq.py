from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsq_audio.errors import CheckpointError, ConfigError, TokenError
from fsq_audio.quantizers import FSQ, Bound, LatentsError

PRECISIONS = [torch.float32, torch.float64]

# levels, z, digits (None where only the index is given), index; paper convention
GOLDEN: list[tuple[list[int], list[float], list[int] | None, int]] = [
    ([8, 5, 5, 5], [0, 0, 0, 0], [4, 2, 2, 2], 500),
    ([8, 5, 5, 5], [0.5, -0.5, 1, -1], [5, 1, 4, 0], 173),
    ([8, 5, 5, 5], [-0.3, 0.2, -0.9, 2], [3, 2, 1, 4], 859),
    ([8, 5, 5, 5], [1.5, 0.7, -2.5, 0.35], [7, 3, 0, 3], 631),
    ([8, 8, 8, 6, 5], [0, 0, 0, 0, 0], [4, 4, 4, 3, 2], 7972),
    ([8, 8, 8, 6, 5], [0.5, -0.5, 1, -1, 0.25], [5, 2, 6, 1, 2], 7061),
    ([8, 8, 8, 6, 5], [-0.3, 0.2, -0.9, 2, -0.6], [3, 5, 1, 5, 1], 5739),
    ([8, 8, 8, 6, 5], [1.5, 0.7, -2.5, 0.4, 1.2], [7, 6, 0, 4, 4], 14391),
    ([3, 3, 3], [0, 0, 0], [1, 1, 1], 13),
    ([3, 3, 3], [0.5, -0.5, 0.6], [1, 1, 2], 22),
    ([3, 3, 3], [-0.6, 0.54, 0.56], [0, 1, 2], 21),
    ([3, 3, 3], [1, -1, 2], [2, 0, 2], 20),
    ([4] * 8, [0] * 8, [2] * 8, 43690),
    ([4] * 8, [0.5, -0.5, 1, -1, 0.2, -0.2, 2, -2], [3, 1, 3, 1, 2, 2, 3, 0], 14967),
    ([3, 5, 4], [0.25, 0.6, -7], None, 10),
    ([8, 6, 5], [0.5, -0.5, 1], None, 213),
    ([7, 5, 5, 5, 5], [0.5, -0.5, 1, -1, 0.25], None, 1901),
    ([8, 8, 8, 5, 5, 5], [0.5, -0.5, 1, -1, 0.25, -2], None, 5525),
]

PAPER_LEVELS = {
    4: [5, 3],
    6: [8, 8],
    8: [8, 6, 5],
    9: [8, 8, 8],
    10: [8, 5, 5, 5],
    11: [8, 8, 6, 5],
    12: [7, 5, 5, 5, 5],
    14: [8, 8, 8, 6, 5],
    16: [8, 8, 8, 5, 5, 5],
}


def column(numbers: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    """[1, D, 1]: one frame."""
    return torch.tensor(numbers, dtype=dtype)[None, :, None]


def all_codes(fsq: FSQ) -> Tensor:
    """[1, 1, K]: every code once."""
    return torch.arange(fsq.codebook_size)[None, None]


paper_levels = st.lists(st.integers(3, 12), min_size=1, max_size=4)


@st.composite
def fsqs(draw: st.DrawFn) -> FSQ:
    """An FSQ of a small book under any convention."""
    bound = draw(st.sampled_from(["paper", "note", "symmetric", "ifsq"]))
    sizes = {"paper": range(3, 12), "ifsq": range(3, 12, 2)}.get(bound, range(2, 12))
    levels = draw(st.lists(st.sampled_from(list(sizes)), min_size=1, max_size=4))
    return FSQ(levels=levels, bound=bound)


# Golden values


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("levels", "latents", "digits", "index"), GOLDEN)
def test_golden_codes(
    levels: list[int],
    latents: list[float],
    digits: list[int] | None,
    index: int,
    dtype: torch.dtype,
) -> None:
    fsq = FSQ(levels=levels)
    result = fsq(column(latents, dtype))
    assert result.codes.tolist() == [[[index]]]
    assert result.codes.dtype == torch.int64
    assert result.quantized.dtype == dtype
    if digits is not None:
        assert fsq.latents_to_digits(column(latents, dtype)).flatten().tolist() == digits
        assert fsq.codes_to_digits(result.codes).flatten().tolist() == digits


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("levels", sorted({tuple(row[0]) for row in GOLDEN}))
def test_far_latents_take_the_first_and_the_last_code(
    levels: tuple[int, ...], dtype: torch.dtype
) -> None:
    fsq = FSQ(levels=levels)
    latents = torch.tensor([-10.0, 10.0], dtype=dtype).repeat(1, len(levels), 1)
    assert fsq(latents).codes.flatten().tolist() == [0, fsq.codebook_size - 1]


@pytest.mark.parametrize(
    ("levels", "code", "values"),
    [
        ([8, 5, 5, 5], 173, [0.25, -0.5, 1, -1]),
        ([8, 8, 8, 6, 5], 7061, [0.25, -0.5, 0.5, -2 / 3, 0]),
    ],
)
def test_golden_values(levels: list[int], code: int, values: list[float]) -> None:
    decoded = FSQ(levels=levels).decode(torch.tensor([[[code]]]))
    assert torch.equal(decoded, column(values, torch.float32))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-7)])
def test_golden_bound_and_gradient(dtype: torch.dtype, tolerance: float) -> None:
    fsq = FSQ(levels=[8, 5, 5, 5])
    latents = column([0.5, -0.5, 1, -1], dtype).requires_grad_()
    bounded = fsq.bounded(latents).flatten().tolist()
    assert bounded == pytest.approx([1.4846322, -0.9233101, 1.5216651, -1.5216651], abs=tolerance)
    fsq(latents).quantized.sum().backward()
    assert latents.grad is not None
    gradient = latents.grad.flatten().tolist()
    assert gradient == pytest.approx([0.592503, 0.785661, 0.419554, 0.419554], abs=1e-6)


@pytest.mark.parametrize(
    ("num_levels", "thresholds"),
    [
        (3, [-0.549974, 0.549974]),
        (4, [-1.152548, -0.346627, 0.459294]),
        (5, [-0.974673, -0.255680, 0.255680, 0.974673]),
        (8, [-1.429701, -0.794474, -0.438188, -0.143983, 0.150222, 0.506508, 1.141735]),
    ],
)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_golden_thresholds(num_levels: int, thresholds: list[float], dtype: torch.dtype) -> None:
    fsq = FSQ(levels=[num_levels])
    for digit, threshold in enumerate(thresholds):
        around = torch.tensor([[[threshold - 2e-6, threshold + 2e-6]]], dtype=dtype)
        assert fsq(around).codes.flatten().tolist() == [digit, digit + 1]


@pytest.mark.parametrize(("bits", "levels"), PAPER_LEVELS.items())
def test_paper_levels_make_about_the_named_size(bits: int, levels: list[int]) -> None:
    fsq = FSQ(levels=levels)
    assert 0.9 * 2**bits <= fsq.codebook_size <= 1.1 * 2**bits
    assert fsq.bits_per_frame == pytest.approx(math.log2(math.prod(levels)))


# The grid


@settings(max_examples=40)
@given(fsq=fsqs())
def test_codes_and_digits_are_a_bijection(fsq: FSQ) -> None:
    codes = all_codes(fsq)
    digits = fsq.codes_to_digits(codes)
    sizes = torch.tensor(fsq.effective_levels)[:, None]
    assert bool(((digits >= 0) & (digits < sizes)).all())
    assert len(digits[0, 0].T.unique(dim=0)) == fsq.codebook_size
    assert torch.equal(fsq.digits_to_codes(digits), codes)


@settings(max_examples=60)
@given(fsq=fsqs(), data=st.data())
def test_digits_stay_in_range_and_values_are_the_codebook(fsq: FSQ, data: st.DataObject) -> None:
    extreme = st.sampled_from([1e4, -1e4, 0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38])
    row = st.lists(extreme | st.floats(-4, 4, width=32), min_size=5, max_size=5)
    latents = torch.tensor([data.draw(row) for _ in range(fsq.channels)])[None]
    result = fsq(latents)
    digits = fsq.latents_to_digits(latents)
    sizes = torch.tensor(fsq.effective_levels)[:, None]
    assert bool(((digits >= 0) & (digits < sizes)).all())
    assert torch.equal(fsq.digits_to_codes(digits), result.codes[:, 0])
    assert torch.equal(result.quantized[0].T, fsq.codebook()[result.codes.flatten()])
    assert torch.equal(result.quantized, fsq.decode(result.codes))


@settings(max_examples=40)
@given(fsq=fsqs())
def test_zero_latents_take_the_middle_digit(fsq: FSQ) -> None:
    middle = [num // 2 for num in fsq.effective_levels]
    assert fsq.latents_to_digits(torch.zeros(1, fsq.channels, 1)).flatten().tolist() == middle


@settings(max_examples=40)
@given(fsq=fsqs(), seed=st.integers(0, 10**6), data=st.data())
def test_each_scalar_moves_only_its_own_digit_and_upwards(
    fsq: FSQ, seed: int, data: st.DataObject
) -> None:
    dim = data.draw(st.integers(0, fsq.channels - 1))
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, fsq.channels, 1, generator=generator).repeat(1, 1, 200)
    latents[0, dim] = torch.linspace(-4, 4, 200)
    digits = fsq.latents_to_digits(latents)[0]
    assert bool((digits[dim].diff() >= 0).all())
    assert digits[dim].unique().tolist() == list(range(fsq.effective_levels[dim]))
    others = torch.cat([digits[:dim], digits[dim + 1 :]])
    assert bool((others == others[:, :1]).all())


@settings(max_examples=40)
@given(levels=paper_levels)
def test_every_code_of_the_paper_is_reachable(levels: list[int]) -> None:
    fsq = FSQ(levels=levels)
    codes = all_codes(fsq)
    size = torch.tensor(levels, dtype=torch.float64)[:, None]
    half = (size - 1) * (1 - 1e-3) / 2
    offset = torch.where(size % 2 == 0, 0.5, 0.0)
    rounded = fsq.codes_to_digits(codes)[0] - size.floor_divide(2)
    inside = ((rounded + offset) / half).clamp(-1 + 1e-9, 1 - 1e-9)  # the ends: tanh only nears
    latents = torch.atanh(inside) - torch.tan(offset / half)
    assert torch.equal(fsq(latents).codes, codes)
    assert torch.equal(fsq(latents.float()).codes, codes)


def test_quantizing_a_value_again_is_not_the_identity() -> None:
    fsq = FSQ(levels=[8, 5, 5, 5])
    codes = all_codes(fsq)
    values = fsq.decode(codes)
    assert (fsq(values).codes == codes).double().mean().item() == 0.5
    digits = (values * torch.tensor([4, 2, 2, 2])[:, None]).round().long()
    digits += torch.tensor([4, 2, 2, 2])[:, None]
    assert torch.equal(fsq.digits_to_codes(digits), codes[:, 0])


# Gradients and training


@settings(max_examples=60)
@given(
    levels=paper_levels,
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(PRECISIONS),
    scale=st.floats(0.1, 3),
)
def test_gradient_is_the_closed_form(
    levels: list[int], seed: int, dtype: torch.dtype, scale: float
) -> None:
    fsq = FSQ(levels=levels)
    generator = torch.Generator().manual_seed(seed)
    latents = scale * torch.randn(2, len(levels), 7, dtype=torch.float64, generator=generator)
    latents = latents.to(dtype).requires_grad_()
    upstream = torch.randn(latents.shape, dtype=dtype, generator=generator)
    (gradient,) = torch.autograd.grad(fsq(latents).quantized, latents, upstream)
    size = torch.tensor(levels, dtype=torch.float64)[:, None]
    half = (size - 1) * (1 - 1e-3) / 2
    shift = torch.where(size % 2 == 0, torch.tan(0.5 / half), 0.0)
    slope = half / size.floor_divide(2) / torch.cosh(latents.detach().double() + shift) ** 2
    assert torch.allclose(gradient.double(), upstream.double() * slope, atol=2e-6, rtol=0)


@pytest.mark.parametrize("bound", ["paper", "note", "symmetric", "ifsq"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_gradient_dies_quietly_far_out(bound: Bound, dtype: torch.dtype) -> None:
    fsq = FSQ(levels=[5, 7], bound=bound)
    latents = torch.tensor([[[20.0, -20.0, 60.0]] * 2], dtype=dtype, requires_grad=True)
    fsq(latents).quantized.sum().backward()
    assert latents.grad is not None
    assert bool((latents.grad.abs() < 1e-12).all())


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_odd_levels_are_symmetric(dtype: torch.dtype) -> None:
    fsq = FSQ(levels=[3, 5, 7, 9])
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 500, dtype=dtype, generator=generator)
    assert torch.equal(fsq(-latents).quantized, -fsq(latents).quantized)


@pytest.mark.parametrize(
    ("levels", "bound"),
    # With the even symmetric levels, soft + (hard - soft) rounds to something else than hard.
    [([8, 5, 5, 5], "paper"), ([7, 11, 27, 38], "note"), ([4, 8, 6, 12], "symmetric")],
)
def test_nothing_is_learnt_and_training_equals_evaluation(levels: list[int], bound: Bound) -> None:
    fsq = FSQ(levels=levels, bound=bound)
    latents = torch.randn(2, 4, 500, requires_grad=True)
    training = fsq.train()(latents)
    evaluation = fsq.eval()(latents)
    with torch.no_grad():
        plain = fsq(latents)
    assert list(fsq.parameters()) == []
    assert training.losses == {}
    for other in (evaluation, plain):
        assert torch.equal(training.quantized, other.quantized)
        assert torch.equal(training.codes, other.codes)


def test_a_first_call_in_inference_mode_does_not_spoil_training() -> None:
    fsq = FSQ(levels=[8, 5])
    latents = torch.randn(1, 2, 5)
    with torch.inference_mode():
        fsq(latents)
    latents.requires_grad_()
    fsq(latents).quantized.sum().backward()
    assert latents.grad is not None


# Other conventions


@settings(max_examples=40)
@given(levels=st.lists(st.integers(2, 12), min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_note_rounds_a_scaled_tanh(levels: list[int], seed: int) -> None:
    fsq = FSQ(levels=levels, bound="note")
    generator = torch.Generator().manual_seed(seed)
    latents = 2 * torch.randn(1, len(levels), 40, dtype=torch.float64, generator=generator)
    width = torch.tensor([num // 2 for num in levels], dtype=torch.float64)[:, None]
    assert fsq.effective_levels == tuple(2 * (num // 2) + 1 for num in levels)
    assert torch.equal(fsq(latents).quantized, (width * latents.tanh()).round() / width)


def test_note_of_even_levels_is_a_larger_book() -> None:
    fsq = FSQ(levels=[8, 8, 8, 6, 5], bound="note")
    assert fsq.codebook_size == 9 * 9 * 9 * 7 * 5 == 25515
    assert fsq.describe()["effective_levels"] == [9, 9, 9, 7, 5]
    assert fsq.describe()["levels"] == [8, 8, 8, 6, 5]


@settings(max_examples=40)
@given(levels=st.lists(st.integers(2, 12), min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_symmetric_is_its_formula(levels: list[int], seed: int) -> None:
    fsq = FSQ(levels=levels, bound="symmetric")
    generator = torch.Generator().manual_seed(seed)
    latents = 2 * torch.randn(1, len(levels), 40, dtype=torch.float64, generator=generator)
    steps = torch.tensor([num - 1 for num in levels], dtype=torch.float64)[:, None]
    expected = 2 / steps * torch.floor(steps * (latents.tanh() + 1) / 2 + 0.5) - 1
    assert torch.allclose(fsq(latents).quantized, expected, atol=1e-12, rtol=0)
    ends = fsq(torch.tensor([[[-9.0, 9.0]] * len(levels)])).quantized
    assert torch.equal(ends, torch.tensor([[[-1.0, 1.0]] * len(levels)]))


def test_ifsq_is_its_formula() -> None:
    fsq = FSQ(levels=[5, 7], bound="ifsq")
    latents = 2 * torch.randn(1, 2, 200, dtype=torch.float64)
    width = torch.tensor([2.0, 3.0], dtype=torch.float64)[:, None]
    expected = (width * torch.tanh(0.8 * latents)).round() / width
    assert torch.equal(fsq(latents).quantized, expected)


# Noise


def kinds_of_noise(fsq: FSQ, latents: Tensor) -> list[str]:
    """What happened to each batch element."""
    result = fsq(latents)
    hard = fsq.decode(result.codes)
    center = torch.tensor([num // 2 for num in fsq.levels], dtype=torch.float32)[:, None]
    soft = fsq.bounded(latents) / center
    kinds = []
    for value, rounded, unrounded in zip(result.quantized, hard, soft, strict=True):
        if torch.equal(value, rounded):
            kinds.append("quantized")
        elif torch.equal(value, unrounded):
            kinds.append("soft")
        else:
            steps = (value - unrounded) * center
            assert steps.abs().max() <= 0.5 + 1e-5
            assert steps.max() > 0.3
            assert steps.min() < -0.3
            kinds.append("noisy")
    return kinds


def test_noise_of_a_half_is_half_quarter_quarter() -> None:
    torch.manual_seed(0)
    fsq = FSQ(levels=[8, 5, 5, 5], noise=0.5).train()
    kinds = kinds_of_noise(fsq, torch.randn(2000, 4, 20))
    shares = [kinds.count(kind) / len(kinds) for kind in ("noisy", "soft", "quantized")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.04)


def test_noise_leaves_codes_gradients_and_evaluation_alone() -> None:
    latents = 3 * torch.randn(64, 2, 10)
    latents.requires_grad_()
    clean, noisy = FSQ(levels=[8, 5]), FSQ(levels=[8, 5], noise=2 / 3)
    assert torch.equal(noisy.train()(latents).codes, clean(latents).codes)
    gradients = [
        torch.autograd.grad(fsq(latents).quantized.sum(), latents)[0] for fsq in (clean, noisy)
    ]
    assert torch.equal(*gradients)
    assert torch.equal(noisy.eval()(latents).quantized, clean(latents).quantized)


# Numerics policy


@pytest.mark.parametrize("num_levels", [26, 27, 38])
def test_digits_survive_where_truncation_would_not(num_levels: int) -> None:
    fsq = FSQ(levels=[num_levels, num_levels])
    codes = all_codes(fsq)
    assert torch.equal(fsq.digits_to_codes(fsq.codes_to_digits(codes)), codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_books_are_packed_in_integers(dtype: torch.dtype) -> None:
    fsq = FSQ(levels=[17] * 6)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 6, 500, generator=generator).to(dtype)
    result = fsq(latents)
    digits = fsq.latents_to_digits(latents.float())[0].T.tolist()
    expected = [sum(digit * 17**dim for dim, digit in enumerate(row)) for row in digits]
    assert result.codes.flatten().tolist() == expected
    assert result.quantized.dtype == torch.float32
    assert torch.equal(result.quantized, fsq.decode(result.codes))


def test_books_are_exact_up_to_the_limit_of_int64() -> None:
    fsq = FSQ(levels=[8] * 20 + [7])
    ends = torch.tensor([-10.0, 10.0]).repeat(1, 21, 1)
    assert fsq(ends).codes.flatten().tolist() == [0, 7 * 8**20 - 1]
    with pytest.raises(ConfigError, match=r"2\^63"):
        FSQ(levels=[8] * 21)
    with pytest.raises(ConfigError, match="not listed"):
        fsq.codebook()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_converting_the_module_does_not_harm_the_grid(dtype: torch.dtype) -> None:
    fsq = FSQ(levels=[38, 27, 5])
    converted = copy.deepcopy(fsq).to(dtype)
    latents = torch.randn(1, 3, 300)
    assert torch.equal(converted(latents).codes, fsq(latents).codes)
    assert torch.equal(converted.decode(fsq(latents).codes), fsq.decode(fsq(latents).codes))


def test_a_float64_module_decodes_in_float64() -> None:
    fsq = FSQ(levels=[7, 6]).double()
    result = fsq(torch.randn(1, 2, 50, dtype=torch.float64))
    assert torch.equal(fsq.decode(result.codes), result.quantized)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_latents_that_are_not_finite_are_refused_by_place(value: float) -> None:
    latents = torch.randn(3, 2, 9)
    latents[1, 0, 7] = value
    latents[2, 1, 0] = value
    with pytest.raises(LatentsError, match="batch 1, channel 0, frame 7"):
        FSQ(levels=[8, 5])(latents)


@pytest.mark.parametrize("shape", [(2, 4), (1, 3, 5), (4, 5)])
def test_latents_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="2"):
        FSQ(levels=[8, 5])(torch.zeros(shape))


def test_integer_latents_are_refused() -> None:
    with pytest.raises(ConfigError, match="int64"):
        FSQ(levels=[8, 5])(torch.zeros(1, 2, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    "mask", [torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 3), torch.ones(3, dtype=torch.bool)]
)
def test_a_mask_that_does_not_fit_is_refused(mask: Tensor) -> None:
    with pytest.raises(ConfigError, match="mask"):
        FSQ(levels=[8, 5])(torch.zeros(1, 2, 3), mask)


# Decoding


def test_a_dropped_code_decodes_to_zero() -> None:
    fsq = FSQ(levels=[8, 5])
    decoded = fsq.decode(torch.tensor([[[0, -1, 39]]]))
    assert decoded[0].T.tolist() == [[-1.0, -1.0], [0.0, 0.0], [0.75, 1.0]]


@pytest.mark.parametrize(
    "codes",
    [
        torch.tensor([[[40]]]),
        torch.tensor([[[-2]]]),
        torch.tensor([[[1.0]]]),
        torch.tensor([[[True]]]),
        torch.tensor([[1]]),
        torch.tensor([[[1], [1]]]),
    ],
)
def test_codes_of_another_model_are_refused(codes: Tensor) -> None:
    with pytest.raises(TokenError, match="codes must"):
        FSQ(levels=[8, 5]).decode(codes)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32])
def test_narrow_integers_decode_too(dtype: torch.dtype) -> None:
    fsq = FSQ(levels=[8, 5])
    codes = torch.arange(40)[None, None]
    assert torch.equal(fsq.decode(codes.to(dtype)), fsq.decode(codes))


# Options and saved weights


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({"levels": []}, ["at least one"]),
        ({"levels": [1, 5]}, ["levels must"]),
        ({"levels": [5.0, 5]}, ["levels must"]),
        ({"levels": [True, 5]}, ["levels must"]),
        ({"levels": [2, 5]}, ["symmetric"]),
        ({"levels": [1001]}, ["1000"]),
        ({"levels": [4, 5], "bound": "ifsq"}, ["odd"]),
        ({"levels": [1], "bound": "other", "noise": 0.9}, ["bound must", "noise must", "levels"]),
        ({"levels": [5], "noise": math.nan}, ["noise must"]),
    ],
)
def test_options_that_make_no_grid_are_refused(
    options: dict[str, object], faults: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        FSQ(**options)  # type: ignore[arg-type]
    assert all(fault in str(caught.value) for fault in faults)


@pytest.mark.parametrize(
    "other",
    [{"levels": [5, 8]}, {"levels": [8, 5], "bound": "note"}, {"levels": [9, 5], "bound": "note"}],
)
def test_weights_of_another_grid_are_refused(other: dict[str, object]) -> None:
    saved = FSQ(levels=[8, 5]).state_dict()
    FSQ(levels=[8, 5]).load_state_dict(saved)
    with pytest.raises(CheckpointError, match=r"\[8, 5\] with bound 'paper'"):
        FSQ(**other).load_state_dict(saved)  # type: ignore[arg-type]


# Another implementation


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [8, 8, 8, 6, 5], [7, 5, 5, 5, 5]])
def test_another_implementation_agrees_away_from_thresholds(levels: list[int]) -> None:
    """It shifts by atanh instead of tan and widens the bound by eps instead of narrowing it."""
    oracle = pytest.importorskip("vector_quantize_pytorch").FSQ(levels)
    fsq = FSQ(levels=levels)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, len(levels), 20000, generator=generator)
    with torch.no_grad():
        values, codes = oracle(latents.transpose(1, 2))
    ours = fsq(latents)
    digits, theirs = fsq.latents_to_digits(latents)[0], fsq.codes_to_digits(codes.long())[0]
    differs = digits != theirs
    assert differs.any(dim=0).double().mean() < 0.025
    assert bool(((digits - theirs).abs() <= 1).all())
    bounded = fsq.bounded(latents)[0]
    to_threshold = (bounded - bounded.floor() - 0.5).abs()
    assert bool((to_threshold[differs] < 0.03).all())
    same = ~differs.any(dim=0)
    assert torch.equal(ours.codes[0, 0, same], codes[0, same].long())
    assert torch.allclose(ours.quantized[0, :, same], values[0, same].T, atol=1e-6)


def test_another_implementation_agrees_on_the_symmetric_grid() -> None:
    levels = [2, 3, 4, 5, 8]
    module = pytest.importorskip("vector_quantize_pytorch")
    oracle = module.FSQ(levels, preserve_symmetry=True)
    latents = torch.randn(1, 5, 5000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values, codes = oracle(latents.transpose(1, 2))
    result = FSQ(levels=levels, bound="symmetric")(latents)
    assert torch.allclose(result.quantized, values.transpose(1, 2), atol=1e-6)
    assert torch.equal(result.codes[0, 0], codes[0].long())
