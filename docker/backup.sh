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
# Where restore_volumes.sh keeps what it has not done with.
left_over="*/.mcp-stack-*"

usage() { fail "Say what: make backup [TO=file], or make restore FROM=file."; }

prepare() {
    if command -v sha256sum >/dev/null; then
        sha256="sha256sum"
    elif command -v shasum >/dev/null; then
        sha256="shasum -a 256"
    else
        fail "There is neither sha256sum nor shasum here, and a backup is checked by its sum."
    fi
    choose_compose
    if [ -f .env.offline ] && ! has_image "$(setting PYTHON_IMAGE python:3.12-slim-bookworm)"; then
        take_offline_names
    fi
    # Whatever was started, with whichever profile.
    export COMPOSE_PROFILES=all
}

sum_of() {
    sum=$($sha256 <"$1") || fail "$1 can't be read."
    echo "${sum%% *}"
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

kilobytes_of_data() {
    # shellcheck disable=SC2086  # a list of words
    in_volumes sh -c 'cd /volumes && du -skc "$@"' - $folders </dev/null | sed -n '$s/[^0-9].*//p'
}

kilobytes_free() { df -Pk "$1" | awk 'END { print $4 }'; }

# What tar ends with is there: a copy that was cut off between two files reads well otherwise.
is_whole_tar() {
    [ -s "$1" ] && [ "$(tail -c 1024 "$1" | tr -d '\0' | wc -c)" -eq 0 ] && tar -tf "$1" >/dev/null 2>&1
}

# Of a file that is written to meanwhile tar says so, and ends with 1.
copy_volumes='
    excluded=$1 && shift
    tar --numeric-owner --anchored --no-wildcards-match-slash --exclude="$excluded" -C /volumes -cf - "$@" || [ $? -eq 1 ]'

backup() {
    file=${1:-backups/mcp-stack-$(date +%Y%m%d-%H%M%S).tar}
    [ ! -e "$file" ] || fail "$file is there already."
    mkdir -p "$(dirname "$file")"
    work=$(mktemp -d "$(dirname "$file")/.backup.XXXXXX")
    data=$(kilobytes_of_data)
    [ -n "$data" ] || fail "The service volume-init, which has the data, could not be run."
    needs="A backup needs room for the data ($((data / 1024)) MB) and for its compressed copy at $(dirname "$file")"
    free=$(kilobytes_free "$work")
    [ "$free" -gt "$data" ] || fail "$needs, and $((free / 1024)) MB are free."
    list_models >"$work/models.txt"
    # Compressed afterwards: nobody is to be held still for as long as that takes.
    pause
    # shellcheck disable=SC2086  # a list of words
    in_volumes sh -c "$copy_volumes" - "$left_over" $folders </dev/null >"$work/volumes.tar" ||
        fail "The data could not be copied. $needs."
    resume
    is_whole_tar "$work/volumes.tar" || fail "The copy was cut off. $needs."
    gzip "$work/volumes.tar" || fail "The copy could not be compressed. $needs."
    sum=$(sum_of "$work/volumes.tar.gz")
    {
        echo "format=$format"
        echo "created=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
        echo "sha256=$sum"
    } >"$work/manifest"
    tar -C "$work" -cf "$work/whole" manifest models.txt volumes.tar.gz ||
        fail "The backup could not be written. $needs."
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
    sum=$(sum_of "$work/volumes.tar.gz")
    [ "$sum" = "$(value_of sha256)" ] ||
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
    # shellcheck disable=SC2086  # a list of words
    in_volumes sh /configuration/docker/restore_volumes.sh /volumes $folders <"$work/volumes.tar.gz" ||
        fail "The backup could not be restored; is the disk full? What was there is as it was."
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
