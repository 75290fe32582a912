"""What tokenize, decode and reconstruct share: the model, the jobs, the run, the last line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from fsq_audio import checkpoint
from fsq_audio.audio import AUDIO_EXTENSIONS, UNREADABLE_EXTENSIONS, AudioWriter
from fsq_audio.cli.console import Console
from fsq_audio.cli.inputs import find_inputs
from fsq_audio.cli.outputs import Job, Target, choose_target, plan_jobs
from fsq_audio.cli.parser import UsageError
from fsq_audio.cli.runner import Runner, Work
from fsq_audio.coder import Coder
from fsq_audio.errors import AudioError, CheckpointError, ConfigError

if TYPE_CHECKING:
    from fsq_audio.tokenizer import AudioTokenizer

TOKEN_EXTENSIONS = (".fsq",)


class Session:
    """One run of a verb over files, from its arguments."""

    def __init__(
        self,
        arguments: Namespace,
        *,
        formats: Sequence[str],
        takes_tokens: bool = False,
        beside: Sequence[str] = (),
    ) -> None:
        """Finds the inputs and their outputs; the model is not loaded yet.

        Args:
            arguments: of the verb.
            formats: that it can write, the default one first.
            takes_tokens: whether the inputs are token files.
            beside: suffixes of what it writes next to each output.

        Raises:
            UsageError: the arguments contradict each other.
            AudioError: there are no inputs.
        """
        self.arguments = arguments
        self.console = make_console(arguments)
        self.target = choose_target(arguments.output, requested=arguments.format, formats=formats)
        extensions = TOKEN_EXTENSIONS if takes_tokens else AUDIO_EXTENSIONS
        inputs = find_inputs(
            arguments.inputs,
            filelist=arguments.filelist,
            root=arguments.root,
            extensions=extensions,
            convertible=() if takes_tokens else UNREADABLE_EXTENSIONS,
            leave_out=None if self.target.file else self.target.folder,
        )
        if inputs.passed_over:
            self.console.remark(
                f"passed over {len(inputs.passed_over)} files that must be converted first, "
                f"such as {inputs.passed_over[0]}"
            )
        self.jobs = plan_jobs(
            inputs.files,
            self.target,
            extensions=(*extensions, *UNREADABLE_EXTENSIONS),
            keep_extension=arguments.keep_extension,
            beside=beside,
        )

    def tell_plan(self, exists: Callable[[Job], bool]) -> bool:
        """What `--dry-run` prints; the model is not needed for it.

        Args:
            exists: whether the output of a job is there.

        Returns:
            True: nothing has failed.
        """
        plans = {"skip": "would skip", "overwrite": "would overwrite", "error": "would fail"}
        for job in self.jobs:
            plan = plans[self.arguments.if_exists] if exists(job) else "would write"
            self.console.result(
                {"status": plan, "input": str(job.path), "output": str(job.output)},
                f"{plan} {job.path} -> {job.output}",
            )
        return True

    def load_model(self) -> Coder:
        """The model, on its backend and device, once the arguments fit it.

        Raises:
            CheckpointError: there is none.
            ConfigError: the device is not there, or a package is missing.
            UsageError: the model has fewer groups than asked for, or the backend no such device.
        """
        open_backend = open_onnx if self.arguments.backend == "onnx" else open_model
        return open_backend(self.arguments, self.console)

    def check_audio_output(self) -> None:
        """Makes sure that there is such an encoding, before any work.

        Raises:
            UsageError: the format has none.
        """
        name, subtype = f"output.{self.target.format}", self.arguments.subtype
        try:
            AudioWriter(name, sample_rate=48000, subtype=subtype)
        except AudioError as error:
            raise UsageError(f"--subtype {subtype}: {error}") from None

    def make_folder(self) -> Target:
        """Makes the folder of the outputs."""
        self.target.folder.mkdir(parents=True, exist_ok=True)
        return self.target

    def run(self, work: Work[Any, Any, Any]) -> bool:
        """Does the jobs and says how it went.

        Args:
            work: what the verb does with a file.

        Returns:
            Whether all files were done.
        """
        runner = Runner(
            self.console,
            errors=self.target.errors,
            stop_at_error=self.arguments.on_error == "fail",
            num_workers=self.arguments.num_workers,
            batch_seconds=self.arguments.batch_seconds,
        )
        tally = runner.run(self.jobs, work)
        values = tally.values()
        self.console.remark(tally.sentence(values))
        self.console.result(values)
        return tally.num_failed == 0


def make_console(arguments: Namespace) -> Console:
    """The console that `--json`, `-v` and `-q` ask for."""
    return Console(as_json=arguments.json, verbose=bool(arguments.verbose), quiet=arguments.quiet)


def open_model(arguments: Namespace, console: Console) -> AudioTokenizer:
    """The model that the options name, on its device.

    Args:
        arguments: of `add_model` and `add_groups`.
        console: where it is told which.

    Raises:
        CheckpointError: there is none.
        ConfigError: the device is not there.
        UsageError: the model has fewer groups than asked for.
    """
    device = choose_device(arguments.device)
    model = load_model(arguments.model).to(device)
    _make_ready(arguments, console, model, where=str(device))
    return model


def open_onnx(arguments: Namespace, console: Console) -> Coder:
    """The exported model that the options name, on ONNX Runtime.

    Args:
        arguments: of `add_model` and `add_groups`.
        console: where it is told which.

    Raises:
        CheckpointError: there is none.
        ConfigError: ONNX Runtime is not installed.
        UsageError: the model has fewer groups than asked for, or another device is.
    """
    # Imported here: either backend does without the other's code.
    from fsq_audio.export.runtime import OnnxTokenizer

    if arguments.device not in ("auto", "cpu"):
        raise UsageError(f"--device {arguments.device}: the backend onnx computes on the CPU")
    model = OnnxTokenizer.from_folder(arguments.model)
    _make_ready(arguments, console, model, where="ONNX Runtime")
    return model


def _make_ready(arguments: Namespace, console: Console, model: Coder, *, where: str) -> None:
    if arguments.num_threads is not None:
        torch.set_num_threads(arguments.num_threads)
    console.detail(f"model {model.fingerprint} on {where}")
    kept = arguments.num_groups
    if kept is not None and kept > model.num_groups:
        raise UsageError(f"--num-groups {kept}: the model has {model.num_groups}")


def load_model(source: str) -> AudioTokenizer:
    """A model by folder, hub id or "default".

    Args:
        source: `--model`.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    from fsq_audio.tokenizer import AudioTokenizer

    if source == "default" and not (checkpoint.PACKAGED / checkpoint.CONFIG_FILE).is_file():
        raise CheckpointError("no model came with this installation: name one with --model")
    return AudioTokenizer.from_pretrained(source)


def choose_device(name: str) -> torch.device:
    """The device that `--device` names.

    Args:
        name: "auto" is a CUDA GPU if there is one, else the CPU.

    Raises:
        ConfigError: it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    num_devices = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= num_devices.get(device.type, 1):
        there = num_devices[device.type]
        raise ConfigError(f"--device {name}: torch finds {there} {device.type} devices here")
    return device
