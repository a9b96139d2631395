"""The containers by `make`, as the README has it."""

import os
import subprocess
import time

import pytest
from stack_support.containers import OURS, Containers
from stack_support.figures import note

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

# `make images-offline && make up-offline`, from an engine without any image to an answered chat.
OFFLINE_WITHIN = 600.0


def make(stack: Containers, *words: str, seconds: float = 300) -> str:
    return stack.run("make", "--no-print-directory", *words, seconds=seconds)


def test_make_up_says_what_it_chose_and_comes_back_when_chats_are_answered(
    stack: Containers,
) -> None:
    said = make(stack, "up")

    assert "Model: the embedded one" in said
    assert f"http://localhost:{stack.env['MIDDLEWARE_PORT']}" in said
    assert stack.answers("what is 2+3?", "5")


def test_make_up_says_what_chats_still_wait_for(stack: Containers) -> None:
    # Nobody listens there.
    said = make(stack.with_settings(LLM_BASE_URL="http://127.0.0.1:9/v1"), "up")

    assert "Not ready. " in said
    assert "chats say what they wait for" in said
    assert "Not ready" not in make(stack, "up")
    assert stack.answers("what is 2+3?", "5")


def test_make_ps_lists_the_containers(stack: Containers) -> None:
    said = make(stack, "ps")

    assert all(service in said for service in OURS)


def test_make_logs_follows_all_of_them(stack: Containers) -> None:
    command = (*stack.person.prefix, "make", "--no-print-directory", "logs")
    following = subprocess.Popen(
        command, cwd=stack.folder, env=dict(stack.env), stdout=subprocess.PIPE
    )
    assert following.stdout is not None
    try:
        assert os.read(following.stdout.fileno(), 1000)
    finally:
        following.terminate()
        following.communicate(timeout=30)


def test_make_up_stops_at_a_misspelt_setting(stack: Containers) -> None:
    dotenv = stack.folder / ".env"
    stack.run("sh", "-c", "echo SANDBOX_MEMORY_LIMT=1g >.env")
    try:
        said = stack.fails("make", "up")
    finally:
        dotenv.unlink()

    assert "SANDBOX_MEMORY_LIMT is no setting. Did you mean SANDBOX_MEMORY_LIMIT?" in said


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "[::]"])
def test_make_up_refuses_the_known_password_on_an_open_port(
    stack: Containers, address: str
) -> None:
    opened = stack.with_settings(BIND_ADDRESS=address, COMPOSE_PROFILES="embedded")

    assert "its password is still admin" in opened.fails("make", "up")
    assert "its password is still admin" in opened.with_settings(
        GRAFANA_ADMIN_PASSWORD="admin"
    ).fails("make", "up")


def test_the_offline_stack_starts_without_what_has_no_image(stack: Containers) -> None:
    # As `make images-offline` writes it, with the images of this stack: none is built again.
    names = ("PYTHON_IMAGE", "PROMETHEUS_IMAGE", "STACK_TAG")
    lines = [
        *(f"{name}={stack.env[name]}" for name in names),
        "COMPOSE_PROFILES=embedded,no-grafana",
    ]
    (stack.folder / ".env.offline").write_text("\n".join(lines) + "\n", encoding="utf-8")
    make(stack, "down")
    assert not stack.id_of("middleware")

    begun = time.monotonic()
    said = make(stack, "up-offline")

    assert stack.answers("what is 2+3?", "5")
    started = time.monotonic() - begun
    # .ci/containers has built the images and says how long that took; by hand they may be there.
    built = float(os.environ.get("STACK_IMAGES_SECONDS", "0"))
    note(f"images-offline and up-offline take {built:.0f} and {started:.0f} s")
    assert built + started < OFFLINE_WITHIN
    assert "Left out" in said
    assert "grafana" in said.partition("Left out")[2]
    assert "Model" not in said
    stack.wait_healthy(*OURS, "prometheus")
    # What users of Compose alone would type.
    assert stack.compose("--env-file", ".env.offline", "ps", "-q", "middleware").strip()
