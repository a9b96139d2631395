"""A registry of models, slow on purpose: serves what `ollama create` left in a folder.

    python3 registry.py FOLDER CERTIFICATE KEY BYTES_PER_SECOND

FOLDER holds `blobs` and `manifests`, as in OLLAMA_MODELS. Standard library only: it runs in the
bare base image.
"""

import re
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = re.compile(r"/v2/library/([\w.-]+)/manifests/([\w.-]+)")
BLOB = re.compile(r"/v2/library/[\w.-]+/blobs/sha256:([0-9a-f]{64})")
# Ollama insists on being sent to another host for the bytes.
BYTES = re.compile(r"/bytes/([0-9a-f]{64})")
RANGE = re.compile(r"bytes=(\d+)-(\d+)")
PIECES_PER_SECOND = 10


class Handler(BaseHTTPRequestHandler):
    folder: Path
    bytes_per_second: int

    def do_HEAD(self) -> None:
        self._serve(has_body=False)

    def do_GET(self) -> None:
        self._serve(has_body=True)

    def _serve(self, *, has_body: bool) -> None:
        blob = BLOB.fullmatch(self.path)
        if blob and has_body:
            self.send_response(307)
            self.send_header("location", f"https://bytes.{self.headers['host']}/bytes/{blob[1]}")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        path = self._file()
        if path is None or not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        if wanted := RANGE.fullmatch(self.headers.get("range", "")):
            data, status = data[int(wanted[1]) : int(wanted[2]) + 1], 206
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        piece = max(1, self.bytes_per_second // PIECES_PER_SECOND)
        for start in range(0, len(data) if has_body else 0, piece):
            self.wfile.write(data[start : start + piece])
            if start + piece < len(data):
                time.sleep(1 / PIECES_PER_SECOND)

    def _file(self) -> Path | None:
        if manifest := MANIFEST.fullmatch(self.path):
            return self.folder.joinpath(
                "manifests", "registry.ollama.ai", "library", manifest[1], manifest[2]
            )
        blob = BLOB.fullmatch(self.path) or BYTES.fullmatch(self.path)
        return self.folder / "blobs" / f"sha256-{blob[1]}" if blob else None


def main() -> None:
    folder, certificate, key, speed = sys.argv[1:]
    Handler.folder, Handler.bytes_per_second = Path(folder), int(speed)
    server = ThreadingHTTPServer(("0.0.0.0", 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
