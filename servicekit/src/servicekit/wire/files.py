"""Files of a session, as the sandbox lists them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from servicekit.wire.base import WireReply

FileType = Literal["file", "folder", "link", "other"]


class SessionFile(WireReply):
    """One file, folder or link in a session's folder."""

    name: Annotated[str, Field(description="the last part of the path")]
    path: Annotated[
        str,
        Field(
            description="relative to the session's folder; bytes that are no UTF-8 are shown as "
            "`\\udcXX`, and `link` leads to the file whatever its name"
        ),
    ]
    type: FileType
    media_type: Annotated[
        str | None, Field(description="of a file, as its name's ending suggests")
    ] = None
    size_bytes: Annotated[int, Field(description="0 for folders")] = 0
    modified_at: datetime | None = None
    link: Annotated[
        str | None,
        Field(description="where this service serves the file; null if it cannot be had"),
    ] = None


class FileListing(WireReply):
    """What is in a session's folder, sorted by path."""

    files: tuple[SessionFile, ...]
    truncated: Annotated[
        bool, Field(description="there is more than a listing holds, or deeper than it looks")
    ] = False


class FileChanges(WireReply):
    """The files that a run added, changed and deleted, each list sorted by path."""

    added: tuple[SessionFile, ...] = ()
    changed: tuple[SessionFile, ...] = ()
    deleted: tuple[SessionFile, ...] = ()
    truncated: Annotated[
        bool,
        Field(description="there may be more: 100 files of each list are named, 20,000 looked at"),
    ] = False
