from dataclasses import replace
from pathlib import Path

from launcher.settings import load_launcher_settings
from launcher.units import Unit, stack_units


def units(environ: dict[str, str] | None = None) -> dict[str, Unit]:
    settings = load_launcher_settings(Path("/nowhere"), environ or {})
    found = stack_units(
        settings, python="/py", cell_python="/cell", socket_dir=Path("/run/private")
    )
    return {unit.name: unit for unit in found}


def test_every_need_is_a_unit_that_stands_before() -> None:
    seen: set[str] = set()
    for unit in units().values():
        assert set(unit.needs) <= seen
        seen.add(unit.name)
    assert seen == {
        "sandbox-runner",
        "embedded-model",
        "time-client",
        "sandbox",
        "code-executor",
        "mcp-server",
        "middleware",
    }


def test_chosen_endpoint_replaces_the_embedded_model() -> None:
    stack = units({"LLM_BASE_URL": "http://localhost:11434/v1"})
    assert "embedded-model" not in stack
    assert stack["middleware"].needs == ("mcp-server",)


def test_addresses_follow_the_ports() -> None:
    stack = units({"SANDBOX_PORT": "9001", "MCP_SERVER_PORT": "9000", "CODE_EXECUTOR_PORT": "9004"})
    assert stack["code-executor"].environment["CODE_EXECUTOR_SANDBOX_URL"].endswith(":9001")
    assert stack["middleware"].environment["MCP_SERVER_URL"].endswith(":9000")
    assert ":9004/mcp" in stack["mcp-server"].environment["MCP_SERVER_OWN_UPSTREAMS"]
    assert stack["sandbox"].environment["SANDBOX_PORT"] == "9001"


def test_service_and_runner_share_socket_and_packages() -> None:
    stack = units()
    for name in ("SANDBOX_RUNNER_SOCKET", "SANDBOX_PACKAGES_DIR"):
        assert stack["sandbox"].environment[name] == stack["sandbox-runner"].environment[name]


def test_second_stack_of_a_folder_has_packages_of_its_own() -> None:
    def folder(environ: dict[str, str]) -> str:
        return units(environ)["sandbox"].environment["SANDBOX_PACKAGES_DIR"]

    assert folder({}).endswith("/data/packages")
    assert folder({"LAUNCHER_RUN_DIR": ".run/second"}).endswith("/.run/second/packages")
    assert folder({"LAUNCHER_RUN_DIR": ".run/second", "SANDBOX_PACKAGES_DIR": "/p"}) == "/p"


def test_keys_reach_the_middleware_alone() -> None:
    stack = units({"LLM_API_KEY": "sk-1", "OPENAI_API_KEY": "sk-2", "HTTPS_PROXY": "http://p"})
    holders = {name for name, unit in stack.items() if "sk-1" in unit.environment.values()}
    assert holders == {"middleware"}
    assert "sk-1" not in repr(stack)


def test_runner_sees_little_of_the_surroundings() -> None:
    environ = {"PATH": "/bin", "SECRET": "s", "SANDBOX_RUNNER_SLOTS": "3", "LLM_API_KEY": "k"}
    runner = units(environ)["sandbox-runner"].environment
    assert runner["PATH"] == "/bin"
    assert runner["SANDBOX_RUNNER_SLOTS"] == "3"
    assert not {"SECRET", "LLM_API_KEY"} & set(runner)


def test_runner_loads_what_most_code_begins_with_unless_told_otherwise() -> None:
    def preloaded(environ: dict[str, str]) -> str:
        return units(environ)["sandbox-runner"].environment["SANDBOX_RUNNER_PRELOAD"]

    assert preloaded({}) == "numpy,pandas,matplotlib.pyplot"
    assert preloaded({"SANDBOX_RUNNER_PRELOAD": ""}) == ""
    assert preloaded({"SANDBOX_RUNNER_PRELOAD": "json"}) == "json"


def test_runner_is_told_of_the_workspace() -> None:
    unset = units()["sandbox-runner"].environment
    assert unset["SANDBOX_RUNNER_WORKSPACE_DIR"].endswith("/workspace")
    assert "SANDBOX_WORKSPACE" not in unset
    assert (
        units({"SANDBOX_WORKSPACE": "ro"})["sandbox-runner"].environment["SANDBOX_WORKSPACE"]
        == "ro"
    )


def test_runner_settings_and_ours_stay_from_the_services() -> None:
    environ = {"SANDBOX_RUNNER_SLOTS": "3", "LAUNCHER_STOP_TIMEOUT_SECONDS": "3", "VERBOSE": "1"}
    for name, unit in units(environ).items():
        if name != "sandbox-runner":
            assert not set(environ) & set(unit.environment)


def test_wish_of_the_user_wins_over_our_log_format() -> None:
    stack = units({"SANDBOX_LOG_FORMAT": "console"})
    assert stack["sandbox"].environment["SANDBOX_LOG_FORMAT"] == "console"
    assert stack["middleware"].environment["MIDDLEWARE_LOG_FORMAT"] == "json"


def test_units_are_values() -> None:
    unit = units()["sandbox"]
    assert replace(unit, name="x") != unit
