"""Keys as files: read by the one service that they are for, and seen by nobody else."""

import json
import secrets
from pathlib import Path

import pytest
from stack_support.containers import OURS, Containers, run

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

FILES = {
    "middleware": ("middleware", "LLM_API_KEY", "MiddlewareSettings", "llm_api_key"),
    "sandbox": ("sandbox", "SANDBOX_PACKAGES_INDEX_URL", "SandboxSettings", "packages_index_url"),
}
_READ = (
    "from servicekit.settings import load_settings; from {package}.settings import {name};"
    "value = load_settings({name}).{field};"
    "print(value.get_secret_value() if hasattr(value, 'get_secret_value') else value)"
)


def write(stack: Containers, folder: str, name: str, value: str) -> Path:
    """Write a key as its owner would, closed to everybody else."""
    path = stack.folder / "secrets" / folder / name
    run("sh", "-c", f"umask 077; printf %s '{value}' >'{path}'", prefix=stack.person.prefix)
    return path


def read_by(stack: Containers, service: str) -> str:
    package, _, name, field = FILES[service]
    code = _READ.format(package=package, name=name, field=field)
    return stack.compose("exec", "-T", service, "python", "-P", "-c", code).strip()


@pytest.fixture(scope="module")
def keys(stack: Containers) -> dict[str, str]:
    written = {service: f"key-{secrets.token_hex(12)}" for service in FILES}
    for service, value in written.items():
        write(stack, FILES[service][0], FILES[service][1], value)
    # volume-init runs again, and what is read at start is read again.
    stack.compose("up", "-d", seconds=200)
    run("docker", "restart", *(stack.id_of(service) for service in FILES), seconds=90)
    stack.wait_healthy()
    return written


@pytest.mark.parametrize("service", FILES)
def test_a_service_that_is_not_root_reads_its_key(
    stack: Containers, keys: dict[str, str], service: str
) -> None:
    assert read_by(stack, service) == keys[service]


def test_no_inspection_and_no_log_shows_a_key(stack: Containers, keys: dict[str, str]) -> None:
    shown = [json.dumps(stack.inspect(service)) for service in (*OURS, "prometheus")]
    shown.append(stack.compose("logs", "--no-color"))
    shown.append(stack.compose("config"))

    assert not [value for value in keys.values() if any(value in text for text in shown)]


@pytest.mark.parametrize("service", OURS)
def test_no_service_reads_the_key_of_another(
    stack: Containers, keys: dict[str, str], service: str
) -> None:
    code = (
        "import os; print([open(os.path.join(place, name)).read() "
        "for place, _, names in os.walk('/run/secrets') for name in names])"
    )
    seen = stack.inside(service, code)

    assert {owner for owner, value in keys.items() if value in seen} == ({service} & set(FILES))


def test_a_key_is_closed_to_other_users_of_the_host(
    stack: Containers, keys: dict[str, str]
) -> None:
    for folder, name, _, _ in FILES.values():
        path = stack.folder / "secrets" / folder / name
        assert path.stat().st_mode & 0o007 == 0
        # Its owner can still change it.
        run("sh", "-c", f": >>'{path}'", prefix=stack.person.prefix)


def test_grafana_starts_with_the_password_of_its_file(
    stack: Containers, grafana_image: str
) -> None:
    with_grafana = stack.with_settings(COMPOSE_PROFILES="embedded", GRAFANA_IMAGE=grafana_image)
    start = ("run", "--rm", "--no-deps", "-T", "grafana", "only-say")
    try:
        assert "password is admin" in with_grafana.compose(*start)

        write(stack, "grafana", "GRAFANA_ADMIN_PASSWORD", "of the file")
        with_grafana.compose("run", "--rm", "--no-deps", "-T", "volume-init")
        assert "password is of the file" in with_grafana.compose(*start)

        typed = with_grafana.with_settings(GRAFANA_ADMIN_PASSWORD="typed")
        assert "password is typed" in typed.compose(*start)
    finally:
        (stack.folder / "secrets" / "grafana" / "GRAFANA_ADMIN_PASSWORD").unlink(missing_ok=True)
