"""What `make up` decides, with a `docker` that notes what it is asked and answers as told."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The engine's side of the script: its runtimes, a Compose that is there, a healthy container.
_DOCKER = """#!/bin/sh
echo "$*" >>"$ASKED"
echo "workspace: ${SANDBOX_WORKSPACE-of .env}" >>"$ASKED"
echo "profiles: $COMPOSE_PROFILES" >>"$ASKED"
case "$*" in
    "info --format"*) echo "$RUNTIMES" ;;
    "compose version"*) echo "${VERSION:-2.40.3}" ;;
    *" up -d"*) exit "${UP_STATUS:-0}" ;;
    "compose ps -q"*) echo some-container ;;
    exec*) [ -z "${NOT_READY:-}" ] || { echo "$NOT_READY"; exit 1; } ;;
    inspect*) echo healthy ;;
    "image inspect"*) case " $IMAGES " in *" $3 "*) exit 0 ;; *) exit 1 ;; esac ;;
esac
"""


@dataclass(frozen=True)
class Checkout:
    """A folder with what the script reads, and the fake in its path."""

    folder: Path

    def make(self, command: str, *, runtimes: str = '{"runc":{}}', **env: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "docker/stack.sh", command],
            cwd=self.folder,
            env={
                "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
                "ASKED": str(self.folder / "asked"),
                "RUNTIMES": runtimes,
                "IMAGES": env.pop("IMAGES", ""),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def asked(self) -> str:
        return (self.folder / "asked").read_text(encoding="utf-8")

    def program(self, name: str, text: str) -> None:
        self.write(f"bin/{name}", text)
        (self.folder / "bin" / name).chmod(0o755)

    def without_python(self) -> None:
        self.program("python3", "#!/bin/sh\nexit 1\n")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    for path in ROOT.glob("docker-compose*.yml"):
        shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "secrets", tmp_path / "secrets")
    made = Checkout(tmp_path)
    page = "docs/reference/configuration.md"
    made.write(page, (ROOT / page).read_text(encoding="utf-8"))
    made.program("docker", _DOCKER)
    # The script's pauses are for what is real.
    made.program("sleep", "#!/bin/sh\n")
    return made


def test_a_gpu_is_used_where_its_runtime_is(checkout: Checkout) -> None:
    status, said = checkout.make("up", runtimes='{"nvidia":{},"runc":{}}')

    assert status == 0, said
    assert "Ollama gets the GPUs" in said
    assert (
        "compose -f docker-compose.yml -f docker-compose.gpu.yml up -d --build" in checkout.asked()
    )


@pytest.mark.parametrize(
    ("name", "version", "is_read"),
    [
        ("docker-compose.override.yml", "1.29.2", True),
        ("docker-compose.override.yaml", "2.40.3", True),
        ("compose.override.yml", "2.40.3", True),
        ("compose.override.yml", "1.29.2", False),
    ],
)
def test_with_a_gpu_the_users_own_file_is_read_as_without_one(
    checkout: Checkout, name: str, version: str, is_read: bool
) -> None:
    checkout.write(name, "services: {}\n")

    status, said = checkout.make("up", runtimes='{"nvidia":{}}', VERSION=version)

    assert status == 0, said
    assert (f"Files: {name} as well." in said) == is_read
    own = f" -f {name}" if is_read else ""
    assert f"-f docker-compose.yml -f docker-compose.gpu.yml{own} up -d" in checkout.asked()


@pytest.mark.parametrize("of_the_shell", [True, False])
def test_files_that_somebody_chose_are_taken_as_they_are(
    checkout: Checkout, of_the_shell: bool
) -> None:
    line = "COMPOSE_FILE=docker-compose.yml:mine.yml"
    if not of_the_shell:
        checkout.write(".env", f"{line}\n")
    shell = dict([line.split("=")]) if of_the_shell else {}

    status, said = checkout.make("up", runtimes='{"nvidia":{}}', **shell)

    assert status == 0, said
    assert "COMPOSE_FILE says which (docker-compose.yml:mine.yml)" in said
    assert "compose up -d --build" in checkout.asked()


def test_a_gpu_that_fails_is_told_with_the_line_without_it(checkout: Checkout) -> None:
    checkout.write("docker-compose.override.yml", "services: {}\n")
    without = "COMPOSE_FILE=docker-compose.yml:docker-compose.override.yml make up"

    status, said = checkout.make("up", runtimes='{"nvidia":{}}', UP_STATUS="1")
    assert status == 1
    assert without in said
    assert "Chat:" not in said

    status, said = checkout.make("up", UP_STATUS="1")
    assert status == 1
    assert "COMPOSE_FILE" not in said


def test_what_chats_still_wait_for_is_said(checkout: Checkout) -> None:
    waits = "Not ready. llm: The model x is still being pulled: 37 %."

    for command in ("up", "up-offline"):
        checkout.write(".env.offline", "COMPOSE_PROFILES=embedded\n")
        status, said = checkout.make(command, NOT_READY=waits)
        assert status == 0, said
        assert said.count(waits) == 1
        assert "chats say what they wait for" in said
        assert "Chat: http://localhost:8002" in said
        assert "wait for" not in checkout.make(command)[1]


@pytest.mark.parametrize("command", ["down", "logs", "ps"])
def test_profiles_meant_for_others_keep_nobody_from_ending_it(
    checkout: Checkout, command: str
) -> None:
    status, said = checkout.make(command, runtimes='{"nvidia":{}}', COMPOSE_PROFILES="dev, x")

    assert status == 0, said
    asked = checkout.asked()
    assert f"compose {command}" in asked  # names no file: Compose finds all
    assert asked.rstrip().endswith("profiles: all")


@pytest.mark.parametrize("has_python", [True, False])
@pytest.mark.parametrize("profiles", ["dev", "embedded, alerting"])
def test_profiles_meant_for_others_are_told_at_the_start(
    checkout: Checkout, profiles: str, has_python: bool
) -> None:
    if not has_python:
        checkout.without_python()

    status, said = checkout.make("up", COMPOSE_PROFILES=profiles)

    assert status == 1
    assert f"COMPOSE_PROFILES is '{profiles}'" in said
    assert "up -d" not in checkout.asked()


@pytest.mark.parametrize(
    ("line", "seen"),
    [("off", ""), ("'off'  # as documented", ""), ("rw", "of .env"), ("", "of .env")],
)
def test_a_workspace_that_is_off_is_empty_for_compose(
    checkout: Checkout, line: str, seen: str
) -> None:
    checkout.write(".env", f"SANDBOX_WORKSPACE={line}\n")
    status, said = checkout.make("up")

    assert status == 0, said
    assert f"workspace: {seen}\n" in checkout.asked()


def test_a_workspace_that_is_off_in_the_shell_is_empty_for_compose(checkout: Checkout) -> None:
    checkout.make("up", SANDBOX_WORKSPACE="off")

    assert "workspace: \n" in checkout.asked()


def test_without_a_gpu_the_processor_is_used_and_named(checkout: Checkout) -> None:
    status, said = checkout.make("up")

    assert status == 0, said
    assert "Ollama runs on the CPU" in said
    assert "gpu.yml" not in checkout.asked()


def test_the_embedded_model_asks_for_no_gpu(checkout: Checkout) -> None:
    checkout.write(".env", "COMPOSE_PROFILES=embedded  # no download\n")

    status, said = checkout.make("up", runtimes='{"nvidia":{}}')

    assert status == 0, said
    assert "Ollama is left out" in said
    assert "gpu.yml" not in checkout.asked()


def test_a_misspelt_setting_starts_nothing(checkout: Checkout) -> None:
    checkout.write(".env", "SANDBOX_CPU=2\n")

    status, said = checkout.make("up")

    assert status == 1
    assert "Did you mean SANDBOX_CPUS?" in said
    assert "up -d" not in checkout.asked()


_OF_A_FILE = "BIND_ADDRESS=0.0.0.0\nGRAFANA_ADMIN_PASSWORD_FILE=./secrets/mine\n"


@pytest.mark.parametrize("dotenv", ["BIND_ADDRESS=0.0.0.0\n", _OF_A_FILE])
def test_the_known_password_stays_behind_loopback(checkout: Checkout, dotenv: str) -> None:
    checkout.write(".env", dotenv)
    checkout.write("secrets/mine", "admin\n")

    status, said = checkout.make("up")

    assert status == 1
    assert "its password is still admin" in said
    assert "up -d" not in checkout.asked()


@pytest.mark.parametrize("has_python", [True, False])
@pytest.mark.parametrize(
    "dotenv",
    [
        "BIND_ADDRESS = 0.0.0.0",
        "export BIND_ADDRESS=0.0.0.0",
        "BIND_ADDRESS: 0.0.0.0",
        "BIND_ADDRESS=${WHERE:-0.0.0.0}",
        "BIND_ADDRESS=0.0.0.0\nGRAFANA_ADMIN_PASSWORD=${PW:-admin}",
        "BIND_ADDRESS=0.0.0.0\nGRAFANA_ADMIN_PASSWORD='admin' # mine",
        "BIND_ADDRESS='0.0.0.0'",
    ],
)
def test_no_way_to_write_it_opens_the_known_password(
    checkout: Checkout, dotenv: str, has_python: bool
) -> None:
    checkout.write(".env", f"{dotenv}\n")
    if not has_python:
        checkout.without_python()

    status, said = checkout.make("up")

    assert status == 1, said
    assert "up -d" not in checkout.asked()


def test_an_empty_word_of_the_shell_wins_over_the_file_as_with_compose(checkout: Checkout) -> None:
    checkout.write(".env", "BIND_ADDRESS=0.0.0.0\nGRAFANA_ADMIN_PASSWORD=another\n")

    assert checkout.make("up")[0] == 0
    assert checkout.make("up", GRAFANA_ADMIN_PASSWORD="")[0] == 1
    assert checkout.make("up", GRAFANA_ADMIN_PASSWORD="", BIND_ADDRESS="")[0] == 0


def test_a_useless_key_file_starts_nothing(checkout: Checkout) -> None:
    checkout.write(".env", "LLM_API_KEY_FILE=./secrets/gone\n")

    status, said = checkout.make("up")

    assert status == 1
    assert "LLM_API_KEY_FILE=./secrets/gone: there is no such file." in said
    assert "up -d" not in checkout.asked()


def test_without_grafana_its_password_refuses_nothing(checkout: Checkout) -> None:
    checkout.write(".env", "BIND_ADDRESS=0.0.0.0\n")
    checkout.write(".env.offline", "COMPOSE_PROFILES=embedded,no-grafana\n")

    assert checkout.make("up", COMPOSE_PROFILES="embedded,no-grafana")[0] == 0
    assert checkout.make("up-offline")[0] == 0


def test_offline_too_the_known_password_stays_behind_loopback(checkout: Checkout) -> None:
    checkout.write(".env", "BIND_ADDRESS=0.0.0.0\n")
    checkout.write(".env.offline", "COMPOSE_PROFILES=embedded,no-grafana\n")

    status, said = checkout.make("up-offline", IMAGES="grafana/grafana:11.6.1")

    assert status == 1
    assert "its password is still admin" in said
    assert " up -d" not in checkout.asked()


def test_who_opens_an_older_grafana_is_told_which_password_it_has(checkout: Checkout) -> None:
    checkout.write(".env", "BIND_ADDRESS=0.0.0.0\nGRAFANA_ADMIN_PASSWORD=another\n")
    assert "keeps the password" not in checkout.make("up")[1]
    checkout.write("data/grafana/grafana.db", "")

    status, said = checkout.make("up")

    assert status == 0, said
    assert "keeps the password that it had then" in said
    assert "reset-admin-password" in said


@pytest.mark.parametrize("path", ["./secrets/mine", "~/mine"])
def test_another_password_may_be_opened(checkout: Checkout, path: str) -> None:
    checkout.write(".env", f"BIND_ADDRESS=0.0.0.0\nGRAFANA_ADMIN_PASSWORD_FILE={path}\n")
    home = checkout.folder / "secrets"
    checkout.write("secrets/mine", "another\n")

    status, said = checkout.make("up", HOME=str(home))

    assert status == 0, said
    checkout.write(".env", "BIND_ADDRESS=0.0.0.0\n")
    assert checkout.make("up", GRAFANA_ADMIN_PASSWORD="another")[0] == 0


_IS_TOLD = "others get 403 until the name or address that they use is in:"


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "[::]"])
def test_who_opens_the_ports_is_told_whom_they_answer(checkout: Checkout, address: str) -> None:
    opened = {"BIND_ADDRESS": address, "GRAFANA_ADMIN_PASSWORD": "another"}

    status, said = checkout.make("up", **opened)
    assert status == 0, said
    assert f"{_IS_TOLD} MIDDLEWARE_ALLOWED_HOSTS MCP_SERVER_ALLOWED_HOSTS\n" in said

    checkout.write(".env", "MIDDLEWARE_ALLOWED_HOSTS=chat.example\n")
    assert f"{_IS_TOLD} MCP_SERVER_ALLOWED_HOSTS\n" in checkout.make("up", **opened)[1]

    checkout.write(".env", "MIDDLEWARE_ALLOWED_HOSTS=a\nMCP_SERVER_ALLOWED_HOSTS=a\n")
    assert _IS_TOLD not in checkout.make("up", **opened)[1]


@pytest.mark.parametrize("address", ["", "127.0.0.2", "[::1]"])
def test_nobody_else_is_told_of_on_loopback(checkout: Checkout, address: str) -> None:
    status, said = checkout.make("up", BIND_ADDRESS=address)

    assert status == 0, said
    assert _IS_TOLD not in said


def test_offline_only_what_has_an_image_is_started(checkout: Checkout) -> None:
    checkout.write(".env.offline", "PROMETHEUS_IMAGE=own/prometheus:1\nCOMPOSE_PROFILES=embedded\n")

    status, said = checkout.make("up-offline", IMAGES="own/prometheus:1")

    assert status == 0, said
    assert "(docker load brings one in): ollama grafana" in said
    started = next(line for line in checkout.asked().splitlines() if " up -d " in line)
    assert started.endswith("middleware embedded-model prometheus")


def test_offline_alerts_are_sent_on_where_that_is_chosen(checkout: Checkout) -> None:
    checkout.write(
        ".env.offline",
        "ALERTMANAGER_IMAGE=own/alertmanager:1\nCOMPOSE_PROFILES=embedded,no-grafana\n",
    )

    status, said = checkout.make(
        "up-offline", IMAGES="own/alertmanager:1", COMPOSE_PROFILES="alerting"
    )

    assert status == 0, said
    started = next(line for line in checkout.asked().splitlines() if " up -d " in line)
    assert started.endswith("embedded-model alertmanager")
    assert "profiles: embedded,no-grafana,alerting" in checkout.asked()


def test_offline_without_images_says_how_to_get_them(checkout: Checkout) -> None:
    status, said = checkout.make("up-offline")

    assert status == 1
    assert "make images-offline" in said
