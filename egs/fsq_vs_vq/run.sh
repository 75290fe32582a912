#!/usr/bin/env bash
# The paper's comparison on the speech of egs/debian_speech: data, both sweeps, the results page.
#   bash egs/fsq_vs_vq/run.sh [first stage] [last stage]
# JOBS processes (default: one for each processor) share out the cells; cells that are done stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

first=${1:-1}
last=${2:-3}
results=egs/fsq_vs_vq/results

stage() { (($1 >= first && $1 <= last)) && echo "== stage $1: $2"; }

if stage 1 "prepare"; then
    python egs/debian_speech/prepare.py --output egs/debian_speech/data
fi
if stage 2 "train and measure every cell (goes on where it stopped)"; then
    for sweep in fsq_vs_vq fsq_design; do
        pids=()
        for _ in $(seq "${JOBS:-$(nproc)}"); do
            OMP_NUM_THREADS=1 accelerate launch --cpu recipes/compare_quantizers.py \
                --config "configs/compare_quantizers/$sweep.yaml" --output "$results/$sweep" &
            pids+=($!)
        done
        for pid in "${pids[@]}"; do wait "$pid"; done
    done
fi
if stage 3 "figure, tables, verdicts"; then
    python egs/fsq_vs_vq/write_results.py
fi
