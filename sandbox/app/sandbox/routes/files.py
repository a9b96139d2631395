"""List, download, upload and delete a session's files."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Path, Request, Response, status
from servicekit.context import current_context
from servicekit.deadline import Deadline
from servicekit.errors import StackError
from servicekit.hangup import ClientHungUp, until_hangup
from servicekit.logs import get_logger
from servicekit.wire.files import FileListing, SessionFile
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from sandbox.artifacts import media_type_of, shown
from sandbox.files import SessionFiles
from sandbox.routes.wiring import client_of, wiring_of
from sandbox.stored_files import OpenFile

log = get_logger()


class _FilePath(PathConvertor):
    """All the rest of an address; Starlette's own `path` ends at a newline."""

    regex = r"[\s\S]*"


register_url_convertor("file_path", _FilePath())
router = APIRouter(prefix="/sessions/{session_id}/files", tags=["files"])

#: Uploads: their bodies are files, not JSON, and are bounded by the session's own limits.
UPLOADS = ("PUT", r"(?s)/sessions/[^/]+/files/.*")

SessionName = Annotated[str, Path(min_length=1, max_length=64)]
FilePath = Annotated[
    str,
    Path(description="relative to the session's folder, percent-encoded; `/` divides folders"),
]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"application/octet-stream": _BINARY}}
}
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}}
_SEGMENTS_BEFORE_PATH = 4  # "", "sessions", the session, "files"


@router.get("", operation_id="sandbox_list_files", tags=["tool"], response_model=FileListing)
async def list_files(session_id: SessionName, request: Request) -> Response:
    """List the files, folders and links in a session's folder.

    While a cell runs in the session the call waits for its end, up to the request's deadline.
    """
    files, deadline, client = _call(request)
    listing = await until_hangup(request, files.list(session_id, deadline, client))
    content = await asyncio.to_thread(listing.model_dump_json, by_alias=True)
    return Response(content, media_type="application/json")


@router.get(
    "/{path:file_path}",
    operation_id="sandbox_download_file",
    response_class=Response,
    responses=_CONTENT,
)
async def download_file(session_id: SessionName, path: FilePath, request: Request) -> Response:
    """Download a file: plain files with one name alone, no link is followed."""
    files, deadline, client = _call(request)
    return _Download(files.read(session_id, _exact_path(request, path), deadline, client))


@router.put(
    "/{path:file_path}",
    operation_id="sandbox_upload_file",
    openapi_extra=_BODY,
    status_code=status.HTTP_201_CREATED,
    responses={200: {"description": "The file was replaced", "model": SessionFile}},
)
async def upload_file(
    session_id: SessionName, path: FilePath, request: Request, response: Response
) -> SessionFile:
    """Upload a file: the body is its content, of any type. Missing folders are made.

    It appears when it is whole, in place of the one before (200) or as a new one (201). One file
    is bounded (413), and so is the session's folder (507).
    """
    files, deadline, client = _call(request)
    file, is_new = await files.write(
        session_id, _exact_path(request, path), _content(request), deadline, client
    )
    if not is_new:
        response.status_code = status.HTTP_200_OK
    response.headers["location"] = file.link or ""
    return file


@router.delete(
    "/{path:file_path}",
    operation_id="sandbox_delete_file",
    tags=["tool"],
    status_code=status.HTTP_204_NO_CONTENT,
)
async def delete_file(session_id: SessionName, path: FilePath, request: Request) -> None:
    """Delete a file, or a link but not what it leads to."""
    files, deadline, client = _call(request)
    await until_hangup(
        request, files.delete(session_id, _exact_path(request, path), deadline, client)
    )


def _call(request: Request) -> tuple[SessionFiles, Deadline, str]:
    """Return where files are, how much time there is, and who asks."""
    context = current_context()
    return wiring_of(request).files, context.deadline, client_of(request, context)


def _exact_path(request: Request, decoded: str) -> str:
    """Return the path byte by byte: what the server decoded has lost what is no UTF-8."""
    raw: bytes | None = request.scope.get("raw_path")
    if raw is None:
        return decoded
    parts = raw.split(b"/", _SEGMENTS_BEFORE_PATH)
    return os.fsdecode(unquote_to_bytes(parts[-1]))


async def _content(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise ClientHungUp("The client went away before the file was whole.") from None


class _Download(Response):
    """Sends a file while it is read, and holds the session for no longer than that."""

    def __init__(self, opening: AbstractAsyncContextManager[OpenFile]) -> None:
        super().__init__()
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; what is wrong with the file is told as an ordinary problem."""
        is_started = False

        async def transfer() -> None:
            nonlocal is_started
            async with self._opening as opened:
                is_started = True
                await send(_head(opened))
                async for piece in opened.pieces:
                    body = {"type": "http.response.body", "body": piece, "more_body": True}
                    await send(body)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await until_hangup(Request(scope, receive), transfer())
        except StackError:  # the client hung up, its time is over, the file changed
            if not is_started:
                raise
            log.info("download.given_up")


def _head(opened: OpenFile) -> dict[str, Any]:
    name = shown(opened.file.path.rpartition("/")[2])
    headers = {
        "content-type": media_type_of(opened.file.path),
        "content-length": str(opened.file.size_bytes),
        "content-disposition": disposition(name),
        # Code made this: no browser is to guess at it, show it as a page or run it.
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "no-store",
    }
    return {
        "type": "http.response.start",
        "status": status.HTTP_200_OK,
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in headers.items()],
    }


def disposition(name: str) -> str:
    """Return the header that has a browser save a file under a name (RFC 6266)."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._- ") else "_"
        for letter in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
