"""Names of the runner's environment: ours, misspelt, and those that others set."""

import pytest
from sandbox_runner import settings

SERVICE_LINKS = {
    "SANDBOX_RUNNER_PORT": "tcp://10.0.0.7:8001",
    "SANDBOX_RUNNER_SERVICE_HOST": "10.0.0.7",
    "SANDBOX_RUNNER_SERVICE_PORT": "8001",
    "SANDBOX_RUNNER_SERVICE_PORT_HTTP": "8001",
    "SANDBOX_RUNNER_PORT_8001_TCP": "tcp://10.0.0.7:8001",
    "SANDBOX_RUNNER_PORT_8001_TCP_ADDR": "10.0.0.7",
    "SANDBOX_RUNNER_METRICS_PORT": "tcp://10.0.0.8:9000",
    "SANDBOX_RUNNER_METRICS_SERVICE_HOST": "10.0.0.8",
}


def test_service_links_of_kubernetes_are_no_settings() -> None:
    assert settings.load({**SERVICE_LINKS, "SANDBOX_RUNNER_SLOTS": "3"}).slots == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [("SANDBOX_RUNNER_PORT", "8001"), ("SANDBOX_RUNNER_SLOT", "3"), ("SANDBOX_RUNNER_HOST", "x")],
)
def test_misspelt_name_is_refused(name: str, text: str) -> None:
    with pytest.raises(settings.SettingsError, match=f"{name} is not a setting"):
        settings.load({name: text})
