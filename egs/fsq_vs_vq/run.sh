#!/usr/bin/env bash
# The paper's comparison on the speech of egs/debian_speech: data, both sweeps, the results page.
#   bash egs/fsq_vs_vq/run.sh [first stage] [last stage]
# JOBS processes (default: one for each processor) share out the cells; cells that are done stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

first=${1:-1}
last=${2:-3}
results=egs/fsq_vs_vq/results

# A configuration, the folder of its results, options.
sweep() {
    local config=configs/compare_quantizers/$1.yaml output=$2 pids=()
    shift 2
    for _ in $(seq "${JOBS:-$(nproc)}"); do
        accelerate launch --cpu recipes/compare_quantizers.py --config "$config" \
            --output "$results/$output" --runs "runs/compare_quantizers/$output" "$@" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
}

stage() { (($1 >= first && $1 <= last)) && echo "== stage $1: $2"; }

if stage 1 "prepare"; then
    python egs/debian_speech/prepare.py --output egs/debian_speech/data
fi
if stage 2 "train and measure every cell (goes on where it stopped)"; then
    sweep fsq_vs_vq fsq_vs_vq
    sweep fsq_design fsq_design
    sweep fsq_vs_vq longer --seeds 0 --sizes 1024 16384 --run.max_steps 3000 \
        --arms fsq fsq_unsaturated vq restart_vq kmeans_vq
fi
if stage 3 "figure, tables, verdicts"; then
    python egs/fsq_vs_vq/write_results.py
fi
