#!/bin/sh
# `make backup` and `make restore`: what the containers keep, in one file.
#
#   docker/backup.sh backup [FILE]      backups/mcp-stack-DATE.tar without one
#   docker/backup.sh restore FILE       FORCE=1 overwrites what is there
#
# A backup holds the data of Prometheus and Grafana, the sandbox's packages, ./workspace, and the list of
# Ollama's models; not the models themselves, and no keys (.env, secrets/).
set -eu

cd "$(dirname "$0")/.."
. docker/compose.sh
format=1
# Below /volumes in volume-init. By name: what lies above them is its read-only image.
folders="grafana packages prometheus workspace"

usage() { fail "Say what: make backup [TO=file], or make restore FROM=file."; }

prepare() {
    choose_compose
    if [ -f .env.offline ] && ! has_image "$(setting PYTHON_IMAGE python:3.12-slim-bookworm)"; then
        take_offline_names
    fi
    # Whatever was started, with whichever profile.
    export COMPOSE_PROFILES=all
}

# The one service that has every folder, with root's rights on files and no network.
in_volumes() { $compose run --rm --no-deps -T volume-init "$@"; }

container_of() { $compose ps -q "$1" 2>/dev/null | head -n 1; }

is_running() {
    id=$(container_of "$1")
    [ -n "$id" ] && [ "$(docker inspect --format '{{.State.Running}}' "$id" 2>/dev/null)" = true ]
}

# --- backup ----------------------------------------------------------------------------------------

paused="" stopped=""

resume() {
    for service in $paused; do docker unpause "$(container_of "$service")" >/dev/null 2>&1 || :; done
    for service in $stopped; do docker start "$(container_of "$service")" >/dev/null 2>&1 || :; done
    paused="" stopped=""
}

clean_up() {
    resume
    [ -z "${work:-}" ] || rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# On a busy machine runc now and then can't freeze a container at once ("unable to freeze").
pause_one() {
    for _ in 1 2 3 4 5; do
        if docker pause "$(container_of "$1")" >/dev/null 2>&1; then
            paused="$paused $1"
            return 0
        fi
        sleep 1
    done
    echo "$1 can't be paused: it is stopped for the moment of the copy."
    stopped="$stopped $1"
    docker stop --time 20 "$(container_of "$1")" >/dev/null
}

# All files as they are at one moment: databases come through that as through a power cut.
pause() {
    for service in prometheus grafana sandbox; do
        if is_running "$service"; then pause_one "$service"; fi
    done
}

list_models() {
    if is_running ollama; then
        $compose exec -T ollama ollama list </dev/null | awk 'NR > 1 && NF { print $1 }'
    fi
}

backup() {
    file=${1:-backups/mcp-stack-$(date +%Y%m%d-%H%M%S).tar}
    [ ! -e "$file" ] || fail "$file is there already."
    mkdir -p "$(dirname "$file")"
    work=$(mktemp -d "$(dirname "$file")/.backup.XXXXXX")
    list_models >"$work/models.txt"
    pause
    # shellcheck disable=SC2086  # a list of words
    in_volumes tar --numeric-owner -C /volumes -czf - $folders </dev/null >"$work/volumes.tar.gz"
    resume
    gzip -t "$work/volumes.tar.gz" || fail "The copy was cut off; is the disk full?"
    {
        echo "format=$format"
        echo "created=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
        echo "sha256=$(sha256sum <"$work/volumes.tar.gz" | cut -d' ' -f1)"
    } >"$work/manifest"
    tar -C "$work" -cf "$work/whole" manifest models.txt volumes.tar.gz
    # Whole or not at all; and what a program kept may be private.
    chmod 600 "$work/whole"
    mv "$work/whole" "$file"
    echo "Backup: $file ($(du -h "$file" | cut -f1)); keys (.env, secrets/) are not in it."
}

# --- restore ---------------------------------------------------------------------------------------

value_of() { sed -n "s/^$1=//p" "$work/manifest"; }

verify() {
    tar -C "$work" -xf "$1" manifest models.txt volumes.tar.gz 2>/dev/null ||
        fail "$1 is no backup of this stack, or it was cut off."
    [ "$(value_of format)" = "$format" ] ||
        fail "$1 has the format $(value_of format); this version reads $format."
    [ "$(sha256sum <"$work/volumes.tar.gz" | cut -d' ' -f1)" = "$(value_of sha256)" ] ||
        fail "$1 is damaged: its checksum differs. Nothing was changed."
}

# What a fresh clone has is nothing to be lost.
list_what_is_there='find /volumes -mindepth 2 ! -path /volumes/workspace/README.md | head -n 5'

restore() {
    file=$1
    [ -f "$file" ] || fail "There is no file $file."
    for service in prometheus grafana sandbox sandbox-runner; do
        ! is_running "$service" || fail "The stack runs: make down, then restore."
    done
    work=$(mktemp -d "${TMPDIR:-/tmp}/restore.XXXXXX")
    verify "$file"
    there=$(in_volumes sh -c "$list_what_is_there" </dev/null)
    if [ -n "$there" ] && [ "${FORCE:-}" != 1 ]; then
        fail "There is data already, and it would be lost: $(echo "$there" | tr '\n' ' ')…" \
            "FORCE=1 make restore FROM=$file overwrites it."
    fi
    in_volumes sh -c 'find /volumes -mindepth 2 -delete && tar --numeric-owner -C /volumes -xpzf -' \
        <"$work/volumes.tar.gz" || fail "The backup could not be unpacked; is the disk full?"
    echo "Restored what was saved at $(value_of created). Start with make up or docker-compose up -d."
    while read -r model; do
        echo "Ollama had $model: docker-compose exec ollama ollama pull $model"
    done <"$work/models.txt"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
    backup) prepare && backup "$@" ;;
    restore) [ -n "${1:-}" ] || usage; prepare && restore "$1" ;;
    *) usage ;;
esac
