"""What trained networks say of a recording: quality without a reference, and who speaks."""

from __future__ import annotations

import contextlib
import functools
import io
from typing import Any

import numpy as np

from fsq_audio.evaluation.metric import SAMPLE_RATE, Metric, Pair, Samples
from fsq_audio.evaluation.metric import UnmeasurableError as Unmeasurable

SHORTEST = SAMPLE_RATE // 2
"""Samples under which nothing is asked: DNSMOS would repeat a clip until it has nine seconds."""


def _dnsmos(pair: Pair, *, key: str) -> float:
    """DNSMOS P.835 and P.808 (Reddy et al. 2021, 2022) of the degraded recording."""
    _check(pair)
    values = pair.degraded.once("dnsmos", _ask_dnsmos)
    return float(values[key])


def _ask_dnsmos(samples: Samples) -> dict[str, Any]:
    from speechmos import dnsmos

    values: dict[str, Any] = dnsmos.run(np.clip(samples, -1, 1), sr=SAMPLE_RATE)
    return values


def distillmos(pair: Pair) -> float:
    """DistillMOS (Stahl and Gamper 2025) of the degraded recording, 1 to 5.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: under half a second, or silent.
    """
    _check(pair)
    import torch

    with torch.no_grad():
        return float(_distillmos()(torch.from_numpy(pair.degraded.samples)[None]))


@functools.cache
def _distillmos() -> Any:
    from distillmos import ConvTransformerSQAModel

    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
        return ConvTransformerSQAModel().eval()


def speaker_similarity(pair: Pair) -> float:
    """Cosine of the two speaker embeddings of resemblyzer (Wan et al. 2018), at most 1.

    Args:
        pair: of the recordings.

    Raises:
        UnmeasurableError: under half a second, or silent.
    """
    _check(pair)
    first, second = (voice.once("speaker", _embed) for voice in (pair.reference, pair.degraded))
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def _embed(samples: Samples) -> Samples:
    from resemblyzer import preprocess_wav

    embedding: Samples = _speaker_encoder().embed_utterance(preprocess_wav(samples))
    return embedding


@functools.cache
def _speaker_encoder() -> Any:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def _check(pair: Pair) -> None:
    pair.check_audible()
    if len(pair.degraded.samples) < SHORTEST:
        raise Unmeasurable("under half a second")


_DNSMOS = ("speechmos", "onnxruntime", "requests")

METRICS = (
    *(
        Metric(f"dnsmos_{name}", functools.partial(_dnsmos, key=f"{key}_mos"), True, "MOS",
               "predicted", _DNSMOS, versa=versa)
        for name, key, versa in (
            ("overall", "ovrl", "dns_overall"), ("signal", "sig", None),
            ("background", "bak", None), ("p808", "p808", "dns_p808"),
        )
    ),
    Metric("distillmos", distillmos, True, "MOS", "predicted",
           ("distillmos",), "eval-more", is_default=False),
    Metric("speaker_similarity", speaker_similarity, True, "cosine", "predicted",
           ("resemblyzer", "webrtcvad"), "eval-more", is_default=False),
)  # fmt: skip
