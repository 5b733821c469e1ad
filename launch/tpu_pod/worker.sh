#!/usr/bin/env bash
# One worker of a TPU slice, as launch/tpu_pod/place.sh uses it: worker.sh install SHARE | start COMMAND … | status | follow
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
RUN=$HOME/videopoet_run # log, pid, code

running() { [ -e "$RUN/pid" ] && [ ! -e "$RUN/code" ] && kill -0 "$(cat "$RUN/pid")" 2>/dev/null; }

case "${1:-}" in
    install) # Python, the share, .venv
        mount=${2#*:}
        if ! (find_python) >/dev/null 2>&1 || ! command -v mount.nfs >/dev/null; then
            sudo apt-get -o DPkg::Lock::Timeout=600 -qq update # a new machine updates itself first
            sudo apt-get -o DPkg::Lock::Timeout=600 -qq install -y python3.11 python3.11-venv nfs-common
        fi
        if ! mountpoint -q "$mount"; then
            sudo mkdir -p "$mount"
            sudo mount -t nfs -o hard "$2" "$mount" || fail "$2: cannot be mounted; is the share in the workers' network?"
        fi
        install_into_venv tpu,gcs
        ;;
    start) # in the background, so that it outlives the connection
        shift
        if running; then
            kill -KILL -- "-$(cat "$RUN/pid")" 2>/dev/null || true # one that waits for others, who are gone
        fi
        mkdir -p "$RUN"
        rm -f "$RUN/code"
        # shellcheck disable=SC2016  # for the inner shell
        setsid bash -c '"$@"; echo $? >"$0.new"; mv "$0.new" "$0"' "$RUN/code" "$PWD/.venv/bin/videopoet" "$@" \
            >"$RUN/log" 2>&1 </dev/null &
        echo $! >"$RUN/pid"
        ;;
    status) # one line: running, ended CODE, or lost
        if running; then
            echo running
        elif [ -e "$RUN/code" ]; then
            echo "ended $(cat "$RUN/code")"
        else
            echo lost # the machine was started anew, or is another one
        fi
        ;;
    follow) # the log, from its beginning to the run's end
        [ -e "$RUN/pid" ] || fail "$RUN: nothing was started here."
        tail -n +1 --sleep-interval=0.2 --pid="$(cat "$RUN/pid")" -f "$RUN/log"
        ;;
    *) fail "'${1:-}': unknown; use install, start, status or follow." ;;
esac
