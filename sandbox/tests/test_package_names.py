"""The rules before anything is downloaded: text, names, and the resolver's answer."""

import stat

import pytest
from sandbox.adapters.uv import explain_failure, installer_environment, yanked_pin
from sandbox.errors import IndexUnavailable, PackageRefused, PackageUnknown
from sandbox.packages.lock import LockedPackage, LockError, parse_lock, set_id
from sandbox.packages.names import NameRules, load_name_rules
from sandbox.packages.requirement import Wish, parse_wish
from sandbox.packages.tree import Entry, TreeLimits, check_tree

RULES = load_name_rules()
HASH = "a" * 64


def _rule(package: str, version: str | None = None) -> tuple[str, str | None]:
    with pytest.raises(PackageRefused) as refused:
        RULES.vet(parse_wish(package, version).name)
    extensions = refused.value.extensions
    assert refused.value.detail
    assert extensions["package"].isascii()
    return extensions["rule"], extensions["meant"]


HOSTILE = [
    ("https://example.org/x.whl", "url"),
    ("git+ssh://git@example.org/x", "url"),
    ("git+https://example.org/x.git@main", "url"),
    ("six @ https://example.org/six.whl", "url"),
    ("six@file:///etc/passwd", "url"),
    ("file:///etc/passwd", "url"),
    ("user@host", "url"),
    ("../../etc/passwd", "path"),
    ("./local", "path"),
    (".", "path"),
    ("~/x", "path"),
    ("/tmp/x", "path"),
    ("C:\\x", "path"),
    ("six-1.17.0-py2.py3-none-any.whl", "path"),
    ("six-1.17.0.tar.gz", "path"),
    ("--index-url=http://evil.example/simple", "option"),
    ("-r requirements.txt", "option"),
    ("-e .", "option"),
    (" --pre", "option"),
    ("six; python_version > '3'", "marker"),
    ("six;", "marker"),
    ("six[extra]", "extras"),
    ("requests[security,socks]", "extras"),
    ("six\n--index-url http://evil.example", "invalid-name"),
    ("six\r\nrequests", "invalid-name"),
    ("six\x00", "invalid-name"),
    ("six\t", "invalid-name"),
    ("six requests", "invalid-name"),
    ("six,requests", "invalid-name"),
    ("$(id)", "invalid-name"),
    ("`id`", "invalid-name"),
    ("six && id", "invalid-name"),
    ("six|id", "invalid-name"),
    ("-", "option"),
    ("_six", "invalid-name"),
    ("six-", "invalid-name"),
    ("a" * 150, "invalid-name"),
    ("six>=1.0", "version"),
    ("six==1.*", "version"),
    ("six!=1.0", "version"),
    ("six==1.0,==2.0", "version"),
    ("six===1.0", "version"),
    ("\u0455ix", "not-ascii"),
    ("reque\u0455ts", "not-ascii"),
    ("six\u200b", "not-ascii"),
    ("\uff53ix", "not-ascii"),
]


@pytest.mark.parametrize(("package", "rule"), HOSTILE)
def test_hostile_text_is_refused_by_its_rule(package: str, rule: str) -> None:
    assert _rule(package)[0] == rule


@pytest.mark.parametrize(
    "version",
    ["latest", ">=1", "1.0; x", "1.0 --pre", "", "1.*", "1.0\n2", "٣", "1.0 @ file:///x", "9" * 60],
)
def test_version_that_is_no_exact_one_is_refused(version: str) -> None:
    assert _rule("six", version)[0] == "version"


def test_two_versions_in_one_wish_are_refused() -> None:
    assert _rule("six==1.16.0", "1.17.0")[0] == "version"


@pytest.mark.parametrize(
    ("package", "version", "wish"),
    [
        ("six", None, Wish("six")),
        ("Six", "1.17.0", Wish("six", "1.17.0")),
        ("six==1.17.0", None, Wish("six", "1.17.0")),
        ("ruamel.yaml", None, Wish("ruamel-yaml")),
        ("typing_extensions", "4.0", Wish("typing-extensions", "4.0")),
    ],
)
def test_plain_wish_is_read(package: str, version: str | None, wish: Wish) -> None:
    assert parse_wish(package, version) == wish


@pytest.mark.parametrize(
    ("package", "rule", "meant"),
    [
        ("reqeusts", "near-name", "requests"),
        ("numpyy", "near-name", "numpy"),
        ("pandsa", "near-name", "pandas"),
        ("matpltlib", "near-name", "matplotlib"),
        ("scikitlearn", "dashes", "scikit-learn"),
        ("learn-scikit", "word-order", "scikit-learn"),
        ("rnatplotlib", "look-alike", "matplotlib"),
        ("djang0", "look-alike", "django"),
        ("python-requests", "affix", "requests"),
        ("requests3", "affix", "requests"),
        ("sklearn", "alias", "scikit-learn"),
        ("bs4", "alias", "beautifulsoup4"),
        ("opencv", "alias", "opencv-python-headless"),
        ("PIL", "alias", "pillow"),
        ("colourama", "blocked", "colorama"),
        ("jeIlyfish", "blocked", "jellyfish"),
        ("json", "standard-library", None),
        ("pip", "installer", None),
        ("setuptools", "installer", None),
    ],
)
def test_name_is_refused_with_what_was_meant(package: str, rule: str, meant: str | None) -> None:
    assert _rule(package) == (rule, meant)


def test_none_of_the_most_downloaded_is_suspicious() -> None:
    for name in RULES.popular[:200]:
        RULES.vet_dependency(name)


def test_operator_lets_in_and_keeps_out() -> None:
    rules = load_name_rules(allow=["ReqEusts"], block=["six"])
    rules.vet("reqeusts")
    with pytest.raises(PackageRefused):
        rules.vet("six")


def test_little_known_name_far_from_all_others_passes() -> None:
    NameRules(popular=("requests",), aliases={}, blocked={}).vet("zebrafact")


def test_lock_is_read_with_its_hashes() -> None:
    text = f"# note\nsix==1.17.0 \\\n    --hash=sha256:{HASH} \\\n    --hash=sha256:{'b' * 64}\n"
    assert parse_lock(text) == (LockedPackage("six", "1.17.0", (HASH, "b" * 64)),)


@pytest.mark.parametrize(
    "line",
    [
        "six==1.17.0",
        f"six @ https://example.org/six.whl --hash=sha256:{HASH}",
        "-e .",
        "--index-url https://example.org",
        f"six==1.17.0 --hash=md5:{HASH}",
    ],
)
def test_lock_that_is_no_pin_with_hash_is_refused(line: str) -> None:
    with pytest.raises(LockError):
        parse_lock(line)


def test_set_is_named_by_its_content() -> None:
    one, two = LockedPackage("a", "1", (HASH,)), LockedPackage("b", "1", (HASH,))
    assert set_id([one, two], python="3.11.7") == set_id([two, one], python="3.11.7")
    assert set_id([one], python="3.11.7") != set_id([one], python="3.12.1")
    assert set_id([one], python="3.11.7") != set_id([two], python="3.11.7")


FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (Entry("evil.pth", FILE, 1), "pth"),
        (Entry("sitecustomize.py", FILE, 1), "sitecustomize"),
        (Entry("usercustomize", FOLDER, 0), "sitecustomize"),
        (Entry("sitecustomize.cpython-311-x86_64-linux-gnu.so", FILE, 1), "sitecustomize"),
        (Entry("etc", FOLDER, 0), "outside"),
        (Entry("x/link", stat.S_IFLNK | 0o777, 1), "links"),
        (Entry("x/pipe", stat.S_IFIFO | 0o644, 0), "links"),
        (Entry("x/suid", FILE | stat.S_ISUID, 1), "links"),
        (Entry("x/a\nb", FILE, 1), "file-name"),
        (Entry("x/large", FILE, 1001), "size"),
    ],
)
def test_tree_with_what_no_session_may_see_is_refused(entry: Entry, rule: str) -> None:
    with pytest.raises(PackageRefused) as refused:
        check_tree([entry], TreeLimits(1000, 10), package="x", owners={}, trusted=frozenset())
    assert refused.value.extensions["rule"] == rule


def test_tree_with_too_many_files_is_refused() -> None:
    entries = [Entry(f"x/{number}", FILE, 0) for number in range(11)]
    with pytest.raises(PackageRefused) as refused:
        check_tree(entries, TreeLimits(1000, 10), package="x", owners={}, trusted=frozenset())
    assert refused.value.extensions["rule"] == "file-count"


def test_start_file_of_a_well_known_package_is_left_out() -> None:
    entries = [Entry("a.pth", FILE, 1), Entry("bin", FOLDER, 0), Entry("a/b.py", FILE, 1)]
    dropped = check_tree(
        entries,
        TreeLimits(1000, 10),
        package="a",
        owners={"a.pth": "a"},
        trusted=frozenset({"a"}),
    )
    assert dropped == {"a.pth", "bin"}


def test_installer_sees_index_and_certificates_and_nothing_else(tmp_path: object) -> None:
    world = {
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_FIND_LINKS": "/one /two",
        "PIP_CERT": "/ca.pem",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "OPENAI_API_KEY": "secret",
        "PYTHONPATH": "/x",
        "LD_PRELOAD": "/x.so",
        "UV_CONFIG_FILE": "/x.toml",
    }
    seen = installer_environment(world, index_url=None, cache=tmp_path, home=tmp_path)  # type: ignore[arg-type]  # a path
    assert seen["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert seen["UV_FIND_LINKS"] == "/one,/two"
    assert seen["SSL_CERT_FILE"] == "/ca.pem"
    assert not {"OPENAI_API_KEY", "PYTHONPATH", "LD_PRELOAD", "UV_CONFIG_FILE"} & seen.keys()


def test_words_of_the_installer_become_typed_errors_without_addresses() -> None:
    down = explain_failure(
        Wish("six"), "error: Failed to fetch: `https://user:key@index.example/simple/six/`"
    )
    assert isinstance(down, IndexUnavailable)
    assert "key" not in down.detail
    named = "Because certificate-zebra was not found in the package registry"
    assert isinstance(explain_failure(Wish("certificate-zebra"), named), PackageUnknown)
    missing = "Because zebra was not found in the package registry and you require zebra"
    assert isinstance(explain_failure(Wish("zebra"), missing), PackageUnknown)
    assert yanked_pin('warning: `six==1` is yanked (reason: "x")') == "six==1"
