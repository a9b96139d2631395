"""Keys as files: read by the one service that they are for, and seen by nobody else."""

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from stack_support.containers import OURS, Containers, run
from stack_support.image_layers import found_in_layers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SETTINGS = {
    "LLM_API_KEY": ("middleware", "MiddlewareSettings", "llm_api_key"),
    "OPENAI_API_KEY": ("middleware", "MiddlewareSettings", "openai_api_key"),
    "SANDBOX_PACKAGES_INDEX_URL": ("sandbox", "SandboxSettings", "packages_index_url"),
}
_READ = (
    "from servicekit.settings import load_settings; from {package}.settings import {name};"
    "value = load_settings({name}).{field};"
    "print(value.get_secret_value() if hasattr(value, 'get_secret_value') else value)"
)
# Stands in for a model and a package index: notes who comes with which key, and wants one.
_NOTES = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open('/tmp/seen', 'a') as seen:
            seen.write(self.headers.get('authorization', '') + '\\n')
        self.send_response(401)
        self.send_header('www-authenticate', 'Basic realm=\"index\"')
        self.send_header('content-length', '0')
        self.end_headers()
    do_POST = do_GET
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(('', 9999), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Key:
    """A key, and the file that it lies in."""

    value: str
    path: Path


def write(stack: Containers, path: Path, value: str) -> None:
    """Write a key as its owner would, closed to everybody else."""
    run("sh", "-c", f"umask 077; printf %s '{value}' >'{path}'", prefix=stack.person.prefix)


def read_by(stack: Containers, variable: str) -> str:
    package, name, field = SETTINGS[variable]
    code = _READ.format(package=package, name=name, field=field)
    return stack.compose("exec", "-T", package, "python", "-P", "-c", code).strip()


def secrets_in(stack: Containers, service: str) -> dict[str, str]:
    code = (
        "import json, pathlib; folder = pathlib.Path('/run/secrets'); print(json.dumps({"
        "path.name: path.read_text() for path in folder.rglob('*') if path.is_file()}))"
    )
    return dict(json.loads(stack.inside(service, code)))


def start_again(stack: Containers, *services: str) -> None:
    """Do what secrets/README.md says for another key, and for a line in `.env`."""
    stack.compose("up", "-d", seconds=200)
    if services:
        stack.compose("restart", *services, seconds=90)
    stack.wait_healthy()


@pytest.fixture(scope="module")
def keys(stack: Containers) -> Iterator[dict[str, Key]]:
    folder = stack.folder / "secrets"
    files = {
        "LLM_API_KEY": (folder / "LLM_API_KEY", "./secrets/LLM_API_KEY"),
        # Neither of this name nor of this folder.
        "OPENAI_API_KEY": (folder.parent.parent / "mine", str(folder.parent.parent / "mine")),
        "SANDBOX_PACKAGES_INDEX_URL": (folder / "index", "./secrets/index"),
    }
    written = {name: Key(f"key-{secrets.token_hex(12)}", path) for name, (path, _) in files.items()}
    address = f"http://user:{written['SANDBOX_PACKAGES_INDEX_URL'].value}@time-client:9999/simple"
    written["SANDBOX_PACKAGES_INDEX_URL"] = Key(address, folder / "index")
    for key in written.values():
        write(stack, key.path, key.value)
    lines = "".join(f"{name}_FILE={line}\n" for name, (_, line) in files.items())
    write(stack, stack.folder / ".env", lines)
    start_again(stack)
    yield written
    for path in (stack.folder / ".env", *(key.path for key in written.values())):
        run("rm", "-f", str(path))
    start_again(stack)


@pytest.mark.parametrize("service", OURS)
def test_who_has_no_key_has_an_empty_secret(stack: Containers, service: str) -> None:
    own = [name for name, (owner, _, _) in SETTINGS.items() if owner == service]

    assert secrets_in(stack, service) == dict.fromkeys(own, "")


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_service_that_is_not_root_reads_its_key(
    stack: Containers, keys: dict[str, Key], variable: str
) -> None:
    service = SETTINGS[variable][0]

    assert stack.inside(service, "import os; print(os.getuid())").strip() != "0"
    assert read_by(stack, variable) == keys[variable].value


@pytest.mark.parametrize("service", OURS)
def test_no_service_reads_the_key_of_another(
    stack: Containers, keys: dict[str, Key], service: str
) -> None:
    own = {name: keys[name].value for name, (owner, _, _) in SETTINGS.items() if owner == service}

    assert secrets_in(stack, service) == own


def test_what_separates_services_of_one_user_are_their_mounts(stack: Containers) -> None:
    who = "import os; print(os.getuid(), os.getgid())"

    assert stack.inside("code-executor", who) == stack.inside("middleware", who)


def test_no_inspection_and_no_log_shows_a_key(stack: Containers, keys: dict[str, Key]) -> None:
    shown = [json.dumps(stack.inspect(service)) for service in (*OURS, "prometheus")]
    shown.append(json.dumps(stack.inspect("volume-init")))
    shown.append(stack.compose("logs", "--no-color"))
    shown.append(stack.compose("config"))

    assert not [key for key in keys.values() if any(key.value in text for text in shown)]


def test_no_image_and_no_commit_takes_a_key_in(stack: Containers, keys: dict[str, Key]) -> None:
    stack.compose("build", "middleware", seconds=250)
    wanted = tuple(key.value.encode() for key in keys.values())
    image = f"mcp-stack/middleware:{stack.env['STACK_TAG']}"

    assert found_in_layers(image, (b"/site-packages", *wanted)) == {b"/site-packages"}
    assert stack.run("git", "status", "--porcelain") == ""


def test_a_key_is_closed_to_other_users_of_the_host(
    stack: Containers, keys: dict[str, Key]
) -> None:
    for key in keys.values():
        assert key.path.stat().st_mode & 0o037 == 0
        # Its owner can still change it.
        run("sh", "-c", f": >>'{key.path}'", prefix=stack.person.prefix)


def test_a_model_and_an_index_are_met_with_their_keys(
    stack: Containers, keys: dict[str, Key]
) -> None:
    other = stack.id_of("time-client")
    run("docker", "exec", "--detach", other, "python3", "-I", "-c", _NOTES)
    asking = stack.with_settings(LLM_BASE_URL="http://time-client:9999/v1")
    try:
        start_again(asking)
        asking.post(
            f"{stack.url('MIDDLEWARE')}/chat", {"messages": [{"role": "user", "content": "hello"}]}
        )
        install = {"name": "install_package", "parameters": {"package": "colorama"}}
        said = asking.post(f"{stack.url('MIDDLEWARE')}/execute", install)
        seen = set(run("docker", "exec", other, "cat", "/tmp/seen").split("\n"))
    finally:
        start_again(stack, "time-client")

    index = keys["SANDBOX_PACKAGES_INDEX_URL"].value.split("//")[1].split("@")[0]
    assert f"Bearer {keys['LLM_API_KEY'].value}" in seen
    assert f"Basic {base64.b64encode(index.encode()).decode()}" in seen, said


def test_another_key_is_read_where_its_file_was_replaced(
    stack: Containers, keys: dict[str, Key]
) -> None:
    path, value = keys["LLM_API_KEY"].path, keys["LLM_API_KEY"].value
    write(stack, path.with_name("new"), f"{value}-2")
    run("mv", "secrets/new", str(path), cwd=stack.folder, prefix=stack.person.prefix)
    try:
        assert secrets_in(stack, "middleware")["LLM_API_KEY"] == value
        start_again(stack, "middleware")
        assert read_by(stack, "LLM_API_KEY") == f"{value}-2"
    finally:
        write(stack, path, value)


def test_a_file_elsewhere_is_taken_from_nobody(stack: Containers) -> None:
    path = stack.folder.parent / "shared"
    write(stack, path, "of several")
    run("chmod", "640", str(path), prefix=stack.person.prefix)
    before = path.stat()
    sharing = stack.with_settings(OPENAI_API_KEY_FILE=str(path))
    once = "$COMPOSE run --rm --no-deps -T volume-init 2>&1"
    try:
        assert "OPENAI_API_KEY: its service may not read the file" in sharing.run("sh", "-c", once)
        after = path.stat()
        assert (after.st_gid, after.st_mode) == (before.st_gid, before.st_mode)
        run("chmod", "644", str(path), prefix=stack.person.prefix)
        assert "may not read" not in sharing.run("sh", "-c", once)
    finally:
        run("rm", "-f", str(path))


def test_no_folder_is_made_where_a_file_is_missing(stack: Containers) -> None:
    missing = stack.with_settings(LLM_API_KEY_FILE="./secrets/gone")
    said = missing.fails("sh", "-c", "$COMPOSE run --rm --no-deps -T volume-init 2>&1")

    assert "bind source path does not exist" in said
    assert not (stack.folder / "secrets" / "gone").exists()


def test_a_key_in_the_file_that_git_tracks_starts_nothing(stack: Containers) -> None:
    none = stack.folder / "secrets" / "none"
    # volume-init has been there.
    assert none.stat().st_mode & 0o777 == 0o444
    stack.run("sh", "-c", "chmod u+w secrets/none && printf key >secrets/none")
    try:
        once = stack.fails("sh", "-c", "$COMPOSE run --rm --no-deps -T volume-init 2>&1")
        made = stack.fails("make", "up")
    finally:
        stack.run("sh", "-c", ": >secrets/none")

    assert "secrets/none is not empty" in once
    assert "secrets/none is not empty" in made
    assert stack.run("git", "status", "--porcelain") == ""


def test_grafana_starts_with_the_password_of_its_file(
    stack: Containers, grafana_image: str
) -> None:
    with_grafana = stack.with_settings(COMPOSE_PROFILES="embedded", GRAFANA_IMAGE=grafana_image)
    start = ("run", "--rm", "--no-deps", "-T", "grafana", "only-say")
    path = stack.folder / "secrets" / "GRAFANA_ADMIN_PASSWORD"
    try:
        assert "password is admin" in with_grafana.compose(*start)

        write(stack, path, "of the file")
        named = with_grafana.with_settings(GRAFANA_ADMIN_PASSWORD_FILE=f"./secrets/{path.name}")
        named.compose("run", "--rm", "--no-deps", "-T", "volume-init")
        assert "password is of the file" in named.compose(*start)

        typed = named.with_settings(GRAFANA_ADMIN_PASSWORD="typed")
        assert "password is typed" in typed.compose(*start)
    finally:
        path.unlink(missing_ok=True)
