"""What the middleware can be told by its environment."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from servicekit.settings import CommaSeparated, Port, ServiceSettings, service_config

# app/middleware/settings.py → the service's folder, as it lies in a checkout.
_SYSTEM_PROMPT = Path(__file__).resolve().parents[2] / "system_prompt.md"


def _none_if_blank(value: object) -> object:
    # Compose hands an unset variable on as an empty one.
    return None if isinstance(value, str) and not value.strip() else value


def _http_url(value: str | None) -> str | None:
    if value is None:
        return None
    url = value.strip().rstrip("/").removesuffix("/chat/completions")
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in {"http", "https"} or not separator or not rest.partition("/")[0]:
        raise ValueError("must be an address like http://localhost:11434/v1")
    return url


OptionalUrl = Annotated[str | None, BeforeValidator(_none_if_blank), AfterValidator(_http_url)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_none_if_blank)]


class MiddlewareSettings(ServiceSettings):
    """The chat API's settings; the prefix is `MIDDLEWARE_`."""

    model_config = service_config("MIDDLEWARE_")

    port: Port = Field(8002, description="port to listen on")
    mcp_server_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "http://127.0.0.1:8000",
        validation_alias="MCP_SERVER_URL",
        description="address of the MCP gateway, with or without /mcp",
    )
    llm_base_url: OptionalUrl = Field(
        None,
        validation_alias="LLM_BASE_URL",
        description="OpenAI-compatible endpoint; without one the embedded model answers",
    )
    llm_api_key: OptionalSecret = Field(
        None, validation_alias="LLM_API_KEY", description="key for LLM_BASE_URL, and for it alone"
    )
    llm_model_name: str = Field(
        "llama3.1:latest",
        validation_alias="LLM_MODEL_NAME",
        description="model to ask the endpoint for",
    )
    openai_base_url: OptionalUrl = Field(
        None,
        validation_alias="OPENAI_BASE_URL",
        description="endpoint to use when LLM_BASE_URL is not set",
    )
    openai_api_key: OptionalSecret = Field(
        None,
        validation_alias="OPENAI_API_KEY",
        description="key for OPENAI_BASE_URL, and for it alone",
    )
    embedded_model_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "http://127.0.0.1:8005/v1", description="address of the embedded model"
    )
    system_prompt_path: Path = Field(
        _SYSTEM_PROMPT, description="file with the system prompt; read at start"
    )
    chat_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        60.0, description="seconds within which a chat is answered, with an error if need be"
    )
    max_steps: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="answers of the model in one turn"
    )
    max_answer_tokens: Annotated[int, Field(ge=16, le=200_000)] = Field(
        2048, description="bound on one answer of the model, in tokens"
    )
    context_tokens: Annotated[int | None, Field(ge=512, le=10_000_000)] = Field(
        None,
        description="the model's window in tokens, where it is smaller than the server says; "
        "unset: what the server says, else 8192; the embedded model has none",
    )
    model_pull_path: Path | None = Field(
        None, description="file in which the service that pulls the model says how far it is"
    )
    max_tool_output_characters: Annotated[int, Field(ge=200, le=1_000_000)] = Field(
        16_000, description="characters of one tool result that the model sees, head and tail kept"
    )
    temperature: Annotated[float | None, Field(ge=0, le=2)] = Field(
        None, description="sampling temperature; unset: the endpoint's own"
    )
    tools_refresh_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        5.0, description="age after which the list of tools is asked for again"
    )
    cors_origins: CommaSeparated = Field(
        (), description="web origins that may use the API from a browser, comma separated"
    )
