#!/usr/bin/env bash
# One small language model on all 19 tasks at once, each as often: ./launch/train_tasks.sh [--stages] [RUN_DIRECTORY]
# [STEPS=300] [FILMS HELD_OUT_FILMS] (folders, films or manifests; without them moving_digits of levels 1 and 2).
# With --stages in the paper's two instead: a quarter of the steps on `pictures_first`, nine in ten of them pictures,
# the others on `clips_then`, from the weights of the first and with a schedule of their own. Prepares records, says
# what they hold, trains, measures every task's loss on what is held out, and draws it. The tokenizers are nano's: of
# real films their codes are crude, see the README. Resumes where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
stages=
[ "${1:-}" != --stages ] || { stages=yes && shift; }
run=$(absolute "${1:-runs/tasks}")
steps=${2:-300}
[[ $steps =~ ^[1-9][0-9]{0,6}$ ]] || fail "$steps steps: a whole number above 0 is needed."
[ -z "$stages" ] || [ "$steps" -ge 4 ] || fail "$steps steps: two stages need at least 4."
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

train() { # train NAME MIXTURE STEPS [options]: the language model, in RUN/NAME
    .venv/bin/videopoet train "${config[@]}" --set "data.mixture=$2" --set "data.records=$run/train" \
        --set "data.held_out=$run/held_out" --set train.batch_size=16 --set "train.steps=$3" --workdir "$run/$1" \
        --preview-every $(($3 > 3 ? $3 / 3 : 1)) "${@:4}"
}

logs=("$run/lm")
if [ -n "$stages" ]; then
    logs=("$run/lm_first" "$run/lm")
    first=$((steps / 4))
    train lm_first pictures_first $first --export "$run/lm_first/weights" --export-dtype float32
    train lm clips_then $((steps - first)) --init "$run/lm_first/weights" --export "$models/lm"
else
    train lm evenly "$steps" --export "$models/lm"
fi
.venv/bin/videopoet curves "${logs[@]}" --out "$run/curves.png"
