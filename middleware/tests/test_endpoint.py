"""An endpoint is chosen by a base URL alone, and a key goes only to its own address."""

import pytest
from middleware.adapters.llm_errors import Blame
from middleware.endpoint import Endpoint, LlmSettings, choose_endpoint
from middleware.settings import MiddlewareSettings
from pydantic import ValidationError
from servicekit.settings import read_settings

EMBEDDED = "http://127.0.0.1:8005/v1"


def chosen(**settings: str) -> Endpoint:
    return choose_endpoint(
        LlmSettings(embedded_url=EMBEDDED, model_name="llama3.1:latest", **settings)
    )


def test_without_a_base_url_the_embedded_model_answers():
    endpoint = chosen()
    assert (endpoint.kind, endpoint.base_url, endpoint.model) == ("embedded", EMBEDDED, "embedded")
    assert endpoint.notices == ()


def test_llm_base_url_comes_before_openai_base_url():
    endpoint = chosen(llm_base_url="http://a/v1", openai_base_url="http://b/v1")
    assert (endpoint.base_url, endpoint.model) == ("http://a/v1", "llama3.1:latest")


def test_openai_base_url_is_the_fall_back_with_its_own_key():
    endpoint = chosen(openai_base_url="http://b/v1", openai_api_key="kb", llm_api_key="ka")
    assert (endpoint.base_url, endpoint.api_key) == ("http://b/v1", "kb")
    assert "LLM_API_KEY" in endpoint.notices[0]


def test_key_of_one_address_never_goes_to_the_other():
    endpoint = chosen(llm_base_url="http://a/v1", openai_api_key="kb")
    assert endpoint.api_key is None
    assert "OPENAI_API_KEY" in endpoint.notices[0]


@pytest.mark.parametrize("name", ["llm_api_key", "openai_api_key"])
def test_key_alone_selects_nothing_and_one_line_says_so(name):
    endpoint = chosen(**{name: "sk-secret"})
    assert endpoint.kind == "embedded"
    assert endpoint.api_key is None
    assert len(endpoint.notices) == 1
    assert name.upper() in endpoint.notices[0]
    assert "sk-secret" not in endpoint.notices[0] + repr(endpoint)


@pytest.mark.parametrize(
    ("url", "is_internal"),
    [
        ("http://localhost:11434/v1", True),
        ("http://127.0.0.1:8005/v1", True),
        ("http://[::1]:8005/v1", True),
        ("http://ollama:11434/v1", True),
        ("http://host.docker.internal:11434/v1", True),
        ("http://192.168.1.5:11434/v1", True),
        ("https://10.0.0.5/v1", False),
        ("https://api.openai.com/v1", False),
        ("http://8.8.8.8/v1", False),
        ("https://llm.corp.example/v1", False),
    ],
)
def test_proxies_stand_only_before_what_is_outside(url, is_internal):
    assert Endpoint("configured", url, "m").is_internal is is_internal


def test_window_is_unbounded_for_the_embedded_model_alone():
    assert chosen().default_window is None
    assert chosen(llm_base_url="http://a/v1").default_window == 8192


def test_server_s_own_api_lies_before_the_v1():
    assert chosen(llm_base_url="http://a:1/v1").root_url == "http://a:1"
    assert chosen(llm_base_url="http://a/prefix/v1/").root_url == "http://a/prefix"


def from_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> MiddlewareSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_settings(MiddlewareSettings, variables)


def test_fixed_names_are_read_without_the_prefix(monkeypatch):
    settings = from_environment(
        monkeypatch,
        LLM_BASE_URL="http://localhost:11434/v1/",
        LLM_API_KEY="ollama",
        LLM_MODEL_NAME="qwen3",
        MCP_SERVER_URL="http://mcp-server:8000",
        MIDDLEWARE_CORS_ORIGINS="https://a.example, https://b.example",
    )
    assert settings.llm_base_url == "http://localhost:11434/v1"
    assert settings.llm_model_name == "qwen3"
    assert settings.mcp_server_url == "http://mcp-server:8000"
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert "ollama" not in repr(settings.llm_api_key)


def test_empty_variables_are_unset_ones(monkeypatch):
    settings = from_environment(
        monkeypatch, LLM_BASE_URL="", LLM_API_KEY=" ", OPENAI_BASE_URL="", OPENAI_API_KEY=""
    )
    assert settings.llm_base_url is None
    assert settings.llm_api_key is None


def test_address_of_the_completions_route_is_cut_to_the_base(monkeypatch):
    settings = from_environment(monkeypatch, LLM_BASE_URL="http://a/v1/chat/completions")
    assert settings.llm_base_url == "http://a/v1"


@pytest.mark.parametrize("url", ["localhost:11434", "ftp://x/v1", "http://", "nonsense"])
def test_address_that_is_none_is_refused_at_start(monkeypatch, url):
    with pytest.raises(ValueError, match="LLM_BASE_URL"):
        from_environment(monkeypatch, LLM_BASE_URL=url)


@pytest.mark.parametrize(
    "wrong",
    [{"chat_timeout_seconds": 0}, {"max_steps": 0}, {"max_answer_tokens": 1}, {"temperature": 9}],
)
def test_numbers_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValidationError):
        MiddlewareSettings(**wrong)


def test_misspelt_variable_is_named_with_the_nearest(monkeypatch):
    with pytest.raises(ValueError, match="MIDDLEWARE_CHAT_TIMEOUT_SECONDS"):
        from_environment(monkeypatch, MIDDLEWARE_CHAT_TIMEOUT="30")


def test_password_in_the_address_is_not_shown() -> None:
    endpoint = Endpoint("configured", "https://me:secret@llm.example:8443/v1", "m")
    assert endpoint.shown_url == "https://llm.example:8443/v1"
    assert "secret" not in Blame(endpoint).unreachable().detail
