#!/usr/bin/env bash
# How does loss fall with parameters and tokens? The paper's Figure 8 in small:
# ./launch/scaling_law.sh [RUN_DIRECTORY] [STEPS=576] [options of `videopoet train`]
# Three sizes of language model, the largest nano's, each trained on text to video for three budgets of tokens: STEPS
# steps of 16 sequences, a third and a ninth of them. Each of the nine has a run of its own, whose learning rate ends with
# its budget. Writes losses on held-out clips, scores, what fits them and a figure (scaling.jsonl, scaling.png).
# Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/study.sh
. launch/study.sh
begin_study "${1:-runs/scaling}" "${2:-576}" 9 # a ninth of them is a budget, too

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
        beside "${size}_$budget"
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
