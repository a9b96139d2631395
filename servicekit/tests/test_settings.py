"""Settings: bounds, names and the nearest right name."""

import pytest
from pydantic import Field
from servicekit.settings import (
    CommaSeparated,
    Port,
    ServiceSettings,
    load_settings,
    read_settings,
    service_config,
)


class KennelSettings(ServiceSettings):
    model_config = service_config("KENNEL_")
    neighbour_prefixes = ("KENNEL_RUNNER_",)
    port: Port = 8001
    wait_seconds: float = Field(3.0, gt=0, le=10)
    names: CommaSeparated = ()


def _read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> KennelSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_settings(KennelSettings, variables)


def test_environment_is_read_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _read(monkeypatch, KENNEL_PORT="9000", KENNEL_NAMES="a, b,,c")
    assert settings.port == 9000
    assert settings.names == ("a", "b", "c")


def test_misspelt_variable_is_named_with_the_nearest_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"Did you mean KENNEL_WAIT_SECONDS\?"):
        _read(monkeypatch, KENNEL_WAIT_SECOND="4")


def test_value_out_of_bounds_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="KENNEL_WAIT_SECONDS: "):
        _read(monkeypatch, KENNEL_WAIT_SECONDS="11")


def test_kubernetes_service_links_are_not_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _read(
        monkeypatch,
        KENNEL_PORT="tcp://10.0.0.7:8001",
        KENNEL_SERVICE_HOST="10.0.0.7",
        KENNEL_SERVICE_PORT="8001",
        KENNEL_SERVICE_PORT_HTTP="8001",
        KENNEL_PORT_8001_TCP="tcp://10.0.0.7:8001",
        KENNEL_PORT_8001_TCP_ADDR="10.0.0.7",
    )
    assert settings.port == 8001


def test_neighbours_prefix_is_left_to_the_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, KENNEL_RUNNER_SLOTS="4").port == 8001


def test_wrong_settings_end_the_process_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KENNEL_PORT", "no-number")
    with pytest.raises(SystemExit) as ended:
        load_settings(KennelSettings)
    assert ended.value.code == 78
    assert "KENNEL_PORT" in capsys.readouterr().err
