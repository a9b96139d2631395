"""The stack in containers, through its published ports: chats, tools, MCP."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mcp import Client
from stack_support.containers import OURS, Containers, Person, containers, run, uses_compose_v2
from stack_support.terminal import assert_shell_opens, read_until, typed

QUESTION = "what is 2**100, and what time is it in Tokyo?"
POWER = "1267650600228229401496703205376"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def warnings_in(said: str) -> list[str]:
    return [line for line in said.lower().splitlines() if "warn" in line or "undefined" in line]


def test_a_chat_uses_tools_through_the_containers(stack: Containers) -> None:
    answer = stack.chat(QUESTION)

    assert POWER in answer["response"].replace(",", "")
    assert {call["name"] for call in answer["tool_calls"]} == {"execute_code", "get_timezone_time"}
    assert not any(call["is_error"] for call in answer["tool_calls"])


def test_an_mcp_client_uses_the_tools_on_port_8000(stack: Containers) -> None:
    async def call() -> tuple[set[str], str]:
        async with Client(f"{stack.url('MCP_SERVER')}/mcp") as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("execute_code", {"code": "print(6*7)"})
            return tools, result.model_dump_json()

    tools, result = asyncio.run(asyncio.wait_for(call(), 60))

    assert {"execute_code", "get_timezone_time"} <= tools
    assert "42" in result


def asked_of_prometheus(stack: Containers, path: str) -> Any:
    """Give the data of an answer of Prometheus' API, asked from within the network."""
    code = (
        "import json, urllib.request as r; print(r.urlopen("
        f"'http://prometheus:9090/api/v1/{path}', timeout=5).read().decode())"
    )
    return json.loads(stack.inside("time-client", code))["data"]


def first_scrape(stack: Containers) -> float:
    """Give when Prometheus first saw itself, in seconds since 1970."""
    query = 'sort(min_over_time(timestamp(up{service="prometheus"})[3h:1s]))'
    (found,) = asked_of_prometheus(stack, f"query?query={quote(query)}")["result"]
    return round(float(found["value"][1]))


def test_prometheus_scrapes_all_of_our_services(stack: Containers) -> None:
    def states() -> dict[str, str]:
        found = asked_of_prometheus(stack, "targets?state=active")["activeTargets"]
        return {target["labels"]["service"]: target["health"] for target in found}

    ends = time.monotonic() + 60
    while set(states().values()) != {"up"} and time.monotonic() < ends:
        time.sleep(1)

    assert states() == dict.fromkeys((*(set(OURS) - {"sandbox-runner"}), "prometheus"), "up")


def test_compose_has_nothing_to_warn_of(stack: Containers) -> None:
    # The newer generation can wait by itself, and is to end with 0 although volume-init has ended.
    wait = "--wait" if uses_compose_v2() else ""
    command = f"$COMPOSE up -d {wait} 2>&1 && $COMPOSE config -q 2>&1"
    said = stack.run("sh", "-c", command, seconds=200)

    assert not warnings_in(said)


def test_the_file_for_a_gpu_is_understood_and_reserves_one(stack: Containers) -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml")
    said = stack.with_settings(COMPOSE_PROFILES="all").compose(*files, "config")

    ollama = said.partition("\n  ollama:\n")[2]
    assert "driver: nvidia" in re.split(r"\n  \S", ollama)[0]
    assert said.count("driver: nvidia") == 1


def test_ollama_gets_all_processors_or_as_many_as_are_set(stack: Containers) -> None:
    def cpus(**settings: str) -> float:
        said = stack.with_settings(COMPOSE_PROFILES="all", **settings).compose("config")
        ollama = re.split(r"\n  \S", said.partition("\n  ollama:\n")[2])[0]
        found = re.search(r"^    cpus: (\S+)$", ollama, flags=re.MULTILINE)
        return float(found[1]) if found else 0.0

    assert cpus() == 0.0
    assert cpus(OLLAMA_CPUS="1.5") == 1.5


def test_every_service_is_built_and_runs(stack: Containers) -> None:
    said = stack.compose("ps")

    for service in OURS:
        assert service in said
    assert "Exit" not in "\n".join(line for line in said.splitlines() if "volume-init" not in line)


@pytest.mark.parametrize("service", [*OURS, "prometheus"])
def test_a_shell_opens_in_a_container_as_users_type_it(stack: Containers, service: str) -> None:
    assert_shell_opens(stack, service)


@pytest.mark.parametrize("service", OURS)
def test_logs_of_a_service_are_json_lines(stack: Containers, service: str) -> None:
    said = stack.compose("logs", "--no-color", "--tail", "5", service)
    lines = [line.partition("| ")[2] for line in said.splitlines() if "| " in line]

    assert lines
    for line in lines:
        assert json.loads(line)["event"]


def test_logs_are_followed(stack: Containers) -> None:
    with typed(stack, "logs", "-f", "middleware") as (_, terminal):
        stack.chat("what is 1+1?")

        assert b'"/chat"' in read_until(terminal, b'"/chat"', seconds=30)


def test_one_service_is_built_and_started_again(stack: Containers) -> None:
    before = stack.id_of("time-client")

    stack.compose("build", "time-client", seconds=300)
    stack.compose("up", "-d", "--force-recreate", "time-client", seconds=120)
    stack.wait_healthy("time-client", "mcp-server", "middleware")

    assert stack.id_of("time-client") != before
    assert stack.chat("what time is it in Tokyo?")["tool_calls"][0]["is_error"] is False


def test_down_and_up_again_keeps_what_is_kept(stack: Containers) -> None:
    stack.inside("sandbox", "open('/var/lib/packages/kept-by-test', 'w').write('here')")
    workspace = stack.folder / "workspace" / "note.txt"
    run("sh", "-c", f"echo kept >{workspace}", prefix=stack.person.prefix)
    since = first_scrape(stack)

    stack.compose("down", seconds=120)
    assert not stack.id_of("middleware")
    # What users type on a second day, on folders that belong to the containers by now.
    stack.compose("up", "-d", seconds=200)
    stack.wait_healthy(*OURS, "prometheus")

    kept = stack.inside("sandbox", "print(open('/var/lib/packages/kept-by-test').read())")
    assert kept.strip() == "here"
    assert workspace.read_text(encoding="utf-8") == "kept\n"
    assert first_scrape(stack) == since
    assert stack.answers(QUESTION, POWER)


@pytest.mark.usefixtures("stack")
def test_root_starts_it_from_a_fresh_clone_twice_with_one_command(room: Path) -> None:
    # Of the other stack it needs what the builder remembers.
    with containers(room / "of-root" / "mcp-stack", person=Person()) as mine:
        for _ in range(2):
            said = mine.run("sh", "-c", "$COMPOSE up --build -d 2>&1", seconds=600)
            assert not warnings_in(said)
            mine.wait_healthy(*OURS, "prometheus")
            assert mine.answers(QUESTION, POWER)
            mine.compose("down", seconds=120)
