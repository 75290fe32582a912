"""Lets a language model on units go on with recordings: sound and tokens of what it says.

    python recipes/sample_unit_lm.py --model runs/a/model --output output prompts/*.flac

The first --prompt-seconds of each recording are kept as tokens, --seconds are drawn behind them,
and all of it is resynthesized: OUTPUT/NAME.flac and OUTPUT/NAME.fsq. Recordings are audio files, or
token files (.fsq) of the tokenizer whose units the model has learnt. A recording is tokenized whole
and its tokens cut, so the last frames of a prompt have heard a little of what followed. The first
recording is drawn with --seed, the next with one more, and so on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from fsq_audio import audio
from fsq_audio.errors import ConfigError, FSQAudioError
from fsq_audio.language_model.model import UnitLanguageModel
from fsq_audio.language_model.sampling import Sampling, continue_codes
from fsq_audio.tokenizer import AudioTokenizer
from fsq_audio.tokens import AudioTokens
from fsq_audio.units.item import StoreInfo


def sample(
    tokenizer: AudioTokenizer,
    model: UnitLanguageModel,
    recording: Path,
    *,
    prompt_seconds: float,
    seconds: float,
    sampling: Sampling,
) -> AudioTokens:
    """The tokens of a beginning and its continuation."""
    groups, rate = model.language.info.num_groups, tokenizer.frame_rate
    if recording.suffix == ".fsq":
        tokens = AudioTokens.load(recording)
        tokens.check_format(tokenizer.format)
        if len(tokens) > 1:
            raise ConfigError(f"{recording}: has {len(tokens)} channels; a prompt has one")
        if tokens.num_groups < groups:
            raise ConfigError(f"{recording}: has {tokens.num_groups} of {groups} groups")
    else:
        tokens = tokenizer.encode_file(recording)
    prompt = tokens.codes[0, :groups, : round(prompt_seconds * rate)]
    codes = continue_codes(
        model, prompt.numpy(), num_frames=round(seconds * rate), sampling=sampling
    )
    num_samples = codes.shape[1] * tokenizer.hop_length
    return AudioTokens(
        codes=torch.from_numpy(codes)[None],
        lengths=torch.tensor([num_samples]),
        format=tokenizer.format,
    )


def main() -> int:
    """Reads the command line; 0 done, 1 a mistake of the user's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING")
    parser.add_argument("--model", required=True, type=Path, help="OUTPUT/model of a training")
    parser.add_argument("--tokenizer", default="default", help="whose units it has learnt")
    parser.add_argument("--output", required=True, type=Path, help="folder")
    parser.add_argument("--prompt-seconds", type=float, default=3.0, metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="N", help="to go on for")
    parser.add_argument("--temperature", type=float, default=Sampling.temperature)
    parser.add_argument("--top-k", type=int, default=Sampling.top_k, help="0: all")
    parser.add_argument("--top-p", type=float, default=Sampling.top_p)
    parser.add_argument("--seed", type=int, default=Sampling.seed)
    parser.add_argument("--audio-format", choices=("flac", "wav"), default="flac")
    parser.add_argument("--num-threads", type=int, metavar="N")
    arguments = parser.parse_args()
    if arguments.num_threads is not None:
        torch.set_num_threads(arguments.num_threads)
    try:
        sampling = Sampling(
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            seed=arguments.seed,
        )
        outputs = [arguments.output / recording.stem for recording in arguments.recordings]
        if len(set(outputs)) < len(outputs):
            raise ConfigError("two recordings have one name: sample them into two folders")
        model = UnitLanguageModel.load(arguments.model)
        tokenizer = AudioTokenizer.from_pretrained(arguments.tokenizer).eval()
        expected = StoreInfo.from_format(tokenizer.format, model.language.info.num_groups)
        model.language.check(expected, where=f"--tokenizer {arguments.tokenizer}")
        arguments.output.mkdir(parents=True, exist_ok=True)
        for number, (recording, output) in enumerate(
            zip(arguments.recordings, outputs, strict=True)
        ):
            tokens = sample(
                tokenizer,
                model,
                recording,
                prompt_seconds=arguments.prompt_seconds,
                seconds=arguments.seconds,
                sampling=replace(sampling, seed=sampling.seed + number),
            )
            # Not with_suffix: a name may have dots.
            tokens.save(output.with_name(f"{output.name}.fsq"))
            sound = output.with_name(f"{output.name}.{arguments.audio_format}")
            audio.save(sound, tokenizer.decode(tokens), sample_rate=tokenizer.sample_rate)
            print(f"{recording} -> {sound}", flush=True)
    except FSQAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
