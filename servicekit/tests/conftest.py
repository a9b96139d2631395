"""A small service of our own, served in process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from servicekit.context import current_context
from servicekit.errors import TooBusy
from servicekit.service import Service, build_app
from servicekit.settings import Port, ServiceSettings, service_config


class ToySettings(ServiceSettings):
    model_config = service_config("TOY_")
    port: Port = 9


class Number(BaseModel):
    number: int


def _router() -> APIRouter:
    router = APIRouter()

    @router.post("/echo", tags=["tool"], operation_id="echo")
    async def echo(body: Number) -> Number:
        return body

    @router.get("/context")
    async def context() -> dict[str, object]:
        running = current_context()
        return {
            "request_id": running.request_id,
            "trace_id": running.traceparent.trace_id,
            "span_id": running.traceparent.span_id,
            "seconds_left": running.deadline.remaining(),
            "client_id": running.client_id,
        }

    @router.get("/boom")
    async def boom() -> None:
        raise RuntimeError("the-secret-reason")

    @router.get("/busy")
    async def busy() -> None:
        raise TooBusy("All places are taken; try again in a moment.", retry_after_seconds=0.2)

    return router


@asynccontextmanager
async def idle(_: FastAPI) -> AsyncIterator[str]:
    yield "wiring"


def toy_app(**options: object) -> Service:
    settings = options.pop("settings", None) or ToySettings()
    return build_app(
        name="toy",
        summary="A toy",
        settings=settings,
        lifespan=idle,
        routers=[_router()],
        **options,
    )


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app's lifespan and give a client that talks to it in process."""
    async with app.router.lifespan_context(app) as state:
        inner = httpx.ASGITransport(app=_with_state(app, state))
        async with httpx.AsyncClient(transport=inner, base_url="http://localhost") as client:
            yield client


def _with_state(app: FastAPI, state: object):
    async def stateful(scope, receive, send):
        scope["state"] = dict(state or {})
        await app(scope, receive, send)

    return stateful


@pytest.fixture
async def toy() -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app()) as client:
        yield client
