"""What a container, and the code in its cells, can reach: no more than it needs."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from stack_support.containers import OURS, Containers, run

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

# Every listening port of the product inside its container.
LISTENING = {
    "mcp-server": 8000,
    "sandbox": 8001,
    "middleware": 8002,
    "time-client": 8003,
    "code-executor": 8002,
    "embedded-model": 8005,
    "prometheus": 9090,
}


def is_open(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def test_only_what_is_for_users_is_published_and_only_on_loopback(stack: Containers) -> None:
    published = {
        service: [
            (binding["HostIp"], port)
            for port, bindings in stack.inspect(service)["NetworkSettings"]["Ports"].items()
            for binding in bindings or ()
        ]
        for service in (*OURS, "prometheus")
    }

    assert {name: where for name, where in published.items() if where} == {
        "mcp-server": [("127.0.0.1", "8000/tcp")],
        "middleware": [("127.0.0.1", "8002/tcp")],
        "prometheus": [("127.0.0.1", "9090/tcp")],
    }


def test_published_ports_are_closed_on_other_addresses_of_the_host(stack: Containers) -> None:
    gateway = next(iter(stack.inspect("middleware")["NetworkSettings"]["Networks"].values()))[
        "Gateway"
    ]
    ports = [int(stack.env[f"{name}_PORT"]) for name in ("MCP_SERVER", "MIDDLEWARE", "PROMETHEUS")]

    assert all(is_open("127.0.0.1", port) for port in ports)
    assert not [port for port in ports if is_open(str(gateway), port)]


def test_a_service_calls_another_by_the_port_of_the_product(stack: Containers) -> None:
    code = "import socket; socket.create_connection(('code-executor', 8002), 3); print('open')"

    assert stack.inside("mcp-server", code).strip() == "open"


@pytest.mark.parametrize("service", OURS)
def test_a_container_holds_no_privilege(stack: Containers, service: str) -> None:
    status = stack.inside(service, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert "0" not in fields["Uid"].split()
    assert "0" not in fields["Gid"].split()
    host = stack.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["Init"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}


@pytest.mark.parametrize("service", OURS)
def test_an_image_holds_no_pip_and_no_way_to_one(stack: Containers, service: str) -> None:
    look = "from importlib.util import find_spec as find; print(find('pip'), find('ensurepip'))"
    code = (
        "import subprocess, sys\nfor each in (sys.executable, sys._base_executable):\n"
        f"    subprocess.run([each, '-I', '-c', {look!r}], check=True)"
    )
    assert stack.inside(service, code).splitlines() == ["None None"] * 2


@pytest.mark.parametrize("service", OURS)
def test_an_image_holds_no_setting_of_pip(stack: Containers, service: str) -> None:
    image = f"mcp-stack/{service}:{stack.env['STACK_TAG']}"
    (inspected,) = json.loads(run("docker", "image", "inspect", image))

    assert not [each for each in inspected["Config"]["Env"] if each.startswith(("PIP_", "UV_"))]
    assert "False" in stack.inside(service, "import os; print(os.path.exists('/etc/pip.conf'))")


@pytest.mark.parametrize("service", OURS)
def test_each_label_of_an_image_says_something(stack: Containers, service: str) -> None:
    image = f"mcp-stack/{service}:{stack.env['STACK_TAG']}"
    (inspected,) = json.loads(run("docker", "image", "inspect", image))
    labels = inspected["Config"]["Labels"]

    assert labels["org.opencontainers.image.title"] == service
    assert labels["org.opencontainers.image.revision"] == "unknown"
    assert all(labels.values()), labels


# Finds, as the container's own user, each folder and file that it could change.
_WRITABLE = """
import json, os
found = []
for place, folders, files in os.walk('/'):
    if place in ('/proc', '/sys', '/dev'):
        folders[:] = []
        continue
    if os.access(place, os.W_OK):
        found.append(place)
        folders[:] = []
        continue
    found += [p for f in files if os.access(p := os.path.join(place, f), os.W_OK)
              and not os.path.islink(p)]
print(json.dumps(sorted(found)))
"""
_MAY_WRITE = {
    "sandbox-runner": {"/run/sandbox-runner", "/slots", "/tmp"},
    "sandbox": {"/tmp", "/var/lib/packages"},
}


@pytest.mark.parametrize("service", OURS)
def test_a_container_writes_nowhere_but_where_it_says(stack: Containers, service: str) -> None:
    writable = set(json.loads(stack.inside(service, _WRITABLE)))
    # A socket is used by being written to; who may is its group's business.
    writable.discard("/run/sandbox-runner/runner.sock")

    assert writable == _MAY_WRITE.get(service, {"/tmp"})


def test_the_runner_has_no_network_and_no_setting_of_others(stack: Containers) -> None:
    seen = stack.inside(
        "sandbox-runner",
        "import os, json; print(json.dumps([os.listdir('/sys/class/net'), sorted(os.environ)]))",
    )
    interfaces, names = json.loads(seen)

    assert interfaces == ["lo"]
    ours = [
        name for name in names if name.startswith(("LLM_", "OPENAI_", "MIDDLEWARE_", "PIP_INDEX"))
    ]
    assert ours == []


def test_the_engine_and_the_host_are_mounted_nowhere(stack: Containers) -> None:
    folder = str(stack.folder)
    for service in (*OURS, "prometheus"):
        for mount in stack.inspect(service)["Mounts"]:
            source = mount["Source"]
            assert "docker.sock" not in source
            assert mount["Type"] == "volume" or source.startswith(f"{folder}/"), source


def attempt(stack: Containers, code: str) -> Any:
    """Run code in a cell; give what it printed as JSON."""
    answer = stack.execute(code)
    assert answer["success"], answer
    return json.loads(answer["structured"]["stdout"])


_REACH = """
import json, socket
said = {{}}
for host, port in {targets}:
    try:
        socket.create_connection((host, port), 1)
        said[host + ':' + str(port)] = 'open'
    except Exception as error:
        said[host + ':' + str(port)] = type(error).__name__
print(json.dumps(said))
"""


# Third parties' services, which this stack has not; by their names in Compose's network.
OTHERS = {"ollama": 11434, "grafana": 3000, "alertmanager": 9093}
_LISTEN = """
import socket, sys
links = [socket.create_server(('0.0.0.0', int(port))) for port in sys.argv[1:]]
while True:
    links[0].accept()[0].close()
"""
_OUTSIDE = "192.0.2.1"  # TEST-NET-1: of nobody


@pytest.fixture
def others(stack: Containers) -> Iterator[list[tuple[str, int]]]:
    """Somebody who listens on the ports of the others, as Compose would name and number them.

    By one of the names alone: Prometheus would find the two others, and miss them afterwards.
    """
    name = f"{stack.project}-others"
    network = (f"--network={stack.project}_default", "--network-alias=ollama")
    program = (stack.env["PYTHON_IMAGE"], "python3", "-I", "-c", _LISTEN)
    ports = [str(port) for port in OTHERS.values()]
    run("docker", "run", "--detach", "--name", name, *network, *program, *ports)
    try:
        (inspected,) = json.loads(run("docker", "inspect", name))
        (place,) = inspected["NetworkSettings"]["Networks"].values()
        yield [
            ("ollama", OTHERS["ollama"]),
            *((place["IPAddress"], each) for each in OTHERS.values()),
        ]
    finally:
        run("docker", "rm", "--force", "--volumes", name)


@pytest.fixture
def gateway(stack: Containers) -> Iterator[list[tuple[str, int]]]:
    """A program of the host that listens on its addresses in the engine's networks."""
    networks = stack.inspect("middleware")["NetworkSettings"]["Networks"]
    (bridge,) = json.loads(run("docker", "network", "inspect", "bridge"))
    hosts = [next(iter(networks.values()))["Gateway"], bridge["IPAM"]["Config"][0]["Gateway"]]
    servers = [socket.create_server((host, 0)) for host in hosts]

    def answer(server: socket.socket) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                server.accept()[0].close()

    threads = [threading.Thread(target=answer, args=(each,), daemon=True) for each in servers]
    for each in threads:
        each.start()
    try:
        yield [each.getsockname() for each in servers]
    finally:
        for server in servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()


def test_a_cell_reaches_nothing_of_third_parties_the_host_or_the_outside(
    stack: Containers, others: list[tuple[str, int]], gateway: list[tuple[str, int]]
) -> None:
    there = [*others, *gateway]
    elsewhere = [("grafana", 3000), ("alertmanager", 9093), (_OUTSIDE, 80), (_OUTSIDE, 443)]
    # That a service reaches them says that there is something to be kept from.
    seen = json.loads(stack.inside("code-executor", _REACH.format(targets=there)))
    assert set(seen.values()) == {"open"}, seen

    said = attempt(stack, _REACH.format(targets=[*there, *elsewhere]))

    assert len(said) == len({*there, *elsewhere})
    assert "open" not in said.values()
    # It was the sandbox that refused, at once, and not a network that lost the packets.
    assert "TimeoutError" not in said.values()


def test_a_cell_reaches_nothing_of_the_network(stack: Containers) -> None:
    targets: list[tuple[str, int]] = list(LISTENING.items())
    targets += [(stack.address_of(name), port) for name, port in LISTENING.items()]
    network = next(iter(stack.inspect("middleware")["NetworkSettings"]["Networks"].values()))
    published = [int(stack.env[f"{name}_PORT"]) for name in ("MCP_SERVER", "MIDDLEWARE")]
    targets += [(str(network["Gateway"]), port) for port in published]
    targets += [("127.0.0.1", port) for port in (*published, 8001)]

    said = attempt(stack, _REACH.format(targets=targets))

    assert len(said) == len(set(targets))
    assert "open" not in said.values()


_READ = """
import json, os
said = {}
for path in ('/run/sandbox-runner/runner.sock', '/proc/1/environ', '/proc/1/root/etc/shadow',
             '/etc/shadow', '/var/run/docker.sock', '/run/secrets', '/opt/app', '/workspace',
             '/slots', '/var/lib/packages', '/proc/self/environ'):
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, 'rb').read(64)
        said[path] = 'read'
    except Exception as error:
        said[path] = type(error).__name__
import socket
try:
    link = socket.socket(socket.AF_UNIX)
    link.connect('/run/sandbox-runner/runner.sock')
    said['connect'] = 'open'
except Exception as error:
    said['connect'] = type(error).__name__
said['environment'] = sorted(os.environ)
print(json.dumps(said))
"""


def test_a_cell_sees_no_secret_no_socket_and_no_other_slot(stack: Containers) -> None:
    said = attempt(stack, _READ)

    names = said.pop("environment")
    assert not [name for name in names if name.startswith(("LLM_", "OPENAI_", "SANDBOX_", "PIP_I"))]
    assert said.pop("connect") != "open"
    # Nobody hides from a program its own environment.
    said.pop("/proc/self/environ", None)
    # Installed packages are there to be imported.
    assert {path for path, how in said.items() if how == "read"} <= {"/var/lib/packages"}


def test_a_cell_is_no_user_of_the_host(stack: Containers) -> None:
    said = attempt(stack, "import json, os; print(json.dumps({'ids': os.getresuid()}))")

    assert 0 not in said["ids"]
    assert not {str(each) for each in said["ids"]} & {
        line.split(":")[2] for line in run("getent", "passwd").splitlines()
    }
