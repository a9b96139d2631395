"""Hostile requests over HTTP: each is refused before the index hears of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_index import PackageIndex, package_index
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app

# What is asked for, and the rule that refuses it; None: the request itself is not valid.
REFUSED = [
    ("git+https://github.com/x/y", "url"),
    ("hg+https://evil.example/x", "url"),
    ("https://evil.example/x.whl", "url"),
    ("HTTPS://EVIL.EXAMPLE/X.WHL", "url"),
    ("ftp://evil.example/x", "url"),
    ("file:///etc/passwd", "url"),
    ("requests @ https://evil.example/x.whl", "url"),
    ("requests; os_name=='posix' @ file:///x", "url"),
    ("./local", "path"),
    ("../x", "path"),
    ("..", "path"),
    ("/tmp/x", "path"),
    ("~root/x", "path"),
    ("\\\\evil\\share", "path"),
    ("requests-2.0.tar.gz", "path"),
    ("-r /etc/passwd", "option"),
    ("-e .", "option"),
    ("--index-url=http://evil.example requests", "option"),
    ("--pre", "option"),
    ("requests --install-option=x", "invalid-name"),
    ("req uests", "invalid-name"),
    ("requests\n--extra-index-url http://evil.example", "invalid-name"),
    ("requests\r", "invalid-name"),
    ("requests\x00", "invalid-name"),
    ("requests\x1b[2J", "invalid-name"),
    ("requests\u2028x", "not-ascii"),
    ("rеquests", "not-ascii"),  # noqa: RUF001  # a Cyrillic letter is the point
    ("requеsts==1.0", "not-ascii"),  # noqa: RUF001  # as above
    ("ｒｅｑｕｅｓｔｓ", "not-ascii"),  # noqa: RUF001  # full width is the point
    ("requests\u200b", "not-ascii"),
    ("\u202erequests", "not-ascii"),
    ("", None),
    (" ", "invalid-name"),
    ("a" * 300, None),
    ("a" * 200, "invalid-name"),
    ("__init__", "invalid-name"),
    ("$(id)", "invalid-name"),
    ("`id`", "invalid-name"),
    ("a|b", "invalid-name"),
    ("a;b", "marker"),
    ("x>=1,<0 ; import os", "marker"),
    ("requests==1.0 || x", "invalid-name"),
    ("name[extra", "extras"),
    ("requests[security]", "extras"),
    ("requests==*", "invalid-name"),
    ("requests==1.*", "version"),
    ("requests>=2", "version"),
    ("requests~=2.0", "version"),
    ("requests===file:///x", "url"),
    ("requests==1,==2", "version"),
    ("reqeusts", "near-name"),
    ("requestss", "near-name"),
    ("ReQuEsTs-", "invalid-name"),
    ("REQEUSTS", "near-name"),
    ("re-quests", "dashes"),
    ("re.quests", "dashes"),
    ("python-requests2", "affix"),
    ("python_requests", "affix"),
    ("requests-py", "affix"),
    ("numpyy", "near-name"),
    ("scikitlearn", "dashes"),
    ("learn_scikit", "word-order"),
    ("rnatplotlib", "look-alike"),
    ("p1llow", "look-alike"),
    ("beautifulsoup", "alias"),
    ("sklearn", "alias"),
    ("crypto", "alias"),
    ("urllib", "standard-library"),
    ("urlib3", "blocked"),
    ("python-reqeusts", "affix"),
    ("setup-tools", "blocked"),
    ("colourama", "blocked"),
    ("pip", "installer"),
    ("PIP", "installer"),
    ("setuptools", "installer"),
    ("os", "standard-library"),
    ("sqlite3", "standard-library"),
]


@pytest.fixture
async def asked(
    tmp_path: Path, fake_runner: FakeRunner
) -> AsyncIterator[tuple[httpx.AsyncClient, PackageIndex]]:
    with package_index() as index:
        settings = service_settings(tmp_path, fake_runner.socket, packages_index_url=index.url)
        async with serving(create_app(settings)) as client:
            yield client, index


async def test_every_hostile_request_is_refused_with_its_rule_and_asks_no_index(
    asked: tuple[httpx.AsyncClient, PackageIndex],
) -> None:
    client, index = asked
    assert len(REFUSED) >= 40
    wrong = []
    for package, rule in REFUSED:
        answer = await client.post("/packages", json={"package": package})
        body = answer.json()
        if answer.status_code != 422 or body.get("rule") != rule or not body["detail"]:
            wrong.append((package, rule, answer.status_code, body.get("rule")))
    assert wrong == []
    assert index.requests == 0
    counted = (await client.get("/metrics")).text
    assert 'sandbox_package_refusals_total{rule="near-name"}' in counted


async def test_refusal_says_rule_meant_and_what_an_operator_can_do(
    asked: tuple[httpx.AsyncClient, PackageIndex],
) -> None:
    client, _ = asked
    body = (await client.post("/packages", json={"package": "reqeusts"})).json()
    assert (body["rule"], body["package"], body["meant"]) == ("near-name", "reqeusts", "requests")
    assert "Did you mean requests?" in body["detail"]
    assert "SANDBOX_PACKAGES_ALLOW" in body["operator"]
    assert body["operator"] in body["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"package": "six", "version": "1.0 --pre"},
        {"package": "six", "version": "latest"},
        {"package": "six", "version": "1" * 70},
        {"package": "six", "extra": "x"},
        {"package": ["six"]},
        {"package": {"name": "six"}},
        {"package": "six", "session_id": "x" * 70},
        {},
    ],
)
async def test_request_of_another_form_is_refused(
    asked: tuple[httpx.AsyncClient, PackageIndex], body: dict[str, object]
) -> None:
    client, index = asked
    assert (await client.post("/packages", json=body)).status_code == 422
    assert index.requests == 0
