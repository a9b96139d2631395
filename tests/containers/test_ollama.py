"""The default stack, with no profile, and a real Ollama in it: pulled from a registry of our own.

The tests follow each other as a first evening does: the pull fails, the registry comes, the model
is pulled, chats are answered, another model is pulled, Ollama is killed.
"""

import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack_support.containers import OURS, Containers, Person, containers, run, uses_compose_v2
from stack_support.real_ollama import real_ollama
from stack_support.terminal import assert_shell_opens
from stack_support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support" / "ollama"
HOST = "registry.test"
MODELS = ("caller", "two-calls", "endless")
# A pull of two megabytes then takes long enough to be asked about.
BYTES_PER_SECOND = 400_000
SERVICES = tuple(name for name in OURS if name != "embedded-model")

pytestmark = [pytest.mark.stack, pytest.mark.ollama, pytest.mark.timeout(900)]


def named(model: str) -> str:
    return f"{HOST}/library/{model}:latest"


@dataclass
class Registry:
    """A container in the stack's network that serves the models; it starts when it is told to."""

    folder: Path
    image: str
    name: str = ""

    def start(self, stack: Containers) -> None:
        self.name = f"{stack.project}-registry"
        inside = ("/support/registry.py", "/registry", "/registry/cert.pem", "/registry/key.pem")
        run(
            *("docker", "run", "--detach", "--name", self.name),
            *("--network", f"{stack.project}_default"),
            *("--network-alias", HOST, "--network-alias", f"bytes.{HOST}"),
            *("--volume", f"{self.folder}:/registry:ro", "--volume", f"{SUPPORT}:/support:ro"),
            *(self.image, "python3", "-I", *inside, str(BYTES_PER_SECOND)),
        )

    def remove(self) -> None:
        if self.name:
            run("docker", "rm", "--force", self.name)
            self.name = ""


@pytest.fixture(scope="module")
def ollama_binary() -> Path:
    """The program; it is built where it is missing, in about five minutes."""
    return Path(run(str(SUPPORT / "build.sh"), seconds=850).strip())


@pytest.fixture(scope="module")
def registry(room: Path, ollama_binary: Path) -> Registry:
    folder = room / "registry"
    with real_ollama(folder / "made") as made:
        made.create(*MODELS)
    shutil.copytree(folder / "made" / "models", folder, dirs_exist_ok=True)
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},DNS:bytes.{HOST}"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
    )
    run("chmod", "-R", "a+rX", str(folder))
    return Registry(folder, os.environ.get("PYTHON_IMAGE", "offline/python:3.13"))


@pytest.fixture(scope="module")
def image(room: Path, registry: Registry, ollama_binary: Path) -> Iterator[str]:
    folder = room / "image"
    folder.mkdir()
    shutil.copy(ollama_binary, folder / "ollama")
    shutil.copy(registry.folder / "cert.pem", folder / "registry.pem")
    name = f"stack-test-ollama:{secrets.token_hex(4)}"
    base = ("--build-arg", f"BASE_IMAGE={registry.image}")
    run(
        *("docker", "build", "--quiet", *base, "--tag", name),
        *("--file", str(SUPPORT / "Dockerfile"), str(folder)),
        seconds=120,
    )
    yield name
    run("docker", "image", "rm", "--force", name)


@pytest.fixture(scope="module")
def default_stack(
    room: Path, ordinary: Person, registry: Registry, image: str, grafana_image: str
) -> Iterator[Containers]:
    """The stack as it starts with no setting but the images and the model's name."""
    folder = room / "ollama" / "mcp-stack"
    # In the home of a user of our own; a developer's models are none of our business.
    models = {} if ordinary.home else {"OLLAMA_DATA_DIR": str(folder / "data" / "ollama")}
    with containers(
        folder,
        person=ordinary,
        COMPOSE_PROFILES="",
        OLLAMA_IMAGE=image,
        GRAFANA_IMAGE=grafana_image,
        LLM_MODEL_NAME=named("caller"),
        **models,
    ) as stack:
        try:
            stack.compose("build", *SERVICES, seconds=900)
            stack.compose("up", "-d", seconds=200)
            stack.wait_healthy(*SERVICES)
            yield stack
        finally:
            registry.remove()


def ask(stack: Containers, *, timeout_seconds: float = 60) -> tuple[int, Any]:
    messages = [{"role": "user", "content": "How much is 6*7?"}]
    body = {"messages": messages, "timeout_seconds": timeout_seconds}
    return stack.post(f"{stack.url('MIDDLEWARE')}/chat", body)


def readiness(stack: Containers) -> tuple[int, str]:
    with httpx.Client(trust_env=False, timeout=10) as client:
        answer = client.get(f"{stack.url('MIDDLEWARE')}/ready")
    return answer.status_code, answer.text


def use(stack: Containers, model: str) -> Containers:
    """Start the middleware again with another model, as one does after a change of .env."""
    changed = Containers(stack.folder, {**stack.env, "LLM_MODEL_NAME": named(model)}, stack.person)
    changed.compose("up", "-d", "--no-deps", "middleware", "ollama-pull", seconds=120)
    changed.wait_healthy("middleware")
    return changed


def test_failing_pull_is_explained_and_stops_nothing(default_stack: Containers) -> None:
    def fails() -> bool:
        status, answer = ask(default_stack)
        return status == 502 and "pull has failed" in answer["detail"]

    wait_until(fails, within=60, what="the chat says that the pull fails")
    _, answer = ask(default_stack)
    assert answer["type"].endswith("llm-model-not-found")
    assert "the registry can't be reached" in answer["detail"]
    assert "is tried again in" in answer["detail"]
    assert "failed: the registry can't be reached" in default_stack.compose("logs", "ollama-pull")
    assert default_stack.is_healthy("middleware")
    assert default_stack.is_healthy("ollama")
    assert default_stack.execute("print(6*7)")["output"].strip() == "42"


def test_with_no_profile_all_of_it_starts_without_a_warning(
    default_stack: Containers, ordinary: Person
) -> None:
    default_stack.wait_healthy("prometheus", "grafana", "ollama")
    assert not default_stack.id_of("embedded-model")
    assert not default_stack.id_of("alertmanager")
    with httpx.Client(trust_env=False, timeout=10) as client:
        assert client.get(f"{default_stack.url('GRAFANA')}/api/health").is_success
    said = default_stack.run("sh", "-c", "$COMPOSE up -d 2>&1 && $COMPOSE config -q 2>&1")
    assert not [line for line in said.lower().splitlines() if "warn" in line or "undefined" in line]
    if uses_compose_v2():
        # What the README says to wait for: all of it would count an ollama-pull that has ended.
        default_stack.compose("up", "-d", "--wait", "middleware")
    if ordinary.home:
        assert (ordinary.home / "docker-data" / "ollama").is_dir()


def test_ready_says_what_is_missing_while_the_service_is_healthy(
    default_stack: Containers,
) -> None:
    status, said = readiness(default_stack)

    assert status == 503
    assert "its pull has failed" in said or "being pulled" in said
    assert default_stack.is_healthy("middleware")


def test_pull_is_told_of_by_percent_and_then_the_chat_works(
    default_stack: Containers, registry: Registry
) -> None:
    registry.start(default_stack)
    told: list[str] = []

    def is_told() -> bool:
        status, answer = ask(default_stack)
        if status == 503 and re.search(r"still being pulled: \d+ %", answer["detail"]):
            told.append(answer["detail"])
        return bool(told)

    wait_until(is_told, within=120, what="the chat says how far the pull is", every=0.3)
    status, said = readiness(default_stack)
    assert status == 200 or "still being pulled" in said
    wait_until(lambda: ask(default_stack)[0] == 200, within=60, what="the model is there")
    logs = default_stack.compose("logs", "ollama-pull")
    assert re.search(r"Pulling \S+: \d+ % \(", logs)
    assert f"The model {named('caller')} is there." in logs
    wait_until(
        lambda: not default_stack.inspect("ollama-pull")["State"]["Running"],
        within=10,
        what="ollama-pull has ended",
    )
    assert default_stack.inspect("ollama-pull")["State"]["ExitCode"] == 0


def test_chat_calls_a_tool_in_the_sandbox(default_stack: Containers) -> None:
    status, answer = ask(default_stack)

    assert status == 200, answer
    assert answer["response"] == "It is 42."
    (call,) = answer["tool_calls"]
    assert (call["name"], call["output"].strip()) == ("execute_code", "42")


def test_the_commands_of_ollama_are_typed_in_its_container(default_stack: Containers) -> None:
    default_stack.compose("exec", "-T", "ollama", "ollama", "pull", named("two-calls"))

    listed = default_stack.compose("exec", "-T", "ollama", "ollama", "list")
    assert named("caller") in listed
    assert named("two-calls") in listed


@pytest.mark.parametrize("service", ["ollama", "grafana"])
def test_a_shell_opens_in_the_container_of_others(default_stack: Containers, service: str) -> None:
    assert_shell_opens(default_stack, service)


def test_two_calls_of_one_answer_are_both_made(default_stack: Containers) -> None:
    stack = use(default_stack, "two-calls")

    status, answer = ask(stack)
    assert status == 200, answer
    assert [call["name"] for call in answer["tool_calls"]] == ["execute_code", "get_timezone_time"]
    assert answer["response"] == "Both tools have answered."
    assert not any(call["is_error"] for call in answer["tool_calls"])


def test_ollama_that_is_killed_in_mid_stream_heals_and_the_chat_ends_in_words(
    default_stack: Containers,
) -> None:
    stack = use(default_stack, "endless")
    wait_until(lambda: readiness(stack)[0] == 200, within=90, what="the endless model is there")
    ended: list[tuple[int, Any]] = []
    chat = threading.Thread(target=lambda: ended.append(ask(stack, timeout_seconds=45)))
    before = stack.inspect("ollama")
    chat.start()
    # Two thousand tokens take longer.
    chat.join(2.0)
    assert chat.is_alive()
    # The container's first process is its init: what ends is the whole container.
    os.kill(int(before["State"]["Pid"]), 9)
    chat.join(60)

    assert ended
    status, answer = ended[0]
    assert status == 200 or answer["type"].rpartition(":")[2].startswith("llm-"), answer
    wait_until(
        lambda: stack.inspect("ollama")["RestartCount"] > before["RestartCount"],
        within=30,
        what="Ollama was started again",
    )
    healed = use(default_stack, "caller")
    wait_until(lambda: ask(healed)[0] == 200, within=60, what="chats are answered again")


def test_ollama_that_is_restarted_or_stopped_ends_by_itself_and_chats_go_on(
    default_stack: Containers,
) -> None:
    stack = use(default_stack, "caller")
    wait_until(lambda: ask(stack)[0] == 200, within=90, what="chats are answered")
    identity, is_over = stack.id_of("ollama"), threading.Event()
    endings: list[tuple[int, Any]] = []

    def chat_on() -> None:
        while not is_over.is_set():
            endings.append(ask(stack, timeout_seconds=45))

    chat = threading.Thread(target=chat_on)
    chat.start()
    try:
        run("docker", "restart", identity, seconds=60)
        stack.wait_healthy("ollama")
        run("docker", "stop", "--time", "20", identity, seconds=60)
        code = stack.inspect("ollama")["State"]["ExitCode"]
        run("docker", "start", identity)
        stack.wait_healthy("ollama")
    finally:
        is_over.set()
        chat.join(120)

    assert not chat.is_alive()
    assert endings
    assert code in {0, 143}, code
    for status, answer in endings:
        assert status == 200 or answer["type"].rpartition(":")[2].startswith("llm-"), answer
    wait_until(lambda: ask(stack)[0] == 200, within=60, what="chats are answered again")


def test_pull_that_is_killed_goes_on(default_stack: Containers) -> None:
    stack = use(default_stack, "no-such-model")

    def is_failing() -> bool:
        status, answer = ask(stack)
        return status == 502 and "is LLM_MODEL_NAME right?" in answer["detail"]

    wait_until(is_failing, within=60, what="the chat says that the name is wrong")
    before = stack.inspect("ollama-pull")
    with suppress(ProcessLookupError):
        os.kill(int(before["State"]["Pid"]), 9)
    wait_until(
        lambda: stack.inspect("ollama-pull")["RestartCount"] > before["RestartCount"],
        within=30,
        what="the pull was started again",
    )


# The model has two megabytes.
_SMALL_DISK = """services:
  ollama:
    volumes: [{type: tmpfs, target: /root/.ollama, tmpfs: {size: 1000000}}]
"""


def test_full_disk_is_explained_and_stops_nothing(default_stack: Containers) -> None:
    (default_stack.folder / "small.yml").write_text(_SMALL_DISK, encoding="utf-8")
    small = default_stack.with_settings(COMPOSE_FILE="docker-compose.yml:small.yml")
    # Compose v2 takes a container's mounts over into the one that replaces it.
    small.compose("rm", "--stop", "--force", "ollama")
    small.compose("up", "-d", "--no-deps", "ollama")
    small.wait_healthy("ollama")
    stack = use(small, "caller")

    def is_explained() -> bool:
        status, answer = ask(stack)
        return status == 502 and "the disk is full; make room" in answer["detail"]

    wait_until(is_explained, within=60, what="the chat says that the disk is full")
    assert "failed: the disk is full" in stack.compose("logs", "ollama-pull")
    assert stack.is_healthy("ollama")
    assert stack.execute("print(6*7)")["output"].strip() == "42"


def test_with_another_endpoint_nothing_is_pulled(default_stack: Containers) -> None:
    env = {**default_stack.env, "LLM_BASE_URL": "http://llm.invalid/v1"}
    stack = Containers(default_stack.folder, env, default_stack.person)
    said = stack.compose("run", "--rm", "--no-deps", "-T", "ollama-pull")

    assert said.strip() == "The model is at another endpoint: no model is pulled."


def test_a_backup_lists_the_models(default_stack: Containers) -> None:
    default_stack.compose("rm", "--stop", "--force", "ollama")
    default_stack.compose("up", "-d", "--no-deps", "ollama")
    default_stack.wait_healthy("ollama")

    default_stack.run("make", "--no-print-directory", "backup", "TO=backups/models.tar")

    listed = default_stack.run("tar", "-xOf", "backups/models.tar", "models.txt").split()
    assert {named("caller"), named("two-calls")} <= set(listed)


def test_models_are_carried_over_as_their_folder(
    default_stack: Containers, registry: Registry, room: Path
) -> None:
    env = default_stack.env
    models = Path(env.get("OLLAMA_DATA_DIR", f"{env['HOME']}/docker-data/ollama"))
    run("cp", "-a", str(models), str(room / "carried"))
    registry.remove()
    there = default_stack.with_settings(OLLAMA_DATA_DIR=str(room / "carried"))
    there.compose("rm", "--stop", "--force", "ollama")
    there.compose("up", "-d", "--no-deps", "ollama")
    there.wait_healthy("ollama")

    stack = use(there, "caller")

    wait_until(lambda: ask(stack)[0] == 200, within=60, what="chats are answered")
    assert f"The model {named('caller')} is there." in stack.compose("logs", "ollama-pull")
