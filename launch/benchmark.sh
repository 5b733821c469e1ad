#!/usr/bin/env bash
# Our code against its public peers, as JSON lines {name, ours, peer, unit, ratio (above 1: ours is better), goal, load,
# versions}:
#   ./launch/benchmark.sh tokenizers [--help | NAME …]    speed and memory on a CPU
#   ./launch/benchmark.sh accelerator [--help | NAME …]   speed on a GPU
#   ./launch/benchmark.sh train [--help | SHAPE …]        a training step of the language model, on a CPU or a GPU
#   ./launch/benchmark.sh generate [--help | CASE …]      tokens a second of the language model, on a CPU
#   ./launch/benchmark.sh plans [--help | NAME …]         what videopoet plan predicts for slices of TPUs; needs none
#   ./launch/benchmark.sh faithful [--help | NAME …]      equality with PyTorch twins of the papers' figures
#   ./launch/benchmark.sh perceptual_twins WEIGHTS        the same of LPIPS and I3D, which judge
#   ./launch/benchmark.sh t5_twins [--help | NAME …]      the same of published T5s, with Hugging Face's encoder
#   ./launch/benchmark.sh structure_twins [NAME …]        the same of RAFT and DPT, which see flow and depth
# Everything is installed into an environment of its own, .venv-benchmark.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
VENV=.venv-benchmark
COST="3 GB to download, 7 GB on disk where pip chooses PyTorch for CUDA, 2 GB where it is for CPUs"
NEEDED_MB=10000

case "${1:-}" in
    tokenizers | generate | faithful | perceptual_twins | t5_twins | structure_twins) install_into_venv benchmark ;;
    plans) install_into_venv tpu ;;
    accelerator) install_into_venv benchmark,cuda ;;
    train)
        extra=$(accelerator_extra)
        [ "$extra" != tpu ] || fail "train: its peer runs on CPUs and NVIDIA's GPUs; this machine has a TPU."
        install_into_venv "benchmark${extra:+,$extra}"
        ;;
    *)
        fail "benchmark '${1:-}': unknown; use tokenizers, accelerator, train, generate, plans, faithful, perceptual_twins," \
            "t5_twins or structure_twins."
        ;;
esac
PEERS="audiolm-pytorch==2.4.0 encodec==0.1.1"
if [ ! -e "$VENV/.peers-${PEERS// /-}" ]; then
    # Without what they require: fairseq (for one) does not install on a Python of today, and is not used.
    # shellcheck disable=SC2086
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps $PEERS ||
        fail "${PEERS// / and } cannot be installed: see pip's words above."
    touch "$VENV/.peers-${PEERS// /-}"
fi
name=$1
shift
exec "$VENV/bin/python" "tests/benchmarks/$name.py" "$@"
