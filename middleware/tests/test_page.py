"""The chat page is served whole, and may run nothing but its own script."""

import contextlib
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from middleware.routes import page
from servicekit.errors import NotFound


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page.router)
    return TestClient(app)


def test_page_is_served_with_every_file_that_it_names(client: TestClient) -> None:
    index = client.get("/")
    assert index.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:src|href)="(/[^"]+)"', index.text)
    assert len(named) == 3
    for path in named:
        assert client.get(path).status_code == 200, path


def test_page_runs_no_script_but_its_own(client: TestClient) -> None:
    index = client.get("/")
    assert "default-src 'none'" in index.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", index.text)
    assert "innerHTML" not in client.get("/page/chat.js").text


@pytest.mark.parametrize("path", ["/page/..%2Fapp.py", "/page/%2e%2e%2fapp.py", "/page/app.py"])
def test_page_serves_nothing_else(client: TestClient, path: str) -> None:
    # This bare app lacks the renderer that makes the error a 404.
    with contextlib.suppress(NotFound):
        assert client.get(path).status_code == 404
