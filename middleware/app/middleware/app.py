"""The composition root: settings → adapters → decisions → routes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI
from servicekit.health import Dependency
from servicekit.logs import get_logger
from servicekit.mcp_client import ClientIdentity, McpClient
from servicekit.outbound import internal_client, outward_client
from servicekit.service import Service, build_app

from middleware.adapters.llm import OpenAiChatModel, Sampling
from middleware.adapters.pull_file import PullFile
from middleware.adapters.toolbox import GatewayToolbox, mcp_endpoint
from middleware.budget import TurnLimits
from middleware.chat import Chat
from middleware.endpoint import Endpoint, LlmSettings, choose_endpoint
from middleware.execution import Execution
from middleware.ports import ChatModel, Toolbox
from middleware.routes import chat, completions, page, tools
from middleware.settings import MiddlewareSettings
from middleware.turn import Turn
from middleware.wiring import Wiring

log = get_logger()

_SUMMARY = "The chat API: runs the tool loop between the LLM and MCP"
# Above the chat's own bound, so that an error of the turn always gets out first.
_HTTP_TIMEOUT_SECONDS = 3600.0


def create_app(
    settings: MiddlewareSettings,
    *,
    model: ChatModel | None = None,
    toolbox: Toolbox | None = None,
) -> Service:
    """Compose the service; a model or a toolbox that is given takes the real one's place.

    Raises
    ------
    SystemExit
        When the system prompt can't be read: a mount that is wrong must be seen.
    """
    system_prompt = read_system_prompt(settings.system_prompt_path)
    endpoint = choose_endpoint(_llm_settings(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Wiring]:
        async with AsyncExitStack() as stack:
            used_model = model or await _open_model(settings, endpoint, stack)
            used_toolbox = toolbox or await _open_toolbox(settings, stack)
            turn = Turn(used_model, used_toolbox, _limits(settings))
            yield Wiring(
                chat=Chat(turn, system_prompt, settings.chat_timeout_seconds),
                execution=Execution(used_toolbox),
            )

    return build_app(
        name="middleware",
        summary=_SUMMARY,
        settings=settings,
        lifespan=lifespan,
        routers=[chat.router, tools.router, completions.router, page.router],
        dependencies=_dependencies,
        health_details=lambda wiring: {"model": wiring.chat.model},
        default_deadline_seconds=settings.chat_timeout_seconds,
        names_callers=True,
        cors_origins=settings.cors_origins,
    )


def read_system_prompt(path: Path) -> str:
    """Return the system prompt; end the process with a sentence when it can't be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(
            f"The system prompt at {path} can't be read ({type(error).__name__}). "
            "Set MIDDLEWARE_SYSTEM_PROMPT_PATH to a text file."
        ) from None


async def _open_model(
    settings: MiddlewareSettings, endpoint: Endpoint, stack: AsyncExitStack
) -> ChatModel:
    log.info("llm.chosen", kind=endpoint.kind, base_url=endpoint.shown_url, model=endpoint.model)
    for notice in endpoint.notices:
        log.warning("llm.key_unused", advice=notice)
    client: httpx.AsyncClient = (
        internal_client(endpoint.base_url)
        if endpoint.is_internal
        else outward_client(timeout_seconds=_HTTP_TIMEOUT_SECONDS)
    )
    await stack.enter_async_context(client)
    sampling = Sampling(settings.max_answer_tokens, settings.temperature)
    return OpenAiChatModel(
        endpoint,
        sampling,
        client,
        configured_window=settings.context_tokens,
        read_pull=PullFile(settings.model_pull_path),
    )


async def _open_toolbox(settings: MiddlewareSettings, stack: AsyncExitStack) -> Toolbox:
    client = await stack.enter_async_context(
        McpClient(
            mcp_endpoint(settings.mcp_server_url),
            peer="mcp-server",
            identity=ClientIdentity(name="middleware"),
        )
    )
    return GatewayToolbox(client, refresh_seconds=settings.tools_refresh_seconds)


def _dependencies(wiring: Wiring) -> Sequence[Dependency]:
    turn = wiring.chat.turn
    return (
        Dependency("llm", turn.model.check),
        Dependency("mcp-server", turn.toolbox.check),
    )


def _limits(settings: MiddlewareSettings) -> TurnLimits:
    return TurnLimits(
        max_steps=settings.max_steps,
        max_tool_output_characters=settings.max_tool_output_characters,
        max_answer_tokens=settings.max_answer_tokens,
    )


def _llm_settings(settings: MiddlewareSettings) -> LlmSettings:
    def secret(name: str) -> str | None:
        value = getattr(settings, name)
        return value.get_secret_value() if value is not None else None

    return LlmSettings(
        embedded_url=settings.embedded_model_url,
        model_name=settings.llm_model_name,
        llm_base_url=settings.llm_base_url,
        llm_api_key=secret("llm_api_key"),
        openai_base_url=settings.openai_base_url,
        openai_api_key=secret("openai_api_key"),
    )
