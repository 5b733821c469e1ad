#!/usr/bin/env bash
# A video tokenizer in the papers' order, pictures, inflation, clips:
#   ./launch/train_tokenizer.sh CLIPS_DIR RUN_DIRECTORY [CONFIG=base] [IMAGE_STEPS VIDEO_STEPS [options of `videopoet train` …]]
# Resumes where it was stopped. Uses every GPU or TPU of the machine if the extra `cuda` or `tpu` is installed; on
# several machines start it on each with the option --distributed and a RUN_DIRECTORY that all of them see.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -ge 2 ] || fail "two folders: ./launch/train_tokenizer.sh CLIPS_DIR RUN_DIRECTORY [CONFIG] [IMAGE_STEPS VIDEO_STEPS] [options]."
clips=$(absolute "$1")
run=$(absolute "$2")
[ -d "$clips" ] || fail "$clips: no such folder; name the folder that holds your videos."
mkdir -p "$run" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."
config=${3:-base}
steps=("${@:4:2}")
options=("${@:6}")
for number in "${steps[@]}"; do
    [[ $number =~ ^[1-9][0-9]{0,8}$ ]] || fail "$number steps: a whole number above 0 is needed, of images and of clips."
done
[ ${#steps[@]} -ne 1 ] || fail "${steps[0]} steps of images: say how many of clips too."
install_into_venv ""

train() { # train NAME CONFIG STEPS [options]: one stage; one that is done ends at once
    local name=$1 stage=$2 count=$3
    shift 3
    .venv/bin/videopoet train --config "video_tokenizer:$stage" --workdir "$run/$name" --export "$run/models/$name" \
        --set "data.root=$clips" ${count:+--set "train.steps=$count"} "$@"
}

train images "${config}_image" "${steps[0]:-}" "${options[@]}"
train clips "$config" "${steps[1]:-}" --init "$run/models/images" "${options[@]}"
.venv/bin/videopoet curves "$run/images" "$run/clips" --only psnr --only code_usage --out "$run/curves.png"
echo "The tokenizer: $run/models/clips; its curves: $run/curves.png. Next, a film through it and back:"
echo "  .venv/bin/videopoet reconstruct FILM --model $run/models/clips --out copy.mp4"
