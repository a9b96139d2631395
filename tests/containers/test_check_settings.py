"""`make up` finds what is misspelt, and leaves alone what is right or meant for others."""

import ipaddress
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from stack_support.settings_check import check

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docker" / "profiles", tmp_path / "docker" / "profiles")
    page = tmp_path / "docs" / "reference" / "configuration.md"
    page.parent.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "reference" / "configuration.md", page)
    for path in ROOT.glob("docker-compose*.yml"):
        shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "secrets", tmp_path / "secrets")
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("LLM_BASE_UR", "LLM_BASE_URL"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("LLM_API_KEYFILE", "LLM_API_KEY_FILE"),
        ("GRAFANA_PASSWORD_FILE", "GRAFANA_ADMIN_PASSWORD_FILE"),
        ("SANDBOX_MEMORY_LIMT", "SANDBOX_MEMORY_LIMIT"),
        ("SANDBOX_CPU", "SANDBOX_CPUS"),
        ("SANBOX_SLOTS", "SANDBOX_SLOTS"),
        ("SANDBOX_RUNNER_MEMORY", "SANDBOX_RUNNER_MEMORY_BYTES"),
        ("GRAFANA_PASSWORD", "GRAFANA_ADMIN_PASSWORD"),
        ("OLLAMA_CONTEXT", "OLLAMA_CONTEXT_LENGTH"),
        ("BIND_ADRESS", "BIND_ADDRESS"),
        ("middleware_port", "MIDDLEWARE_PORT"),
        ("PYTHON_IMGE", "PYTHON_IMAGE"),
        ("COMPOSE_PROFILE", "COMPOSE_PROFILES"),
        ("COMPOSE_PROFILS", "COMPOSE_PROFILES"),
        ("OTEL_EXPORTER_OTLP_ENDPOIN", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_a_misspelt_name_is_found_with_the_nearest_right_one(
    folder: Path, wrong: str, right: str
) -> None:
    status, said = check(folder, f"{wrong}=1\n")

    assert status == 1
    assert f".env: {wrong} is no setting. Did you mean {right}?\n" in said


def test_a_name_of_ours_that_resembles_nothing_is_found(folder: Path) -> None:
    status, said = check(folder, "SANDBOX_ZZZZZZZZZZZZZZZZZZZZZZ=1\n")

    assert status == 1
    assert "SANDBOX_ZZZZZZZZZZZZZZZZZZZZZZ is no setting." in said


def test_a_name_of_the_shell_is_found_as_well(folder: Path) -> None:
    status, said = check(folder, "", MIDDLEWARE_MAX_STEP="3", LLM_BASE_URI="http://x/v1")

    assert status == 1
    assert (
        "In the shell: MIDDLEWARE_MAX_STEP is no setting. Did you mean MIDDLEWARE_MAX_STEPS?"
        in said
    )
    assert "In the shell: LLM_BASE_URI is no setting. Did you mean LLM_BASE_URL?" in said


def test_the_example_uncommented_is_right(folder: Path) -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    shown = [
        line[1:] if line[:1] == "#" and line[1:2].isupper() and "=" in line else line
        for line in lines
    ]

    status, said = check(folder, "\n".join(shown))

    assert status == 0
    # Two of the lines show how `make local` reaches another server of this machine.
    assert said.splitlines() == [
        (
            "LLM_BASE_URL: localhost is the container itself there; "
            "this machine is http://host.docker.internal:11434/v1"
        ),
        (
            "MCP_SERVER_UPSTREAMS: localhost is the container itself there; "
            "this machine is wiki=http://host.docker.internal:9100/mcp"
        ),
    ]


def test_the_example_names_whatever_compose_reads() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    # Taken in with a default, or passed on as it is.
    read = {*re.findall(r"\$\{([A-Z_]+)", compose), *re.findall(r"(?m)^ +([A-Z_]+):$", compose)}

    assert len(read) > 40  # there are some sixty
    assert {name for name in read if not re.search(rf"\b{name}\b", example)} == set()
    shown = [line for line in example.splitlines() if re.match("#[A-Z_]+=", line)]
    assert len(shown) <= 30  # more are read by nobody


def test_what_is_meant_for_others_is_left_alone(folder: Path) -> None:
    shell = {
        "EDITOR": "vi",
        "OPENAI_ORG_ID": "x",
        "OLLAMA_HOST": "y",
        "SANDBOX_PORT_8001_TCP": "z",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x",
        "COMPOSE_ENV_FILES": "y",
    }
    dotenv = (
        "TEAM=blue\nCOMPOSE_PROJECT_NAME=x\nHTTPS_PROXY=y\nCOMPOSE_PARALLEL_LIMIT=4\n"
        "OTEL_EXPORTER_OTLP_PROTOCOL=x\nCOMPOSE_PATH_SEPARATOR=:\nCOMPOSE_ENV_FILES=.env\n"
    )

    assert check(folder, dotenv, **shell) == (0, "")


def test_a_setting_of_make_local_is_told_and_no_error(folder: Path) -> None:
    status, said = check(folder, "SANDBOX_CONNECT_SECONDS=4\n")

    assert status == 0
    assert "SANDBOX_CONNECT_SECONDS is for make local" in said


@pytest.mark.parametrize("profiles", ["embeded", "embedded, alerting", "gpu", "alerting,alerting"])
def test_profiles_that_are_none_are_found(folder: Path, profiles: str) -> None:
    status, said = check(folder, f"COMPOSE_PROFILES={profiles}\n")

    assert status == 1
    assert "it can be some of alerting, embedded, no-grafana, each once" in said


def test_profiles_may_stand_in_any_order(folder: Path) -> None:
    assert check(folder, "COMPOSE_PROFILES=no-grafana,alerting,embedded\n") == (0, "")


def test_a_line_that_is_no_assignment_is_named_without_its_value(folder: Path) -> None:
    status, said = check(folder, "TEAM=blue\nLLM API KEY=s3cret\n")

    assert status == 1
    assert "line 2" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "url", ["http://localhost:11434/v1", "http://me:s3cret@127.0.0.1:11434/v1"]
)
def test_loopback_of_a_container_is_told_with_the_right_address(folder: Path, url: str) -> None:
    right = "this machine is http://host.docker.internal:11434/v1\n"

    for status, said in (
        check(folder, f"LLM_BASE_URL={url}\n"),
        check(folder, "LLM_BASE_URL=http://llm.example/v1\n", LLM_BASE_URL=url),
        check(folder, f"OPENAI_BASE_URL={url}\n"),
        check(folder, f"HTTPS_PROXY={url}\n"),
        check(folder, f"SANDBOX_PACKAGES_INDEX_URL={url}\n"),
        check(folder, f"OTEL_EXPORTER_OTLP_ENDPOINT={url}\n"),
    ):
        assert status == 0
        assert said.endswith(right)
        assert "s3cret" not in said


def test_addresses_of_others_are_left_alone(folder: Path) -> None:
    dotenv = (
        "LLM_BASE_URL=http://host.docker.internal:11434/v1\nOPENAI_BASE_URL=https://x.example/v1\n"
        "MCP_SERVER_UPSTREAMS=a=http://10.0.0.7:1/mcp, b=http://wiki:9100/mcp\n"
    )

    assert check(folder, dotenv) == (0, "")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "192.0.2.7", "[::]", "[::1]"])
def test_addresses_that_both_generations_of_compose_take_are_right(
    folder: Path, address: str
) -> None:
    assert check(folder, f"BIND_ADDRESS={address}\n") == (0, "")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("::", "BIND_ADDRESS is '::'; write it as [::]."),
        ("::1", "BIND_ADDRESS is '::1'; write it as [::1]."),
        ("[0::1]", "BIND_ADDRESS is '[0::1]'; write it as [::1]."),
        ("[127.0.0.1]", "BIND_ADDRESS is '[127.0.0.1]'; write it as 127.0.0.1."),
        ("localhost", "BIND_ADDRESS is 'localhost'; it has to be an IP address, such as 0.0.0.0."),
    ],
)
def test_other_addresses_are_refused_with_the_right_form(
    folder: Path, address: str, told: str
) -> None:
    assert check(folder, f"BIND_ADDRESS={address}\n") == (1, f"{told}\n")


@pytest.mark.parametrize(
    "line", ["export LLM_API_KEY=s3cret", "LLM_API_KEY: s3cret", "LLM_API_KEY = s3cret", "s3cret"]
)
def test_other_forms_of_a_line_are_refused_without_their_text(folder: Path, line: str) -> None:
    status, said = check(folder, f"TEAM=blue\n{line}\n")

    assert status == 1
    assert "line 2" in said
    assert "Write NAME=value" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "LLM_API_KEY=s3$cret",
            "put it in single quotes, or write it into a file (LLM_API_KEY_FILE)",
        ),
        ("LLM_API_KEY='s3${cret'", "write it into a file (LLM_API_KEY_FILE)"),
        ("BIND_ADDRESS=${WHERE:-0.0.0.0}", "write out what it stands for"),
        ("OLLAMA_DATA_DIR=$HOME/x", "put it in single quotes, or write out what it stands for"),
    ],
)
def test_a_value_that_compose_changes_is_refused(folder: Path, line: str, told: str) -> None:
    status, said = check(folder, f"{line}\n")

    name = line.partition("=")[0]
    assert status == 1
    assert f".env: {name} has a $, where Compose puts in something else: {told}." in said
    assert "s3" not in said


def test_an_empty_word_of_the_shell_wins_over_the_file(folder: Path) -> None:
    assert check(folder, "BIND_ADDRESS=localhost\n", BIND_ADDRESS="") == (0, "")


def test_a_dollar_that_stays_is_left_alone(folder: Path) -> None:
    assert check(folder, "LLM_API_KEY='s3$cret'\nTEAM=$x\n", OPENAI_API_KEY="a$b") == (0, "")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "192.0.2.7", "[::1]", "::1", "[0:0::1]", "[::]"),
        *("localhost", "127.0.0.1.example", "[::ffff:127.0.0.1]"),
    ],
)
def test_what_is_loopback_is_so_for_the_guard_too(folder: Path, address: str) -> None:
    """Refused here, or closed there only if nobody else reaches it."""
    script = '. "$0/compose.sh"; eval "$(sed -n "/^is_open()/,/^}/p" "$0/stack.sh")"; is_open'
    is_open = not subprocess.run(
        ["sh", "-c", script, str(ROOT / "docker")],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "BIND_ADDRESS": address},
        timeout=30,
        check=False,
    ).returncode
    is_refused = check(folder, f"BIND_ADDRESS={address}\n")[0] == 1

    if is_refused:
        return
    assert is_open == (not ipaddress.ip_address(address.strip("[]")).is_loopback)
