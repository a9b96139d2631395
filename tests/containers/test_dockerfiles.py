"""All services have the same Dockerfile but for what each needs."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORTS = {
    "mcp-server": 8000,
    "sandbox": 8001,
    "middleware": 8002,
    "time-client": 8003,
    "code-executor": 8002,
    "embedded-model": 8005,
}
RUNNER = ROOT / "sandbox" / "runner.Dockerfile"
FILES = [*(ROOT / name / "Dockerfile" for name in PORTS), RUNNER]

# What a service has besides: the line as it stands, and what stands there in the pattern.
PECULIAR = {
    "sandbox": {
        "COPY --from=dependencies /opt/installer /opt/installer\n": "",
        " \\\n    SANDBOX_RUNNER_SOCKET=/run/sandbox-runner/runner.sock"
        " SANDBOX_PACKAGES_DIR=/var/lib/packages": "",
    },
    "middleware": {
        "docker/start_middleware.py ": "",
        " /build/middleware/system_prompt.md\n": "\n",
        "COPY --from=package /build/middleware/system_prompt.md"
        " /etc/mcp-stack/system_prompt.md\n": "",
        " \\\n    MIDDLEWARE_SYSTEM_PROMPT_PATH=/etc/mcp-stack/system_prompt.md": "",
        # A chat API without a model lives; one without tools is no use to anybody.
        '"/health", "503"]': '"/ready"]',
    },
}


def pattern_of(name: str) -> str:
    text = (ROOT / name / "Dockerfile").read_text(encoding="utf-8")
    for line, instead in PECULIAR.get(name, {}).items():
        assert text.count(line) == 1, line
        text = text.replace(line, instead)
    text = re.sub(r'(image\.description=)"[^"]*"', r'\1"…"', text)
    package = name.replace("-", "_")
    text = re.sub(rf"\b({name}|{package})\b", "…", text)
    prefix = package.upper()
    text = re.sub(rf"\b{prefix}_(HOST|PORT|LOG_FORMAT)", r"…_\1", text)
    return text.replace(str(PORTS[name]), "<port>")


def stage(path: Path, name: str) -> str:
    text = path.read_text(encoding="utf-8")
    return text.split(f" AS {name}\n")[1].split("\nFROM ")[0]


def final(path: Path) -> str:
    return "FROM " + path.read_text(encoding="utf-8").split("\nFROM ")[-1]


@pytest.mark.parametrize("name", PORTS)
def test_a_dockerfile_is_the_pattern_but_for_its_own_words(name: str) -> None:
    assert pattern_of(name) == pattern_of("time-client")


@pytest.mark.parametrize("name", PORTS)
def test_the_dependencies_are_one_layer_for_all(name: str) -> None:
    path = ROOT / name / "Dockerfile"

    assert stage(path, "dependencies") == stage(ROOT / "time-client" / "Dockerfile", "dependencies")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_classic_builder_takes_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert "# syntax=" not in text
    assert "--mount" not in text
    assert "<<" not in text
    assert text.count("ARG PYTHON_IMAGE=python:3.12-slim-bookworm\n") == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_final_stage_holds_no_index_and_no_root(path: Path) -> None:
    text = final(path)

    assert "PIP_INDEX_URL" not in text
    assert "/build/tools" not in text
    assert re.search(r"^USER (10001:10001|64123:64123)$", text, flags=re.MULTILINE)
    commands = re.findall(r"CMD (\[.*\])$", text, flags=re.MULTILINE)
    assert len(commands) == 2  # the health check's and the program's
    for command in commands:
        assert all(isinstance(word, str) for word in ast.literal_eval(command))


def test_whoever_builds_names_a_revision() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    offline = (ROOT / "docker" / "images_offline.sh").read_text(encoding="utf-8")

    # An empty label would be worse than none.
    assert all("ARG REVISION=unknown\n" in final(path) for path in FILES)
    assert compose.count("  REVISION: ${STACK_REVISION:-unknown}\n") == 1
    assert compose.count("args: *build-args}") == compose.count(" build: {") == len(FILES)
    assert '--build-arg REVISION="$revision"' in offline


def test_only_the_sandbox_has_an_installer() -> None:
    holders = [path for path in FILES if "COPY --from=dependencies /opt/installer" in final(path)]

    assert holders == [ROOT / "sandbox" / "Dockerfile"]


def test_the_runner_gets_no_library_of_the_services() -> None:
    text = RUNNER.read_text(encoding="utf-8")

    assert "runtime.lock" not in text
    assert "servicekit" not in text
    assert re.findall(r"^COPY (\S+) ", text, flags=re.MULTILINE)[1:] == [
        "sandbox/app/sandbox_runner",
        "docker/probe_runner.py",
        "--from=dependencies",
        "--from=package",
        "--from=package",
    ]


def test_no_image_has_what_only_tests_and_the_bench_use() -> None:
    kept_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    app = ROOT / "sandbox" / "app"
    for name in ("client", "launch"):
        assert f"sandbox/app/sandbox_runner/{name}.py" in kept_out
        imported = re.compile(rf"sandbox_runner\.{name}\b|sandbox_runner import .*\b{name}\b")
        others = [path for path in app.rglob("*.py") if path.stem not in {"client", "launch"}]
        users = [path for path in others if imported.search(path.read_text(encoding="utf-8"))]
        assert users == []
