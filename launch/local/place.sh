# Sourced by launch/train.sh: several processes on this machine's CPUs, the test bed of training on many.
#
#   --processes N    (2), joined over loopback
#   --devices N      (4) of each process: XLA makes as many of one CPU
#
# SIGTERM or Ctrl-C to train.sh ends the run, with exit code 75 once its step is saved, twice at once. A process that gets
# SIGTERM is as a machine that is preempted: all save, and the run goes on by itself.
# shellcheck shell=bash disable=SC2034,SC2154
VALUES=" --processes --devices "

check() {
    processes=$(number --processes 2)
    devices=$(number --devices 4)
}

run() {
    exec "$bin/python" "$here/launch/local/processes.py" ${dry:+--dry-run} "$processes" "$devices" \
        "$bin/videopoet" "${command[@]}"
}
