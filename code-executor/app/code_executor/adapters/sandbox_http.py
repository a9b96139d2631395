"""The sandbox service over HTTP."""

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from servicekit.errors import UpstreamUnavailable
from servicekit.outbound import request_json
from servicekit.wire.execution import (
    ExecuteRequest,
    ExecuteResult,
    PackageInstalled,
    PackageList,
    PackageRequest,
)

_UPSTREAM = "The sandbox"
M = TypeVar("M", bound=BaseModel)


class HttpSandbox:
    """Talks to the sandbox; the running context's id, deadline and client travel along."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def execute(self, request: ExecuteRequest) -> ExecuteResult:
        """Run one cell."""
        return _read(ExecuteResult, await self._post("/execute", request))

    async def install(self, request: PackageRequest) -> PackageInstalled:
        """Install a package."""
        return _read(PackageInstalled, await self._post("/packages", request))

    async def packages(self, session_id: str | None) -> PackageList:
        """List what a session (or a new one) can import."""
        query = f"?{httpx.QueryParams(session_id=session_id)}" if session_id is not None else ""
        answer = await request_json(self._client, "GET", f"/packages{query}", upstream=_UPSTREAM)
        return _read(PackageList, answer)

    async def ping(self) -> None:
        """Ask the sandbox for a sign of life."""
        await request_json(self._client, "GET", "/ready", upstream=_UPSTREAM)

    async def _post(self, path: str, request: BaseModel) -> Any:
        body = request.model_dump(mode="json", exclude_none=True)
        return await request_json(self._client, "POST", path, upstream=_UPSTREAM, json=body)


def _read(model: type[M], answer: Any) -> M:
    try:
        return model.model_validate(answer)
    except ValidationError:
        raise UpstreamUnavailable(
            "The sandbox answered in a form that is not understood; "
            "do code-executor and sandbox have the same version?"
        ) from None
