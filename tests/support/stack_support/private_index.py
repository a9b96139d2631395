"""A package index on loopback that wants a user and a password, and knows who came."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class PrivateIndex:
    """The index: who may ask, where it is, and what was asked.

    `refused` and `served` hold paths.
    """

    user: str
    password: str
    port: int = 0
    refused: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Give the address as one writes it into PIP_INDEX_URL."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.port}/simple"

    @property
    def basic(self) -> str:
        """Give user and password as they stand in a request."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@contextmanager
def private_index(wheels: Path, *, user: str, password: str) -> Iterator[PrivateIndex]:
    """Serve a folder of wheels for the block."""
    index = PrivateIndex(user, password)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("authorization") != f"Basic {index.basic}":
                index.refused.append(self.path)
                self.send_response(401)
                self.send_header("www-authenticate", 'Basic realm="index"')
                self.end_headers()
                return
            index.served.append(self.path)
            self.answer(self.path.rstrip("/").rpartition("/")[2])

        def answer(self, name: str) -> None:
            file = wheels / name
            links = [
                f'<a href="/files/{path.name}">{path.name}</a>'
                for path in wheels.glob("*.whl")
                if path.name.split("-")[0].replace("_", "-") == name
            ]
            body = file.read_bytes() if file.is_file() else "".join(links).encode()
            self.send_response(200 if body else 404)
            kind = "application/octet-stream" if file.is_file() else "text/html"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
