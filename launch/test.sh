#!/usr/bin/env bash
# Installs what the tests need and runs them: ./launch/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
NEEDED_MB=7000 COST="about 1.3 GB to download, 4.5 GB on disk (TensorFlow and Beam, for SeqIO)"
install_into_venv test
# Most of the time goes into compiling, one core a program: a worker for each core, whole files to a worker, in their own
# order, for those of one long test would come last.
exec .venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"
