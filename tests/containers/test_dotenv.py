"""`cp .env.example .env`: the copy changes nothing until somebody takes a # away."""

import re
from pathlib import Path

import pytest
from stack_support.containers import PUBLISHED, Containers, Person, clone_to, environment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

# Shown with the value that holds anyway; the other lines show what one would write there.
_SHOWN_AS_THEY_ARE = {
    *("MCP_SERVER_PORT", "MIDDLEWARE_PORT", "BIND_ADDRESS", "OLLAMA_DATA_DIR"),
    *("PYTHON_IMAGE", "OLLAMA_IMAGE", "GRAFANA_IMAGE"),
}


@pytest.fixture(scope="module")
def clone(room: Path, ordinary: Person) -> Containers:
    """A fresh clone for a shell that has none of the variables set; nothing of it is started."""
    folder = room / "copied" / "mcp-stack"
    env = environment(ordinary.home)
    clone_to(folder, ordinary, env)
    shown = re.findall(r"^#?([A-Z_]+)=", (folder / ".env.example").read_text(), re.MULTILINE)
    assert set(shown) > _SHOWN_AS_THEY_ARE
    bare = {name: value for name, value in env.items() if name not in shown}
    return Containers(folder, bare, ordinary)


def settings_check(clone: Containers) -> str:
    return clone.run("sh", "-c", "python3 -E -s -B docker/check_settings.py . 2>&1")


def test_the_example_copied_gives_the_same_stack_as_no_file(clone: Containers) -> None:
    without = clone.compose("config")
    clone.run("cp", ".env.example", ".env")
    try:
        assert clone.compose("config") == without
        assert not settings_check(clone)
    finally:
        (clone.folder / ".env").unlink()


def test_lines_that_show_a_default_change_nothing_either(clone: Containers) -> None:
    without = clone.compose("config")
    lines = "|".join(sorted(_SHOWN_AS_THEY_ARE))
    clone.run("sh", "-c", f"sed -E 's/^#(({lines})=)/\\1/' .env.example >.env")
    try:
        assert clone.compose("config") == without
        assert not settings_check(clone)
    finally:
        (clone.folder / ".env").unlink()


@pytest.mark.parametrize("address", ["::", "::1"])
def test_an_ipv6_address_stands_in_brackets(clone: Containers, address: str) -> None:
    opened = clone.with_settings(BIND_ADDRESS=f"[{address}]")

    said = opened.compose("config")
    # 1.29 writes address and port as one, v2 each by itself.
    found = re.findall(rf"(?m)(?:host_ip: '?|- ){re.escape(address)}(?:'?$|:\d+:\d+/tcp$)", said)
    assert len(found) == len(PUBLISHED)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("  {}=a b # c", "a b"),
        ("{}=a#b", "a#b"),
        ("{}=a # costs $5", "a"),
        ("{}='a b # c' # d", "a b # c"),
        ('{}="a b # c"', "a b # c"),
        ("{}='pa$word'", "pa$$word"),
        ("{}=one\n{}=two", "two"),
    ],
)
def test_compose_reads_plain_lines_as_our_scripts_do(
    clone: Containers, line: str, value: str
) -> None:
    (clone.folder / ".env").write_text(line.replace("{}", "GRAFANA_ADMIN_USER") + "\n")
    try:
        said = clone.compose("config")
        assert not settings_check(clone)
    finally:
        (clone.folder / ".env").unlink()

    # `config` doubles each $, and quotes where it has to.
    found = re.search(r"(?m)GF_SECURITY_ADMIN_USER: (.*)$", said)
    assert found
    assert found[1].strip("'\"") == value
