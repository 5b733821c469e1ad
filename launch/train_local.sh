#!/usr/bin/env bash
# Your own videos, start to end: ./launch/train_local.sh CLIPS_DIR [MINUTES=30] [RUN_DIRECTORY=runs/local]
# Trains both tokenizers and the language model on all but the held-out part of every clip, then shows that part.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -ge 1 ] || fail "no folder: ./launch/train_local.sh CLIPS_DIR [MINUTES] [RUN_DIRECTORY]."
clips=$(absolute "$1")
[ -d "$clips" ] || fail "$clips: no such folder; name the folder that holds your videos."
minutes=${2:-30}
run=$(absolute "${3:-runs/local}")
[[ $minutes =~ ^[1-9][0-9]{0,5}$ ]] && [ "$minutes" -ge 5 ] || fail "$minutes minutes: a whole number, at least 5, is needed."
install_into_venv ""
models=$run/models
mkdir -p "$models" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."
asked="$clips, $minutes minutes"
[ ! -e "$run/asked" ] || [ "$(cat "$run/asked")" = "$asked" ] ||
    fail "$run: was begun with $(cat "$run/asked"), not $asked; go on with those, or name another run directory."
.venv/bin/videopoet data stats "$clips" --json "$run/clips.json"
echo "$asked" >"$run/asked"

share() { awk "BEGIN { print $minutes * $1 }"; }
train() { # train NAME CONFIG SHARE_OF_THE_TIME [options]
    local name=$1 config=$2 part=$3
    shift 3
    .venv/bin/videopoet train --config "$config" --workdir "$run/$name" --export "$models/$name" \
        --minutes "$(share "$part")" "$@"
}

shipped "$models" text_encoder # your captions are few
train image_tokenizer video_tokenizer:local_image 0.12 --set "data.root=$clips"
train video_tokenizer video_tokenizer:local 0.33 --set "data.root=$clips" --init "$models/image_tokenizer"
if grep -q '"with_sound": 0' "$run/clips.json"; then
    echo "No sound in $clips: the sound tokenizer is the one that ships."
    shipped "$models" audio_tokenizer
else
    train audio_tokenizer audio_tokenizer:local 0.15 --set "data.root=$clips"
fi
[ -e "$run/records/meta.json" ] ||
    .venv/bin/videopoet data prepare --config lm:local --set "data.root=$clips" --models "$models" \
        --out "$run/records" --clips $((minutes * 70)) # as many as the language model has time for
train lm lm:local 0.3 --set "data.records=$run/records"
.venv/bin/videopoet export --config pipeline:local --models "$models" --out "$run/pipeline"
.venv/bin/videopoet evaluate "$run/pipeline" --clips "$clips" --out-dir "$run/held_out"
logs=()
for log in "$run"/*/metrics.jsonl; do logs+=("$(dirname "$log")"); done
.venv/bin/videopoet curves "${logs[@]}" --out "$run/curves.png"
echo "Held-out copies and continuations: $run/held_out/sheet.png; curves: $run/curves.png"
