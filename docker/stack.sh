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
}

has_gpu() { docker info --format '{{json .Runtimes}}' 2>/dev/null | grep -q '"nvidia"'; }

choose_files() {
    if has_profile embedded; then
        echo "Model: the embedded one; Ollama is left out, and no GPU is needed."
    elif [ -n "${COMPOSE_FILE:-}" ]; then
        echo "Files: COMPOSE_FILE says which ($COMPOSE_FILE)."
    elif has_gpu; then
        echo "GPU: the NVIDIA runtime is here; Ollama gets the GPUs."
        compose="$compose -f docker-compose.yml -f docker-compose.gpu.yml"
    else
        echo "GPU: no NVIDIA runtime; Ollama runs on the CPU."
    fi
}

# Whether other machines reach the published ports.
is_open() {
    case $(setting BIND_ADDRESS 127.0.0.1) in
        127.* | "[::1]") return 1 ;;
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

command=$1
shift
choose_compose
case $command in
    up)
        check_settings
        has_profile no-grafana || refuse_open_grafana
        choose_files
        tell_of_foreign_names
        $compose up -d --build "$@"
        await_chat
        echo "Chat: http://localhost:$(setting MIDDLEWARE_PORT 8002)   MCP:" \
            "http://localhost:$(setting MCP_SERVER_PORT 8000)/mcp   Grafana:" \
            "http://localhost:$(setting GRAFANA_PORT 3000)"
        ;;
    up-offline)
        check_settings
        tell_of_foreign_names
        up_offline
        await_chat
        echo "Chat: http://localhost:$(setting MIDDLEWARE_PORT 8002)"
        ;;
    # The containers of each profile too, whether or not this shell knows of it.
    down) COMPOSE_PROFILES=all $compose down "$@" ;;
    # In this shell's place: whoever ends `make logs` ends what follows them.
    logs) exec env COMPOSE_PROFILES=all $compose logs -f "$@" ;;
    ps) COMPOSE_PROFILES=all $compose ps "$@" ;;
    *) fail "$command is no command; use up, up-offline, down, logs or ps." ;;
esac
