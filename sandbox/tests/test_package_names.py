"""The rules before anything is downloaded: text, names, and what an operator says of them."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from sandbox.errors import PackageAwaitsApproval, PackageRefused
from sandbox.packages.names import NameRules
from sandbox.packages.objection import objected
from sandbox.packages.refusal import Rule, refusal
from sandbox.packages.requirement import Wish, parse_wish
from sandbox.packages.rule_files import RuleData, RuleFileError, name_rules, parse_rule_files

RULES = name_rules(RuleData())
DATA = Path(__file__).parent / "data"
MOST_DOWNLOADED = (DATA / "most_downloaded.txt").read_text().split()
# What these and what they need come to, as the resolver gave it for wheels alone.
CLOSURES = (DATA / "closures.txt").read_text().split()


def _vet(name: str, rules: NameRules = RULES) -> None:
    if (objection := rules.objection(name)) is not None:
        raise objected([objection])


def _rule(package: str, version: str | None = None) -> tuple[str, str | None]:
    with pytest.raises(PackageRefused) as refused:
        _vet(parse_wish(package, version).name)
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


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[-A-Za-z0-9._=\[\];@ /]{1,30}")))
def test_whatever_passes_is_one_plain_requirement(text: str) -> None:
    try:
        wish = parse_wish(text, None)
    except PackageRefused:
        return
    requirement = Requirement(wish.line())
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(==[a-z0-9.!+]+)?", wish.line())
    assert (requirement.url, requirement.marker, requirement.extras) == (None, None, set())


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
        ("skleran", "near-name", "scikit-learn"),
        ("pytroch", "near-name", "torch"),
        ("reqυests", "not-ascii", "requests"),  # noqa: RUF001  # a Greek letter is the point
        ("RÉQUESTS", "not-ascii", "requests"),
        ("requests\u200b", "not-ascii", "requests"),
        ("\u202erequests", "not-ascii", "requests"),
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
    assert len(MOST_DOWNLOADED) == len(set(MOST_DOWNLOADED)) >= 200
    found = {name: RULES.dependency_objection(name) for name in MOST_DOWNLOADED}
    assert {name: each for name, each in found.items() if each is not None} == {}


def test_of_the_most_downloaded_only_installers_are_refused() -> None:
    found = {name: RULES.objection(name) for name in MOST_DOWNLOADED}
    rules = {name: each.rule for name, each in found.items() if each is not None}
    assert rules == dict.fromkeys(("pip", "setuptools", "wheel", "uv"), "installer")


@pytest.mark.parametrize("name", ["pip", "setuptools", "wheel", "Setup_Tools", "easy_install"])
def test_installer_is_refused_with_a_reason_of_its_own(name: str) -> None:
    assert _rule(name)[0] in {"installer", "blocked"}


def test_operator_lets_in_and_keeps_out() -> None:
    rules = name_rules(RuleData(), allow=["ReqEusts"], block=["six"])
    _vet("reqeusts", rules)
    with pytest.raises(PackageRefused, match="blocked"):
        _vet("six", rules)


def test_what_the_most_downloaded_need_is_let_in() -> None:
    assert len(CLOSURES) > 300
    assert [name for name in CLOSURES if RULES.dependency_objection(name)] == []


@pytest.mark.parametrize(
    "name", ["pip", "json", "colourama", "sklearn", "reqeusts", "httpx3", "python-sqlite"]
)
def test_operator_can_do_what_the_refusal_says(name: str) -> None:
    refused = RULES.objection(name)
    assert refused is not None
    said = objected([refused]).extensions["operator"]

    allowed = name_rules(RuleData(), allow=[name]).objection(name)

    assert said.startswith("An operator can let it in" if allowed is None else "An operator can't")


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_refusal_says_what_an_operator_can_do(rule: Rule) -> None:
    of_names = {
        *("installer", "alias", "standard-library", "blocked", "allow-list", "unlisted", "dashes"),
        *("look-alike", "word-order", "affix", "near-name", "shadows"),
    }
    said_where_it_is_raised = {"preinstalled", "store-size", "undated", "too-new", "file-count"}

    if rule not in of_names | said_where_it_is_raised:
        assert refusal(rule, "six", "It is so.").extensions["operator"]


def test_little_known_name_far_from_all_others_passes() -> None:
    _vet("zebrafact", NameRules(popular=("requests",)))


@pytest.mark.parametrize(
    ("policy", "name", "outcome"),
    [
        ("open", "reqeusts", "refused"),
        ("open", "zebrafact", None),
        ("ask", "reqeusts", "waits"),
        ("ask", "zebrafact", None),
        ("ask", "colourama", "refused"),
        ("ask", "sklearn", "refused"),
        ("ask", "pip", "refused"),
        ("ask-unlisted", "zebrafact", "waits"),
        ("ask-unlisted", "reqeusts", "waits"),
        ("ask-unlisted", "requests", None),
        ("allow-list", "requests", "refused"),
        ("allow-list", "zebrafact", "refused"),
        ("allow-list", "hippofact", None),
    ],
)
def test_policy_says_what_happens_to_a_name(policy: str, name: str, outcome: str | None) -> None:
    rules = name_rules(RuleData(), allow=["hippofact"], policy=policy)  # type: ignore[arg-type]  # a literal
    objection = rules.objection(name)
    assert (objection is None) == (outcome is None)
    if objection is not None:
        error = objected([objection])
        assert isinstance(error, PackageAwaitsApproval) == (outcome == "waits")


def test_names_that_wait_are_told_at_once() -> None:
    rules = name_rules(RuleData(), policy="ask-unlisted")
    found = [rules.dependency_objection(name) for name in ("zebrafact", "giraffefact")]
    error = objected([each for each in found if each is not None])
    assert isinstance(error, PackageAwaitsApproval)
    assert error.extensions["names"] == ["zebrafact", "giraffefact"]
    assert "rules/allowed.txt" in error.extensions["operator"]


def test_what_no_operator_can_allow_comes_first() -> None:
    rules = name_rules(RuleData(), policy="ask-unlisted")
    found = [rules.objection(name) for name in ("zebrafact", "colourama")]
    error = objected([each for each in found if each is not None])
    assert isinstance(error, PackageRefused)
    assert error.extensions["rule"] == "blocked"
    assert error.extensions["operator"] == "An operator can't let it in by name."


@pytest.mark.parametrize(
    ("name", "modules", "meant"),
    [
        ("zebrafact", ("requests",), "requests"),
        ("zebrafact", ("zebrafact", "yaml"), "pyyaml"),
        ("zebrafact", ("sklearn",), "scikit-learn"),
        ("zebrafact", ("zebrafact", "tests", "json"), None),
        ("opencv-python-headless", ("cv2",), None),
        ("hippofact", ("requests",), None),
    ],
)
def test_module_of_a_well_known_package_is_its_own(
    name: str, modules: tuple[str, ...], meant: str | None
) -> None:
    rules = name_rules(RuleData(), allow=["hippofact"])
    found = rules.shadowing(name, modules)
    assert (found.meant if found else None) == meant


def test_operators_files_go_before_the_shipped_ones() -> None:
    own = parse_rule_files(
        {
            "allowed.txt": "# ours\nReqeusts  # the internal one\n\n",
            "blocked.json": '{"Six": "we had trouble with it"}',
            "aliases.json": '{"frame": "pandas"}',
            "popular.txt": "zebrafact\n",
        }
    )
    rules = name_rules(own)
    assert rules.objection("reqeusts") is None
    blocked = rules.objection("six")
    assert blocked is not None
    assert "we had trouble with it" in blocked.why
    alias = rules.objection("frame")
    assert (alias.rule, alias.meant) == ("alias", "pandas") if alias else False
    near = rules.objection("zebrafacts")
    assert (near.rule, near.meant) == ("near-name", "zebrafact") if near else False


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("allowed.txt", "../etc\n"),
        ("allowed.txt", "two names\n"),
        ("blocked.json", "six"),
        ("blocked.json", '["six"]'),
        ("aliases.json", '{"six": 6}'),
        ("aliases.json", '{"six": "a b"}'),
    ],
)
def test_rule_file_of_another_form_is_an_error_that_names_it(file: str, text: str) -> None:
    with pytest.raises(RuleFileError, match=file):
        parse_rule_files({file: text})
