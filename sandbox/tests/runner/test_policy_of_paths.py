"""Paths, limits and reports under any input: nothing more than the policy says is ever granted."""

from dataclasses import fields, replace
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st
from sandbox_runner import link
from sandbox_runner.inbox import Inbox
from sandbox_runner.limits import OF_THE_RUN, LimitRefused, settle, settle_run
from sandbox_runner.policy import (
    InterpreterPaths,
    PathRule,
    SessionLimits,
    path_rules,
    slot_rule,
)
from sandbox_runner.protocol import Limits
from sandbox_runner.view import plan

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(
    lambda names: "/".join(["", *names])
)
RULES = st.lists(st.builds(PathRule, PATHS, is_writable=st.booleans()), max_size=8)
AMOUNT = st.none() | st.integers(1, 2**40)
ASKED = st.builds(Limits, **{item.name: AMOUNT for item in fields(Limits)})
BOUNDS = st.builds(
    SessionLimits, **{item.name: st.integers(1, 2**40) for item in fields(SessionLimits)}
)


def lies_in(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def through(links: dict[str, str], path: str) -> str:
    """Follow links that lie side by side: as a file system would, a few times at most."""
    for _ in range(4):
        for name, target in links.items():
            if lies_in(path, name):
                path = target + path[len(name) :]
                break
    return path


@given(
    rules=RULES,
    links=st.dictionaries(PATHS, PATHS.map(lambda path: "/real" + path), max_size=3),
    missing=st.frozensets(PATHS, max_size=3),
)
def test_view_holds_what_rules_name_and_nothing_else(
    rules: list[PathRule], links: dict[str, str], missing: frozenset[str]
) -> None:
    pieces = plan(rules, lambda path: None if path in missing else through(links, path))
    there = [rule for rule in rules if rule.path not in missing]
    named = {*(rule.path for rule in there), *(through(links, rule.path) for rule in there)}
    for piece in pieces:
        if piece.source == piece.target == "/etc/alternatives":
            continue
        assert piece.target in named, "no rule names it"
        assert piece.source in {rule.path for rule in there} | {
            through(links, rule.path) for rule in there
        }
    # What a rule names is there under both its names; written is what a rule says may be.
    for path in named:
        assert any(lies_in(path, piece.target) for piece in pieces), path
    writable = {rule.path for rule in there if rule.is_writable}
    writable |= {through(links, path) for path in writable}
    written = {piece.target for piece in pieces if piece.is_writable}
    assert written <= writable
    for path in (rule.path for rule in there if rule.is_writable):
        assert any(lies_in(path, target) for target in written), path
    # A piece within another one is there to be written where that one is not.
    for piece in pieces:
        around = [
            other for other in pieces if other != piece and lies_in(piece.target, other.target)
        ]
        assert not around or piece.is_writable


@given(
    prefix=st.sampled_from(["/", "/usr", "/usr/local"]) | PATHS,
    libraries=st.lists(PATHS, max_size=3),
    packages=st.none() | PATHS,
    allow_subprocesses=st.booleans(),
    workspace=st.none()
    | st.builds(PathRule, PATHS, is_writable=st.booleans(), is_users=st.just(True)),
)
def test_nothing_is_writable_but_the_slot_and_what_the_user_shares(
    prefix: str,
    libraries: list[str],
    packages: str | None,
    allow_subprocesses: bool,
    workspace: PathRule | None,
) -> None:
    interpreter = InterpreterPaths(prefix, prefix, tuple(libraries), f"{prefix}/bin/python")
    rules = path_rules(
        interpreter,
        packages=packages,
        allow_subprocesses=allow_subprocesses,
        workspace=workspace,
    )
    writable = {rule.path for rule in rules if rule.is_writable}
    shared = {workspace.path} if workspace is not None and workspace.is_writable else set()
    assert writable == {"/dev/null"} | shared
    assert slot_rule("/slot").is_writable
    # A system's own prefix holds the whole machine: no rule names it, nor its root.
    assert not {"/", "/usr", "/usr/local", "/etc", "/proc", "/dev", "/home", "/root", "/tmp"} & {
        rule.path for rule in rules
    }


@given(asked=ASKED, bounds=BOUNDS)
def test_limits_are_what_was_asked_for_or_the_bound_and_never_more(
    asked: Limits, bounds: SessionLimits
) -> None:
    over = [
        item.name
        for item in fields(asked)
        if (getattr(asked, item.name) or 0) > getattr(bounds, item.name)
    ]
    try:
        settled = settle(asked, bounds)
    except LimitRefused:
        assert over != []
        return
    assert over == []
    for item in fields(asked):
        wanted = getattr(asked, item.name)
        bound = getattr(bounds, item.name)
        assert getattr(settled, item.name) == (bound if wanted is None else wanted) <= bound


@given(asked=ASKED, session=BOUNDS)
def test_run_gets_no_limit_that_is_its_sessions(asked: Limits, session: SessionLimits) -> None:
    try:
        settled = settle_run(asked, session)
    except LimitRefused:
        return
    unchanged = {item.name: getattr(session, item.name) for item in fields(session)}
    for name in OF_THE_RUN:
        unchanged.pop(name)
    assert replace(settled, **unchanged) == settled


TAG = bytes(range(16))
REPORT = st.binary(min_size=1, max_size=300)


@given(
    report=REPORT,
    noise=st.lists(st.binary(max_size=80) | st.binary(min_size=16, max_size=16), max_size=20),
    other_tags=st.lists(st.binary(min_size=16, max_size=16), max_size=4),
    places=st.randoms(use_true_random=False),
)
def test_report_comes_whole_whatever_else_is_sent_between_its_parts(
    report: bytes, noise: list[bytes], other_tags: list[bytes], places: object
) -> None:
    # Two parts of the largest size and the rest, so that something can come in between.
    payload = bytes(2 * link.PART_BYTES) + report
    parts = [*link.cut(TAG, payload)]
    foreign = [message for message in noise if message[:16] != TAG]
    foreign += [next(link.cut(tag, report)) for tag in other_tags if tag != TAG]
    messages = [(part, True) for part in parts]
    for message in foreign:
        messages.insert(places.randint(0, len(messages) - 1), (message, False))  # type: ignore[attr-defined]  # hypothesis has no name for it
    inbox = Inbox(TAG)
    ends = [inbox.take(message) for message, _ in messages]
    assert ends.index(True) == len(messages) - 1
    assert inbox.payload == payload
    assert inbox.foreign == len(foreign)


@given(
    messages=st.lists(
        st.builds(
            lambda is_last, data: TAG + bytes([is_last]) + data,
            st.integers(0, 9).map(lambda number: number == 0),
            st.binary(max_size=120),
        ),
        max_size=30,
    )
)
def test_parts_of_any_size_are_never_hoarded(messages: list[bytes]) -> None:
    inbox = Inbox(TAG)
    for message in messages:
        if inbox.take(message):
            break
    # What is no last part has the size of a part: many small ones are no way to a long report.
    assert len(inbox.payload) <= max(map(len, messages), default=0)
