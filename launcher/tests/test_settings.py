from pathlib import Path

import pytest
from launcher.settings import DEFAULT_PORTS, SettingsError, env_prefix, load_launcher_settings


def refused(root: Path, environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_launcher_settings(root, environ)
    return str(caught.value)


def test_nothing_set_gives_the_products_ports_and_the_embedded_model(tmp_path: Path) -> None:
    settings = load_launcher_settings(tmp_path, {})
    assert settings.ports == DEFAULT_PORTS
    assert settings.uses_embedded_model
    assert settings.url("middleware") == "http://127.0.0.1:8002"


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MIDDLEWARE_PORT=9002\nSANDBOX_PORT=9001\n")
    settings = load_launcher_settings(tmp_path, {"SANDBOX_PORT": "9101"})
    assert settings.ports["middleware"] == 9002
    assert settings.ports["sandbox"] == 9101


@pytest.mark.parametrize("name", ["LLM_BASE_URL", "OPENAI_BASE_URL"])
def test_base_url_chooses_another_model(tmp_path: Path, name: str) -> None:
    assert not load_launcher_settings(tmp_path, {name: "http://x/v1"}).uses_embedded_model
    assert load_launcher_settings(tmp_path, {name: " "}).uses_embedded_model


def test_key_alone_selects_nothing(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "k", "LLM_API_KEY": "k"}
    assert load_launcher_settings(tmp_path, environ).uses_embedded_model


@pytest.mark.parametrize("value", ["0", "65536", "-1", "80a", "1.5", "٣"])
def test_port_out_of_bounds_is_refused(tmp_path: Path, value: str) -> None:
    assert "SANDBOX_PORT" in refused(tmp_path, {"SANDBOX_PORT": value})


def test_kubernetes_service_link_is_no_port(tmp_path: Path) -> None:
    settings = load_launcher_settings(tmp_path, {"SANDBOX_PORT": "tcp://10.0.0.7:8001"})
    assert settings.ports["sandbox"] == 8001


def test_one_port_for_two_services_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, {"SANDBOX_PORT": "8002"})
    assert "sandbox" in said
    assert "middleware" in said


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("LAUNCHER_STOP_TIMEOUT", "LAUNCHER_STOP_TIMEOUT_SECONDS"),
        ("LLM_BASEURL", "LLM_BASE_URL"),
        ("LLM_MODELNAME", "LLM_MODEL_NAME"),
        ("OPENAI_BASE_URI", "OPENAI_BASE_URL"),
    ],
)
def test_misspelt_variable_names_the_nearest(tmp_path: Path, name: str, right: str) -> None:
    assert f"did you mean {right}?" in refused(tmp_path, {name: "x"})


def test_variables_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    environ = {"OPENAI_ORG_ID": "o", "LLM_USER_PATH": "p", "MIDDLEWARE_MAX_STEPS": "3", "PATH": "/"}
    load_launcher_settings(tmp_path, environ)


def test_misspelt_prefix_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MIDDELWARE_PORT=1\nMCP_SERVR_PORT=2\nMY_OWN=3\n")
    said = refused(tmp_path, {})
    assert "MIDDLEWARE_PORT" in said
    assert "MCP_SERVER_PORT" in said
    assert "MY_OWN" not in said


def test_broken_file_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A='\n")
    assert ".env: line 1" in refused(tmp_path, {})


def test_host_for_all_addresses_is_reached_by_loopback(tmp_path: Path) -> None:
    environ = {"SANDBOX_HOST": "0.0.0.0", "MIDDLEWARE_HOST": "::1"}
    settings = load_launcher_settings(tmp_path, environ)
    assert settings.url("sandbox") == "http://127.0.0.1:8001"
    assert settings.url("middleware") == "http://[::1]:8002"


def test_prefixes_follow_the_names() -> None:
    assert env_prefix("mcp-server") == "MCP_SERVER_"


def test_keys_are_not_in_the_representation(tmp_path: Path) -> None:
    assert "sk-1" not in repr(load_launcher_settings(tmp_path, {"LLM_API_KEY": "sk-1"}))
