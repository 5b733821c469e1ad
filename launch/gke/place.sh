# Sourced by launch/train.sh: a JobSet on Google Kubernetes Engine, on TPUs or GPUs.
#
#   --topology KIND:AxB[xC]   a TPU slice, such as v5p:2x2x4, and --slices N (1) of it, joined by the data centre's network
#   --gpus TYPE:N             or GPUs of a node, such as h100:8, and --nodes N (1) of it
#   --image IMAGE             what launch/Dockerfile makes, in a registry that the cluster reads
#   --share SERVER:/PATH      an NFS share (Filestore) that every pod mounts as /PATH; WORKDIR and all data lie below it
#   --name NAME               of the JobSet; made from CONFIG and WORKDIR if left out
#   --restarts N              (3) after failures; after preemption it starts again as often as it takes
#   --grace SECONDS           (120) to save in, from SIGTERM on
#   --spot                    on spot nodes
#   --queue NAME              a LocalQueue of Kueue
#   --kubectl OPTION          for kubectl, as often as needed: --kubectl --namespace=lab --kubectl --context=CLUSTER
#
# The cluster has nodes of that kind (TPUs: node pools of that topology, of four chips a node) and JobSet's controller
# (0.6 or newer, jobset.sigs.k8s.io/docs/installation).
# shellcheck shell=bash disable=SC2034,SC2154
VALUES=" --topology --slices --gpus --nodes --image --share --name --restarts --grace --queue " FLAGS=" --spot "
HANDED_ON="--kubectl"

check() {
    check_far
    [ -n "${given[--image]:-}" ] || fail "--image: missing; build launch/Dockerfile, push it, and name it."
    jobset=(--name "$name" --image "${given[--image]}" --share "$share")
    jobset+=(--restarts "$(number --restarts 3 0)" --grace "$(number --grace 120)" --slices "$(number --slices 1)")
    [ -z "${given[--topology]:-}" ] || jobset+=(--topology "${given[--topology]}")
    if [ -n "${given[--gpus]:-}" ]; then
        jobset+=(--gpus "${given[--gpus]}" --nodes "$(number --nodes 1)")
    elif [ -n "${given[--nodes]:-}" ]; then
        jobset+=(--nodes "$(number --nodes 1)")
    fi
    [ -z "${given[--queue]:-}" ] || jobset+=(--queue "${given[--queue]}")
    [ -z "${given[--spot]:-}" ] || jobset+=(--spot)
}

run() {
    local manifest kubectl=(kubectl "${handed_on[@]}")
    manifest=$("$bin/python" "$here/launch/gke/jobset.py" "${jobset[@]}" -- "${command[@]}") || exit 2
    needs kubectl
    show "${kubectl[@]}" apply --filename -
    if [ -n "$dry" ]; then
        printf '%s\n' "$manifest"
        return
    fi
    printf '%s\n' "$manifest" | "${kubectl[@]}" apply --filename -
    echo "Its words: ${kubectl[*]} logs --follow --selector=jobset.sigs.k8s.io/jobset-name=$name --max-log-requests=9999"
    echo "Its end, before it can be started anew, too: ${kubectl[*]} delete jobset $name"
}
