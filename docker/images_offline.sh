#!/bin/sh
# Builds the stack's images with no image registry: base, Prometheus and Alertmanager from Debian's packages,
# then the services. Writes .env.offline with the names. Needs Debian's packages and the package index alone.
set -eu

cd "$(dirname "$0")/.."
. docker/compose.sh
python_image=${OFFLINE_PYTHON_IMAGE:-offline/python:3.13}
prometheus_image=${OFFLINE_PROMETHEUS_IMAGE:-offline/prometheus:3.5}
alertmanager_image=${OFFLINE_ALERTMANAGER_IMAGE:-offline/alertmanager:0.33}
python_suite=${OFFLINE_PYTHON_SUITE:-trixie}
prometheus_suite=${OFFLINE_PROMETHEUS_SUITE:-forky}
authorities=/etc/ssl/certs/ca-certificates.crt
tag=${STACK_TAG:-0.1.0}
# Of no tag but the commit, whatever tags it has.
commit=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || :)
revision=${STACK_REVISION:-${commit:-unknown}}

fail() {
    echo "images-offline: $*" >&2
    exit 1
}

require_plain_env_file
PIP_INDEX_URL=$(setting PIP_INDEX_URL "")
# By its name alone: the value, which may hold a password, stands in no list of processes.
export PIP_INDEX_URL

docker info >/dev/null 2>&1 ||
    fail "no Docker engine answers. Is it running, and may this user reach it (group docker)?"

have_mmdebstrap() {
    command -v mmdebstrap >/dev/null && return 0
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null &&
        apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap
    command -v mmdebstrap >/dev/null
}

# bootstrap SUITE PACKAGES HOOK: a root file system as a tar on standard output.
bootstrap() {
    have_mmdebstrap || fail "mmdebstrap is missing (Debian, Ubuntu: apt install mmdebstrap)."
    # A mirror that was carried over is older than its own date of expiry; it is signed all the same.
    mmdebstrap --quiet --variant=minbase --include="$2" \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="$3" \
        --customize-hook="upload $authorities $authorities" \
        "$1" -
}

build_python() {
    bootstrap "$python_suite" ca-certificates,python3-venv,python3-pip,python-is-python3 \
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' |
        docker import -c "ENV SSL_CERT_FILE=$authorities" -c 'CMD ["python3"]' - "$python_image"
}

build_prometheus() {
    # The official image's user, folders and entry point, so that Compose finds what it knows.
    bootstrap "$prometheus_suite" ca-certificates,prometheus \
        'install -d -o 65534 -g 65534 "$1"/prometheus' |
        docker import -c 'ENTRYPOINT ["/usr/bin/prometheus"]' -c 'USER 65534:65534' \
            -c 'WORKDIR /prometheus' - "$prometheus_image"
}

build_alertmanager() {
    bootstrap "$prometheus_suite" ca-certificates,prometheus-alertmanager \
        'install -d -o 65534 -g 65534 "$1"/alertmanager' |
        docker import -c 'ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]' -c 'USER 65534:65534' \
            -c 'WORKDIR /alertmanager' - "$alertmanager_image"
}

ensure() {
    image=$1 build=$2
    if docker image inspect "$image" >/dev/null 2>&1; then
        echo "images-offline: $image is there already"
        return 0
    fi
    echo "images-offline: builds $image from Debian's packages"
    "$build" >/dev/null
    # A pipe hides its first command's failure; an import that was cut off runs nothing.
    docker run --rm --network none --entrypoint /bin/true "$image" ||
        { docker image rm "$image" >/dev/null; fail "$image could not be built"; }
}

ensure "$python_image" build_python
ensure "$prometheus_image" build_prometheus
ensure "$alertmanager_image" build_alertmanager

echo "images-offline: builds the services' images"
for file in */Dockerfile sandbox/runner.Dockerfile; do
    name=$(dirname "$file")
    [ "$file" = sandbox/runner.Dockerfile ] && name=sandbox-runner
    docker build --quiet --build-arg PYTHON_IMAGE="$python_image" \
        --build-arg PIP_INDEX_URL --build-arg REVISION="$revision" \
        --file "$file" --tag "mcp-stack/$name:$tag" . >/dev/null
    echo "images-offline: mcp-stack/$name:$tag"
done

cat >.env.offline <<NAMES
# Written by make images-offline, read by make up-offline.
PYTHON_IMAGE=$python_image
PROMETHEUS_IMAGE=$prometheus_image
ALERTMANAGER_IMAGE=$alertmanager_image
STACK_TAG=$tag
COMPOSE_PROFILES=embedded,no-grafana
NAMES
echo "images-offline: wrote .env.offline; make up-offline starts that stack"
