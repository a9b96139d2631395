"""An image that was built from a private package index tells nothing of it."""

import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_support.containers import (
    Containers,
    Person,
    clone_to,
    environment,
    run,
    uses_compose_v2,
)
from stack_support.image_layers import found_in_layers
from stack_support.private_index import PrivateIndex, private_index

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

# The two patterns: a test beside this one holds the other services' files to the first.
BUILT = ("time-client", "sandbox-runner")
# Loopback is the one plain address that pip trusts, and a build has a loopback of its own.
_ON_THE_HOST = "services:\n" + "".join(
    f"  {service}:\n    build: {{network: host}}\n" for service in BUILT
)


@pytest.fixture(scope="module")
def index(room: Path) -> Iterator[PrivateIndex]:
    wheels = room / "wheels"
    platform = ("--only-binary=:all:", "--python-version=3.13", "--no-deps")
    lock = ("--requirement", "requirements/bootstrap.lock")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    run(*pip, *platform, "--dest", str(wheels), *lock, seconds=120)
    user, password = f"user-{secrets.token_hex(6)}", f"pass-{secrets.token_hex(12)}"
    with private_index(wheels, user=user, password=password) as running:
        yield running


@pytest.fixture(scope="module")
def built(room: Path, index: PrivateIndex) -> Iterator[Containers]:
    """Images of a clone whose locks name the installer alone: what matters is how it is fetched."""
    folder = room / "private" / "mcp-stack"
    env = environment(
        PIP_INDEX_URL=index.url,
        COMPOSE_FILE="docker-compose.yml:docker-compose.host.yml",
        # Both builders are to be tried, and 1.29 as well takes BuildKit where it finds it.
        DOCKER_BUILDKIT="1" if uses_compose_v2() else "0",
    )
    clone_to(folder, Person(), env)
    locks = folder / "requirements"
    for name in ("runtime.lock", "cells.lock"):
        (locks / name).write_text((locks / "bootstrap.lock").read_text(encoding="utf-8"))
    (folder / "docker-compose.host.yml").write_text(_ON_THE_HOST, encoding="utf-8")
    stack = Containers(folder, env)
    try:
        stack.compose("build", *BUILT, seconds=250)
        yield stack
    finally:
        names = [image_of(stack, service) for service in BUILT]
        run("docker", "image", "rm", "--force", *names)


def image_of(stack: Containers, service: str) -> str:
    return f"mcp-stack/{service}:{stack.env['STACK_TAG']}"


def traces(index: PrivateIndex) -> tuple[bytes, ...]:
    """Give what would betray the index: its place, user, password, and both as they are sent."""
    found = (f"127.0.0.1:{index.port}", index.user, index.password, index.basic)
    return tuple(text.encode() for text in found)


def test_the_private_index_was_used_and_is_closed_without_its_password(
    built: Containers, index: PrivateIndex
) -> None:
    assert built
    assert any(path.startswith("/files/uv-") for path in index.served)
    assert not [path for path in index.refused if path in index.served and "/files/" in path]


@pytest.mark.parametrize("service", BUILT)
def test_no_layer_and_no_history_tells_of_a_private_index(
    built: Containers, index: PrivateIndex, service: str
) -> None:
    image, wanted = image_of(built, service), traces(index)
    said = run("docker", "history", "--no-trunc", image) + run("docker", "image", "inspect", image)

    assert not [text for text in wanted if text.decode() in said]
    assert not re.search(r"PIP_INDEX_URL|index-url", said)
    assert found_in_layers(image, (b"/site-packages", *wanted)) == {b"/site-packages"}
