"""A hot route answers what is right by itself, and leaves all else to FastAPI's route."""

import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel
from servicekit.asgi import BodyRules
from servicekit.context import context_from_headers, use_context
from servicekit.errors import TooBusy, UpstreamUnavailable
from servicekit.hot_route import HotRoute, HotRoutes
from servicekit.service import build_app
from structlog.testing import capture_logs

from .conftest import ToySettings, idle, serving

JSON = {"content-type": "application/json"}


class Order(BaseModel):
    number: int


class Answer(BaseModel):
    number: int
    way: str


async def _short_way(order: Order, request: Request) -> Answer:
    if order.number < 0:
        raise TooBusy("Later.", retry_after_seconds=7.0)
    if order.number == 502:  # the status that is wanted
        raise UpstreamUnavailable("Gone.")
    return Answer(number=order.number, way=f"short, {request.url.path}")


def _router() -> APIRouter:
    router = APIRouter()

    @router.post("/count")
    async def count(order: Order) -> Answer:
        return Answer(number=order.number, way="long")

    @router.post("/other")
    async def other(order: Order) -> Answer:
        return Answer(number=order.number, way="long")

    return router


@pytest.fixture
async def hot() -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(
        name="toy",
        summary="A toy",
        settings=ToySettings(),
        lifespan=idle,
        routers=(_router(),),
        hot_routes=(
            HotRoute(
                "/count", Order, _short_way, lambda headers: headers.get("accept") != "text/long"
            ),
        ),
    )
    async with serving(app) as client:
        yield client


async def test_right_request_takes_the_short_way(hot: httpx.AsyncClient) -> None:
    answer = await hot.post("/count", json={"number": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"number": 3, "way": "short, /count"}
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b'{"number": "x"}', 422, "arguments-invalid"),
        (b'{"number":', 400, "body-not-json"),
        (b"[" * 100_000, 400, "body-not-json"),
        (b"", 422, "arguments-invalid"),
    ],
)
async def test_wrong_request_is_told_what_is_wrong_as_on_any_route(
    hot: httpx.AsyncClient, body: bytes, status: int, kind: str
) -> None:
    answers = [await hot.post(path, content=body, headers=JSON) for path in ("/count", "/other")]
    documents: list[dict[str, Any]] = [answer.json() for answer in answers]
    for document in documents:
        del document["request_id"]
    assert documents[0] == documents[1]
    assert [answer.status_code for answer in answers] == [status, status]
    assert documents[0]["type"].endswith(kind)


async def test_body_that_only_the_framework_can_read_is_answered(hot: httpx.AsyncClient) -> None:
    answer = await hot.post("/count", content='{"number": 4}'.encode("utf-16"), headers=JSON)
    assert answer.json() == {"number": 4, "way": "long"}


async def test_request_that_is_not_for_it_goes_the_long_way(hot: httpx.AsyncClient) -> None:
    answer = await hot.post("/count", json={"number": 5}, headers={"accept": "text/long"})
    assert answer.json()["way"] == "long"
    assert (await hot.get("/count")).status_code == 405
    assert (await hot.post("/other", json={"number": 5})).json()["way"] == "long"


async def test_layers_stand_before_it(hot: httpx.AsyncClient) -> None:
    foreign = await hot.post(
        "/count", json={"number": 1}, headers={"origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    undeclared = await hot.post("/count", content=b'{"number": 1}')
    assert undeclared.status_code == 415
    late = await hot.post("/count", json={"number": 1}, headers={"x-deadline-ms": "0"})
    assert late.status_code == 504


async def test_its_errors_are_problems(hot: httpx.AsyncClient) -> None:
    answer = await hot.post("/count", json={"number": -1})
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "7"


async def test_failure_that_is_not_the_caller_s_is_logged_with_its_reason(
    hot: httpx.AsyncClient,
) -> None:
    with capture_logs() as lines:
        assert (await hot.post("/count", json={"number": 502})).status_code == 502
    (refused,) = [line for line in lines if line["event"] == "request.refused"]
    assert (refused["error_type"], refused["detail"]) == ("upstream-unavailable", "Gone.")


async def test_it_is_counted_by_its_path(hot: httpx.AsyncClient) -> None:
    await hot.post("/count", json={"number": 3})
    metrics = (await hot.get("/metrics")).text
    assert (
        'http_request_duration_seconds_count{method="POST",route="/count",status="200"}' in metrics
    )


async def test_body_is_let_go_of_before_the_work_begins() -> None:
    body = b'{"number": 4}'
    held: list[int] = []

    async def answer(order: Order, _: Request) -> Answer:
        held.append(sys.getrefcount(body))
        return Answer(number=order.number, way="short")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Any) -> None:
        return

    async def nothing_else(*_: Any) -> None:
        raise AssertionError("the hot route should have answered")

    route = HotRoute("/hot", Order, answer, takes=lambda _: True)
    app = BodyRules(HotRoutes(nothing_else, routes=(route,)), max_body_bytes=1000, raw_bodies=())
    headers = [(b"content-type", b"application/json"), (b"content-length", b"13")]
    scope = {"type": "http", "method": "POST", "path": "/hot", "headers": headers}
    before = sys.getrefcount(body)
    with use_context(context_from_headers({}, default_deadline_seconds=5)):
        await app(scope, receive, send)
    assert held == [before]
