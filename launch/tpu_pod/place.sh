# Sourced by launch/train.sh: a TPU slice of Google Cloud, from nothing to the end of the run.
#
#   --topology KIND:AxB[xC]   such as v5p:4x4x4, and --slices N (1) of it, joined by the data centre's network
#   --zone ZONE               where; --project PROJECT, if not gcloud's own
#   --share SERVER:/PATH      an NFS share (Filestore) that every worker mounts as /PATH; WORKDIR and all data lie below it
#   --name NAME               of the queued resource; made from CONFIG and WORKDIR if left out
#   --restarts N              (3) after failures; after preemption it starts again as often as it takes
#   --spot, --reserved        what to ask for
#   --delete                  the slice, once the run has ended; it costs for as long as it is there
#   --gcloud OPTION           for its creation, as often as needed: --gcloud --network=NET --gcloud --runtime-version=V
#
# Asks for the slice, waits for it, copies this checkout to all workers, installs, starts, and follows the first one's
# words. If the slice is preempted, it asks for another one, and the run goes on. Ctrl-C leaves the run alone; the same
# command follows it again. Nothing is started anew unless the first worker says that the run has ended, or is not there:
# where it does not answer, it is asked 6 times, after ever longer waits, and then left as it is. POLL=SECONDS (30) is how
# often it looks.
# shellcheck shell=bash disable=SC2034,SC2154
VALUES=" --topology --slices --zone --project --share --name --restarts " FLAGS=" --spot --reserved --delete "
HANDED_ON="--gcloud"
FOLDER=videopoet_jax # in each worker's home
ASKED=6              # times, before a worker that does not answer is given up

check() {
    local asked word
    check_far
    [ -n "${given[--topology]:-}" ] || fail "--topology: missing; give a TPU slice such as v5p:4x4x4."
    [ -n "${given[--zone]:-}" ] || fail "--zone: missing; give one that has such TPUs, such as us-east5-a."
    [ -z "${given[--spot]:-}" ] || [ -z "${given[--reserved]:-}" ] || fail "--spot --reserved: one of the two."
    slices=$(number --slices 1)
    restarts=$(number --restarts 3 0)
    poll=${POLL:-30}
    asked=$("$(find_python)" launch/accelerators.py "${given[--topology]}") || exit 2
    where=("--zone=${given[--zone]}" ${given[--project]:+"--project=${given[--project]}"})
    create=("$name" "${where[@]}" "--accelerator-type=${asked% *}")
    [[ ${handed_on[*]} == *--runtime-version* ]] || create+=("--runtime-version=${asked#* }")
    if [ "$slices" = 1 ]; then create+=("--node-id=$name"); else create+=("--node-count=$slices" "--node-prefix=$name"); fi
    for word in --spot --reserved; do [ -z "${given[$word]:-}" ] || create+=("$word"); done
    create+=("${handed_on[@]}")
    ending="gcloud compute tpus queued-resources delete $name ${where[*]} --force"
}

queued() { # queued COMMAND …: shown, and run
    show gcloud compute tpus queued-resources "$@"
    [ -n "$dry" ] || gcloud compute tpus queued-resources "$@"
}

state() { # ACTIVE, WAITING_FOR_RESOURCES, … or nothing where there is no such resource
    local said
    if said=$(gcloud compute tpus queued-resources describe "$name" "${where[@]}" --format='value(state.state)' 2>&1); then
        printf '%s\n' "$said"
    elif [[ $said != *NOT_FOUND* ]]; then
        fail "gcloud: $(tail -n 1 <<<"$said")"
    fi
}

there() { # there WHICH COMMAND: a line of shell in the workers' homes, WHICH being all or 0
    queued ssh "$name" "${where[@]}" "--node=$1" "--worker=$1" "--command=$2"
}

worker() { # worker WHICH WORDS …: launch/tpu_pod/worker.sh there
    local which=$1 words
    shift
    words=$(printf ' %q' bash "$FOLDER/launch/tpu_pod/worker.sh" "$@")
    there "$which" "${words# }"
}

status() { # running, ended CODE or lost, as the first worker says; nothing where the connection fails
    local script=$FOLDER/launch/tpu_pod/worker.sh said
    said=$(there 0 "if [ -e $script ]; then bash $script status; else echo lost; fi" 2>/dev/null | tail -n 1) || true
    case "$said" in running | lost | 'ended '*) printf '%s\n' "$said" ;; esac
}

ask() { # sets `ended` to the status, or to gone where the slice is; a worker that does not answer is asked again
    local times now polls
    for ((times = 1; times <= ASKED; times++)); do
        ended=$(status)
        [ -z "$ended" ] || return 0
        if now=$(state 2>/dev/null) && [ "$now" != ACTIVE ]; then
            ended=gone
            return
        fi
        [ "$times" -lt "$ASKED" ] || break
        echo "$name: the first worker does not answer; asking again"
        for ((polls = 0; polls < times; polls++)); do sleep "$poll"; done
    done
    fail "$name: asked $ASKED times, the first worker does not answer; the run is left as it is, and costs:" \
        "the same command follows it again, or $ending"
}

obtain() { # a slice that is there; asks for one if need be
    local now before=""
    while true; do
        now=$(state) || exit 2
        [ "$now" = "$before" ] || echo "$name: ${now:-not there yet}"
        before=$now
        case "$now" in
            ACTIVE) return ;;
            '') queued create "${create[@]}" || fail "$name: not created; see gcloud's words above." ;;
            FAILED)
                fail "$name: Google Cloud could not give it; queued-resources describe says why;" \
                    "before you ask anew: $ending"
                ;;
            SUSPENDED) remove ;;
            *) sleep "$poll" ;;
        esac
    done
}

remove() { queued delete "$name" "${where[@]}" --force --quiet; }

begin() { # the checkout to all workers, what it needs, and the run
    local files=$1
    local unpack="mkdir -p $FOLDER && cd $FOLDER && ls -A | grep -vx .venv | xargs -r rm -rf && tar -xf ../videopoet_jax.tar"
    queued scp "$files" "$name:videopoet_jax.tar" "${where[@]}" --node=all --worker=all &&
        queued ssh "$name" "${where[@]}" --node=all --worker=all "--command=$unpack" &&
        worker all install "$share" &&
        worker all start "${command[@]}"
}

pack() { # the checkout as it is, without what git ignores and what training does not need
    (cd "$here" && git ls-files --cached --others --exclude-standard -z -- . ':!tests' ':!.github' 2>/dev/null |
        tar --null --files-from - --ignore-failed-read -cf "$1") ||
        fail "$here: no git checkout; clone it to copy it to the workers."
}

run() {
    local files=videopoet_jax.tar failures=0 now ended
    needs gcloud
    export CLOUDSDK_CORE_DISABLE_PROMPTS=1
    if [ -n "$dry" ]; then
        queued create "${create[@]}"
        begin "$files"
        worker 0 follow
        [ -z "${given[--delete]:-}" ] || remove
        return
    fi
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    trap 'echo; echo "The run goes on, and costs; the same command follows it again. Its end: $ending"; exit 130' INT
    files=$folder/$files
    pack "$files"
    while true; do
        obtain
        ask
        case "$ended" in
            lost | 'ended '*) if begin "$files"; then ended=running; else ended=lost; fi ;;
        esac
        if [ "$ended" = running ]; then
            worker 0 follow || true
            ask
        fi
        case "$ended" in
            running) # the connection was lost, not the run
                sleep "$poll"
                continue
                ;;
            'ended 0') break ;;
        esac
        sleep "$poll" # preemption is not told of at once
        now=$(state) || exit 2
        if [ "$now" != ACTIVE ]; then
            echo "$name: preempted ($now); asking for another slice, and going on from the last step that was saved"
        elif [ "$ended" = 'ended 75' ]; then
            echo "$name: stopped from outside; going on from the step that was saved"
        else
            [ $((failures += 1)) -le "$restarts" ] ||
                fail "$name: $ended, after $restarts new starts; see its words above. It still costs:" \
                    "mend it and go on, or $ending"
            echo "$name: $ended; starting again, $failures of $restarts times"
        fi
    done
    echo "$name: the run has ended; its checkpoints are in $workdir"
    if [ -n "${given[--delete]:-}" ]; then
        remove
    else
        echo "It still costs. Its end: $ending"
    fi
}
