#!/usr/bin/env bash
# One small language model on all 19 tasks at once, each as often: ./launch/train_tasks.sh [RUN_DIRECTORY] [STEPS=300]
# [FILMS HELD_OUT_FILMS] (folders, films or manifests; without them moving_digits of levels 1 and 2). Prepares records,
# says what they hold, trains, measures every task's loss on what is held out, and draws it. The tokenizers are nano's:
# of real films their codes are crude, see the README. Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
run=$(absolute "${1:-runs/tasks}")
steps=${2:-300}
[[ $steps =~ ^[1-9][0-9]{0,6}$ ]] || fail "$steps steps: a whole number above 0 is needed."
[ $# -le 2 ] || [ $# -eq 4 ] || fail "$# arguments: films to train on and films held out are given together."
install_into_venv structure
models=$run/models
mkdir -p "$models" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."
shipped "$models" video_tokenizer audio_tokenizer text_encoder
config=(--config lm:nano --set data.mixture=evenly --set model.text_pieces=1024)
if [ $# -eq 4 ]; then
    config+=(--set data.source=folder)
else
    config+=(--set "data.levels=(1,2)")
fi

prepare() { # prepare NAME [options]: the records of RUN/NAME, and what they hold
    local name=$1
    shift
    [ -e "$run/$name/meta.json" ] ||
        .venv/bin/videopoet data prepare "${config[@]}" --models "$models" --out "$run/$name" "$@"
    .venv/bin/videopoet data stats "$run/$name" --digests
}

if [ $# -eq 4 ]; then
    prepare train --input "$(absolute "$3")"
    prepare held_out --input "$(absolute "$4")"
else
    prepare train --clips 1500
    prepare held_out --split held_out --clips 64
fi
.venv/bin/videopoet train "${config[@]}" --set "data.records=$run/train" --set "data.held_out=$run/held_out" \
    --set train.batch_size=16 --set "train.steps=$steps" --workdir "$run/lm" --export "$models/lm" \
    --preview-every $((steps > 3 ? steps / 3 : 1))
.venv/bin/videopoet curves "$run/lm" --out "$run/curves.png"
