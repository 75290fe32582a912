"""One task: the recordings of a run's part to one shard. A bad recording costs only itself."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from filelock import Timeout

from fsq_audio import audio
from fsq_audio.audio import AudioInfo
from fsq_audio.batches import Prepared, run_batches
from fsq_audio.coder import source_of
from fsq_audio.corpus.entries import Entry
from fsq_audio.corpus.local import local_file
from fsq_audio.encoding import Recording, encode_recordings
from fsq_audio.errors import CheckpointError
from fsq_audio.extraction.progress import Progress
from fsq_audio.extraction.run import Run, read_run
from fsq_audio.files import replacing
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.units.item import StoreInfo, UnitItem
from fsq_audio.units.parquet import write_shard


@dataclass(frozen=True)
class Step:
    """The step of a pipeline that does one task; any executor of datatrove can run it.

    Attributes:
        output: OUT of a run that was planned.
        split: of that run.
        device: cpu, cuda, cuda:1, mps: the run's kind of device.
        num_threads: of one process's computations on the CPU; None for as many as torch takes.
        num_readers: threads that read ahead.
        batch_seconds: audio of one batch; what is longer is streamed.
    """

    output: Path
    split: str
    device: str
    num_threads: int | None
    num_readers: int
    batch_seconds: float

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        """Does task `rank` of `world_size`, as datatrove calls a step; see `run`."""
        self.run(rank, world_size, waits=True)

    def run(self, task: int, num_tasks: int, *, waits: bool) -> None:
        """Does a task, unless it is done.

        Args:
            task: which.
            num_tasks: of the run.
            waits: if another process does it, for its end; else nothing is done.

        Raises:
            CheckpointError: the model is gone, or is not the one of the plan.
            OSError: the outputs cannot be written.
        """
        run = read_run(self.output, self.split)
        assert num_tasks == run.plan.num_tasks
        try:
            held = run.lock(task).acquire(timeout=-1 if waits else 0)
        except Timeout:
            return
        with held:
            if not run.shard(task).is_file():
                self._do(run, task)

    def _do(self, run: Run, task: int) -> None:
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        model = _load(run.settings.model, self.device, run.settings.info.fingerprint)
        scratch = run.scratch(task)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        items, failed = self._extract(run, task, model, scratch)
        run.errors(task).unlink(missing_ok=True)
        if failed:
            with replacing(run.errors(task), scratch=scratch) as path:
                path.write_text("".join(json.dumps(each) + "\n" for each in failed), "utf-8")
        # Last, and at once: the shard is what says that the task is done.
        shard = run.shard(task)
        write_shard(scratch / shard.name, items, run.settings.info)
        shard.parent.mkdir(exist_ok=True)
        os.replace(scratch / shard.name, shard)
        shutil.rmtree(scratch, ignore_errors=True)

    def _extract(
        self, run: Run, task: int, model: AudioTokenizer, scratch: Path
    ) -> tuple[list[UnitItem], list[dict[str, str]]]:
        """Items in the order of the plan, and what failed."""
        entries = run.entries(task)
        # Longest first: batches of one length, and what needs most memory shows at once.
        order = sorted(range(len(entries)), key=lambda place: -entries[place].seconds)
        work = _Extraction(model, run.settings.info, scratch)
        outcomes = run_batches(
            [entries[place] for place in order],
            work,
            num_workers=self.num_readers,
            batch_seconds=self.batch_seconds,
        )
        items: dict[int, UnitItem] = {}
        failed: dict[int, dict[str, str]] = {}
        seconds, told = 0.0, -1.0
        with closing(outcomes):
            for place, outcome in zip(order, outcomes, strict=True):
                if outcome.report is not None:
                    items[place] = outcome.report
                    seconds += outcome.report.duration
                else:
                    entry = outcome.job
                    names = {"id": entry.id, "audio_path": entry.audio_path}
                    failed[place] = {**names, "error": outcome.reason}
                if time.monotonic() - told > 1:
                    Progress(seconds, len(items), len(failed), False).save(run, task)
                    told = time.monotonic()
        Progress(seconds, len(items), len(failed), True).save(run, task)
        return [items[place] for place in sorted(items)], [failed[p] for p in sorted(failed)]


class _Extraction:
    """The work on one recording."""

    def __init__(self, model: AudioTokenizer, info: StoreInfo, scratch: Path) -> None:
        self._model = model
        self._info = info
        self._scratch = scratch

    def prepare(self, entry: Entry) -> Prepared[AudioInfo | None]:
        """Reads the header; cuts and members of shards have told their length to the planner."""
        if entry.is_file:
            info = audio.read_info(entry.path)
            return Prepared(info.num_samples / info.sample_rate, 1, info)
        return Prepared(entry.seconds, 1, None)

    def read(self, entry: Entry, info: AudioInfo | None) -> Recording:
        """Reads the whole recording, its channels mixed."""
        with local_file(entry, folder=self._scratch) as path:
            waveform = audio.load(path, sample_rate=self._model.sample_rate)
            return Recording(waveform, source_of(info or audio.read_info(path), "mix"))

    def compute(self, recordings: Sequence[Recording]) -> list[AudioTokens]:
        """Tokenizes recordings at once."""
        return encode_recordings(self._model, recordings, num_groups=self._info.num_groups)

    def write(self, entry: Entry, tokens: AudioTokens) -> UnitItem:
        """Makes the row."""
        codes = tokens.codes[0].numpy()
        small = np.uint16 if self._info.codebook_size <= 2**16 else np.int32
        return UnitItem(
            id=entry.id,
            codes=codes.astype(small),
            num_samples=int(tokens.lengths[0]),
            sampling_rate=self._info.sample_rate,
            audio_path=entry.audio_path,
            text=entry.text,
            speaker_id=entry.speaker_id,
            chapter_id=entry.chapter_id,
        )

    def stream(self, entry: Entry, info: AudioInfo | None) -> UnitItem:
        """Tokenizes a long recording piece by piece."""
        with local_file(entry, folder=self._scratch) as path:
            return self.write(
                entry, self._model.encode_file(path, num_groups=self._info.num_groups)
            )


@lru_cache(maxsize=1)  # a process does one task after another
def _load(source: str, device: str, fingerprint: str) -> AudioTokenizer:
    model = AudioTokenizer.from_pretrained(source)
    if model.fingerprint != fingerprint:
        raise CheckpointError(
            f"the model {source} is {model.fingerprint}; the run was begun with {fingerprint}"
        )
    return model.to(device)
