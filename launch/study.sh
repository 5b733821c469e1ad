# Sourced by the scripts that train models of nano's size side by side: one set of records, a language model of each.
# shellcheck shell=bash
# shellcheck source=launch/environment.sh
. launch/environment.sh

begin_study() { # begin_study RUN_DIRECTORY STEPS LEAST_STEPS: sets run, steps, and models, which all rows share
    install_into_venv ""
    run=$(absolute "$1")
    steps=$2
    [[ $steps =~ ^[1-9][0-9]{0,6}$ ]] || fail "$steps steps: a whole number above 0 is needed."
    [ "$steps" -ge "$3" ] || fail "$steps steps: at least $3 are needed."
    models=$run/models
    mkdir -p "$models" 2>/dev/null || fail "$run: cannot be made; name a directory that you may write to."
    [ ! -e "$run/steps" ] || [ "$(cat "$run/steps")" = "$steps" ] ||
        fail "$run: was begun with $(cat "$run/steps") steps; give as many, or another directory."
    echo "$steps" >"$run/steps"
    shipped "$models" video_tokenizer audio_tokenizer text_encoder
}

prepare() { # prepare SPLIT CLIPS [options of data prepare]: records that all share
    [ -e "$run/$1/meta.json" ] ||
        .venv/bin/videopoet data prepare --config lm:nano --models "$models" --out "$run/$1" --split "$1" --clips "$2" \
            --batch-size 32 "${@:3}"
}

beside() { # beside ROW: sets row_models, where the row's language model goes, beside the tokenizers
    local part
    row_models=$run/.$1
    mkdir -p "$row_models"
    for part in video_tokenizer audio_tokenizer text_encoder; do ln -sfn "../models/$part" "$row_models/$part"; done
}
