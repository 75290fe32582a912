"""`fsq-audio reconstruct`: audio files to tokens and back, to hear what the tokens keep."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor

from fsq_audio.audio import AudioInfo
from fsq_audio.batches import Prepared
from fsq_audio.cli.options.files import AUDIO_FORMATS
from fsq_audio.cli.outputs import Job
from fsq_audio.cli.recordings import AudioOutput, decode_recordings
from fsq_audio.cli.session import Session
from fsq_audio.cli.stores import IfExists, TokenFiles, is_there
from fsq_audio.cli.tally import Report
from fsq_audio.cli.tokenize import Encoding
from fsq_audio.encoding import Recording
from fsq_audio.tokens import AudioTokens


class Reconstruct:
    """The work of the verb."""

    def __init__(
        self,
        encoding: Encoding,
        output: AudioOutput,
        *,
        store: TokenFiles | None,
        if_exists: IfExists,
    ) -> None:
        """Keeps the settings.

        Args:
            encoding: audio to tokens.
            output: how audio is written.
            store: where tokens go, if they are kept.
            if_exists: what to do about files that are there.
        """
        self._encoding = encoding
        self._output = output
        self._store = store
        self._if_exists = if_exists
        self.read = encoding.read

    def prepare(self, job: Job) -> Prepared[AudioInfo] | None:
        """Reads the header, unless all outputs are there."""
        tokens_are_done = self._store is None or self._store.is_done(_beside(job))
        if is_there(job.output, self._if_exists) and tokens_are_done:
            return None
        return self._encoding.prepare(job)

    def compute(self, recordings: Sequence[Recording]) -> list[tuple[AudioTokens, Tensor]]:
        """Tokenizes and resynthesizes recordings at once."""
        tokens = self._encoding.compute(recordings)
        waveforms = decode_recordings(self._encoding.model, tokens, num_groups=None)
        return list(zip(tokens, waveforms, strict=True))

    def write(self, job: Job, result: tuple[AudioTokens, Tensor]) -> Report:
        """Writes the outputs."""
        tokens, waveform = result
        return self._write(job, tokens, [waveform])

    def stream(self, job: Job, info: AudioInfo) -> Report:
        """Tokenizes and resynthesizes a long recording piece by piece."""
        tokens = self._encoding.stream(job)
        return self._write(job, tokens, self._encoding.model.decode_stream(tokens))

    def commit(self, job: Job, report: Report) -> None:
        """Nothing is left to do."""

    def _write(self, job: Job, tokens: AudioTokens, pieces: Iterable[Tensor]) -> Report:
        details = self._output.write(job.output, pieces, tokens)
        num_bytes = None
        if self._store is not None:
            num_bytes = self._store.put(_beside(job), tokens).num_bytes
        return Report.of(tokens, num_bytes=num_bytes, details=details)


def _beside(job: Job) -> Job:
    return replace(job, output=job.output.with_suffix(".fsq"))


def run(arguments: Namespace) -> bool:
    """Runs the verb; whether all files were done."""
    beside = (".fsq",) if arguments.save_tokens else ()
    session = Session(arguments, formats=AUDIO_FORMATS, beside=beside)
    session.check_audio_output()
    if arguments.dry_run:
        jobs = (lambda job: (job, _beside(job))) if beside else (lambda job: (job,))
        return session.tell_plan(lambda job: all(each.output.is_file() for each in jobs(job)))
    model = session.load_model()
    session.make_folder()
    encoding = Encoding(model, channels=arguments.channels, num_groups=arguments.num_groups)
    if_exists = arguments.if_exists
    store = TokenFiles(encoding.making(), if_exists=if_exists) if arguments.save_tokens else None
    output = AudioOutput(sample_rate=arguments.sample_rate, subtype=arguments.subtype)
    return session.run(Reconstruct(encoding, output, store=store, if_exists=if_exists))
