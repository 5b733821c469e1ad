#!/usr/bin/env bash
# A video tokenizer in the papers' order, pictures, inflation, clips:
#   ./launch/train_tokenizer.sh CLIPS_DIR RUN_DIRECTORY [CONFIG=base] [IMAGE_STEPS VIDEO_STEPS] [options of `videopoet train` …]
# Resumes where it was stopped. Uses every GPU or TPU of the machine, for which it installs what JAX needs; on several
# machines start it on each with the option --distributed and a RUN_DIRECTORY that all of them see.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -ge 2 ] || fail "two folders: ./launch/train_tokenizer.sh CLIPS_DIR RUN_DIRECTORY [CONFIG] [IMAGE_STEPS VIDEO_STEPS] [options]."
clips=$(absolute "$1")
run=$(absolute "$2")
[ -d "$clips" ] || fail "$clips: no such folder; name the folder that holds your videos."
mkdir -p "$run" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."
shift 2
config=base
if [[ ${1:-} =~ ^[a-z] ]]; then
    config=$1
    shift
fi
steps=()
while [[ ${1:-} =~ ^[0-9] ]]; do
    [[ $1 =~ ^[1-9][0-9]{0,8}$ ]] || fail "$1 steps: a whole number above 0 is needed, of images and of clips."
    steps+=("$1")
    shift
done
case ${#steps[@]} in
    0 | 2) ;;
    *) fail "steps ${steps[*]}: two numbers are needed, of images and of clips." ;;
esac
options=("$@")
extra=$(accelerator_extra)
[ "$extra" != cuda ] || NEEDED_MB=10000 COST="several GB, CUDA among them"
install_into_venv "$extra"

train() { # train NAME CONFIG STEPS [options]: one stage; one that is done writes its weights anew
    local name=$1 stage=$2 count=$3
    shift 3
    .venv/bin/videopoet train --config "video_tokenizer:$stage" --workdir "$run/$name" --export "$run/models/$name" \
        --set "data.root=$clips" ${count:+--set "train.steps=$count"} "$@"
}

train images "${config}_image" "${steps[0]:-}" --export-dtype float32 "${options[@]}"
train clips "$config" "${steps[1]:-}" --init "$run/models/images" "${options[@]}"
.venv/bin/videopoet curves "$run/images" "$run/clips" --only psnr --only code_usage --out "$run/curves.png"
echo "The tokenizer: $run/models/clips; its curves: $run/curves.png. Next, a film through it and back, at the"
echo "height that it was trained at (data.height of its config: 128 of base; 64 unless you say so):"
echo "  .venv/bin/videopoet reconstruct FILM --model $run/models/clips --height HEIGHT --out copy.mp4"
