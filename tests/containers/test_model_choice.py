"""Which model the containers ask, and which services a profile brings or leaves out."""

import importlib.util
import re
from itertools import permutations
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
PROFILES = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("docker/profiles/*")}


def start_script() -> ModuleType:
    path = ROOT / "docker" / "start_middleware.py"
    spec = importlib.util.spec_from_file_location("start_middleware", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = start_script()


def service(name: str) -> str:
    """Give the text of a service in `docker-compose.yml`."""
    return COMPOSE.split(f"\n  {name}:\n")[1].split("\n\n")[0]


DEFAULTS = dict(re.findall(r"^ {6}(DEFAULT_\w+): (\S+)$", service("middleware"), re.MULTILINE))


def settle(*, embedded_runs: bool = False, **environment: str) -> dict[str, str]:
    settled: dict[str, str] = SCRIPT.settle(
        DEFAULTS | environment, is_beside_us=lambda _: embedded_runs
    )
    return settled


def test_what_is_pulled_is_what_is_asked_for() -> None:
    names = [
        re.findall(r"^ {6}LLM_MODEL_NAME: \$\{LLM_MODEL_NAME:-(.+)\}$", service(each), re.MULTILINE)
        for each in ("middleware", "ollama-pull")
    ]

    assert names == [["llama3.1:latest"]] * 2


def test_only_a_container_s_own_name_counts() -> None:
    asked: list[str] = []

    def answers(name: str) -> bool:
        asked.append(name)
        return False

    SCRIPT.settle(DEFAULTS, is_beside_us=answers)

    assert asked == ["embedded-model."], (
        "a wildcard of a search domain answers to a name without a dot"
    )


def test_without_any_choice_the_ollama_beside_it_is_asked() -> None:
    settled = settle(COMPOSE_PROFILES="", LLM_API_KEY=" ")

    assert settled == {
        "LLM_BASE_URL": "http://ollama:11434/v1",
        "LLM_API_KEY": "ollama",
        "MIDDLEWARE_CHAT_TIMEOUT_SECONDS": "300",
    }


@pytest.mark.parametrize("url", ["", "http://ollama:11434/v1"])
def test_ollama_gets_more_time_but_not_more_than_was_set(url: str) -> None:
    assert settle(LLM_BASE_URL=url)["MIDDLEWARE_CHAT_TIMEOUT_SECONDS"] == "300"
    settled = settle(LLM_BASE_URL=url, MIDDLEWARE_CHAT_TIMEOUT_SECONDS="20")
    assert settled["MIDDLEWARE_CHAT_TIMEOUT_SECONDS"] == "20"


@pytest.mark.parametrize("profiles", ["embedded", "alerting,embedded", "embedded, alerting"])
def test_the_profile_chooses_the_embedded_model(profiles: str) -> None:
    assert "LLM_BASE_URL" not in settle(COMPOSE_PROFILES=profiles)


def test_a_profile_of_the_command_line_is_seen_by_its_container() -> None:
    assert "LLM_BASE_URL" not in settle(embedded_runs=True, COMPOSE_PROFILES="")


@pytest.mark.parametrize("name", ["LLM_BASE_URL", "OPENAI_BASE_URL"])
def test_an_endpoint_of_the_user_wins_over_both(name: str) -> None:
    settled = settle(embedded_runs=True, **{name: "http://llm.example/v1"})

    assert settled == {name: "http://llm.example/v1"}


def test_a_name_that_nobody_has_is_no_container() -> None:
    assert not SCRIPT.has_address("no-such-container.invalid", seconds=5.0)
    assert SCRIPT.has_address("localhost", seconds=5.0)


@pytest.mark.parametrize("profiles", PROFILES)
def test_the_embedded_model_leaves_ollama_out(profiles: str) -> None:
    ollama = re.search(r"^  ollama: (.*)$", PROFILES[profiles], flags=re.MULTILINE)

    assert ollama is not None
    assert ("profiles: [ollama]" in ollama[1]) is ("embedded" in profiles.split(","))


@pytest.mark.parametrize("profiles", PROFILES)
def test_no_grafana_leaves_grafana_out(profiles: str) -> None:
    grafana = re.search(r"^  grafana: (.*)$", PROFILES[profiles], flags=re.MULTILINE)

    assert grafana is not None
    assert ("profiles: [grafana]" in grafana[1]) is ("no-grafana" in profiles.split(","))


def test_each_combination_of_the_profiles_has_a_file_in_any_order() -> None:
    offered = set(re.findall(r"^    profiles: \[(\w+), all\]$", COMPOSE, flags=re.MULTILINE))

    assert offered == {"embedded", "alerting"}
    # In any order: Compose takes the text as it stands for the name of a file.
    named = (*offered, "no-grafana")
    orders = (order for size in range(1, 4) for order in permutations(named, size))
    assert set(PROFILES) == {"none", "all", *(",".join(order) for order in orders)}


def test_what_may_be_left_out_takes_the_file_of_the_profiles() -> None:
    taken = re.findall(
        r'^  ([\w-]+):\n    extends: \{file: "docker/profiles/\$\{COMPOSE_PROFILES:-none\}\.yml",',
        COMPOSE,
        flags=re.MULTILINE,
    )

    assert taken == ["ollama", "ollama-pull", "grafana"]
