#!/usr/bin/env bash
# Makes the weights of `nano` from nothing: ./launch/train_nano.sh [RUN_DIRECTORY]
# Resumes where it was stopped. A GPU is used if jax finds one (install the extra `cuda`).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
install_into_venv ""
run=$(absolute "${1:-runs/nano}")
models=$run/models
mkdir -p "$models" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."

train() { # train NAME CONFIG [options]: one model, unless its weights are there already
    local name=$1 config=$2
    shift 2
    [ -e "$models/$name/model.safetensors" ] ||
        .venv/bin/videopoet train --config "$config" --workdir "$run/$name" --export "$models/$name" "$@"
}

train text_encoder text_encoder:nano
train audio_tokenizer audio_tokenizer:nano
# The paper's order: pictures first (a frame is 17 times cheaper than a clip), then inflation, then video.
train image_tokenizer video_tokenizer:nano_image --preview-every 500
train video_tokenizer video_tokenizer:nano --preview-every 300 --init "$models/image_tokenizer"
[ -e "$run/records/meta.json" ] ||
    .venv/bin/videopoet data prepare --config lm:nano --models "$models" --out "$run/records"
train lm lm:nano --set "data.records=$run/records"
.venv/bin/videopoet export --config pipeline:nano --models "$models" --out "$run/nano"
.venv/bin/videopoet evaluate "$run/nano" --sheet "$run/sheet.png" --json "$run/scores.json"
