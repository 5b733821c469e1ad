#!/usr/bin/env bash
# Which tasks help which? The paper's Table 1 in small: ./launch/ablate_tasks.sh [RUN_DIRECTORY] [STEPS=700]
# Four language models of nano's size, trained on moving_digits for equal steps of 16 sequences: on text-to-video alone,
# on what needs no text, on both, and on pictures too. All are scored on the same held-out cases of every task, also of
# those that they were not trained on. Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/study.sh
. launch/study.sh
begin_study "${1:-runs/ablation}" "${2:-700}" 1

prepare train 8000 --set data.mixture=ablation_all
prepare held_out 64 --set data.mixture=ablation_all

rows=()
for row in text_to_video self_supervised without_pictures all; do
    rows+=("$run/$row")
    [ -e "$run/$row/config.json" ] && continue
    beside "$row"
    .venv/bin/videopoet train --config lm:nano --set "data.mixture=ablation_$row" --set "data.records=$run/train" \
        --set "data.held_out=$run/held_out" --set train.batch_size=16 --set "train.steps=$steps" \
        --workdir "$run/$row.run" --preview-every $((steps > 4 ? steps / 4 : 1)) --export "$row_models/lm"
    tasks=$(.venv/bin/python -c "from videopoet_jax.sequence import get_mixture as m; print(tuple(m('ablation_$row')))")
    .venv/bin/videopoet export --config pipeline:nano --set "tasks=$tasks" --models "$row_models" --out "$run/$row"
done
asked=()
for task in text_to_video text_to_image unconditional frame_prediction_5 inpainting outpainting audio_video_continuation; do
    asked+=(--task "$task")
done
.venv/bin/videopoet evaluate tasks "${rows[@]}" "${asked[@]}" --json "$run/scores.json" --sheet "$run/sheet.png"
