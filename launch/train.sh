#!/usr/bin/env bash
# `videopoet train` on many devices: ./launch/train.sh PLACE CONFIG WORKDIR [--dry-run] [options of the place] [of `train`]
#
#   ./launch/train.sh local lm:nano runs/lm --processes 2 --devices 4 --set data.records=RECORDS
#   ./launch/train.sh slurm lm:1b runs/lm --nodes 4 --gpus 8 --time 24:00:00 --set data.records=RECORDS
#   ./launch/train.sh gke lm:1b /vol1/runs/lm --gpus h100:8 --nodes 4 --image IMAGE --share 10.0.0.2:/vol1 …
#   ./launch/train.sh gke lm:1b /vol1/runs/lm --topology v5p:2x2x4 --image IMAGE --share 10.0.0.2:/vol1 …
#   ./launch/train.sh tpu_pod lm:8b /vol1/runs/lm --topology v5p:4x4x4 --zone us-east5-a --share 10.0.0.2:/vol1 …
#
# launch/PLACE/place.sh describes the options of a place; all others are those of `videopoet train`, the same everywhere.
# WORKDIR, and what the options name, are directories that all processes see under one path; WORKDIR may be gs://….
# A run that is told to stop, or preempted, saves its step and goes on by itself. --dry-run checks all options and the
# config, prints what would be run, and runs nothing.
#
# Installs into .venv, unless ENVIRONMENT=/path names a Python environment that has videopoet_jax.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
. launch/environment.sh

case "${1:-}" in
    local | slurm | gke | tpu_pod) place=$1 ;;
    *) fail "place '${1:-}': unknown; use local, slurm, gke or tpu_pod: ./launch/train.sh PLACE CONFIG WORKDIR [options]." ;;
esac
config=${2:-} workdir=${3:-}
for word in "$config" "$workdir"; do
    case "$word" in '' | -*) fail "'$word': no CONFIG or WORKDIR; ./launch/train.sh $place CONFIG WORKDIR [options]." ;; esac
done
shift 3

# What a place says of itself: options with a value, flags, one option whose values are handed on, and
#   check    sets `extra`, what .venv needs, and stops at values that cannot be
#   run      starts the run, or shows how where `dry` is set
VALUES=" " FLAGS=" " HANDED_ON="" extra="" dry=""
declare -A given=() # option → value
handed_on=() options=()

number() { # number --nodes 1 [0]: the option's value, or 1; a whole number, 1 or more [0 or more]
    local value=${given[$1]:-$2} least=${3:-1}
    [[ $value =~ ^(0|[1-9][0-9]{0,4})$ ]] && [ "$value" -ge "$least" ] ||
        fail "$1 $value: a whole number, $least or more, is needed."
    printf '%s\n' "$value"
}

needs() { # needs PROGRAM: unless it is a dry run
    [ -n "$dry" ] || command -v "$1" >/dev/null || fail "$1: not found; install it, or see with --dry-run what it would do."
}

plain() { # plain --share PATH: a path that is what it looks like
    case "/$2/" in */./* | */../*) fail "$1 $2: parts . and .. may lead elsewhere; give the path without them." ;; esac
}

# check_far: what a place needs whose machines share nothing with this one but what they mount. Sets `name`, `share` and `mount`.
check_far() {
    name=${given[--name]:-$(printf '%s-%s' "$config" "$(printf '%s' "$workdir" | cksum | cut -d' ' -f1)" | tr 'A-Z_:./' 'a-z-')}
    [[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
        fail "name $name: need a-z, 0-9 and -, 40 at most, a letter first; give --name."
    case "$config" in
        *.py | *.py:*)
            fail "$config: a file of this machine; put it into configs/ and name it as $(basename "${config%.py*}"):VARIANT."
            ;;
    esac
    share=${given[--share]:-}
    [[ $share =~ ^[A-Za-z0-9.-]+:(/[A-Za-z0-9._-]+)+$ ]] ||
        fail "--share '$share': SERVER:/PATH of an NFS share is needed, which all workers mount as /PATH: --share 10.0.0.2:/vol1."
    mount=${share#*:}
    plain --share "$mount"
    case "$mount/" in
        /bin/* | /boot/* | /dev/* | /etc/* | /home/* | /lib/* | /lib32/* | /lib64/* | /libx32/* | /opt/* | /proc/* | \
            /root/* | /run/* | /sbin/* | /sys/* | /tmp/* | /usr/* | /var/*)
            fail "--share $share: $mount would hide the workers' own; export another path."
            ;;
    esac
    plain WORKDIR "$workdir"
    case "$workdir/" in
        "$mount"/* | [a-z]*:/*) ;; # of addresses `videopoet train` knows whether they will do
        *) fail "$workdir: not in the share, which all workers see as $mount; give a WORKDIR below that." ;;
    esac
}

# shellcheck source=/dev/null
. "launch/$place/place.sh"
while [ $# -gt 0 ]; do
    case "$1" in
        --dry-run) dry=1 ;;
        --distributed) ;; # it is
        --config | --config=* | --workdir | --workdir=*)
            fail "$1: said before the options; ./launch/train.sh $place CONFIG WORKDIR [options]."
            ;;
        *)
            option=${1%%=*}
            if [[ $FLAGS == *" $1 "* ]]; then
                given[$1]=1
            elif [[ $VALUES == *" $option "* ]] || [ "$option" = "$HANDED_ON" ]; then
                if [ "$option" = "$1" ]; then
                    [ $# -ge 2 ] || fail "$1: of what value? One must follow."
                    shift
                    value=$1
                else
                    value=${1#*=}
                fi
                if [ "$option" = "$HANDED_ON" ]; then handed_on+=("$value"); else given[$option]=$value; fi
            else
                options+=("$1")
            fi
            ;;
    esac
    shift
done
check
[[ $workdir =~ ^[A-Za-z][A-Za-z0-9+.-]+:/ ]] || workdir=$(absolute "$workdir")
case "$workdir" in gs:*) extra=${extra:+$extra,}gcs ;; esac
use_environment "$extra"
command=(train --config "$config" --workdir "$workdir" --distributed "${options[@]}")
# shellcheck disable=SC2034  # where the checkout is, for the places
here=$PWD
cd "$CALLED_FROM" # where relative paths among the options begin
"$bin/videopoet" "${command[@]}" --dry-run
run
