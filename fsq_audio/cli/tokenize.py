"""`fsq-audio tokenize`: audio files to tokens."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from fsq_audio.audio import AudioInfo, Channels, load, read_info
from fsq_audio.batches import Prepared
from fsq_audio.cli.lines import TokenLines, read_lines
from fsq_audio.cli.options.files import TOKEN_FORMATS
from fsq_audio.cli.outputs import Job
from fsq_audio.cli.session import Session
from fsq_audio.cli.stores import Making, NumpyFiles, Store, TokenFiles
from fsq_audio.cli.tally import Report
from fsq_audio.coder import Coder, source_of
from fsq_audio.encoding import Recording, encode_recordings
from fsq_audio.tokens import AudioTokens


class Encoding:
    """Audio files to tokens, in memory or streamed; `reconstruct` starts with it, too."""

    def __init__(self, model: Coder, *, channels: Channels, num_groups: int | None):
        """Keeps the settings.

        Args:
            model: the tokenizer.
            channels: "mix" or "split".
            num_groups: groups to keep; None for all.
        """
        self.model = model
        self.channels = channels
        self.num_groups = num_groups

    def prepare(self, job: Job) -> Prepared[AudioInfo]:
        """Reads the header."""
        info = read_info(job.path)
        num_rows = info.num_channels if self.channels == "split" else 1
        return Prepared(info.num_samples / info.sample_rate, num_rows, info)

    def read(self, job: Job, info: AudioInfo) -> Recording:
        """Reads the whole file."""
        waveform = load(job.path, sample_rate=self.model.sample_rate, channels=self.channels)
        return Recording(waveform, source_of(info, self.channels))

    def compute(self, recordings: Sequence[Recording]) -> list[AudioTokens]:
        """Tokenizes recordings at once."""
        return encode_recordings(self.model, recordings, num_groups=self.num_groups)

    def stream(self, job: Job) -> AudioTokens:
        """Tokenizes a file without holding its audio."""
        return self.model.encode_file(job.path, channels=self.channels, num_groups=self.num_groups)

    def making(self) -> Making:
        """What these tokens have in common."""
        num_groups = self.num_groups or self.model.num_groups
        return Making(self.model.format, num_groups, self.channels)


class Tokenize:
    """The work of the verb."""

    def __init__(self, encoding: Encoding, store: Store) -> None:
        """Puts both together."""
        self._encoding = encoding
        self._store = store
        self.read = encoding.read
        self.compute = encoding.compute
        self.write = store.put
        self.commit = store.commit

    def prepare(self, job: Job) -> Prepared[AudioInfo] | None:
        """Reads the header, unless the tokens are there."""
        return None if self._store.is_done(job) else self._encoding.prepare(job)

    def stream(self, job: Job, info: AudioInfo) -> Report:
        """Tokenizes a long file piece by piece."""
        return self._store.put(job, self._encoding.stream(job))


def run(arguments: Namespace) -> bool:
    """Runs the verb; whether all files were done."""
    session = Session(arguments, formats=TOKEN_FORMATS)
    if arguments.dry_run:
        if session.target.format == "jsonl":
            there = read_lines(session.jobs[0].output).by_key
            return session.tell_plan(lambda job: job.key in there)
        return session.tell_plan(lambda job: job.output.is_file())
    model = session.load_model()
    encoding = Encoding(model, channels=arguments.channels, num_groups=arguments.num_groups)
    target = session.make_folder()
    making, if_exists = encoding.making(), arguments.if_exists
    if target.format == "jsonl":
        with TokenLines(session.jobs[0].output, making, if_exists=if_exists) as lines:
            return session.run(Tokenize(encoding, lines))
    if target.format == "npy":
        return session.run(Tokenize(encoding, NumpyFiles(making, target, if_exists=if_exists)))
    return session.run(Tokenize(encoding, TokenFiles(making, if_exists=if_exists)))
