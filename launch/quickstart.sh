#!/usr/bin/env bash
# From a fresh clone to clips with sound: installs into .venv, generates from the weights that ship, draws a sheet.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
started=$SECONDS

install_into_venv ""
suggest_accelerator

out=samples/quickstart
mkdir -p "$out"
cat >"$out/prompts.txt" <<'PROMPTS'
a red 3 moving right
a green 7 moving left
a blue 0 moving up
a yellow 5 moving down
a cyan 8 moving left
a white 2 moving right
PROMPTS
.venv/bin/videopoet generate --model nano --prompts-file "$out/prompts.txt" --out-dir "$out" --sheet "$out/sheet.png"

cat <<NEXT

$(find "$out" -name '*.mp4' | wc -l) clips with sound and their contact sheet are in $out ($((SECONDS - started)) s). Next:
  .venv/bin/videopoet generate "a magenta 4 moving down" --out four.mp4
  .venv/bin/videopoet reconstruct $out/0000.mp4 --out side_by_side.mp4
  .venv/bin/videopoet evaluate nano
  ./launch/train_local.sh DIRECTORY_OF_YOUR_VIDEOS
NEXT
