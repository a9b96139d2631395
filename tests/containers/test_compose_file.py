"""What every service of `docker-compose.yml` has, those whose images are not here included."""

import re
import subprocess
from pathlib import Path

import pytest
from sandbox_runner.fork_plans import OTHER_TASKS, tasks_of_others
from sandbox_runner.settings import RunnerSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def blocks(text: str) -> dict[str, str]:
    """Give the text of each service by its name."""
    services = text.split("\nservices:\n")[1].split("\nvolumes:\n", maxsplit=1)[0]
    parts = re.split(r"^  ([a-z][\w-]*):\n", services, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


SERVICES = blocks(COMPOSE)
ONE_SHOT = {"volume-init", "ollama-pull"}
# The anchor that our own services have in common.
COMMON = COMPOSE.split("x-service: &service\n")[1].split("\n\n")[0]
SLOW = {"ollama", "ollama-pull", "grafana"}
KEYS = {
    "middleware": ["LLM_API_KEY", "OPENAI_API_KEY"],
    "sandbox": ["SANDBOX_PACKAGES_INDEX_URL"],
    "grafana": ["GRAFANA_ADMIN_PASSWORD"],
}
ALL_KEYS = [name for names in KEYS.values() for name in names]
NO_KEY = "./secrets/none"


def whole(service: str) -> str:
    text = SERVICES[service]
    return text + COMMON if "<<: *service\n" in text else text


def secrets_of(service: str) -> list[str]:
    listed = re.findall(r"^    secrets: \[(.+)\]$", SERVICES[service], flags=re.MULTILINE)
    return [name for names in listed for name in names.split(", ")]


def waits_for(service: str) -> set[str]:
    """Give all that has to be there before a service, what that waits for included."""
    named = re.findall(r"^      ([\w-]+): \{condition: ", SERVICES[service], flags=re.MULTILINE)
    return {*named, *(each for name in named for each in waits_for(name))}


@pytest.mark.parametrize(
    "service",
    [
        *("sandbox", "code-executor", "time-client", "mcp-server", "middleware"),
        # For a proxy of the machine's own, and for a receiver of alerts.
        *("ollama", "alertmanager"),
    ],
)
def test_a_service_finds_the_machine_by_the_name_that_the_docs_use(service: str) -> None:
    # Docker's own engine does not know it; all send their traces there, if a collector runs there.
    assert "    extra_hosts: *host\n" in SERVICES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_confined_and_bounded(service: str) -> None:
    text = whole(service)

    assert "<<: *confined\n" in text
    assert re.search(r"^ +mem_limit: ", text, flags=re.MULTILINE)
    assert re.search(r"^ +pids_limit: ", text, flags=re.MULTILINE)
    assert re.search(r"^ +cpus: ", text, flags=re.MULTILINE)
    assert re.search(r"^ +restart: ", text, flags=re.MULTILINE)
    assert ("healthcheck:\n" in text) is (service not in ONE_SHOT)


def test_nothing_weakens_what_all_services_have_in_common() -> None:
    confined = COMPOSE.split("x-confined: &confined\n")[1].split("\n\n")[0]

    assert confined.splitlines() == [
        "  init: true",
        "  read_only: true",
        "  cap_drop: [ALL]",
        '  security_opt: ["no-new-privileges:true"]',
        "  logging: *logging",
        "  stop_grace_period: 20s",
    ]
    keys = "init|read_only|cap_drop|security_opt|logging|privileged|devices|ipc|pid|userns_mode"
    for service, text in SERVICES.items():
        again = re.findall(rf"^    ({keys}):", text, flags=re.MULTILINE)
        assert not again, service
    added = {name: re.findall(r"cap_add: \[(.+)\]", text) for name, text in SERVICES.items()}
    assert {name: caps for name, caps in added.items() if caps} == {
        "volume-init": ["CHOWN, FOWNER, DAC_OVERRIDE"],
        "ollama": ["DAC_OVERRIDE"],
    }


def test_five_ports_are_published_and_for_this_machine_alone() -> None:
    published = {
        service: re.findall(r"^    ports: \[(.+)\]$", text, flags=re.MULTILINE)
        for service, text in SERVICES.items()
    }

    assert {service: ports for service, ports in published.items() if ports} == {
        service: [f'"${{BIND_ADDRESS:-127.0.0.1}}:${{{variable}:-{port}}}:{port}"']
        for service, variable, port in (
            ("mcp-server", "MCP_SERVER_PORT", 8000),
            ("middleware", "MIDDLEWARE_PORT", 8002),
            ("ollama", "OLLAMA_PORT", 11434),
            ("prometheus", "PROMETHEUS_PORT", 9090),
            ("grafana", "GRAFANA_PORT", 3000),
        )
    }
    assert COMPOSE.count("ports:") == 5


def test_the_host_s_folders_are_mounted_where_they_belong_and_no_wider() -> None:
    mounts = {
        service: re.findall(r"(\./[\w./-]+):(/[\w./-]+?)(?::([^\s\"]+))?[\"\n]", text)
        for service, text in SERVICES.items()
        if service != "volume-init"  # gives them to their users, and ends
    }

    assert [
        name for name, all_ in mounts.items() if any("workspace" in each[0] for each in all_)
    ] == ["sandbox-runner"]
    for service, all_ in mounts.items():
        for source, _, mode in all_:
            if source.startswith("./data/"):
                assert (service, mode) == (source.removeprefix("./data/"), "z")
            elif source != "./workspace":
                assert mode == "ro,z", (service, source)


def test_a_session_meets_its_own_limit_before_the_runner_meets_its() -> None:
    """Where sessions share a user, a thread bomb ends at RLIMIT_NPROC, see `ForkPlans`."""
    usual = RunnerSettings(socket="", slots_dir="")
    wardens_and_workers = 2 * usual.slots

    assert most_tasks() > wardens_and_workers + tasks_of_others(usual) + usual.processes


def test_sessions_that_all_use_what_they_may_leave_room_for_more() -> None:
    """Threads stay while a session is frozen: one caller could have so many."""
    usual = RunnerSettings(socket="", slots_dir="")
    warden = 1

    assert most_tasks() > usual.slots * (usual.processes + warden) + OTHER_TASKS


def most_tasks() -> int:
    said = re.search(r"pids_limit: (\d+)", SERVICES["sandbox-runner"])
    assert said is not None
    return int(said[1])


@pytest.mark.parametrize("service", SERVICES)
def test_who_mounts_what_is_made_readable_waits_for_that(service: str) -> None:
    """Under a strict umask a clone is its owner's alone until volume-init has been there."""
    mounted = re.findall(r"\./(?:data|docker|middleware|monitoring)/", SERVICES[service])
    mounted += secrets_of(service)

    assert service == "volume-init" or not mounted or "volume-init" in waits_for(service)


def test_each_key_is_a_file_of_its_own_and_an_empty_one_for_who_has_none() -> None:
    declared = COMPOSE.split("\nsecrets:\n")[1].splitlines()

    assert declared == [
        f'  {name}: {{file: "${{{name}_FILE:-{NO_KEY}}}"}}'
        for names in KEYS.values()
        for name in names
    ]
    tracked = subprocess.run(
        ["git", "ls-files", "secrets"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert tracked.stdout.split() == ["secrets/README.md", "secrets/none"]
    assert (ROOT / NO_KEY).read_bytes() == b""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_keys_alone(service: str) -> None:
    assert secrets_of(service) == KEYS.get(service, [])
    # Compose v2 makes its container anew when one of these names another file.
    files = " ".join(f"${{{name}_FILE:-{NO_KEY}}}" for name in KEYS.get(service, []))
    assert not files or f'labels: {{mcp-stack.key-files: "{files}"}}\n' in SERVICES[service]
    if service != "volume-init":
        assert "./secrets" not in SERVICES[service].replace(f"_FILE:-{NO_KEY}", "")


@pytest.mark.parametrize("name", ALL_KEYS)
def test_the_file_of_each_key_is_given_to_its_group(name: str) -> None:
    script = (ROOT / "docker" / "volume_init.sh").read_text(encoding="utf-8")

    assert (
        f'      - {{type: bind, source: "${{{name}_FILE:-{NO_KEY}}}", '
        f"target: /configuration/keys/{name}, bind: *file}}\n"
    ) in SERVICES["volume-init"]
    assert re.search(rf"^for pair in .*\b{name}:\d+", script, flags=re.MULTILINE)


def test_the_command_that_carries_images_over_names_all_that_are_built() -> None:
    script = (ROOT / "docker" / "images_offline.sh").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "docker-build-pattern.md").read_text(encoding="utf-8")
    built = re.findall(r"_IMAGE:-(offline/[^}]+)\}", script)
    (command,) = re.findall(r"^docker save (.+?) \| gzip", page, flags=re.MULTILINE | re.DOTALL)

    assert built
    assert [name for name in built if name not in command.split()] == []
    version = re.search(r"^tag=\$\{STACK_TAG:-(.+)\}$", script, flags=re.MULTILINE)
    assert version
    assert f"mcp-stack/*:{version[1]}" in command


@pytest.mark.parametrize("service", sorted(set(SERVICES) - SLOW))
def test_nothing_waits_for_a_model_or_for_pictures(service: str) -> None:
    assert not waits_for(service) & SLOW
