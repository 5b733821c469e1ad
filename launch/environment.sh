# Sourced by the launch scripts: finds Python, makes $VENV, installs this checkout into it. Run nothing by hand.
# shellcheck shell=bash

CALLED_FROM=${OLDPWD:-$PWD} # the scripts have just changed into the checkout
# Memory in huge pages, where glibc can: measured 13 % less time for a training step on a CPU.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
VENV=.venv # benchmark.sh has one of its own, and what it costs
COST="about 350 MB to download, 1.2 GB on disk"
NEEDED_MB=3000 # measured: 1.2 GB of packages for `.[test]`, and room for pip to unpack them

fail() {
    echo "error: $*" >&2
    exit 2
}

# absolute PATH: as the caller meant it, before a script changes into the checkout.
absolute() {
    case "$1" in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$CALLED_FROM/$1" ;;
    esac
}

# The newest supported Python on the PATH, or one line that says what to do.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "$(python3 --version 2>&1 || echo 'no python3'): Python 3.11 or newer with venv is needed;" \
        "install it (Debian, Ubuntu: apt-get install python3 python3-venv) or name one with PYTHON=/path/to/python3.11."
}

check_space() {
    local free_mb
    free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
    [ "$free_mb" -ge "$NEEDED_MB" ] ||
        fail "$free_mb MB free in $PWD: the installation needs $NEEDED_MB MB; free some space or clone to another disk."
}

# install_into_venv EXTRAS: installs the checkout with those extras, once for every change of setup.py.
install_into_venv() {
    local extras=$1 stamp log=$VENV/install.log python
    stamp=$VENV/.installed-$(printf '%s' "$extras" | tr -c 'a-z0-9\n' '_')-$(cksum <setup.py | cut -d' ' -f1)
    if [ -e "$stamp" ]; then
        return
    fi
    check_space
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        echo "Making $VENV with $("$python" --version)."
        "$python" -m venv --clear "$VENV" || fail "$VENV: could not be made; see the message above."
    fi
    echo "Installing jax, flax, optax, orbax, PyAV and what they need${extras:+ (extras: $extras)} into $VENV:" \
        "$COST, a few minutes, once."
    if ! "$VENV/bin/python" -m pip install --disable-pip-version-check -e ".${extras:+[$extras]}" >"$log" 2>&1; then
        if grep -qiE 'connection|temporary failure|no matching distribution|timed out|could not resolve|name resolution' "$log"; then
            fail "the package index cannot be reached (or lacks a package): connect to the network or set" \
                "PIP_INDEX_URL to a mirror, then run this again; pip's words are in $log."
        fi
        if grep -qi 'no space left' "$log"; then
            fail "the disk is full: free $NEEDED_MB MB, then run this again; pip's words are in $log."
        fi
        tail -n 5 "$log" >&2
        fail "pip failed: its words are in $log."
    fi
    touch "$stamp"
    echo "Installed: $(du -sm "$VENV" | cut -f1) MB in $VENV."
}

# use_environment EXTRAS: sets `bin`, where videopoet is: of $ENVIRONMENT, a Python environment that has it, or else of .venv,
# installed with those extras.
use_environment() {
    if [ -n "${ENVIRONMENT:-}" ]; then
        bin=$(absolute "$ENVIRONMENT")/bin
        [ -x "$bin/videopoet" ] || fail "$ENVIRONMENT: no bin/videopoet in it; name an environment that has videopoet_jax."
    else
        install_into_venv "$1"
        bin=$PWD/$VENV/bin
    fi
}

show() { # a command, as a shell reads it
    printf '+'
    printf ' %q' "$@"
    printf '\n'
}

# shipped FOLDER NAME …: those of the models that ship, copied into FOLDER.
shipped() {
    local folder=$1 name
    shift
    for name in "$@"; do
        rm -rf "${folder:?}/$name"
        cp -r "videopoet_jax/pretrained/nano/$name" "$folder/$name"
    done
}

# The extra of setup.py that the machine's accelerator wants: cuda, tpu, or nothing.
accelerator_extra() {
    local device
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
        echo cuda
        return
    fi
    for device in /sys/bus/pci/devices/*; do # Google's, and one of the TPUs that JAX knows: v2 and v3, v4, v5p, v5e, v6e, 7x
        case "$(cat "$device/vendor" "$device/device" 2>/dev/null | tr '\n' ' ')" in
            '0x1ae0 0x0027 ' | '0x1ae0 0x005e ' | '0x1ae0 0x0062 ' | '0x1ae0 0x0063 ' | '0x1ae0 0x006f ' | '0x1ae0 0x0076 ')
                echo tpu
                return
                ;;
        esac
    done
}

# Names that extra if it is not there; installs nothing.
suggest_accelerator() {
    local extra plugin
    extra=$(accelerator_extra)
    case "$extra" in
        cuda) plugin=jax_cuda13_plugin ;;
        tpu) plugin=libtpu ;;
        *) return ;;
    esac
    .venv/bin/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$plugin') is None)" ||
        echo "An accelerator is here; this run uses the CPU. To use it: .venv/bin/pip install -e '.[$extra]'"
}
