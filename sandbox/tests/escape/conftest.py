"""Plays the attacks once for all tests, and says at the end which modes were tried."""

from collections.abc import Iterator

import pytest
from sandbox_support.attack_campaign import Campaign
from sandbox_support.attack_case import AttackCase
from sandbox_support.attack_mode import Mode

_REPORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """The attacks of all tests that were selected."""
    wanted: dict[Mode, list[AttackCase]] = {}
    for item in request.session.items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        mode, case = given.get("mode"), given.get("case")
        if isinstance(mode, Mode) and isinstance(case, AttackCase):
            cases = wanted.setdefault(mode, [])
            if case not in cases:
                cases.append(case)
    campaign = Campaign(dict(wanted))
    yield campaign
    campaign.close()
    request.config.stash[_REPORT] = campaign.report()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = config.stash.get(_REPORT, [])
    if lines:
        terminalreporter.section("attacks on the sandbox")
        for line in lines:
            terminalreporter.write_line(line)
