#!/usr/bin/env bash
# A language model on units, from recordings to continuations: data, units, train, evaluate, sample.
#   bash egs/unit_lm/run.sh [first stage] [last stage]
# All of it is under runs/unit_lm/FINGERPRINT, which names the tokenizer: another one begins anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

first=${1:-1}
last=${2:-5}
config=${CONFIG:-small}
tokenizer=${TOKENIZER:-default}
data=egs/debian_speech/data
info=$(fsq-audio info "$tokenizer" --json)
fingerprint=$(python -c 'import json, sys; print(json.loads(sys.argv[1])["model"])' "$info")
units=runs/unit_lm/$fingerprint/units
run=runs/unit_lm/$fingerprint/$config

stage() { (($1 >= first && $1 <= last)) && echo "== stage $1: $2"; }

if stage 1 "prepare"; then
    python egs/debian_speech/prepare.py --output "$data"
fi
if stage 2 "units (goes on where it stopped)"; then
    extract() {
        fsq-audio extract "$data/$1.jsonl" -o "$units" --split "$2" --model "$tokenizer"
    }
    extract "${TRAIN:-train-first}" train # what RESULTS.md is about; TRAIN=train has more
    extract valid valid
    extract test test
    extract test-unseen test_unseen
fi
if stage 3 "train (resumes where it stopped)"; then
    accelerate launch --cpu recipes/train_unit_lm.py --config "configs/unit_lm/$config.yaml" \
        --output "$run" --data.store "$units"
fi
if stage 4 "bits of held-out units"; then
    python recipes/evaluate_unit_lm.py --model "$run/model" --store "$units" \
        --split valid test test_unseen --output "$run/evaluation.json" | tee "$run/evaluation.md"
fi
if stage 5 "let it go on, and measure how that sounds"; then
    # Every held-out recording of five seconds or more that the package has a voice of, and the
    # unseen reader's: three seconds of each, and five that follow.
    mapfile -t prompts < <(python egs/unit_lm/listen.py --list "$data"/{test,test-unseen}.jsonl)
    sample() {
        python recipes/sample_unit_lm.py "${prompts[@]}" --model "$run/model" \
            --tokenizer "$tokenizer" --output "$run/samples/$1" "${@:2}"
    }
    sample plain
    sample cautious --temperature 0.8 --top-p 0.9
    # So hot that all codes of a group are equally likely: what no model at all sounds like.
    sample noise --temperature 1e6
    fsq-audio reconstruct "${prompts[@]}" -o "$run/samples/resynthesis" --model "$tokenizer" \
        --format flac --if-exists overwrite
    python egs/unit_lm/listen.py --samples "$run/samples" | tee "$run/listening.md"
fi
