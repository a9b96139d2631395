"""Each service by its name, as users type it: its log followed, itself built and started."""

import pytest
from stack_support.containers import OURS, Containers
from stack_support.terminal import read_until, typed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.mark.parametrize("service", OURS)
def test_a_service_is_followed_built_and_started_by_its_name(
    stack: Containers, service: str
) -> None:
    before = stack.id_of(service)

    with typed(stack, "logs", "-f", "--tail", "1", service) as (_, terminal):
        assert b'"event"' in read_until(terminal, b'"event"', seconds=30)
    stack.compose("build", service, seconds=200)
    stack.compose("up", "-d", service, seconds=100)

    # Nothing has changed, so nothing was made anew.
    assert stack.id_of(service) == before
