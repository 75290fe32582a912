"""A causal language model on the units of one tokenizer: a Llama of transformers, no class of ours.

Codes are read frame by frame, group by group (the pattern `flatten`): unit g K + k is id g K + k,
and id G K stands between recordings. So each code is predicted from all codes before it, those of
its own frame included, and what is trained is a plain language model that other tools can load.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from fsq_audio.errors import CheckpointError, ConfigError, TokenError
from fsq_audio.files import replacing_folder
from fsq_audio.units.arrays import Integers
from fsq_audio.units.item import StoreInfo, UnitItem
from fsq_audio.units.patterns import Pattern
from fsq_audio.units.vocabulary import EOS, UnitVocabulary

HEAD_WIDTH = 32
_INFO = "units.json"


def build_llama(
    num_ids: int, *, eos_id: int, width: int, layers: int, context: int, dropout: float = 0.0
) -> Any:
    """A `LlamaForCausalLM` with random weights; its input and output embeddings are one.

    Args:
        num_ids: of its vocabulary.
        eos_id: what stands between recordings.
        width: of its layers; a head has 32.
        layers: how many.
        context: ids that it can see.
        dropout: of attention weights.

    Raises:
        ConfigError: transformers is not installed.
    """
    transformers = _transformers()
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=num_ids,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // HEAD_WIDTH,
            max_position_embeddings=context,
            attention_dropout=dropout,
            tie_word_embeddings=True,
            bos_token_id=eos_id,
            eos_token_id=eos_id,
        )
    )


def next_id_nats(llama: Any, contexts: Tensor) -> Tensor:
    """What each id costs after those before it.

    Args:
        llama: the model.
        contexts: ids [N, L].

    Returns:
        [N, L - 1], -ln p of ids 1 to L - 1.
    """
    logits, targets = llama(input_ids=contexts[:, :-1]).logits, contexts[:, 1:]
    # As one list: with the classes in the middle it takes four times as long on a CPU.
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view_as(targets)


@dataclass(frozen=True)
class UnitLanguage:
    """The ids of the units of one tokenizer.

    Attributes:
        info: of the stores that hold them.
    """

    info: StoreInfo

    @property
    def pattern(self) -> Pattern:
        """How codes become a sequence."""
        return Pattern("flatten", self.info.num_groups, self.info.codebook_size)

    @property
    def vocabulary(self) -> UnitVocabulary:
        """Which id is which code; one more stands between recordings."""
        return UnitVocabulary(
            self.info.num_groups, self.info.codebook_size, specials=(EOS,), specials_first=False
        )

    @property
    def eos_id(self) -> int:
        """The id between recordings: before the first frame, and after the last."""
        return self.vocabulary.special_id(EOS)

    def item_to_ids(self, item: UnitItem) -> Integers:
        """Ids [G T] of a recording, without any before or after it."""
        return self.codes_to_ids(item.codes)

    def codes_to_ids(self, codes: Integers) -> Integers:
        """Ids [G T] of codes [G, T].

        Raises:
            TokenError: another number of groups, or a code out of range.
        """
        return self.vocabulary.to_ids(self.pattern.apply(codes))

    def ids_to_codes(self, ids: Integers) -> Integers:
        """Codes [G, T] of ids [G T]; the exact inverse.

        Raises:
            TokenError: the ids are no recording's.
        """
        return self.pattern.invert(self.vocabulary.to_units(ids))

    def check(self, info: StoreInfo, *, where: object) -> None:
        """Refuses units of another tokenizer.

        Args:
            info: theirs.
            where: they are, for the message.

        Raises:
            TokenError: they are another's.
        """
        if info != self.info:
            raise TokenError(
                f"{where}: units of model {info.fingerprint} with {info.num_groups} groups; the "
                f"language model has learnt those of {self.info.fingerprint} with "
                f"{self.info.num_groups}: extract them with that model, or train another"
            )


@dataclass(frozen=True)
class UnitLanguageModel:
    """A trained language model and the units that it speaks.

    Attributes:
        llama: a `LlamaForCausalLM`.
        language: its ids.
    """

    llama: Any
    language: UnitLanguage

    @property
    def context(self) -> int:
        """Ids that it can see."""
        return cast(int, self.llama.config.max_position_embeddings)

    def save(self, folder: Path) -> None:
        """Writes a folder that `AutoModelForCausalLM` loads, too; whole or not at all.

        Args:
            folder: is replaced.
        """
        with replacing_folder(folder) as temporary:
            self.llama.save_pretrained(temporary)
            (temporary / _INFO).write_text(self.language.info.to_json() + "\n", "utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> UnitLanguageModel:
        """Undoes `save`; in evaluation mode.

        Raises:
            CheckpointError: there is no such model, or its weights do not fit its configuration.
            ConfigError: transformers is not installed.
        """
        folder = Path(folder)
        for name in (_INFO, "config.json"):
            # Without the latter transformers would build the Llama of seven billion parameters.
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder}: no folder of a language model on units ({name})")
        language = UnitLanguage(StoreInfo.from_json((folder / _INFO).read_text("utf-8")))
        try:
            llama, found = _transformers().LlamaForCausalLM.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{folder}: cannot be loaded: {reason}") from error
        wrong = [name for kind in found.values() for name in kind]
        if wrong or llama.config.vocab_size != language.vocabulary.size:
            raise CheckpointError(f"{folder}: its weights and its configuration do not fit")
        return cls(llama.eval(), language)


def with_eos(ids: Integers, language: UnitLanguage) -> Integers:
    """Ids [1 + L] of a recording as the model sees its beginning."""
    return np.concatenate([[language.eos_id], ids])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "language models need transformers: pip install 'fsq-audio[transformers]'"
        ) from None
    return transformers
