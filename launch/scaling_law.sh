#!/usr/bin/env bash
# How does loss fall with parameters and tokens? The paper's Figure 8 in small:
# ./launch/scaling_law.sh [RUN_DIRECTORY] [STEPS=576] [options of `videopoet train`]
# Three sizes of language model, the largest nano's, each trained on text to video for three budgets of tokens: STEPS
# steps of 16 sequences, a third and a ninth of them. Each of the nine has a run of its own, whose learning rate ends with
# its budget. Writes losses on held-out clips, scores, what fits them and a figure (scaling.jsonl, scaling.png).
# Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
install_into_venv ""
run=$(absolute "${1:-runs/scaling}")
steps=${2:-576}
[[ $steps =~ ^[1-9][0-9]{0,6}$ ]] || fail "$steps steps: a whole number above 0 is needed."
[ "$steps" -ge 9 ] || fail "$steps steps: a ninth of them is a budget, too; give at least 9."
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
# As many clips as the largest budget takes: it sees hardly one twice.
prepare train $((16 * steps < 256 ? 256 : 16 * steps))
prepare held_out 128

declare -A sizes=( # parameters of the layers: 0.25 M, 0.79 M, 2.46 M
    [small]="depth=2 width=128 heads=2 kv_heads=1 mlp=192 chain_hidden=128"
    [medium]="depth=3 width=192 heads=3 kv_heads=1 mlp=288 chain_hidden=192"
    [nano]=""
)
rows=() runs=()
for share in 9 3 1; do
    for size in small medium nano; do
        budget=$((steps / share))
        row=$run/${size}_$budget
        rows+=("$row") runs+=("$run/runs/${size}_$budget")
        [ -e "$row/config.json" ] && continue
        row_models=$run/.${size}_$budget # its language model beside the tokenizers
        mkdir -p "$row_models"
        for part in video_tokenizer audio_tokenizer text_encoder; do ln -sfn "../models/$part" "$row_models/$part"; done
        changes=()
        for change in ${sizes[$size]}; do changes+=(--set "model.$change"); done
        .venv/bin/videopoet train --config lm:nano --set 'data.tasks={"text_to_video": 1.0}' \
            --set "data.records=$run/train" --set train.batch_size=16 --set "train.steps=$budget" "${changes[@]}" \
            --checkpoint-every 50 --workdir "$run/runs/${size}_$budget" --export "$row_models/lm" "${@:3}"
        .venv/bin/videopoet export --config pipeline:nano --set 'tasks=("text_to_video",)' --models "$row_models" \
            --out "$row"
    done
done
.venv/bin/videopoet evaluate losses "${runs[@]}" --records "$run/held_out" --json "$run/losses.jsonl"
[ -e "$run/scores.json" ] ||
    .venv/bin/videopoet evaluate tasks "${rows[@]}" --task text_to_video --cases 104 --json "$run/scores.json"
.venv/bin/videopoet evaluate scaling "$run/losses.jsonl" --scores "$run/scores.json" --figure "$run/scaling.png" \
    --json "$run/scaling.jsonl"
