"""Asks the sandbox's runner whether it serves: `probe_runner.py SOCKET`.

It speaks one hello frame: four bytes of length, one of kind, JSON (`sandbox_runner.protocol`).
"""
# ruff: noqa: INP001  # a script of the images, no package

import json
import socket
import struct
import sys

_SECONDS = 3.0
_HEADER = struct.Struct(">IB")
_JSON = 1
_MAX_BYTES = 256 * 1024


def main(path: str) -> int:
    """Return 0 if the runner answers a hello frame; that it cannot isolate is no failure here."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_SECONDS)
            link.connect(path)
            payload = b'{"op": "hello"}'
            link.sendall(_HEADER.pack(len(payload), _JSON) + payload)
            length, kind = _HEADER.unpack(_read(link, _HEADER.size))
            if kind != _JSON or length > _MAX_BYTES:
                raise ValueError("its answer is no hello frame")
            hello = json.loads(_read(link, length))
    except (OSError, ValueError, struct.error) as error:
        sys.stdout.write(f"{path}: {error}\n")
        return 1
    sys.stdout.write(f"is_safe: {hello.get('is_safe')}\n")
    return 0


def _read(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise ValueError("it hung up")
        data += part
    return data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
