"""How fast, beside other codecs: a table, never a pass or fail. README.md has the command."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import own_costs
import pytest
import soundfile
import targets
import torch
from conftest import SAMPLES
from contenders import Contender, Ours, batches, build_peers, resample
from speed_table import put, render
from targets import FOLDER
from torch import Tensor

from fsq_audio.benchmark.loads import SIZES, cut, short_recordings
from fsq_audio.benchmark.stopwatch import Job, measure
from fsq_audio.tokenizer import AudioTokenizer

RATE = 16000
BATCH_SIZE = 16
THREADS = (1, 2)
ONE = "one recording of 10 s"

ROUNDS = int(os.environ.get("FSQ_AUDIO_BENCHMARK_ROUNDS", "5"))
MODEL = os.environ.get("FSQ_AUDIO_BENCHMARK_MODEL", "default")
WRITE = os.environ.get("FSQ_AUDIO_BENCHMARK_WRITE", "") == "1"


def speech() -> Tensor:
    """[S] at 16 kHz: the sample recordings in a row."""
    return torch.cat([torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in SAMPLES])


def for_each(function: Callable[[Any], object], values: Iterable[Any]) -> None:
    for value in values:
        function(value)


def jobs_of(contender: Contender, recordings: Sequence[Tensor]) -> Iterator[Job]:
    """What one codec does in memory: the long recording alone, the short ones in two ways."""
    middle = len(recordings) // 2
    share = contender.share or len(recordings)
    short = recordings[max(0, middle - share // 2) :][:share]
    long = [cut(speech(), 10 * RATE)]
    for load, way, items, size in (
        (ONE, "alone", long, 1),
        (SIZES.many, "one by one", short, 1),
        (SIZES.many, f"batches of {BATCH_SIZE}", short, BATCH_SIZE),
    ):
        fed = batches(items, from_rate=RATE, contender=contender, size=size)
        codes = [contender.codes(batch) for batch in fed]
        seconds = sum(len(item) for item in items) / RATE
        runs = {
            "encode": partial(for_each, contender.encode, fed),
            "decode": partial(for_each, contender.decode, codes),
        }
        for num_threads in THREADS:
            for direction, run in runs.items():
                yield Job(contender.name, way, load, direction, seconds, run, num_threads)


def folder_jobs(ours: Ours, recordings: Sequence[Tensor], folder: Path) -> Iterator[Job]:
    """What we do from FLAC files to token files, and from those to WAV files."""
    (folder / "audio").mkdir()
    for number, recording in enumerate(recordings):
        samples = resample(recording, RATE, ours.sample_rate).numpy()
        soundfile.write(folder / "audio" / f"{number:02}.flac", samples, ours.sample_rate)
    ours.encode_folder(folder)
    seconds = sum(len(recording) for recording in recordings) / RATE
    runs = {"encode": ours.encode_folder, "decode": ours.decode_folder}
    for num_threads in THREADS:
        for direction, run in runs.items():
            yield Job(
                ours.name,
                FOLDER,
                SIZES.many,
                direction,
                seconds,
                partial(run, folder),
                num_threads,
            )


def check(contender: Contender) -> None:
    """What is timed is what it is said to be; also the first, slow call of each model."""
    (batch,) = batches([cut(speech(), RATE)], from_rate=RATE, contender=contender, size=1)
    made, assumed = contender.encode(batch), contender.codes(batch)
    parts = zip(made, assumed, strict=True) if isinstance(assumed, list) else [(made, assumed)]
    for one, other in parts:
        if isinstance(other, Tensor):
            assert one.shape == other.shape
    waveform = contender.decode(assumed)
    assert bool(torch.isfinite(waveform).all())
    assert abs(waveform.shape[-1] - batch.lengths[0]) < contender.sample_rate // 10


def in_turns(jobs: Sequence[Job]) -> list[Job]:
    """Rivals next to each other: what competes in one ratio is timed in one minute."""
    return sorted(
        jobs, key=lambda job: (job.load != ONE, job.num_threads, job.direction == "decode")
    )


def machine() -> str:
    names = {}
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = {key.strip(): value for key, _, value in (line.partition(": ") for line in lines)}
    name = names.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def profile_lines(ours: Ours) -> list[str]:
    """Where our own time goes."""
    encoder, decoder, quantizer = ours.model.encoder, ours.model.decoder, ours.model.quantizer
    (batch,) = batches([cut(speech(), 10 * RATE)], from_rate=RATE, contender=ours, size=1)
    waveform, codes = encoder.context.pad(batch.waveform), ours.codes(batch).codes
    # Not by way of encode and decode: those work in other threads, which are not profiled.
    runs: dict[str, Callable[[], object]] = {
        "encode": lambda: quantizer(encoder(waveform)),
        "decode": lambda: decoder.resynthesize(quantizer.decode(codes)),
    }
    lines = []
    for direction, run in runs.items():
        parts = ", ".join(f"{kind} {share:.0%}" for kind, share in own_costs.shares(run).items())
        lines.append(f"Our time to {direction} 10 s, one thread: {parts}.")
    return lines


def facts(ours: Ours, contenders: Sequence[Contender], *, load: float) -> list[str]:
    """What one needs to know to repeat, or to believe, the table."""
    lines = [
        f"{c.name}: {c.facts}; {sum(p.numel() for p in c.model.parameters()) / 1e6:.1f} M "
        f"parameters, {c.sample_rate // 1000} kHz"
        + (f"; of the short recordings, the {c.share} of middle length" if c.share else "")
        for c in contenders
    ]
    lines += profile_lines(ours)
    if not MODEL.endswith(".yaml"):
        cost = own_costs.seconds(lambda: AudioTokenizer.from_pretrained(MODEL))
        lines.append(f"Loading the model, after the imports: {cost * 1000:.0f} ms.")
    for what, arguments in (
        ("`import fsq_audio` and its `AudioTokenizer`", ["-c", "import fsq_audio.tokenizer"]),
        ("`fsq-audio --help`", ["-m", "fsq_audio", "--help"]),
    ):
        cost = own_costs.seconds(partial(own_costs.run_python, *arguments))
        lines.append(f"{what}, from a fresh interpreter: {cost:.2f} s.")
    lines.append(
        f"{machine()}; load average when it began {load:.2f}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {version('transformers')}, "
        f"snac {version('snac')}; float32, eager."
    )
    return lines


def test_what_our_time_is_spent_on() -> None:
    encode, decode = profile_lines(Ours("default"))
    assert re.search(r"encode 10 s, one thread: .*matrix products [1-9]\d%", encode)
    assert re.search(r"decode 10 s, one thread: .*matrix products [1-9]\d%", decode)


@pytest.mark.benchmark
def test_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("snac")
    load = os.getloadavg()[0]

    def tell(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    ours = Ours(MODEL)
    contenders: list[Contender] = [ours, *build_peers()]
    for contender in contenders:
        check(contender)
    recordings = short_recordings(speech(), sample_rate=RATE, count=SIZES.num_many)
    if MODEL.endswith(".yaml"):
        ours.source = str(tmp_path / "model")
        ours.model.save_pretrained(ours.source)
    jobs = [*jobs_of(ours, recordings), *folder_jobs(ours, recordings, tmp_path)]
    jobs += [job for peer in contenders[1:] for job in jobs_of(peer, recordings)]
    timings = measure(in_turns(jobs), rounds=ROUNDS, tell=tell)
    assert all(len(timing.speeds) == ROUNDS for timing in timings)
    found = targets.targets(timings, ours.model, own=ours.name, folder=tmp_path)
    table = render(
        timings,
        own=ours.name,
        facts=facts(ours, contenders, load=load),
        targets=targets.render(found),
    )
    tell(f"\n{table}\n")
    if WRITE:
        put(Path(__file__).with_name("README.md"), table)
