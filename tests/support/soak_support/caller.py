"""One caller of the sandbox, over one connection that is kept alive."""

import http.client
import json
import socket

CALL_SECONDS = 60.0


class SoakFailed(Exception):
    """Something was not as it should be; the text says what."""


class Caller:
    """One keep-alive connection to the service.

    Attributes
    ----------
    retry_after
        What the latest answer said of when to ask again, in seconds.
    """

    def __init__(self, port: int, *, client_id: str | None = None) -> None:
        self.retry_after: float | None = None
        self._port = port
        self._own_headers = {} if client_id is None else {"x-client-id": client_id}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        kind = "application/octet-stream" if "/files/" in path else "application/json"
        headers = self._own_headers | ({} if body is None else {"content-type": kind})
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        told = answer.getheader("retry-after")
        self.retry_after = None if told is None else float(told)
        return answer.status, answer.read()

    def session(self) -> str:
        status, body = self.call("POST", "/sessions")
        if status != http.HTTPStatus.CREATED:
            raise SoakFailed(f"POST /sessions answered {status}: {body[:300]!r}")
        return str(json.loads(body)["session_id"])

    def run(
        self, session_id: str | None, code: str, expected: str = "ok", seconds: float = 20.0
    ) -> dict[str, object]:
        order: dict[str, object] = {"code": code, "timeout_seconds": seconds}
        if session_id is not None:
            order["session_id"] = session_id
        status, body = self.call("POST", "/execute", json.dumps(order).encode())
        if status != http.HTTPStatus.OK:
            raise SoakFailed(f"POST /execute answered {status}: {body[:300]!r}")
        result: dict[str, object] = json.loads(body)
        if result["status"] != expected:
            raise SoakFailed(f"{code[:60]!r} ended as {body[:300]!r}, not as {expected}")
        return result

    def hang_up_on(self, session_id: str, code: str) -> None:
        """Ask for a run and go before it ends."""
        order = json.dumps({"code": code, "session_id": session_id}).encode()
        head = (
            "POST /execute HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(order)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self._port), timeout=CALL_SECONDS) as raw:
            raw.sendall(head.encode() + order)

    def expect(self, status: int, method: str, path: str, body: bytes | None = None) -> bytes:
        found, content = self.call(method, path, body)
        if found != status:
            raise SoakFailed(f"{method} {path} answered {found}, not {status}: {content[:300]!r}")
        return content
