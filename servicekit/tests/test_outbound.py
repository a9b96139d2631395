"""Calls between services: context out, typed errors back."""

import asyncio
import datetime as dt
import socket
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from servicekit.context import RequestContext, use_context
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, TooBusy, UpstreamUnavailable
from servicekit.outbound import (
    IDLE_CONNECTION_SECONDS,
    RemoteProblem,
    internal_client,
    outward_client,
    request_json,
)
from servicekit.problems import problem_response
from servicekit.service import server_config
from servicekit.trace import TraceParent

from .conftest import ToySettings


def _client(answer) -> httpx.AsyncClient:
    return internal_client("http://cellar", transport=httpx.MockTransport(answer))


async def _call(client: httpx.AsyncClient):
    async with client:
        return await request_json(client, "POST", "/x", upstream="cellar", json={})


async def test_request_carries_the_running_context() -> None:
    seen: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen.update(request.headers)
        return httpx.Response(200, json={"ok": True})

    with use_context(RequestContext("r-9", TraceParent.new(), Deadline.after(3))):
        assert await _call(_client(answer)) == {"ok": True}
    assert seen["x-request-id"] == "r-9"
    assert 0 < int(seen["x-deadline-ms"]) <= 3000


async def test_neighbours_problem_comes_back_under_its_own_type() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        busy = problem_response(TooBusy("Full.", retry_after_seconds=4, places=3), "r-1")
        return httpx.Response(busy.status_code, content=busy.body, headers=dict(busy.headers))

    with pytest.raises(RemoteProblem) as caught:
        await _call(_client(answer))
    assert (caught.value.type, caught.value.http_status) == ("too-busy", 429)
    assert caught.value.retry_after_seconds == 4
    assert caught.value.extensions["places"] == 3


async def test_refused_connection_is_an_upstream_error() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(UpstreamUnavailable, match="cellar"):
        await _call(_client(answer))


async def test_spent_deadline_is_said_before_anything_is_sent() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        pytest.fail("nothing may be sent")

    with (
        use_context(RequestContext("r", TraceParent.new(), Deadline.after(-1))),
        pytest.raises(DeadlineExceeded),
    ):
        await _call(_client(answer))


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"type": 3}'])
async def test_failure_that_is_no_problem_document_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamUnavailable, match="500"):
        await _call(_client(lambda _: httpx.Response(500, content=body)))


async def test_proxy_of_the_environment_is_ignored_between_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with internal_client("http://cellar") as client:
        assert not client._mounts


def test_client_lets_go_of_a_resting_connection_well_before_the_server() -> None:
    config = server_config(FastAPI(), ToySettings())
    assert config.timeout_keep_alive > 2 * IDLE_CONNECTION_SECONDS


@pytest.fixture
def own_authority(tmp_path: Path) -> tuple[Path, Path]:
    """Return the files of a certificate for localhost that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return tmp_path / "ca.pem", tmp_path / "key.pem"


@asynccontextmanager
async def _listener(answer: bytes, tls: ssl.SSLContext | None = None):
    """Answer every connection's first lines with `answer`, and give the port and what came."""
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "localhost", 0, ssl=tls, family=socket.AF_INET)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


async def test_outward_call_goes_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _listener(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n") as (port, heard):
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{port}")
        async with outward_client(timeout_seconds=5) as client:
            with pytest.raises(httpx.ProxyError):
                await client.get("https://model.example/v1/models")
    assert heard[0].startswith(b"CONNECT model.example:443 ")


async def test_outward_call_trusts_the_operators_own_authority(
    monkeypatch: pytest.MonkeyPatch, own_authority: tuple[Path, Path]
) -> None:
    certificate, key = own_authority
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with _listener(answer, tls) as (port, _):
        address = f"https://localhost:{port}/"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with outward_client(timeout_seconds=5) as client:
            assert (await client.get(address)).text == "ok"
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        async with outward_client(timeout_seconds=5) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(address)
