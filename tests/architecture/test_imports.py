"""The import rules of the house, read from the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {
    "mcp_server": ROOT / "mcp-server/app/mcp_server",
    "middleware": ROOT / "middleware/app/middleware",
    "sandbox": ROOT / "sandbox/app/sandbox",
    "code_executor": ROOT / "code-executor/app/code_executor",
    "time_client": ROOT / "time-client/app/time_client",
    "embedded_model": ROOT / "embedded-model/app/embedded_model",
}
RUNNER = ROOT / "sandbox/app/sandbox_runner"
SERVICEKIT = ROOT / "servicekit/src/servicekit"
LAUNCHER = ROOT / "launcher/src/launcher"

# A decision is pure or nearly so: these belong into routes, adapters or the composition root.
IMPURE = {"httpx", "fastapi", "starlette", "subprocess", "os", "socket", "openai", "mcp"}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _decisions(package: str) -> list[Path]:
    folder = SERVICES[package]
    outer = {"app.py", "settings.py", "__main__.py", "metrics.py"}
    return [
        path
        for path in _modules(folder)
        if path.name not in outer
        and not {"routes", "adapters"} & set(path.relative_to(folder).parts)
    ]


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_service_imports_no_other_service(package: str) -> None:
    others = set(SERVICES) - {package} | {"launcher"}
    for path in _modules(SERVICES[package]):
        assert not _tops(path) & others, path


def test_servicekit_imports_no_service() -> None:
    for path in _modules(SERVICEKIT):
        assert not _tops(path) & (set(SERVICES) | {"launcher", "sandbox_runner"}), path


def test_launcher_imports_no_service() -> None:
    for path in _modules(LAUNCHER):
        assert not _tops(path) & set(SERVICES), path


def test_launcher_starts_with_the_standard_library_alone() -> None:
    for path in _modules(LAUNCHER):
        # The gate runs inside of a service's process, before the service does.
        house = {"launcher", "servicekit"} if path.name == "gate.py" else {"launcher"}
        assert _tops(path) <= set(sys.stdlib_module_names) | house, path


def test_runner_needs_nothing_but_the_standard_library() -> None:
    for path in _modules(RUNNER):
        assert _tops(path) <= set(sys.stdlib_module_names) | {"sandbox_runner"}, path


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_only_the_composition_root_imports_adapters(package: str) -> None:
    for path in _modules(SERVICES[package]):
        if path.name == "app.py" or "adapters" in path.parts:
            continue
        reached = [name for name in _imports(path) if ".adapters" in name]
        assert not reached, f"{path} imports {reached}"


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_decisions_import_nothing_impure(package: str) -> None:
    for path in _decisions(package):
        assert not _tops(path) & IMPURE, path


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_routes_talk_to_no_other_system(package: str) -> None:
    for path in _modules(SERVICES[package]):
        if "routes" in path.parts:
            assert not _tops(path) & {"httpx", "subprocess", "socket", "openai"}, path


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_every_service_has_the_same_rooms(package: str) -> None:
    folder = SERVICES[package]
    for room in ("app.py", "settings.py", "__main__.py"):
        assert (folder / room).is_file(), f"{package} has no {room}"
    assert (folder / "routes").is_dir() or (folder / "routes.py").is_file()
