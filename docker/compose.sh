# Read by the scripts beside it (`. docker/compose.sh`): which Compose, which settings.

fail() {
    echo "$*" >&2
    exit 1
}

# A setting of the shell, even an empty one, else of .env; a default where there is none or an empty one. Of Compose's ways to write .env it knows those that
# require_plain_env_file lets pass.
setting() {
    name=$1 default=$2
    eval "value=\${$name:-} in_shell=\${$name+yes}"
    if [ -z "$in_shell" ] && [ -f .env ]; then
        # Up to the quote at the end, else up to a comment.
        value=$(sed -n "s/^[[:blank:]]*$name=//p" .env | tail -n 1 | sed \
            -e "s/^'\([^']*\)'.*$/\1/" -e t -e 's/^"\([^"]*\)".*$/\1/' -e t \
            -e 's/[[:space:]]\{1,\}#.*$//; s/[[:space:]]*$//')
    fi
    printf '%s\n' "${value:-$default}"
}

# Compose reads more forms than `setting` does, each generation others: what stands in one of these is no
# default. docker/env_file.py says the same at more length, where there is a Python to run it.
require_plain_env_file() {
    [ -z "${COMPOSE_ENV_FILES:-}" ] ||
        fail "COMPOSE_ENV_FILES is set, and .env alone is read here: write its lines there, or unset it."
    [ -e .env ] || return 0
    [ -r .env ] || fail ".env can't be read by this user."
    text='([^[:cntrl:]]|[[:blank:]])*'
    end="[[:blank:]]*([[:blank:]]#$text)?\$"
    value="'[^'[:cntrl:]]*'$end|\"[^\"\\[:cntrl:]]*\"$end|[^'\"[:space:][:cntrl:]]$text\$|[[:blank:]]*\$"
    lines=$(sed "s/$(printf '\r')\$//" .env |
        LC_ALL=C grep -Evn "^[[:blank:]]*(#$text\$|[A-Za-z_][A-Za-z0-9_]*=($value)|\$)" |
        cut -d: -f1 | tr '\n' ' ')
    [ -z "$lines" ] || fail ".env: write NAME=value, with no export, no colon and no space beside the =." \
        "It is something else in line $lines"
    read_here='BIND_ADDRESS|PIP_INDEX_URL|COMPOSE_[A-Z_]*|GRAFANA_[A-Z_]*|[A-Z_]*_(IMAGE|PORT|ALLOWED_HOSTS)'
    bare='([^[:blank:]]|[[:blank:]]+[^#[:blank:]])*'
    names=$(LC_ALL=C grep -E \
        "^[[:blank:]]*($read_here)=([$]|[^'\"[:blank:]]$bare[$]|\"[^\"]*[$]|'[^']*[$][{])" .env |
        cut -d= -f1 | tr '\n' ' ')
    [ -z "$names" ] || fail ".env: write out what the \$ stands for in $names"
}

choose_compose() {
    docker info >/dev/null 2>&1 ||
        fail "No Docker engine answers. Is it running, and may this user reach it (group docker)?"
    if [ -n "${COMPOSE:-}" ]; then
        compose=$COMPOSE
    elif docker compose version >/dev/null 2>&1; then
        compose="docker compose"
    elif command -v docker-compose >/dev/null; then
        compose="docker-compose"
    else
        fail "Compose is missing (Debian, Ubuntu: apt install docker-compose)."
    fi
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

has_profile() {
    case ",$(setting COMPOSE_PROFILES ""), " in *",$1,"*) return 0 ;; esac
    return 1
}

# The names that make images-offline wrote, as variables of the shell.
take_offline_names() {
    set -a
    # shellcheck disable=SC1091  # written by images_offline.sh
    . ./.env.offline
    set +a
}
