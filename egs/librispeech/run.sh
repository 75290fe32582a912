#!/usr/bin/env bash
# LibriSpeech from nothing to tokens: get, list, train, evaluate, tokenize.
#   bash egs/librispeech/run.sh [first stage] [last stage]
# LIBRISPEECH   the folder that holds train-clean-100 and the others; what is missing is downloaded
# TRAIN         splits to train on (default: train-clean-100 train-clean-360 train-other-500)
# CONFIG        a name of configs/ (default: speech_16khz); LAUNCH, a launcher of configs/accelerate
# OPTIONS       more for the recipe, such as "--max_steps 400000 --precision bf16"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

first=${1:-1}
last=${2:-5}
corpus=${LIBRISPEECH:-egs/librispeech/data/LibriSpeech}
train=${TRAIN:-train-clean-100 train-clean-360 train-other-500}
config=${CONFIG:-speech_16khz}
launch=${LAUNCH:-single_gpu}
lists=egs/librispeech/data
run=runs/librispeech_$config
model=${MODEL:-$run/model}
read -ra splits <<<"$train"
read -ra options <<<"${OPTIONS:-}"

stage() { (($1 >= first && $1 <= last)) && echo "== stage $1: $2"; }

if stage 1 "get the corpus (what is there already is kept)"; then
    for split in "${splits[@]}" dev-clean test-clean; do
        [[ -d $corpus/$split ]] && continue
        parent=$(dirname "$corpus")
        mkdir -p "$parent"
        curl --fail --location --continue-at - --output "$parent/$split.tar.gz" \
            "https://www.openslr.org/resources/12/$split.tar.gz"
        # Unpacked beside, then moved: a folder that is there is whole.
        mkdir -p "$parent/unpacking" "$corpus"
        tar -xzf "$parent/$split.tar.gz" -C "$parent/unpacking"
        mv "$parent/unpacking/LibriSpeech/$split" "$corpus/$split"
        rm -r "$parent/unpacking" "$parent/$split.tar.gz"
    done
fi
if stage 2 "manifests"; then
    python recipes/make_manifest.py "${splits[@]/#/$corpus/}" "$lists/train.jsonl"
    for split in dev-clean test-clean; do
        python recipes/make_manifest.py "$corpus/$split" "$lists/$split.jsonl"
    done
fi
if stage 3 "train (resumes where it stopped)"; then
    accelerate launch --config_file "configs/accelerate/$launch.yaml" recipes/train_tokenizer.py \
        --config "configs/$config.yaml" --output "$run" \
        --data.train "$lists/train.jsonl" --data.valid "$lists/dev-clean.jsonl" "${options[@]}"
fi
if stage 4 "evaluate on test-clean"; then
    fsq-audio evaluate "$lists/test-clean.jsonl" -o "$run/evaluation/test-clean" --model "$model" \
        --num-groups 1..G -j "$(nproc)"
fi
if stage 5 "tokenize the training splits"; then
    for split in "${splits[@]}"; do
        fsq-audio tokenize "$corpus/$split" -o "$run/tokens/$split" --model "$model"
    done
fi
