#!/bin/sh
# What `make up`, `down`, `logs`, `ps` and `up-offline` do: the right Compose, the GPU where there is one.
# COMPOSE="docker-compose" takes that one where both generations are here.
set -eu

cd "$(dirname "$0")/.."
. docker/compose.sh
services="sandbox-runner sandbox code-executor time-client mcp-server middleware"

check_settings() {
    if python3 -c "import sys; sys.exit(sys.version_info < (3, 9))" 2>/dev/null; then
        python3 -E -s -B docker/check_settings.py . || exit 1
    else
        echo "There is no Python 3.9 or newer here: the names in .env are not checked."
    fi
    require_plain_env_file
    profiles=$(setting COMPOSE_PROFILES none)
    [ -f "docker/profiles/$profiles.yml" ] ||
        fail "COMPOSE_PROFILES is '$profiles', and there is none of that name: .env.example has them."
}

has_gpu() { docker info --format '{{json .Runtimes}}' 2>/dev/null | grep -q '"nvidia"'; }

# The file that Compose reads besides when nobody names any.
override_file() {
    names="docker-compose.override.yml docker-compose.override.yaml"
    case $($compose version --short 2>/dev/null) in
        1.*) ;;
        *) names="compose.override.yml compose.override.yaml $names" ;;
    esac
    for file in $names; do
        if [ -f "$file" ]; then
            echo "$file"
            return 0
        fi
    done
}

gpu_files=""

choose_files() {
    files=$(setting COMPOSE_FILE "")
    if has_profile embedded; then
        echo "Model: the embedded one; Ollama is left out, and no GPU is needed."
    elif [ -n "$files" ]; then
        echo "Files: COMPOSE_FILE says which ($files)."
    elif has_gpu; then
        echo "GPU: the NVIDIA runtime is here; Ollama gets the GPUs."
        # Who names a file has to name them all.
        override=$(override_file)
        [ -z "$override" ] || echo "Files: $override as well."
        gpu_files="-f docker-compose.yml -f docker-compose.gpu.yml${override:+ -f $override}"
        without_gpu="docker-compose.yml${override:+:$override}"
    else
        echo "GPU: no NVIDIA runtime; Ollama runs on the CPU."
    fi
}

up() {
    # shellcheck disable=SC2086  # a list of words
    $compose $gpu_files up -d --build "$@" && return 0
    [ -z "$gpu_files" ] ||
        echo "If it is the GPU that fails, this starts without it: COMPOSE_FILE=$without_gpu make up" >&2
    exit 1
}

# Whether other machines reach the published ports.
is_open() {
    case $(setting BIND_ADDRESS 127.0.0.1) in
        "[::1]") return 1 ;;
        *[!0-9.]*) ;;
        127.*) return 1 ;;
    esac
}

tell_of_foreign_names() {
    is_open || return 0
    unset_lists=""
    for list in MIDDLEWARE_ALLOWED_HOSTS MCP_SERVER_ALLOWED_HOSTS; do
        [ -n "$(setting "$list" "")" ] || unset_lists="$unset_lists $list"
    done
    [ -z "$unset_lists" ] ||
        echo "BIND_ADDRESS opens the ports; others get 403 until the name or address that they use is in:$unset_lists"
}

refuse_open_grafana() {
    is_open || return 0
    file=$(setting GRAFANA_ADMIN_PASSWORD_FILE secrets/none)
    # shellcheck disable=SC2088  # as it stands in .env; Compose reads it so too
    case $file in "~/"*) file=$HOME/${file#"~/"} ;; esac
    password=$(setting GRAFANA_ADMIN_PASSWORD "$(cat "$file" 2>/dev/null || :)")
    case $password in
        "" | admin)
            fail "BIND_ADDRESS opens Grafana to others, and its password is still admin:" \
                "write another to secrets/GRAFANA_ADMIN_PASSWORD, and to .env the line" \
                "GRAFANA_ADMIN_PASSWORD_FILE=./secrets/GRAFANA_ADMIN_PASSWORD"
            ;;
    esac
    # Grafana reads a password once, into its database.
    [ ! -e data/grafana/grafana.db ] ||
        echo "Grafana has been started before and keeps the password that it had then. If that was admin:" \
            "$compose exec grafana grafana cli admin reset-admin-password NEW"
}

up_offline() {
    [ -f .env.offline ] || fail "There is no .env.offline yet: run make images-offline first."
    is_alerting=false
    ! has_profile alerting || is_alerting=true
    take_offline_names
    # That file says what has an image; whether alerts are sent on is for its user to say.
    if $is_alerting && ! has_profile alerting; then COMPOSE_PROFILES=$COMPOSE_PROFILES,alerting; fi
    wanted="volume-init $services embedded-model"
    missing=""
    for pair in "ollama OLLAMA_IMAGE ollama/ollama:0.24.0" \
        "prometheus PROMETHEUS_IMAGE prom/prometheus:v3.5.3" \
        "alertmanager ALERTMANAGER_IMAGE prom/alertmanager:v0.28.1" \
        "grafana GRAFANA_IMAGE grafana/grafana:11.6.1"; do
        # shellcheck disable=SC2086  # three words
        set -- $pair
        [ "$1" != alertmanager ] || has_profile alerting || continue
        if has_image "$(setting "$2" "$3")"; then wanted="$wanted $1"; else missing="$missing $1"; fi
    done
    [ -z "$missing" ] ||
        echo "Left out, for their images are not here (docker load brings one in):$missing"
    case " $wanted " in *" grafana "*) refuse_open_grafana ;; esac
    # shellcheck disable=SC2086  # a list of words
    $compose up -d --no-build $wanted
}

# Compose starts the last container and leaves: until it answers, nothing can be asked.
await_chat() {
    container=$($compose ps -q middleware)
    for _ in $(seq 360); do
        state=$(docker inspect --format '{{.State.Health.Status}}' "$container" 2>/dev/null || echo gone)
        [ "$state" != healthy ] || return 0
        sleep 0.5
    done
    fail "The chat API is $state after three minutes: docker/stack.sh logs middleware says why."
}

# The chat API lives before it has a model: what it waits for, in its own words.
tell_what_is_missing() {
    said=""
    # What has just been started may need a moment more.
    for _ in $(seq 10); do
        said=$(docker exec -i "$container" /opt/stack/bin/python -I -S - <docker/readiness.py 2>/dev/null) && return 0
        sleep 1
    done
    echo "${said:-The chat API does not say whether it is ready.}"
    echo "Until that is done, chats say what they wait for."
}

# The mount of ./workspace can't be "off"; empty says the same, and there stands for read-only.
settle_workspace() {
    [ "$(setting SANDBOX_WORKSPACE "")" != off ] || export SANDBOX_WORKSPACE=
}

command=$1
shift
choose_compose
settle_workspace
case $command in
    up)
        check_settings
        has_profile no-grafana || refuse_open_grafana
        choose_files
        tell_of_foreign_names
        up "$@"
        await_chat
        tell_what_is_missing
        echo "Chat: http://localhost:$(setting MIDDLEWARE_PORT 8002)   MCP:" \
            "http://localhost:$(setting MCP_SERVER_PORT 8000)/mcp   Grafana:" \
            "http://localhost:$(setting GRAFANA_PORT 3000)"
        ;;
    up-offline)
        check_settings
        tell_of_foreign_names
        up_offline
        await_chat
        tell_what_is_missing
        echo "Chat: http://localhost:$(setting MIDDLEWARE_PORT 8002)"
        ;;
    # The containers of each profile too, whether or not this shell knows of it; and a shell whose
    # COMPOSE_PROFILES is meant for others can end them. The GPU's file has no container of its own.
    down) COMPOSE_PROFILES=all $compose down "$@" ;;
    # In this shell's place: whoever ends `make logs` ends what follows them.
    logs) exec env COMPOSE_PROFILES=all $compose logs -f "$@" ;;
    ps) COMPOSE_PROFILES=all $compose ps "$@" ;;
    *) fail "$command is no command; use up, up-offline, down, logs or ps." ;;
esac
