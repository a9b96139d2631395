# Read by the scripts beside it (`. docker/compose.sh`): which Compose, which settings.

fail() {
    echo "$*" >&2
    exit 1
}

# A setting of the shell, else of .env, else a default; as Compose reads it.
setting() {
    name=$1 default=$2
    eval "value=\${$name:-}"
    if [ -z "$value" ] && [ -f .env ]; then
        value=$(sed -n "s/^[[:space:]]*$name=//p" .env | tail -n 1 |
            sed "s/[[:space:]]\{1,\}#.*$//; s/^[\"']//; s/[\"'][[:space:]]*$//; s/[[:space:]]*$//")
    fi
    echo "${value:-$default}"
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
