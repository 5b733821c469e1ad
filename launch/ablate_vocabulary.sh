#!/usr/bin/env bash
# What does the size of the vocabulary do to the language model? The same bits of the same pictures, written in tokens of
# 18 bits and of 10: ./launch/ablate_vocabulary.sh [RUN_DIRECTORY] [STEPS=300] [options of `videopoet train`]
# nano's tokenizer makes 80 codes of 18 bits of a clip. One model writes each as a token out of 2^18 (as a number of 9
# bits and another, given the first), the other writes the 288 bits of a latent frame in 29 tokens out of 2^10. Both are
# trained on text to video for STEPS steps of 16 clips, the first also for as many operations as the second takes.
# Measured in bits: -log2 p of a held-out clip's pictures, and scores of sampled clips. Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/study.sh
. launch/study.sh
begin_study "${1:-runs/vocabulary}" "${2:-300}" 1

prepare train $((16 * steps < 256 ? 256 : 16 * steps))
prepare held_out 128

large=() # 2^18 is nano's own
small=(--set model.visual_codes=1024 --set model.visual_factors=1 --set data.code_bits=18)
ratio() { # operations of a step of the second to one of the first
    .venv/bin/python - "${small[@]/#--set/}" <<'PYTHON'
import sys
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.plan_training import layout_of
from videopoet_jax.lm import PrefixLM, step_flops

def flops(*changes):
    config = load_config("lm:nano", changes)
    return step_flops(PrefixLM(**config.model), layout_of(config, "text_to_video"), 1).exact

print(flops(*filter(None, sys.argv[1:])) / flops())
PYTHON
}
as_dear=$(.venv/bin/python -c "print(round($steps * $(ratio)))")
rows=() runs=()
train() { # train NAME STEPS [options]
    local name=$1 budget=$2
    shift 2
    rows+=("$run/$name") runs+=("$run/runs/$name")
    [ -e "$run/$name/config.json" ] && return
    beside "$name"
    .venv/bin/videopoet train --config lm:nano --set 'data.tasks={"text_to_video": 1.0}' --set "data.records=$run/train" \
        --set train.batch_size=16 --set "train.steps=$budget" --checkpoint-every 50 --workdir "$run/runs/$name" \
        --export "$row_models/lm" "$@"
    .venv/bin/videopoet export --config pipeline:nano --set 'tasks=("text_to_video",)' --models "$row_models" \
        --out "$run/$name"
}
train bits18 "$steps" "${large[@]}" "${@:3}"
train bits10 "$steps" "${small[@]}" "${@:3}"
train bits18_as_dear "$as_dear" "${large[@]}" "${@:3}"
.venv/bin/videopoet evaluate losses "${runs[@]}" --records "$run/held_out" --json "$run/losses.jsonl"
.venv/bin/videopoet evaluate tasks "${rows[@]}" --task text_to_video --json "$run/scores.json" --sheet "$run/sheet.png"
