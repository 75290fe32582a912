"""Language models on units: what codes cost, sampling, folders. Each figure can be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_tools import make_info, make_item

from fsq_audio.errors import CheckpointError, ConfigError, TokenError
from fsq_audio.units.datasets import PackedUnits, UnitStream
from fsq_audio.units.parquet import write_shard
from fsq_audio.units.store import Count, count_frames, shard_name

pytest.importorskip("transformers", reason="transformers is not installed")

from fsq_audio.language_model.bits import Unigram, bits_per_code, model_bits
from fsq_audio.language_model.model import (
    UnitLanguage,
    UnitLanguageModel,
    build_llama,
    next_id_nats,
    with_eos,
)
from fsq_audio.language_model.sampling import Sampling, continue_codes
from fsq_audio.training.contexts import ContextBatches
from fsq_audio.training.state import EarlyStopping

GROUPS, SIZE, CONTEXT = 2, 10, 24
INFO = make_info(num_groups=GROUPS, codebook_size=SIZE)
LANGUAGE = UnitLanguage(INFO)


def build(seed: int = 0, **changes: int) -> UnitLanguageModel:
    options = {"width": 32, "layers": 1, "context": CONTEXT, **changes}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        llama = build_llama(LANGUAGE.vocabulary.size, eos_id=LANGUAGE.eos_id, **options)
    return UnitLanguageModel(llama.eval(), LANGUAGE)


@pytest.fixture(scope="module")
def model() -> UnitLanguageModel:
    """One whose logits are far from even."""
    model = build()
    with torch.no_grad():
        model.llama.get_input_embeddings().weight.mul_(8)
    return model


def draw(num_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SIZE, (GROUPS, num_frames))


@settings(max_examples=20)
@given(num_frames=st.integers(0, 40), seed=st.integers(0, 5))
def test_ids_and_codes_are_one(num_frames: int, seed: int) -> None:
    codes = draw(num_frames, seed)
    ids = LANGUAGE.codes_to_ids(codes)
    assert np.array_equal(LANGUAGE.ids_to_codes(ids), codes)
    assert LANGUAGE.eos_id == GROUPS * SIZE not in ids
    assert with_eos(ids, LANGUAGE).tolist() == [LANGUAGE.eos_id, *ids]


@pytest.mark.parametrize("lengths", [(0,), (1, 5, 12), (12, 13, 40, 0, 3)])
def test_bits_are_those_of_one_pass_over_each_window(
    model: UnitLanguageModel, lengths: tuple[int, ...]
) -> None:
    recordings = [draw(length, seed) for seed, length in enumerate(lengths)]
    found = model_bits(model, recordings, batch_size=3)
    for codes, bits in zip(recordings, found, strict=True):
        assert bits.shape == codes.shape
        ids = torch.from_numpy(with_eos(LANGUAGE.codes_to_ids(codes), LANGUAGE))
        flat = bits.T.flatten()
        for place in range(len(ids) - 1):
            # Half a context at least is seen, or all there is; never a later id.
            windows = [s for s in range(0, len(ids), CONTEXT // 2) if s <= place < s + CONTEXT]
            start = windows[-1] if place - windows[-1] >= CONTEXT // 2 else windows[0]
            with torch.no_grad():
                nats = next_id_nats(model.llama, ids[None, start : place + 2])[0, -1]
            assert flat[place] == pytest.approx(nats.item() / math.log(2), abs=1e-3)


def test_a_long_recording_is_copied_once(
    model: UnitLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = []

    def copy(*of: Any) -> np.ndarray:
        copies.append(with_eos(*of))
        return copies[-1]

    monkeypatch.setattr("fsq_audio.language_model.bits.with_eos", copy)
    model_bits(model, [draw(40), draw(3)])
    assert len(copies) == 2


def test_even_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    model = build()
    with torch.no_grad():
        model.llama.get_input_embeddings().weight.zero_()
    bits = model_bits(model, [draw(30)])
    assert bits_per_code(bits) == pytest.approx(math.log2(GROUPS * SIZE + 1), abs=1e-5)
    with pytest.raises(TokenError, match="no code"):
        bits_per_code([np.empty((2, 0))])


def train(model: UnitLanguageModel, contexts: torch.Tensor, *, steps: int) -> None:
    model.llama.train()
    optimizer = torch.optim.AdamW(model.llama.parameters(), lr=1e-2)
    for step in range(steps):
        rows = contexts[torch.arange(step * 16, step * 16 + 16) % len(contexts)]
        next_id_nats(model.llama, rows).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.llama.eval()


def pack(recordings: list[np.ndarray]) -> torch.Tensor:
    ids = np.concatenate([with_eos(LANGUAGE.codes_to_ids(each), LANGUAGE) for each in recordings])
    return torch.from_numpy(ids[: len(ids) // CONTEXT * CONTEXT]).view(-1, CONTEXT)


def test_random_codes_cost_log2_k_and_repeated_ones_nothing() -> None:
    random, constant = build(), build()
    train(random, pack([draw(12, seed) for seed in range(400)]), steps=120)
    found = bits_per_code(model_bits(random, [draw(12, 1000 + seed) for seed in range(40)]))
    assert math.log2(SIZE) - 0.05 < found < math.log2(SIZE) + 0.15
    # Frame after frame the same, and another one in each recording: the context tells which.
    repeated = [draw(1, seed).repeat(12, axis=1) for seed in range(400)]
    train(constant, pack(repeated), steps=300)
    bits = model_bits(constant, [draw(1, 1000 + s).repeat(12, axis=1) for s in range(20)])
    assert np.mean([each[:, 0].mean() for each in bits]) > 2.5
    assert np.mean([each[:, 2:].mean() for each in bits]) < 0.3


def test_a_unigram_knows_frequencies_and_nothing_else() -> None:
    codes = np.array([[0, 0, 0, 1], [2, 2, 2, 2]])
    unigram = Unigram.count([codes], num_groups=2, codebook_size=4, smoothing=0.0)
    assert unigram.entropy == pytest.approx([2 - 0.75 * math.log2(3), 0])
    exact = Unigram.count([codes], num_groups=2, codebook_size=4)
    assert exact.probabilities[0] == pytest.approx([4 / 8, 2 / 8, 1 / 8, 1 / 8])
    assert exact.bits(codes)[0] == pytest.approx([1, 1, 1, 2])
    assert exact.bits(codes[:, ::-1]).sum() == pytest.approx(exact.bits(codes).sum())
    even = Unigram.count([], num_groups=2, codebook_size=4)
    assert even.entropy == pytest.approx([2, 2])
    with pytest.raises(TokenError, match="in group 0, frame 0"):
        exact.bits(codes + 4)


@settings(max_examples=10)
@given(seed=st.integers(0, 100))
def test_cross_entropy_is_no_less_than_entropy(seed: int) -> None:
    codes = draw(200, seed)
    unigram = Unigram.count([codes], num_groups=GROUPS, codebook_size=SIZE, smoothing=0.0)
    assert unigram.bits(codes).mean(axis=1) == pytest.approx(unigram.entropy)
    other = Unigram.count([draw(200, seed + 1)], num_groups=GROUPS, codebook_size=SIZE)
    assert (other.bits(codes).mean(axis=1) >= unigram.entropy - 1e-9).all()


def test_what_follows_is_a_function_of_the_seed(model: UnitLanguageModel) -> None:
    prompt = draw(3)
    before = torch.random.get_rng_state()
    found = [
        continue_codes(model, prompt, num_frames=8, sampling=Sampling(seed=seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    for codes in found:
        assert codes.shape == (GROUPS, 11)
        assert np.array_equal(codes[:, :3], prompt)
        assert codes.min() >= 0
        assert codes.max() < SIZE
    assert continue_codes(model, draw(0), num_frames=2, sampling=Sampling()).shape == (GROUPS, 2)


def test_top_k_of_one_is_the_likeliest_of_its_group(model: UnitLanguageModel) -> None:
    found = [
        continue_codes(model, draw(3), num_frames=5, sampling=sampling)
        for sampling in (Sampling(top_k=1), Sampling(temperature=1e-4), Sampling(top_p=1e-6))
    ]
    ids = torch.from_numpy(with_eos(LANGUAGE.codes_to_ids(found[0]), LANGUAGE))
    with torch.no_grad():
        logits = model.llama(input_ids=ids[None]).logits[0]
    likeliest = [
        int(logits[place, SIZE * group : SIZE * group + SIZE].argmax())
        for place in range(GROUPS * 3, GROUPS * 8)
        for group in [place % GROUPS]
    ]
    assert found[0][:, 3:].T.flatten().tolist() == likeliest
    plain = continue_codes(model, draw(3), num_frames=5, sampling=Sampling())
    assert not np.array_equal(found[0], plain)
    assert all(np.array_equal(found[0], each) for each in found)


def test_draws_have_the_probabilities_of_the_model(model: UnitLanguageModel) -> None:
    drawn = [
        continue_codes(model, draw(1), num_frames=1, sampling=Sampling(seed=seed))[0, 1]
        for seed in range(300)
    ]
    ids = torch.from_numpy(with_eos(LANGUAGE.codes_to_ids(draw(1)), LANGUAGE))
    with torch.no_grad():
        expected = model.llama(input_ids=ids[None]).logits[0, -1, :SIZE].softmax(0).numpy()
    frequencies = np.bincount(drawn, minlength=SIZE) / len(drawn)
    assert np.abs(frequencies - expected).max() < 0.08
    assert np.abs(frequencies - 1 / SIZE).max() > 0.1


def test_sampling_that_makes_no_sense_is_refused(model: UnitLanguageModel) -> None:
    with pytest.raises(ConfigError, match=r"temperature must be above 0, got 0.*top_p must be"):
        Sampling(temperature=0, top_p=1.5)
    with pytest.raises(ConfigError, match="top_k must be 0 or more"):
        Sampling(top_k=-1)
    most = (CONTEXT - 1) // GROUPS
    continue_codes(model, draw(most - 1), num_frames=1, sampling=Sampling())
    for frames, new in ((most, 1), (3, 0)):
        with pytest.raises(ConfigError, match=r"context holds 0\.22 s in all"):
            continue_codes(model, draw(frames), num_frames=new, sampling=Sampling())
    with pytest.raises(TokenError, match="of 2 groups"):
        continue_codes(model, draw(3)[:1], num_frames=1, sampling=Sampling())


def test_a_saved_model_is_the_same_here_and_for_others(
    model: UnitLanguageModel, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model.save(tmp_path / "model")
    again = UnitLanguageModel.load(tmp_path / "model")
    codes = draw(10)
    assert np.array_equal(model_bits(again, [codes])[0], model_bits(model, [codes])[0])
    assert (again.language, again.context) == (LANGUAGE, CONTEXT)
    others = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.from_numpy(LANGUAGE.codes_to_ids(codes))[None]
    assert torch.equal(others(input_ids=ids).logits, model.llama(input_ids=ids).logits)


def test_what_is_no_model_is_refused(model: UnitLanguageModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(CheckpointError, match="no folder of a language model"):
        UnitLanguageModel.load(tmp_path)
    folder = tmp_path / "model"
    model.save(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="do not fit"):
        UnitLanguageModel.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"on units \(config.json\)"):
        UnitLanguageModel.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        UnitLanguageModel.load(folder)
    other = make_info(fingerprint="another", num_groups=GROUPS, codebook_size=SIZE)
    with pytest.raises(TokenError, match=r"here: units of model another .* has learnt"):
        LANGUAGE.check(other, where="here")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    items = [make_item(INFO, f"{number}", number % 9) for number in range(40)]
    write_shard(folder / "data" / shard_name("train", 0, 1), items, INFO)
    write_shard(folder / "data" / shard_name("valid", 0, 1), items[:3], INFO)
    return folder


def test_frames_are_counted(store: Path) -> None:
    assert count_frames(store, split="valid") == Count(3, 0 + 1 + 2)
    assert count_frames(store).num_items == 43


def batches(store: Path, context: int = 16, batch_size: int = 2) -> ContextBatches:
    stream = UnitStream(store, split="train", shuffle_buffer=8)
    packed = PackedUnits(
        stream, LANGUAGE.item_to_ids, context_length=context, eos_id=LANGUAGE.eos_id
    )
    return ContextBatches(packed, batch_size=batch_size)


@pytest.mark.parametrize("num_before", [0, 1, 7, 11, 12, 30])
def test_batches_go_on_where_they_stopped(store: Path, num_before: int) -> None:
    whole = iter(batches(store))
    expected = [next(whole) for _ in range(num_before + 15)]
    assert not torch.equal(expected[0], expected[1])
    first = batches(store)
    rows = iter(first)
    for _ in range(num_before):
        next(rows)
    second = batches(store)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = iter(second)
    for each in expected[num_before:]:
        assert torch.equal(next(rest), each)
    assert second.epoch > 0
    with pytest.raises(CheckpointError, match="has learnt units of model another, the store has"):
        batches(store).load_state_dict({**second.state_dict(), "fingerprint": "another"})


def test_processes_go_on_to_the_next_epoch_together(store: Path) -> None:
    """One that has more batches than another drops them."""
    longest = batches(store)
    longest._agree = lambda has: has and longest.num_taken < 5
    rows = iter(longest)
    for number in range(12):
        next(rows)
        assert longest.epoch == number // 5


def test_too_few_contexts_are_told(store: Path) -> None:
    with pytest.raises(ConfigError, match="no whole batch of 1000 contexts"):
        next(iter(batches(store, batch_size=1000)))


def test_early_stopping_waits_for_a_better_one() -> None:
    stopping = EarlyStopping(patience=2)
    losses = [3.0, 2.0, 2.5, 1.5, 1.5, math.nan]
    assert [stopping.is_best(loss) for loss in losses] == [True, True, False, True, False, False]
    assert (stopping.is_over, stopping.best) == (True, 1.5)
    again = EarlyStopping(patience=2)
    again.load_state_dict(stopping.state_dict())
    assert again.is_over
    assert again.is_best(1.0)
    assert not again.is_over
    assert not EarlyStopping(patience=None).is_over
