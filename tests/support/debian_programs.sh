#!/bin/sh
# Unpacks programs of a newer Debian into a folder: nothing is installed, and no root is needed.
#
#   tests/support/debian_programs.sh SUITE FOLDER PACKAGE...
#
# Only what stands on libc alone runs like this (Go programs do). The mirror is the one that this machine's
# apt uses. FOLDER appears whole or not at all; where it is already there nothing is done.
set -eu

fail() {
    echo "debian_programs: $*" >&2
    exit 1
}

[ $# -ge 3 ] || fail "usage: SUITE FOLDER PACKAGE..."
suite=$1 folder=$2
shift 2
[ -d "$folder" ] && exit 0
for needed in apt-get dpkg-deb; do
    command -v "$needed" >/dev/null || fail "$needed is missing: this needs Debian or Ubuntu."
done

keys=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -f "$keys" ] || fail "$keys is missing (apt install debian-archive-keyring)."
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
    awk '/\/debian\/?$/ { print; exit }')}
[ -n "$mirror" ] || fail "apt knows no mirror of Debian; name one as DEBIAN_MIRROR, after apt-get update."

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM INT HUP
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts" "$work/unpacked"
echo "deb [signed-by=$keys] $mirror $suite main" >"$work/sources.list"

apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/parts" \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none \
        -o APT::Sandbox::User=root -o Acquire::http::Timeout=60 -o Acquire::Retries=2 "$@"
}

apt update >&2 || fail "the package lists of $suite could not be read."
(cd "$work/archives" && apt download "$@" >&2) || fail "$* could not be fetched from $suite."
for package in "$work"/archives/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done
chmod 755 "$work/unpacked"
# Another that did the same meanwhile has won; its folder is as good.
mv -T "$work/unpacked" "$folder" 2>/dev/null || [ -d "$folder" ] || fail "$folder could not be written."
