"""`fsq-audio benchmark`: how fast the tokenizer is on this machine."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fsq_audio.arithmetic import Arithmetic, count_arithmetic
from fsq_audio.audio import AUDIO_EXTENSIONS, save
from fsq_audio.benchmark import costs, loads
from fsq_audio.benchmark.stopwatch import Timing, measure
from fsq_audio.cli import main
from fsq_audio.cli.console import Console
from fsq_audio.cli.inputs import find_inputs
from fsq_audio.cli.session import choose_device, load_model, make_console
from fsq_audio.errors import FSQAudioError
from fsq_audio.tokenizer import AudioTokenizer


def run(arguments: Namespace) -> bool:
    """Runs the verb; True: nothing can have failed half."""
    console = make_console(arguments)
    device = choose_device(arguments.device)
    model = load_model(arguments.model).to(device)
    threads = arguments.num_threads or sorted({1, torch.get_num_threads()})
    signal = _signal(arguments.inputs, model)
    console.remark(
        f"model {model.fingerprint} on {device}; {arguments.rounds} rounds; "
        f"let nothing else run meanwhile"
    )
    common = ["--model", arguments.model, "--device", arguments.device, "--if-exists", "overwrite"]
    verbs = loads.FileVerbs(
        encode=lambda source, target: _call("tokenize", source, target, common),
        decode=lambda source, target: _call("decode", source, target, common),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        jobs = loads.make_jobs(
            model, signal, name="fsq_audio", threads=threads, folder=folder / "files", verbs=verbs
        )
        timings = measure(jobs, rounds=arguments.rounds, tell=console.detail)
        _tell_speeds(timings, console)
        if device.type == "cpu":
            _tell_shares(timings, count_arithmetic(model), console)
        for seconds in (loads.SIZES.short_seconds, 10 * loads.SIZES.long_seconds):
            recording = folder / f"{seconds}.flac"
            piece = loads.cut(signal, seconds * model.sample_rate)
            save(recording, piece[None], sample_rate=model.sample_rate)
            _tell_process(recording, seconds, common, console)
    return True


def _signal(inputs: Sequence[str], model: AudioTokenizer) -> Tensor:
    if not inputs:
        return loads.noise(loads.SIZES.long_seconds, sample_rate=model.sample_rate)
    found = find_inputs(inputs, filelist=None, root=None, extensions=AUDIO_EXTENSIONS)
    return loads.speech([str(item.path) for item in found.files], sample_rate=model.sample_rate)


def _call(verb: str, source: Path, target: Path, common: Sequence[str]) -> None:
    """The whole verb, the loading of the model included, without a new process."""
    code = main([verb, str(source), "-o", str(target), "-q", *common])
    if code:
        raise FSQAudioError(f"fsq-audio {verb} failed inside the benchmark (exit code {code})")


def _tell_speeds(timings: Sequence[Timing], console: Console) -> None:
    """Multiples of real time."""
    for timing in timings:
        job, low, high = timing.job, min(timing.speeds), max(timing.speeds)
        values = {
            "load": job.load,
            "way": job.way,
            "direction": job.direction,
            "num_threads": job.num_threads,
            "times_real_time": timing.median,
            "lowest": low,
            "highest": high,
        }
        console.result(
            values,
            f"{job.direction} {job.load}, {job.way}, {_threads(job.num_threads)}: "
            f"{timing.median:.0f} times real time ({low:.0f} to {high:.0f})",
        )


def _tell_shares(timings: Sequence[Timing], arithmetic: Arithmetic, console: Console) -> None:
    """How much of what the cores could multiply is used."""
    for num_threads in sorted({timing.job.num_threads for timing in timings}):
        rate = costs.matrix_product_rate(device="cpu", num_threads=num_threads)
        for timing in timings:
            job = timing.job
            if job.num_threads != num_threads or job.seconds != loads.SIZES.long_seconds:
                continue
            gmacs = arithmetic.encoder if job.direction == "encode" else arithmetic.decoder
            share = timing.median * gmacs * 1e9 / rate
            console.result(
                {
                    "direction": job.direction,
                    "num_threads": num_threads,
                    "matrix_product_gmacs_per_second": rate / 1e9,
                    "share_of_it": share,
                },
                f"{job.direction}, {_threads(num_threads)}: {share:.0%} of the {rate / 1e9:.0f} "
                f"billion multiply-adds a second that large matrix products reach here",
            )


def _tell_process(recording: Path, seconds: int, common: Sequence[str], console: Console) -> None:
    """A fresh process, from its start to the tokens of one file."""
    target = recording.with_suffix(".tokens")
    command = ["-m", "fsq_audio", "tokenize", str(recording), "-o", str(target), "-q", *common]
    cost = costs.process_cost(command)
    memory = "" if cost.peak_bytes is None else f", {cost.peak_bytes / 2**20:.0f} MiB at most"
    console.result(
        {
            "process": "tokenize",
            "recording_seconds": seconds,
            "seconds": cost.seconds,
            "peak_bytes": cost.peak_bytes,
        },
        f"fsq-audio tokenize, {seconds} s of audio, from a cold start: {cost.seconds:.2f} s"
        f"{memory}",
    )


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"
