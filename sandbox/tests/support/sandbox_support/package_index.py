"""A package index on loopback, and wheels of our own making, the hostile ones included."""

import base64
import contextlib
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OLD = timedelta(days=400)


def wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    requires: tuple[str, ...] = (),
    modes: Mapping[str, int] | None = None,
    described_as: tuple[str, str] | None = None,
    listed: bytes | None = None,
) -> bytes:
    """Return a wheel; `files` are put in as they are named.

    `described_as` is another name and version for METADATA, `listed` another RECORD.
    """
    told, told_version = described_as or (name, version)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {told}\nVersion: {told_version}\n" + "".join(
        f"Requires-Dist: {each}\n" for each in requires
    )
    members = {f"{name}.py": f"VERSION = {version!r}\n".encode()} if files is None else dict(files)
    members |= {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = record(members, info) if listed is None else listed
    return archive(members, modes=modes)


def record(members: Mapping[str, bytes], info: str) -> bytes:
    """Return the list of files that an honest wheel has."""
    lines = [f"{path},{_digest(content)},{len(content)}" for path, content in members.items()]
    return "\n".join([*lines, f"{info}/RECORD,,", ""]).encode("utf-8", "surrogateescape")


def archive(members: Mapping[str, bytes], *, modes: Mapping[str, int] | None = None) -> bytes:
    """Return a zip file, whatever the names in it are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path, content in members.items():
            item = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            item.compress_type = zipfile.ZIP_DEFLATED
            item.external_attr = (modes or {}).get(path, 0o100644) << 16
            file.writestr(item, content)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"


@dataclass
class Release:
    filename: str
    content: bytes
    age: timedelta | None = OLD  # None: the index does not say when
    yanked: str | bool = False
    sha256: str | None = None

    def metadata(self) -> bytes | None:
        """Return the wheel's METADATA, which an index offers apart from it (PEP 658)."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as file:
                names = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
                return file.read(names[0])
        except (zipfile.BadZipFile, IndexError):
            return None

    def listing(self, base: str) -> dict[str, object]:
        listing: dict[str, object] = {
            "filename": self.filename,
            "url": f"{base}/files/{self.filename}",
            "hashes": {"sha256": self.sha256 or hashlib.sha256(self.content).hexdigest()},
            "yanked": self.yanked,
            "size": len(self.content),
            "core-metadata": self.metadata() is not None,
        }
        if self.age is not None:
            uploaded = datetime.now(UTC) - self.age
            listing["upload-time"] = uploaded.strftime("%Y-%m-%dT%H:%M:%SZ")
        return listing


@dataclass
class PackageIndex:
    releases: dict[str, list[Release]] = field(default_factory=dict)
    base: str = ""
    requests: int = 0
    downloads: int = 0
    # "user:password" that every request has to bring.
    key: str | None = None
    # Instead of a file: another address that it is said to have moved to.
    moved_to: str | None = None
    # As `moved_to`, of wheels alone: what describes them stays.
    wheels_moved_to: str | None = None
    # Files stop in the middle until this is set.
    stall: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"{self.base}/simple"

    def add(self, name: str, version: str = "1.0", **options: object) -> Release:
        """Add a wheel; see `wheel` and `Release` for the options."""
        of_release = {k: options.pop(k) for k in ("age", "yanked", "sha256") if k in options}
        content = wheel(name, version, **options)  # type: ignore[arg-type]  # passed on
        release = Release(f"{name}-{version}-py3-none-any.whl", content, **of_release)  # type: ignore[arg-type]  # passed on
        self.releases.setdefault(name, []).append(release)
        return release

    def moved(self, path: str) -> str | None:
        of_wheels = self.wheels_moved_to if path.endswith(".whl") else None
        return of_wheels or self.moved_to

    def answer(self, path: str) -> tuple[str, bytes] | None:
        self.requests += 1
        kind, _, rest = path.strip("/").partition("/")
        if kind == "files":
            every = [each for group in self.releases.values() for each in group]
            if rest.endswith(".metadata"):
                described = (e.metadata() for e in every if f"{e.filename}.metadata" == rest)
                return next((("text/plain", text) for text in described if text), None)
            return next(
                (
                    ("application/octet-stream", each.content)
                    for each in every
                    if each.filename == rest
                ),
                None,
            )
        name = rest.strip("/")
        if kind != "simple" or name not in self.releases:
            return None
        page = {
            "meta": {"api-version": "1.1"},
            "name": name,
            "versions": [],
            "files": [each.listing(self.base) for each in self.releases[name]],
        }
        return "application/vnd.pypi.simple.v1+json", json.dumps(page).encode()


@contextmanager
def package_index(address: str = "127.0.0.1") -> Iterator[PackageIndex]:
    """Serve an index on a free port of an address of this machine."""
    index = PackageIndex()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            is_file = self.path.startswith("/files/")
            told = self.headers.get("authorization", "").removeprefix("Basic ")
            if index.key is not None and base64.b64decode(told).decode() != index.key:
                self._send(401, "text/plain", b"who are you?", "www-authenticate: Basic")
                return
            if is_file and (location := index.moved(self.path)) is not None:
                self._send(302, "text/plain", b"", f"location: {location}")
                return
            index.downloads += is_file and self.command == "GET"
            found = index.answer(self.path)
            kind, body = found if found is not None else ("text/plain", b"nothing here")
            self._send(404 if found is None else 200, kind, body)

        def _send(self, status: int, kind: str, body: bytes, *headers: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            for header in headers:
                self.send_header(*header.split(": ", 1))
            self.end_headers()
            if self.command == "HEAD":
                return
            if index.stall is not None and self.path.endswith(".whl"):
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                index.stall.wait(30)
                body = body[len(body) // 2 :]
            with contextlib.suppress(OSError):  # the other side may be gone
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  # the base class looks it up by this name

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    index.base = f"http://{address}:{server.server_address[1]}"
    try:
        yield index
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()
