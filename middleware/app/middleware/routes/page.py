"""The chat page: a few static files that talk to this service's own routes."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from servicekit.errors import NotFound
from starlette.responses import Response

router = APIRouter(tags=["page"])

_FOLDER = Path(__file__).parent.parent / "page"
_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Read once: they are small, and a request must not wait for a disk.
_FILES: Final = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir())}
_HEADERS: Final = {
    # Whatever a model or a tool says, the page runs no script but its own and talks to nobody else.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def _file(name: str) -> Response:
    media_type = _MEDIA_TYPES[Path(name).suffix]
    return Response(_FILES[name], headers=_HEADERS, media_type=f"{media_type}")


@router.get("/", operation_id="get_page", response_class=Response)
async def page() -> Response:
    """Return the chat page."""
    return _file("index.html")


@router.get("/page/{name}", operation_id="get_page_file", response_class=Response)
async def page_file(name: str) -> Response:
    """Return a file of the chat page."""
    if name not in _FILES:
        raise NotFound(f"The page has no file {name!r}.")
    return _file(name)
