"""`fsq-audio decode`: token files to audio."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from torch import Tensor

from fsq_audio.batches import Prepared
from fsq_audio.cli.options.files import AUDIO_FORMATS
from fsq_audio.cli.outputs import Job
from fsq_audio.cli.recordings import AudioOutput, decode_recordings
from fsq_audio.cli.session import Session
from fsq_audio.cli.stores import IfExists, is_there
from fsq_audio.cli.tally import Report
from fsq_audio.coder import Coder
from fsq_audio.tokens import AudioTokens


class Decode:
    """The work of the verb."""

    def __init__(
        self,
        model: Coder,
        output: AudioOutput,
        *,
        num_groups: int | None,
        if_exists: IfExists,
    ) -> None:
        """Keeps the settings.

        Args:
            model: the tokenizer that made the tokens.
            output: how audio is written.
            num_groups: groups to use; None for all.
            if_exists: what to do about files that are there.
        """
        self._model = model
        self._format = model.format
        self._output = output
        self._num_groups = num_groups
        self._if_exists = if_exists

    def prepare(self, job: Job) -> Prepared[AudioTokens] | None:
        """Reads the tokens, which are small, unless the audio is there."""
        if is_there(job.output, self._if_exists):
            return None
        tokens = AudioTokens.load(job.path)
        tokens.check_format(self._format)
        return Prepared(float(tokens.duration[0]), len(tokens), tokens)

    def read(self, job: Job, tokens: AudioTokens) -> AudioTokens:
        """Nothing more to read."""
        return tokens

    def compute(self, recordings: Sequence[AudioTokens]) -> list[tuple[AudioTokens, Tensor]]:
        """Resynthesizes recordings at once."""
        waveforms = decode_recordings(self._model, recordings, num_groups=self._num_groups)
        return list(zip(recordings, waveforms, strict=True))

    def write(self, job: Job, result: tuple[AudioTokens, Tensor]) -> Report:
        """Writes the audio."""
        tokens, waveform = result
        return Report.of(tokens, details=self._output.write(job.output, [waveform], tokens))

    def stream(self, job: Job, tokens: AudioTokens) -> Report:
        """Resynthesizes a long recording piece by piece."""
        pieces = self._model.decode_stream(tokens, num_groups=self._num_groups)
        return Report.of(tokens, details=self._output.write(job.output, pieces, tokens))

    def commit(self, job: Job, report: Report) -> None:
        """Nothing is left to do."""


def run(arguments: Namespace) -> bool:
    """Runs the verb; whether all files were done."""
    session = Session(arguments, formats=AUDIO_FORMATS, takes_tokens=True)
    session.check_audio_output()
    if arguments.dry_run:
        return session.tell_plan(lambda job: job.output.is_file())
    model = session.load_model()
    session.make_folder()
    output = AudioOutput(sample_rate=arguments.sample_rate, subtype=arguments.subtype)
    work = Decode(model, output, num_groups=arguments.num_groups, if_exists=arguments.if_exists)
    return session.run(work)
