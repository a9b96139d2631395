"""`.env.example` names settings that exist, and sets nothing by itself."""

import importlib
import re
from pathlib import Path

import pytest
from launcher.dotenv import parse_dotenv
from launcher.settings import FIXED_NAMES, OWN_NAMES, load_launcher_settings
from sandbox_runner.settings import RunnerSettings, load
from servicekit.settings import ServiceSettings, read_settings, variable_names

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "mcp_server",
    "sandbox",
    "middleware",
    "time_client",
    "code_executor",
    "embedded_model",
)
LINES = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
_ASSIGNMENT = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$")
# A variable that Compose hands on as it is: `NAME:` without a value.
_COMPOSE_HANDS_ON = re.compile(r"^ {6}([A-Z][A-Z0-9_]*):$", re.MULTILINE)
_COMPOSE_READS = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")


def offered() -> dict[str, str]:
    return {found[1]: found[2] for line in LINES if (found := _ASSIGNMENT.match(line))}


def settings_class(package: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"{package}.settings")
    return next(
        item
        for item in vars(module).values()
        if isinstance(item, type)
        and issubclass(item, ServiceSettings)
        and item.__module__ == module.__name__
    )


def compose_defaults() -> dict[str, str]:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return {
        **dict.fromkeys(_COMPOSE_HANDS_ON.findall(text), ""),
        **dict(_COMPOSE_READS.findall(text)),
    }


def known() -> set[str]:
    names = {*FIXED_NAMES, *OWN_NAMES, "VERBOSE", *compose_defaults()}
    for package in PACKAGES:
        names |= set(variable_names(settings_class(package)))
    return names | {
        f"SANDBOX_RUNNER_{name.upper()}" for name in RunnerSettings.__dataclass_fields__
    }


def test_every_variable_exists() -> None:
    assert not set(offered()) - known()


def test_images_and_folders_are_shown_with_the_defaults_of_compose() -> None:
    defaults = compose_defaults()
    shown = {name: value for name, value in offered().items() if name.endswith(("_IMAGE", "_DIR"))}

    assert shown
    assert shown == {name: defaults.get(name) for name in shown}


def test_there_are_at_most_thirty_variables() -> None:
    assert 0 < len(offered()) <= 30


def test_every_variable_has_a_comment_of_its_own() -> None:
    for number, line in enumerate(LINES):
        if _ASSIGNMENT.match(line):
            above = LINES[number - 1]
            assert above.startswith("# "), line
            assert not _ASSIGNMENT.match(above), line


def test_copied_as_it_is_the_file_changes_nothing() -> None:
    assert parse_dotenv("\n".join(LINES)) == {}


def test_the_launcher_takes_every_value_that_is_shown(tmp_path: Path) -> None:
    shown = "\n".join(f"{name}={value}" for name, value in offered().items())
    (tmp_path / ".env").write_text(shown, encoding="utf-8")

    assert load_launcher_settings(tmp_path, {}).root == tmp_path


@pytest.mark.parametrize("package", PACKAGES)
def test_each_service_takes_the_values_that_are_shown(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in offered().items():
        monkeypatch.setenv(name, value)

    assert read_settings(settings_class(package), dict(offered()))


def test_the_runner_takes_the_values_that_are_shown() -> None:
    assert load(offered())
