"""Short, fair trials of the choices behind the shipped configuration.

    python egs/debian_speech/pilots.py --output runs/pilots [--steps 400] [--jobs 2] [NAME ...]

Every trial is `configs/speech_16khz.yaml` with one choice changed: the same recordings, the same
seconds of speech a step, one core each. Then every eighth recording of the validation split is
evaluated. A trial that has a result is skipped, so the command may be interrupted and run again;
the table is printed at the end, and written to OUTPUT/pilots.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
DATA = Path("egs/debian_speech/data")
METRICS = ("stoi", "estoi", "pesq_wb", "mel_distance", "voicing_f1")

SPECTRAL = "--tokenizer.encoder.front_end {name: spectral, window_length: 1024, subframes: 2"
QUANTIZER = "--tokenizer.quantizer {name: group_fsq, levels: [8, 5, 5, 5], num_groups: 4"
# What is changed, and how; a dictionary replaces the whole of that in the file.
TRIALS: dict[str, list[str]] = {
    "as shipped": [],
    "as shipped, seed 1": ["--seed 1"],
    "as shipped, seed 2": ["--seed 2"],
    "front end: no lags": [SPECTRAL + "}"],
    "front end: all bins": [SPECTRAL + ", bands: null, lags: 84}"],
    "front end: convolutions": [
        "--tokenizer.encoder.front_end {name: conv, strides: [4, 4, 5, 8], base_channels: 24}"
    ],
    "head: inverse STFT": [
        "--tokenizer.decoder.head {name: istft, window_length: 1280, subframes: 2}"
    ],
    "50 Hz x 2 groups": ["--config configs/speech_16khz_50hz.yaml"],
    "12.5 Hz x 8 groups": ["--config configs/speech_16khz_12hz.yaml"],
    "width 256": [
        "--tokenizer.encoder.trunk.channels 256",
        "--tokenizer.decoder.trunk.channels 256",
    ],
    "width 512": [
        "--tokenizer.encoder.trunk.channels 512",
        "--tokenizer.decoder.trunk.channels 512",
    ],
    "3 + 4 blocks": [
        "--tokenizer.encoder.trunk.num_blocks 3",
        "--tokenizer.decoder.trunk.num_blocks 4",
    ],
    "crops of 0.96 s": ["--data.crop_frames 24", "--batch_size 12"],
    "crops of 3.84 s": ["--data.crop_frames 96", "--batch_size 3"],
    "half the batch, twice the steps": ["--batch_size 3", "--max_steps {twice}"],
    "twice the batch, half the steps": ["--batch_size 12", "--max_steps {half}"],
    "learning rate 3e-4": ["--optimizer.learning_rate 3e-4"],
    "learning rate 1.2e-3": ["--optimizer.learning_rate 1.2e-3"],
    "two mel scales": ["--loss.mel_windows [512, 2048]", "--loss.mel_bands [64, 128]"],
    "linear spectra, too": ["--loss.stft 7.5", "--loss.mel 7.5"],
    "no change of speed": ["--data.speed 0"],
    "noise in FSQ": [QUANTIZER + ", group_dropout: 0.15, noise: 0.5}"],
    "bound: symmetric": [QUANTIZER + ", group_dropout: 0.15, bound: symmetric}"],
    "bound: ifsq, 9 x 5 x 5 x 5": [  # odd levels only, so 1125 codes
        QUANTIZER.replace("[8,", "[9,") + ", group_dropout: 0.15, bound: ifsq}"
    ],
    "group dropout 0": [QUANTIZER + "}"],
    "group dropout 0.5": [QUANTIZER + ", group_dropout: 0.5}"],
    "discriminators from the start": ["--adversarial {start_step: 0, lead_steps: 20, every: 2}"],
    "discriminators from half way": [
        "--adversarial {start_step: {half}, lead_steps: 20, every: 2}"
    ],
}


def run(name: str, options: list[str], output: Path, *, steps: int, core: int) -> None:
    """Trains and evaluates one trial on one core; its result is `output/NAME/result.json`."""
    folder = output / name.replace(" ", "_").replace(":", "").replace(",", "")
    if (folder / "result.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    words = {"config": "configs/speech_16khz.yaml", "max_steps": str(steps)}
    for option in options:
        key, value = option.removeprefix("--").split(" ", 1)
        words[key] = value.replace("{half}", str(steps // 2)).replace("{twice}", str(2 * steps))
    words |= {"validate_every": "100000", "tracker": "null", "optimizer.ema_decay": "0.98"}
    words["optimizer.warmup_steps"] = str(int(words["max_steps"]) // 8)
    words["output"] = str(folder / "run")
    train = ["accelerate", "launch", "--cpu", "recipes/train_tokenizer.py"]
    train += [word for key, value in words.items() for word in (f"--{key}", value)]
    evaluate = ["fsq-audio", "evaluate", str(DATA / "pilots.jsonl"), "-o", str(folder / "scores")]
    evaluate += ["--model", str(folder / "run" / "model"), "--metrics", ",".join(METRICS)]
    with (folder / "log.txt").open("w") as log:
        seconds = _call(train, log, core)
        _call(evaluate, log, core)
    summary = json.loads((folder / "scores" / "summary.json").read_text("utf-8"))
    result = {"name": name, "command": shlex.join(train), "cpu_minutes": seconds / 60}
    (folder / "result.json").write_text(json.dumps(result | {"summary": summary}, indent=1))


def _call(command: list[str], log: object, core: int) -> float:
    """Runs a command on one core; the seconds of processor time that it took."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command], cwd=ROOT, stdout=log, stderr=log
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):  # 3: a metric failed on some recording
        raise RuntimeError(f"failed: {shlex.join(command)} (see log.txt beside its output)")
    return usage.ru_utime + usage.ru_stime


def table(output: Path) -> str:
    """Markdown: a line for each trial that has a result, in the order of TRIALS."""
    results = [json.loads(path.read_text("utf-8")) for path in output.glob("*/result.json")]
    place = {name: number for number, name in enumerate(TRIALS)}
    lines = [
        "| | CPU minutes | STOI | ESTOI | PESQ-WB | mel distance | voicing F1 | entropy, lowest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in sorted(results, key=lambda result: place[result["name"]]):
        (system,) = result["summary"]["systems"].values()
        means = [f"{system['metrics'][metric]['mean']:.3f}" for metric in METRICS]
        entropy = min(group["normalized_entropy"] for group in system["health"])
        cells = [result["name"], f"{result['cpu_minutes']:.1f}", *means, f"{entropy:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Reads the command line; 0 if every trial that was asked for has its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="trials (default: all)")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time, a core each")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in TRIALS]
    if unknown:
        parser.error(f"no trial is called {', '.join(unknown)}; there are: {', '.join(TRIALS)}")
    lines = (ROOT / DATA / "valid.jsonl").read_text("utf-8").splitlines(keepends=True)
    (ROOT / DATA / "pilots.jsonl").write_text("".join(lines[::8]), "utf-8")

    cores: Queue[int] = Queue()
    for core in range(arguments.jobs):
        cores.put(core)

    def one(name: str) -> bool:
        core = cores.get()
        try:
            run(name, TRIALS[name], arguments.output, steps=arguments.steps, core=core)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return False
        finally:
            cores.put(core)
        return True

    with ThreadPoolExecutor(arguments.jobs) as pool:
        done = list(pool.map(one, arguments.names or TRIALS))
    text = table(arguments.output)
    (arguments.output / "pilots.md").write_text(text, "utf-8")
    print(text, end="")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
