"""The resolver's answer, its words, and where packages come from."""

from pathlib import Path

import pytest
from sandbox.adapters.package_index import PackageIndex, installer_environment, settings_of
from sandbox.errors import IndexUnavailable, PackageRefused, PackageUnknown
from sandbox.packages.lock import (
    LockedPackage,
    LockError,
    NoWheelFits,
    parse_lock,
    set_id,
    wheel_tags,
)
from sandbox.packages.requirement import Wish
from sandbox.packages.resolver_words import explain_failure, is_about_age, yanked_pins

HASH, OTHER = "a" * 64, "b" * 64
BASE = "https://files.example/packages"
TAGS = wheel_tags("3.11.7")


def _lock(*wheels: str, name: str = "six", version: str = "1.17.0", more: str = "") -> str:
    listed = ", ".join(wheels)
    return f'[[packages]]\nname = "{name}"\nversion = "{version}"\nwheels = [{listed}]\n{more}'


def _wheel(
    filename: str = "six-1.17.0-py2.py3-none-any.whl", digest: str = HASH, more: str = ""
) -> str:
    return f'{{ url = "{BASE}/{filename}"{more}, hashes = {{ sha256 = "{digest}" }} }}'


def test_lock_is_read_with_file_hash_and_size() -> None:
    assert parse_lock(_lock(_wheel(more=", size = 11050")), TAGS) == (
        LockedPackage(
            name="six",
            version="1.17.0",
            filename="six-1.17.0-py2.py3-none-any.whl",
            url=f"{BASE}/six-1.17.0-py2.py3-none-any.whl",
            sha256=HASH,
            size=11050,
        ),
    )


def test_of_several_wheels_the_one_for_this_interpreter_is_taken() -> None:
    machine = next(tag.platform for tag in TAGS if tag.platform != "any")
    wheels = (
        _wheel("six-1.17.0-py3-none-any.whl"),
        _wheel(f"six-1.17.0-cp311-cp311-{machine}.whl", OTHER),
        _wheel(f"six-1.17.0-cp312-cp312-{machine}.whl"),
        _wheel("six-1.17.0-cp311-cp311-win_amd64.whl"),
    )
    assert parse_lock(_lock(*wheels), TAGS)[0].sha256 == OTHER


def test_package_without_a_fitting_wheel_is_told_apart() -> None:
    for text in (_lock(), _lock(_wheel("six-1.17.0-cp311-cp311-win_amd64.whl"))):
        with pytest.raises(NoWheelFits, match="six"):
            parse_lock(text, TAGS)


@pytest.mark.parametrize(
    "text",
    [
        _lock(_wheel(digest="0" * 63)),
        _lock(f'{{ url = "{BASE}/six-1.17.0-py3-none-any.whl", hashes = {{ md5 = "{HASH}" }} }}'),
        _lock('{ path = "six-1.17.0-py3-none-any.whl", hashes = {} }'),
        _lock(_wheel().replace("https:", "ftp:")),
        _lock(_wheel("evil-1.17.0-py3-none-any.whl")),
        _lock(_wheel("six-1.16.0-py3-none-any.whl")),
        _lock(_wheel("six.exe")),
        _lock(_wheel(more=", size = -1")),
        _lock(_wheel(), more='vcs = { type = "git", url = "https://x" }'),
        _lock(_wheel(), more='directory = { path = "/x" }'),
        _lock(_wheel(), version="latest"),
        "not toml",
        'packages = "x"',
    ],
)  # fmt: skip
def test_lock_that_is_no_hashed_wheel_of_the_index_is_refused(text: str) -> None:
    with pytest.raises(LockError):
        parse_lock(text, TAGS)


def _locked(name: str, digest: str = HASH) -> LockedPackage:
    return LockedPackage(name, "1", f"{name}-1-py3-none-any.whl", "", digest)


def test_set_is_named_by_its_content() -> None:
    one, two = _locked("a"), _locked("b")
    assert set_id([one, two], python="3.11.7") == set_id([two, one], python="3.11.7")
    assert set_id([one], python="3.11.7") != set_id([one], python="3.12.1")
    assert set_id([one], python="3.11.7") != set_id([two], python="3.11.7")
    assert set_id([one], python="3.11.7") != set_id([_locked("a", OTHER)], python="3.11.7")


def test_installer_sees_index_and_certificates_and_nothing_else(tmp_path: Path) -> None:
    world = {
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_FIND_LINKS": "/one /two",
        "PIP_CERT": "/ca.pem",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "UV_INDEX_OURS_PASSWORD": "of the index",
        "OPENAI_API_KEY": "secret",
        "LLM_API_KEY": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PYTHONPATH": "/x",
        "LD_PRELOAD": "/x.so",
        "UV_CONFIG_FILE": "/x.toml",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    settings = settings_of(world, index_url=None)
    seen = installer_environment(settings, cache=tmp_path, home=tmp_path)
    assert seen["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert seen["UV_FIND_LINKS"] == "/one,/two"
    assert seen["SSL_CERT_FILE"] == "/ca.pem"
    assert "secret" not in seen.values()
    assert not {"PYTHONPATH", "LD_PRELOAD", "UV_CONFIG_FILE", "UV_INDEX_STRATEGY"} & seen.keys()


@pytest.mark.parametrize(
    ("settings", "ports", "looks_up"),
    [
        ({}, (53, 443), True),
        ({"UV_DEFAULT_INDEX": "http://127.0.0.1:8080/simple"}, (8080,), False),
        ({"UV_DEFAULT_INDEX": "http://[::1]/simple"}, (80,), False),
        ({"UV_DEFAULT_INDEX": "https://index.example:8443/simple"}, (53, 443, 8443), True),
        (
            {"UV_DEFAULT_INDEX": "http://10.0.0.1:1/s", "UV_INDEX": "ours=http://10.0.0.2:2/s"},
            (1, 2),
            False,
        ),
        (
            {"UV_DEFAULT_INDEX": "http://10.0.0.1:1/s", "HTTP_PROXY": "10.0.0.3:3128"},
            (1, 3128),
            False,
        ),
    ],
)
def test_ports_are_those_of_index_and_proxy(
    settings: dict[str, str], ports: tuple[int, ...], looks_up: bool
) -> None:
    index = PackageIndex(settings)
    assert (index.ports, index.looks_up_names) == (ports, looks_up)


def test_credentials_go_to_their_own_index_alone(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine third.example login third password of-third\n")
    index = PackageIndex(
        {
            "UV_DEFAULT_INDEX": "https://me:p%40ss@index.example/simple",
            "UV_INDEX": "our-own=https://other.example/simple",
            "UV_INDEX_OUR_OWN_USERNAME": "us",
            "UV_INDEX_OUR_OWN_PASSWORD": "ours",
            "NETRC": str(netrc),
        }
    )
    assert index.credentials_for("https://index.example/files/six.whl") == ("me", "p@ss")
    assert index.credentials_for("https://other.example/six.whl") == ("us", "ours")
    assert index.credentials_for("https://third.example/six.whl") == ("third", "of-third")
    for elsewhere in (
        "http://index.example/x",
        "https://index.example:444/x",
        "https://x.example/",
    ):
        assert index.credentials_for(elsewhere) is None


def test_proxy_is_used_but_where_it_is_said_not_to() -> None:
    index = PackageIndex(
        {"HTTPS_PROXY": "proxy.example:3128", "NO_PROXY": "localhost,.own.example"}
    )
    assert index.proxy_for("https", "index.example") == "http://proxy.example:3128"
    assert index.proxy_for("http", "index.example") is None
    assert index.proxy_for("https", "files.own.example") is None


def test_words_of_the_resolver_become_typed_errors_without_addresses() -> None:
    down = explain_failure(
        Wish("six"), "error: Failed to fetch: `https://user:key@index.example/simple/six/`"
    )
    assert isinstance(down, IndexUnavailable)
    assert "key" not in down.detail
    named = "Because certificate-zebra was not found in the package registry"
    assert isinstance(explain_failure(Wish("certificate-zebra"), named), PackageUnknown)
    missing = "Because zebra was not found in the package registry and you require zebra"
    assert isinstance(explain_failure(Wish("zebra"), missing), PackageUnknown)
    source = explain_failure(Wish("zebra"), "zebra==1 has no usable wheels")
    assert isinstance(source, PackageRefused)
    assert source.extensions["rule"] == "no-wheel"
    assert yanked_pins('warning: `six==1` is yanked (reason: "x")') == ("six==1",)
    assert is_about_age("… published before the exclude-newer time")
