"""The composition root of the embedded model."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from servicekit.service import Service, build_app

from embedded_model.places import gazetteer
from embedded_model.routes.openai import openai_router
from embedded_model.settings import EmbeddedModelSettings
from embedded_model.wiring import Clock, Wiring


def utc_now() -> dt.datetime:
    """Return the time now, in UTC."""
    return dt.datetime.now(dt.UTC)


def create_app(settings: EmbeddedModelSettings, *, clock: Clock = utc_now) -> Service:
    """Build the service; `clock` can be a test's."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Wiring]:
        gazetteer()  # read the tables now rather than in the first question
        yield Wiring(model_name=settings.model_name, clock=clock)

    return build_app(
        name="embedded-model",
        summary="A deterministic command interpreter behind the OpenAI chat API",
        settings=settings,
        lifespan=lifespan,
        routers=(openai_router(),),
    )
