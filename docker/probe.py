"""Asks a service of this container for its health: `probe.py PORT PATH [STATUS]`.

STATUS is one besides 200 that is as good. Run by every health check, so it imports no more than a
socket: `python -I -S probe.py 8002 /ready`.
"""
# ruff: noqa: INP001  # a script of the images, no package

import socket
import sys

_SECONDS = 3.0


def main(port: str, path: str, *accepted: str) -> int:
    """Return 0 if the service answers 200, or a status that is as good."""
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=_SECONDS) as link:
            link.settimeout(_SECONDS)
            link.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
            )
            answer = link.recv(64)
            # A service that is cut off in mid-answer logs an error: read it to its end.
            while link.recv(65536):
                pass
    except OSError as error:
        sys.stdout.write(f"port {port}: {error}\n")
        return 1
    status = answer.split(b"\r\n")[0].decode("latin-1")
    sys.stdout.write(f"{path}: {status}\n")
    return 0 if status.split(" ")[1:2] in [["200"], list(accepted)] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
