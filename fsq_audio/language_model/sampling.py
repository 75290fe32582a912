"""Going on with a recording: codes that follow codes, drawn from a language model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fsq_audio.errors import ConfigError
from fsq_audio.language_model.model import UnitLanguageModel, with_eos
from fsq_audio.units.arrays import Integers


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How codes are drawn.

    Attributes:
        temperature: logits are divided by it; below 1, likely codes become likelier.
        top_k: only the k likeliest are drawn from; 0: all.
        top_p: only the likeliest are, that together have this probability; 1: all.
        seed: of the draws.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be {expected}, got {getattr(self, name)}"
            for name, is_right, expected in (
                ("temperature", self.temperature > 0, "above 0"),
                ("top_k", self.top_k >= 0, "0 or more"),
                ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            )
            if not is_right
        ]
        if faults:
            raise ConfigError("; ".join(faults))


@torch.no_grad()
def continue_codes(
    model: UnitLanguageModel, prompt: Integers, *, num_frames: int, sampling: Sampling
) -> Integers:
    """Draws the frames that follow a beginning; the same seed gives the same ones.

    At each place only codes of its group are drawn from, so what comes out can be decoded; the
    recording is not allowed to end before its time.

    Args:
        model: in evaluation mode.
        prompt: codes [G, T] that a recording begins with; T may be 0.
        num_frames: to be drawn, 1 or more.
        sampling: how.

    Returns:
        Codes [G, T + num_frames]: the prompt and its continuation.

    Raises:
        ConfigError: together they are longer than the context of the model.
        TokenError: the prompt has another number of groups, or a code out of range.
    """
    assert not model.llama.training
    language = model.language
    groups, size = language.info.num_groups, language.info.codebook_size
    seen = with_eos(language.codes_to_ids(prompt), language)
    num_new = num_frames * groups
    if num_frames < 1 or len(seen) + num_new > model.context:
        rate = language.info.frame_rate
        most = (model.context - 1) // groups
        raise ConfigError(
            f"a prompt of {prompt.shape[1] / rate:g} s and {num_frames / rate:g} s to follow: "
            f"there must be a frame to draw, and the model's context holds {most / rate:g} s "
            f"in all"
        )
    allowed = [list(range(size * group, size * (group + 1))) for group in range(groups)]
    ids = torch.from_numpy(seen)[None].to(model.llama.device)
    with torch.random.fork_rng():
        torch.manual_seed(sampling.seed)
        drawn = model.llama.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            prefix_allowed_tokens_fn=lambda _, before: allowed[(len(before) - 1) % groups],
            max_new_tokens=num_new,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            pad_token_id=language.eos_id,
        )
    return language.ids_to_codes(drawn[0, 1:].cpu().numpy())
