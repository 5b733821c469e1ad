#!/usr/bin/env bash
# Your own videos, start to end: ./launch/train_local.sh CLIPS_DIR [MINUTES=30] [RUN_DIRECTORY=runs/local]
# Trains both tokenizers and the language model on all but the held-out part of every clip, then shows that part.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -ge 1 ] || fail "no folder: ./launch/train_local.sh CLIPS_DIR [MINUTES] [RUN_DIRECTORY]."
[ -d "$1" ] || fail "$1: no such folder; name the folder that holds your videos."
clips=$(cd "$1" && pwd)
minutes=${2:-30}
run=${3:-runs/local}
[[ $minutes =~ ^[0-9]+$ ]] && [ "$minutes" -ge 5 ] || fail "$minutes minutes: a whole number, at least 5, is needed."
install_into_venv ""
models=$run/models
mkdir -p "$models"

share() { awk "BEGIN { print $minutes * $1 }"; }
train() { # train NAME CONFIG SHARE_OF_THE_TIME [options]
    local name=$1 config=$2 part=$3
    shift 3
    .venv/bin/videopoet train --config "$config" --workdir "$run/$name" --export "$models/$name" \
        --minutes "$(share "$part")" "$@"
}

# The text encoder is the one that ships: your captions are few.
[ -e "$models/text_encoder" ] || cp -r videopoet_jax/pretrained/nano/text_encoder "$models/text_encoder"
train image_tokenizer video_tokenizer:local_image 0.12 --set "data.root=$clips"
train video_tokenizer video_tokenizer:local 0.35 --set "data.root=$clips" --init "$models/image_tokenizer"
train audio_tokenizer audio_tokenizer:local 0.1 --set "data.root=$clips"
[ -e "$run/records/meta.json" ] ||
    .venv/bin/videopoet data prepare --config lm:local --set "data.root=$clips" --models "$models" --out "$run/records"
train lm lm:local 0.33 --set "data.records=$run/records"
.venv/bin/videopoet export --config pipeline:local --models "$models" --out "$run/pipeline"
.venv/bin/videopoet evaluate "$run/pipeline" --clips "$clips" --out-dir "$run/held_out"
.venv/bin/videopoet curves "$run/video_tokenizer" "$run/audio_tokenizer" "$run/lm" --out "$run/curves.png"
echo "Held-out copies and continuations: $run/held_out/sheet.png; curves: $run/curves.png"
