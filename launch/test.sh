#!/usr/bin/env bash
# Installs what the tests need and runs them: ./launch/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
install_into_venv test
# Most of the time goes into compiling, one core a program: a worker for each core, whole files to a worker.
exec .venv/bin/python -m pytest -n auto --dist loadfile "$@"
