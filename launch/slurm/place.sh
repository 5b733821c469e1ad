# Sourced by launch/train.sh: a job of Slurm, which launch/slurm/job.sbatch is.
#
#   --nodes N            (1)
#   --gpus [TYPE:]N      (0) of each node, one process for each: --gpus 8, --gpus h100:8; 0: processes on CPUs, one a node
#   --time LIMIT         such as 24:00:00; a run that needs longer saves, and goes back to the queue
#   --grace SECONDS      (300) before the limit it is told to save
#   --sbatch OPTION      any other of sbatch's, as often as needed: --sbatch --partition=big --sbatch --account=lab
#
# The checkout, its .venv (or ENVIRONMENT) and WORKDIR are where all nodes see them. The job's words: WORKDIR/slurm-JOB.log
# shellcheck shell=bash disable=SC2034,SC2154
VALUES=" --nodes --gpus --time --grace " HANDED_ON="--sbatch"

check() {
    local gpus=${given[--gpus]:-0} time=${given[--time]:-}
    nodes=$(number --nodes 1)
    grace=$(number --grace 300 60) # Slurm looks once a minute
    [[ $gpus =~ ^([A-Za-z0-9_.-]+:)?(0|[1-9][0-9]?)$ ]] || fail "--gpus $gpus: [TYPE:]N, those of one node, is needed."
    [[ -z $time || $time =~ ^([0-9]+-)?[0-9]+(:[0-5]?[0-9]){0,2}$ ]] ||
        fail "--time $time: minutes, [DAYS-]HOURS:MINUTES:SECONDS or DAYS-HOURS is needed."
    sbatch=(sbatch "--nodes=$nodes" "--signal=TERM@$grace")
    if [ "${gpus#*:}" = 0 ]; then
        sbatch+=(--ntasks-per-node=1)
    else
        extra=cuda
        sbatch+=("--ntasks-per-node=${gpus#*:}" "--gpus-per-node=$gpus") # JAX gives each process of a Slurm job one GPU
    fi
    [ -z "$time" ] || sbatch+=("--time=$time")
}

run() {
    local logs=$workdir
    case "$workdir" in gs:*) logs=$CALLED_FROM ;; esac # Slurm writes no buckets
    sbatch+=("--output=$logs/slurm-%j.log" "--chdir=$CALLED_FROM" "${handed_on[@]}"
        "$here/launch/slurm/job.sbatch" "$bin/videopoet" "${command[@]}")
    needs sbatch
    show "${sbatch[@]}"
    [ -z "$dry" ] || return 0
    mkdir -p "$logs" || fail "$logs: cannot be made; give a WORKDIR that you may write to."
    "${sbatch[@]}"
    echo "Its words: $logs/slurm-JOB.log; the end of it: scancel JOB"
}
