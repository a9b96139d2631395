"""Containers are killed, restarted and stopped while chats go on; the stack heals by itself."""

import pytest
from stack_support.chats import assert_healed, assert_typed, chats
from stack_support.containers import OURS, Containers, run
from stack_support.host_process import kill
from stack_support.waiting import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.mark.parametrize("service", OURS)
def test_the_stack_heals_when_a_main_process_is_killed(stack: Containers, service: str) -> None:
    before = stack.inspect(service)

    with chats(stack) as chatter:
        # From the host: what `docker kill` ends is not restarted.
        kill(int(before["State"]["Pid"]))
        wait_until(
            lambda: stack.inspect(service)["RestartCount"] > before["RestartCount"],
            within=30,
            what=f"{service} is started again",
        )
        stack.wait_healthy(service, within=60)

    assert_typed(chatter.endings, service)
    assert_healed(stack)


@pytest.mark.parametrize("service", OURS)
def test_who_is_restarted_or_stopped_ends_by_itself_and_chats_go_on(
    stack: Containers, service: str
) -> None:
    identity = stack.id_of(service)

    with chats(stack) as chatter:
        run("docker", "restart", identity, seconds=60)
        stack.wait_healthy(service, within=60)
        run("docker", "stop", "--time", "20", identity, seconds=60)
        code = stack.inspect(service)["State"]["ExitCode"]
        run("docker", "start", identity)
        stack.wait_healthy(service, within=60)

    # 137 would be SIGKILL after the grace period; the services end themselves on SIGTERM.
    assert code in {0, 143}, code
    assert_typed(chatter.endings, service)
    assert_healed(stack)
