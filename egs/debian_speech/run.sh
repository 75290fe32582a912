#!/usr/bin/env bash
# From nothing to a page to listen to: prepare, train, evaluate, report.
#   bash egs/debian_speech/run.sh [first stage] [last stage]
# Trains the configuration in $CONFIG (default: the one that ships) into runs/$CONFIG.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

first=${1:-1}
last=${2:-4}
config=${CONFIG:-speech_16khz}
data=egs/debian_speech/data
run=runs/$config
model=${MODEL:-$run/model}

stage() { (($1 >= first && $1 <= last)) && echo "== stage $1: $2"; }

if stage 1 "prepare"; then
    python egs/debian_speech/prepare.py --output "$data"
fi
if stage 2 "train (resumes where it stopped)"; then
    accelerate launch recipes/train_tokenizer.py --config "configs/$config.yaml" --output "$run"
fi
if stage 3 "tokenize, resynthesize and score, beside other codecs"; then
    for split in test-unseen test; do
        # Most of `test` is not English, so the recogniser (tiny.en) has no word on it.
        [[ $split == test ]] && metrics=perceptual || metrics=default
        fsq-audio evaluate "$data/$split.jsonl" -o "$run/evaluation/$split" --model "$model" \
            --num-groups 1..G --metrics "${METRICS:-$metrics}" -j "$(nproc)" \
            --baseline "${BASELINES-opus:6k,opus:8k,opus:12k,codec2:1200,codec2:3200}" ||
            (($? == 3)) # some metric had no value on some recording: the table counts it
    done
    python egs/debian_speech/tables.py "$run"/evaluation/{test-unseen,test}
fi
if stage 4 "a page to listen to"; then
    fsq-audio report "$run/evaluation/test-unseen" -o "$run/report.html" --clips "${CLIPS:-2}" \
        --title "debian_speech: an unseen reader"
fi
