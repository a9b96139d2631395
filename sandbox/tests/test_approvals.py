"""Names that wait for an operator: who is told what, and how they are let in."""

from pathlib import Path

import httpx
import pytest
from sandbox.adapters.approvals import main
from sandbox.adapters.rules_folder import RulesFolder
from sandbox.metrics import PACKAGES_WAITING
from sandbox.packages.names import NamePolicy
from sandbox.packages.rule_files import RuleFileError
from sandbox_support.fake_runner import FakeRunner
from sandbox_support.package_index import PackageIndex
from sandbox_support.serving import service_settings, serving

from sandbox.app import create_app


@pytest.fixture
def policy() -> NamePolicy:
    return "ask-unlisted"


@pytest.fixture
def usual(index: PackageIndex, policy: NamePolicy) -> dict[str, object]:
    return {"packages_index_url": index.url, "packages_policy": policy}


@pytest.fixture(autouse=True)
def _same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_PACKAGES_DIR", str(tmp_path / "packages"))


async def _install(client: httpx.AsyncClient, package: str) -> httpx.Response:
    return await client.post("/packages", json={"package": package})


async def test_unlisted_name_waits_until_an_operator_lets_it_in(
    service: httpx.AsyncClient, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    index.add("zebrafact")
    asked = (await _install(service, "zebrafact")), (await _install(service, "Zebrafact"))
    assert [answer.status_code for answer in asked] == [403, 403]
    problem = asked[0].json()
    assert problem["type"].endswith(":package-awaits-approval")
    assert (problem["rule"], problem["names"]) == ("unlisted", ["zebrafact"])
    assert "rules/allowed.txt" in problem["detail"]
    assert index.requests == 0
    assert main([]) == 0
    assert "zebrafact  (unlisted; asked 2x since" in capsys.readouterr().out
    assert main(["allow", "Zebrafact"]) == 0
    assert (await _install(service, "zebrafact")).status_code == 200
    capsys.readouterr()
    assert main([]) == 0
    assert capsys.readouterr().out == "No package waits for approval.\n"


async def test_all_names_of_a_closure_are_asked_for_at_once(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact", requires=("giraffefact", "hippofact"))
    index.add("giraffefact")
    index.add("hippofact")
    main(["allow", "zebrafact"])
    answer = await _install(service, "zebrafact")
    assert answer.status_code == 403, answer.text
    assert answer.json()["names"] == ["giraffefact", "hippofact"]
    # By hand, as the answer says.
    with (tmp_path / "packages" / "rules" / "allowed.txt").open("a") as lines:
        lines.write("giraffefact  # looked at it\nHippoFact\n")
    assert (await _install(service, "zebrafact")).status_code == 200


async def test_name_that_an_operator_blocks_is_refused_from_then_on(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("zebrafact")
    assert (await _install(service, "zebrafact")).status_code == 403
    main(["block", "zebrafact"])
    answer = await _install(service, "zebrafact")
    assert (answer.status_code, answer.json()["rule"]) == (422, "blocked")
    main(["allow", "zebrafact"])
    assert (await _install(service, "zebrafact")).status_code == 200


async def test_names_that_wait_are_counted_after_a_restart_and_until_they_are_let_in(
    tmp_path: Path, fake_runner: FakeRunner, index: PackageIndex
) -> None:
    settings = service_settings(
        tmp_path, fake_runner.socket, packages_index_url=index.url, packages_policy="ask-unlisted"
    )

    async def waiting(client: httpx.AsyncClient) -> str:
        lines = (await client.get("/metrics")).text.splitlines()
        name = "sandbox_packages_awaiting_approval "
        return next(line for line in lines if line.startswith(name)).removeprefix(name)

    async with serving(create_app(settings)) as client:
        await _install(client, "zebrafact")
        await _install(client, "giraffefact")
        assert await waiting(client) == "2.0"
    # What this process knows of the first service is forgotten.
    RulesFolder(tmp_path / "other")
    PACKAGES_WAITING.set(0)
    async with serving(create_app(settings)) as client:
        assert await waiting(client) == "2.0"
        main(["allow", "zebrafact"])
        assert await waiting(client) == "1.0"


@pytest.mark.parametrize("policy", ["allow-list"])
async def test_allow_list_holds_for_dependencies_and_names_all_that_lack(
    service: httpx.AsyncClient, index: PackageIndex
) -> None:
    index.add("requests", requires=("urllib3", "idna"))
    index.add("urllib3")
    index.add("idna")
    assert (await _install(service, "requests")).json()["rule"] == "allow-list"
    main(["allow", "requests"])
    answer = (await _install(service, "requests")).json()
    assert answer["rule"] == "allow-list"
    assert "idna and urllib3, one a line" in answer["detail"]
    main(["allow", "idna", "urllib3"])
    assert (await _install(service, "requests")).status_code == 200


async def test_rule_file_that_gets_broken_changes_nothing(
    service: httpx.AsyncClient, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("zebrafact")
    main(["allow", "zebrafact"])
    assert (await _install(service, "zebrafact")).status_code == 200
    (tmp_path / "packages" / "rules" / "blocked.json").write_text("{")
    assert (await _install(service, "giraffefact")).status_code == 403
    assert (await _install(service, "zebrafact")).json()["already_present"]


def test_rule_file_that_is_broken_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "allowed.txt").write_text("not a name\n")
    with pytest.raises(RuleFileError, match=r"allowed\.txt"):
        RulesFolder(tmp_path)


def test_list_of_waiting_names_is_bounded(tmp_path: Path) -> None:
    rules = RulesFolder(tmp_path, policy="ask-unlisted")
    for number in range(230):
        objection = rules.rules().objection(f"zebrafact{number:03d}x")
        assert objection is not None
        rules.ask([objection], wish=objection.name)
    names = [each.name for each in rules.waiting()]
    assert (len(names), names[-1]) == (200, "zebrafact229x")


@pytest.mark.parametrize("name", ["../x", "a b", "six==1", "https://x.example/six.whl"])
def test_operator_can_name_packages_only(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["allow", name]) == (0 if name == "six==1" else 1)
    assert capsys.readouterr().out
