#!/usr/bin/env bash
# What does the size of the vocabulary do to the language model? The same bits of the same pictures, written in tokens of
# 18 bits and of 10: ./launch/ablate_vocabulary.sh [RUN_DIRECTORY] [STEPS=300] [options of `videopoet train`]
# nano's tokenizer makes 80 codes of 18 bits of a clip. One model writes each as a token out of 2^18 (as a number of 9
# bits and another, given the first), the other writes the 288 bits of a latent frame in 29 tokens out of 2^10. Both are
# trained on text to video for STEPS steps of 16 clips, the first also for as many operations as the second takes.
# Measured in bits: -log2 p of a held-out clip's pictures, and scores of sampled clips. Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
install_into_venv ""
run=$(absolute "${1:-runs/vocabulary}")
steps=${2:-300}
[[ $steps =~ ^[1-9][0-9]{0,6}$ ]] || fail "$steps steps: a whole number above 0 is needed."
models=$run/models
mkdir -p "$models" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."
[ ! -e "$run/steps" ] || [ "$(cat "$run/steps")" = "$steps" ] ||
    fail "$run: was begun with $(cat "$run/steps") steps; give as many, or another directory."
echo "$steps" >"$run/steps"
shipped "$models" video_tokenizer audio_tokenizer text_encoder

prepare() { # prepare SPLIT CLIPS: the records that all share
    [ -e "$run/$1/meta.json" ] ||
        .venv/bin/videopoet data prepare --config lm:nano --models "$models" --out "$run/$1" --split "$1" --clips "$2" \
            --batch-size 32
}
prepare train $((16 * steps < 256 ? 256 : 16 * steps))
prepare held_out 128

large=() # 2^18 is nano's own
small=(--set model.visual_codes=1024 --set model.visual_factors=1 --set data.code_bits=18)
ratio() { # operations of a step of the second to one of the first
    .venv/bin/python - "${small[@]/#--set/}" <<'PYTHON'
import sys
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.plan import layout_of
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
    local name=$1 budget=$2 row_models=$run/.$1
    shift 2
    rows+=("$run/$name") runs+=("$run/runs/$name")
    [ -e "$run/$name/config.json" ] && return
    mkdir -p "$row_models"
    for part in video_tokenizer audio_tokenizer text_encoder; do ln -sfn "../models/$part" "$row_models/$part"; done
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
