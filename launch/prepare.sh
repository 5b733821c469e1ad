#!/usr/bin/env bash
# `videopoet data prepare`, or `data curate` before it, on a cluster:
#
#   ./launch/prepare.sh RUNNER [--dry-run] [options of `videopoet data prepare` and of Beam …]
#   ./launch/prepare.sh RUNNER curate FILMS [--dry-run] [options of `videopoet data curate` and of Beam …]
#
#   ./launch/prepare.sh dask [--workers N] …             a scheduler and N workers here (one a core), stopped at the end
#   ./launch/prepare.sh dask … --dask_client_address=tcp://HOST:8786                                  or a cluster's own
#   ./launch/prepare.sh flink … --flink_master=HOST:8081 --parallelism=16 \
#       --environment_type=EXTERNAL --environment_config=localhost:50000
#   ./launch/prepare.sh spark … --spark_master_url=spark://HOST:7077 \
#       --environment_type=EXTERNAL --environment_config=localhost:50000
#   ./launch/prepare.sh dataflow … --project=PROJECT --region=europe-west4 --temp_location=gs://BUCKET/beam \
#       --sdk_container_image=IMAGE --experiments=no_use_multiple_sdk_containers --max_num_workers=16
#
# --out, --models and --input, or FILMS and --out-dir, are directories that this machine and all workers see under one
# path: a share (NFS, Lustre, Filestore); gs:// is refused. After a stop the same command goes on. --dry-run prints the
# commands, checks the options, and makes what the runner would be sent.
#
# dask: a worker of a cluster has the extra `dask`. JAX takes a whole GPU: --workers 1 where there is one.
# flink, spark: Beam starts its job server, a Java program that it fetches from Maven Central; --job_endpoint=HOST:8099
#   names one that runs already. The code runs in a pool of workers that you start on every machine of the cluster, with
#   the share (launch/prepare/Dockerfile says how): containers that Beam starts itself (DOCKER) do not see it. PROCESS
#   does without Docker where Beam's boot program and videopoet_jax are installed.
# dataflow: has no option that mounts a share. The image must mount it when it starts, which takes privileges that
#   Dataflow does not promise; nobody has tried. The experiment above makes it one worker, with its models, a machine.
#
# Installs into .venv, unless ENVIRONMENT=/path names a Python environment that has videopoet_jax with that extra.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh
NEEDED_MB=7000 COST="about 1.3 GB to download, 4.5 GB on disk (TensorFlow and Beam)"

case "${1:-}" in
    -h | --help)
        sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' launch/prepare.sh
        exit
        ;;
    dask) runner=DaskRunner extra=dask ;;
    flink) runner=FlinkRunner extra=beam ;;
    spark) runner=SparkRunner extra=beam ;;
    dataflow) runner=DataflowRunner extra=dataflow ;;
    *) fail "runner '${1:-}': unknown; use dask, flink, spark or dataflow: ./launch/prepare.sh RUNNER [options]." ;;
esac
shift
command=prepare
if [ "${1:-}" = curate ]; then
    command=curate
    shift
fi
workers="" dry="" address="" options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --workers)
            [ $# -ge 2 ] || fail "--workers: how many? A whole number above 0 is needed."
            workers=$2
            shift
            ;;
        --dry-run) dry=$1 ;;
        *)
            case "$1" in --dask_client_address* | --dask_scheduler_file*) address=$1 ;; esac
            options+=("$1")
            ;;
    esac
    shift
done
if [ -n "$workers" ]; then
    [ $runner = DaskRunner ] || fail "--workers $workers: of dask alone; $runner has options of its own."
    [ -z "$address" ] || fail "--workers $workers: that cluster has its own; leave it, or $address."
    [[ $workers =~ ^[1-9][0-9]{0,3}$ ]] || fail "--workers $workers: a whole number above 0 is needed."
fi
use_environment "$extra"
cd "$CALLED_FROM" # where relative paths among the options begin

work() {
    show "$bin/videopoet" data $command --runner $runner "$@"
    "$bin/videopoet" data $command --runner $runner "$@" ${dry:+"$dry"}
}

if [ $runner != DaskRunner ] || [ -n "$address" ]; then
    work "${options[@]}"
    exit
fi

folder=$(mktemp -d)
pids=()
stop() {
    local status=$?
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
    if [ $status -ne 0 ] && [ -z "$dry" ]; then
        echo "The words of Dask's scheduler and workers are in $folder." >&2
    else
        rm -rf "$folder"
    fi
}
trap stop EXIT
trap 'exit 130' INT TERM

begin() { # begin LOG COMMAND …: behind this script, unless it is a dry run
    local log=$1
    shift
    show "$@"
    [ -z "$dry" ] || return 0
    "$@" >"$log" 2>&1 &
    pids+=($!)
}

file=$folder/scheduler.json # says where the scheduler is
python=$bin/python
begin "$folder/scheduler.log" "$python" -m distributed.cli.dask_scheduler --scheduler-file "$file" --host 127.0.0.1 \
    --port 0 --no-dashboard
while [ -z "$dry" ] && [ ! -s "$file" ]; do
    kill -0 "${pids[0]}" 2>/dev/null || fail "Dask's scheduler did not start: $(tail -n 1 "$folder/scheduler.log")"
    sleep 0.1
done
# No limit of memory: Dask would end a worker at its share of the machine's, whatever the others need.
begin "$folder/workers.log" "$python" -m distributed.cli.dask_worker --scheduler-file "$file" --host 127.0.0.1 \
    --nworkers "${workers:-$(nproc)}" --nthreads 1 --memory-limit 0 --no-dashboard --local-directory "$folder"
work "${options[@]}" "--dask_scheduler_file=$file"
