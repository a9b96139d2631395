#!/usr/bin/env bash
# Builds a real Ollama from Go modules, for tests alone; users run the official image.
#
#   tests/support/ollama/build.sh      prints the path of the binary; builds it where it is missing
#
# About six minutes of one processor (JOBS=2 for two), 40 MB. Needs gcc, g++ and Debian's packages;
# Go is taken from Debian as well where there is none of this age.
set -euo pipefail

version=0.24.0 # the newest that carries llama.cpp inside its module
go_needed=1.26
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MCP_STACK_TOOLS:-$HOME/.cache/mcp-stack-tools}
target=$cache/ollama-$version
jobs=${JOBS:-1}

fail() {
    echo "ollama: $*" >&2
    exit 1
}

# Headers that Go's module zip leaves out.
fetch_headers() {
    "$here/../debian_programs.sh" bookworm "$target/headers" nlohmann-json3-dev libstb-dev
}

is_new_enough() {
    local found
    found=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' "$go_needed" "${found#go}" | sort -V | head -n 1)" = "$go_needed" ]
}

choose_go() {
    local own=$target/go/usr/lib/go-$go_needed/bin/go
    if command -v go >/dev/null && is_new_enough go; then
        command -v go
        return 0
    fi
    "$here/../debian_programs.sh" sid "$target/go" "golang-$go_needed-go" "golang-$go_needed-src" || return 1
    is_new_enough "$own" && echo "$own"
}

build() {
    local go scratch
    command -v g++ >/dev/null || fail "g++ is missing (Debian, Ubuntu: apt install g++)"
    fetch_headers || fail "the headers could not be fetched"
    go=$(choose_go) || fail "there is no Go $go_needed, and Debian's could not be fetched"
    scratch=$(mktemp -d "$target/bin.XXXXXX")
    CPLUS_INCLUDE_PATH=$here/headers:$target/headers/usr/include \
        CGO_ENABLED=1 CGO_CFLAGS=-O1 CGO_CXXFLAGS=-O1 GOBIN=$scratch GOFLAGS= GOTOOLCHAIN=local \
        nice -n 10 "$go" install -p "$jobs" \
        -ldflags "-s -w -X github.com/ollama/ollama/version.Version=$version" \
        "github.com/ollama/ollama@v$version" >&2
    # Moved when it is whole: whoever finds the file may run it.
    mkdir -p "$target/bin"
    mv "$scratch/ollama" "$target/bin/ollama"
    rmdir "$scratch"
}

mkdir -p "$target"
# Two that start at once build once.
exec 9>"$target/lock"
flock 9
[ -x "$target/bin/ollama" ] || build
echo "$target/bin/ollama"
