"""The filter as data: assembled, run by a small BPF interpreter, and compared with its rules."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_runner.policy import (
    OWN_PID,
    PRETEND,
    ArgumentTest,
    SyscallRule,
    Verdict,
    syscall_rules,
)
from sandbox_runner.seccomp import Program, assemble
from sandbox_runner.syscalls import ARCHITECTURES

PID = 4321
ALLOW = 0x7FFF0000
KILL = 0x80000000
NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)

NO_OPTION = Verdict(errno.ENOPROTOOPT)

MODES = [(False, False), (False, True), (True, False), (True, True)]


def program_of(machine: str, mode: tuple[bool, bool]) -> tuple[Program, dict[str, SyscallRule]]:
    rules = syscall_rules(allow_subprocesses=mode[0], is_signal_scope_active=mode[1])
    return assemble(rules, ARCHITECTURES[machine]), dict(rules)


def execute(program: Program, number: int, arch: int, arguments: tuple[int, ...]) -> int:
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments)
    code = list(struct.iter_unpack("=HBBI", program.pack().bound_to(PID)))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, k = code[position]
        position += 1
        match operation:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, k)[0]
            case 0x54:
                accumulator &= k
            case 0x05:
                position += k
            case 0x15:
                position += if_true if accumulator == k else if_false
            case 0x35:
                position += if_true if accumulator >= k else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(operation)


def expected(rule: SyscallRule | None, arguments: tuple[int, ...]) -> int:
    if rule is None:
        return 0x00050000 | errno.ENOSYS
    if holds(rule.unless, arguments):
        return answer(rule.otherwise)
    if holds(rule.pretended, arguments):
        return answer(PRETEND)
    is_let_through = not rule.tests or holds(rule.tests, arguments)
    return answer(rule.then if is_let_through else rule.otherwise)


def holds(tests: tuple[ArgumentTest, ...], arguments: tuple[int, ...]) -> bool:
    return any(passes(test, arguments) for test in tests)


def passes(test: ArgumentTest, arguments: tuple[int, ...]) -> bool:
    # Of an argument of 64 bits the filter sees one half at a time.
    half = (arguments[test.argument] >> (32 if test.is_upper else 0)) & 0xFFFFFFFF
    is_equal = half & test.mask == (PID if test.value == OWN_PID else test.value)
    return is_equal and (test.also is None or passes(test.also, arguments))


def answer(verdict: Verdict) -> int:
    return ALLOW if verdict.errno is None else 0x00050000 | verdict.errno


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_answers_each_call_as_its_rule_says(machine: str, mode: tuple[bool, bool]) -> None:
    program, rules = program_of(machine, mode)
    architecture = ARCHITECTURES[machine]
    names = {number: name for name, number in architecture.numbers.items()}
    assert len(program.instructions) < 4096
    for number in range(700):
        for arguments in ((0,) * 6, (PID,) * 6, (1, 0x5401, 3, 4, 5, 6), (0xFFFFFFFF,) * 6):
            rule = rules.get(names.get(number, ""))
            found = execute(program, number, architecture.audit, arguments)
            assert found == expected(rule, arguments), names.get(number, number)


@given(data=st.data())
def test_filter_agrees_with_its_rules_on_any_arguments(data: st.DataObject) -> None:
    machine = data.draw(st.sampled_from(sorted(ARCHITECTURES)))
    mode = data.draw(st.sampled_from(MODES))
    program, rules = program_of(machine, mode)
    architecture = ARCHITECTURES[machine]
    name = data.draw(st.sampled_from(sorted(architecture.numbers)))
    small = st.sampled_from([0, 1, 2, 3, 18, 0x21, 0x22, 4096, 1 << 32, 1 << 32 | 4096])
    arguments = data.draw(st.tuples(*[st.integers(0, 2**64 - 1) | small] * 6))
    found = execute(program, architecture.numbers[name], architecture.audit, arguments)
    assert found == expected(rules.get(name), arguments)


@given(number=st.integers(0, 2**31 - 1), mode=st.sampled_from(MODES), data=st.data())
def test_call_without_a_rule_does_not_exist(
    number: int, mode: tuple[bool, bool], data: st.DataObject
) -> None:
    machine = data.draw(st.sampled_from(sorted(ARCHITECTURES)))
    program, rules = program_of(machine, mode)
    architecture = ARCHITECTURES[machine]
    known = {architecture.numbers[name] for name in rules if name in architecture.numbers}
    found = execute(program, number, architecture.audit, (0,) * 6)
    assert number in known or found == 0x00050000 | errno.ENOSYS


@given(audit=st.integers(0, 2**32 - 1), number=st.integers(0, 600))
def test_call_of_any_other_architecture_is_deadly(audit: int, number: int) -> None:
    for machine, architecture in ARCHITECTURES.items():
        if audit != architecture.audit:
            program, _ = program_of(machine, (True, True))
            assert execute(program, number, audit, (0,) * 6) == KILL


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_that_reach_other_processes_or_the_kernel_are_refused_on_each_architecture(
    machine: str, mode: tuple[bool, bool]
) -> None:
    program, _ = program_of(machine, mode)
    architecture = ARCHITECTURES[machine]
    for name in (
        *(
            "socket",
            "connect",
            "bind",
            "ptrace",
            "process_vm_readv",
            "pidfd_open",
            "io_uring_setup",
        ),
        *("bpf", "keyctl", "userfaultfd", "perf_event_open", "mount", "unshare", "setns", "capset"),
        *(
            "memfd_create",
            "init_module",
            "landlock_restrict_self",
            "seccomp",
            "setuid",
            "personality",
        ),
    ):
        number = architecture.numbers[name]
        assert execute(program, number, architecture.audit, (1,) * 6) != ALLOW, name


def test_foreign_calls_are_not_let_through() -> None:
    program, _ = program_of("x86_64", (True, True))
    native = ARCHITECTURES["x86_64"].audit
    assert execute(program, 0, 0x40000003, (0,) * 6) == KILL
    for number in (0x40000000, 0x40000001, 0x7FFFFFFF):
        assert execute(program, number, native, (0,) * 6) != ALLOW


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flag", NAMESPACES)
def test_no_clone_makes_a_namespace(mode: tuple[bool, bool], flag: int) -> None:
    program, _ = program_of("x86_64", mode)
    native = ARCHITECTURES["x86_64"]
    for flags in (flag, flag | 0x10000, flag | 0x11):
        assert execute(program, native.numbers["clone"], native.audit, (flags,) * 6) != ALLOW


def test_worker_may_not_signal_others_without_a_scope() -> None:
    program, _ = program_of("x86_64", (True, False))
    native = ARCHITECTURES["x86_64"]
    for pid, verdict in ((PID, True), (0, False), (1, False), (2**32 - 1, False)):
        found = execute(program, native.numbers["kill"], native.audit, (pid, 9, 0, 0, 0, 0))
        assert (found == ALLOW) is verdict


@pytest.mark.parametrize("mode", MODES)
def test_worker_may_not_undo_its_stop(mode: tuple[bool, bool]) -> None:
    program, _ = program_of("x86_64", mode)
    native = ARCHITECTURES["x86_64"]
    for name, arguments in (
        ("kill", (PID, 18)),
        ("tgkill", (PID, PID, 18)),
        ("rt_sigqueueinfo", (PID, 18)),
        ("rt_tgsigqueueinfo", (PID, PID, 18)),
        ("timer_create", (1, 1)),
    ):
        padded = (*arguments, 0, 0, 0, 0, 0)[:6]
        assert execute(program, native.numbers[name], native.audit, padded) != ALLOW


@pytest.mark.parametrize(
    ("kind", "is_allowed"),
    [(1, True), (5, True), (0x80801, True), (2, False), (0x80802, False), (3, False)],
)
def test_pairs_of_sockets_that_could_send_elsewhere_are_refused(
    kind: int, is_allowed: bool
) -> None:
    program, _ = program_of("x86_64", (False, True))
    native = ARCHITECTURES["x86_64"]
    found = execute(program, native.numbers["socketpair"], native.audit, (1, kind, 0, 0, 0, 0))
    assert (found == ALLOW) is is_allowed


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(
    ("flags", "length", "is_allowed"),
    [
        (0x22, 64 << 20, True),
        (0x4022, 1 << 40, True),
        (0x01, 64 << 20, True),
        (0x02, 1 << 40, True),
        (0x21, 13, True),
        (0x21, 4096, True),
        (0x21, 4097, False),
        (0x23, 8192, False),
        (0x8021, 64 << 20, False),
        (0x21, 1 << 32 | 4096, False),
        (0x21, 1 << 32, False),
        (0x40022, 2 << 20, False),  # huge pages
        (0x40000 | 21 << 26 | 0x21, 4096, False),
    ],
)
def test_shared_memory_without_a_file_is_one_page_each(
    machine: str, mode: tuple[bool, bool], flags: int, length: int, is_allowed: bool
) -> None:
    arguments = (0, length, 3, flags, 2**64 - 1, 0)
    assert (verdict(machine, mode, "mmap", arguments) == ALLOW) is is_allowed


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_no_file_comes_into_being_that_runs_as_its_owner(
    machine: str, mode: tuple[bool, bool]
) -> None:
    for name, position in (("open", 2), ("openat", 3), ("creat", 1)):
        if name not in ARCHITECTURES[machine].numbers:
            continue
        for bits, is_allowed in ((0o666, True), (0o1777, True), (0o4755, False), (0o2700, False)):
            arguments = tuple(bits if index == position else 0 for index in range(6))
            assert (verdict(machine, mode, name, arguments) == ALLOW) is is_allowed


@pytest.mark.parametrize("mode", MODES)
def test_blocks_are_reserved_up_to_a_files_end_alone(mode: tuple[bool, bool]) -> None:
    for kind, is_allowed in ((0, True), (1, False), (3, False), (64, False)):
        arguments = (5, kind, 0, 1 << 33, 0, 0)
        assert (verdict("x86_64", mode, "fallocate", arguments) == ALLOW) is is_allowed


@pytest.mark.parametrize("name", ["getsockopt", "setsockopt"])
def test_options_of_sockets_give_no_process_and_take_no_program(name: str) -> None:
    for option, is_allowed in ((9, True), (4, True), (77, False), (76, False), (26, False)):
        arguments = (3, 1, option, 0, 0, 0)
        assert (verdict("x86_64", (False, True), name, arguments) == ALLOW) is is_allowed


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_buffers_of_a_socket_keep_their_size(machine: str, mode: tuple[bool, bool]) -> None:
    # SO_SNDBUF and SO_RCVBUF do nothing; SO_SNDBUFFORCE and SO_RCVBUFFORCE do not exist.
    for option, found in ((7, PRETEND), (8, PRETEND), (32, NO_OPTION), (33, NO_OPTION)):
        arguments = (3, 1, option, 0, 4, 0)
        assert verdict(machine, mode, "setsockopt", arguments) == answer(found)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_no_thread_has_descriptors_of_its_own(machine: str, mode: tuple[bool, bool]) -> None:
    for flags, is_allowed in ((0x3D0F00, True), (0x10D00, True), (0x10900, False)):
        found = verdict(machine, mode, "clone", (flags, 0, 0, 0, 0, 0))
        assert (found == ALLOW) is is_allowed
    for flags, is_allowed in ((0, True), (4, True), (2, False), (6, False)):
        found = verdict(machine, mode, "close_range", (3, 2**32 - 1, flags, 0, 0, 0))
        assert (found == ALLOW) is is_allowed


@pytest.mark.parametrize("is_shared", [False, True])
def test_locks_are_made_where_there_is_somebody_to_lock_out(is_shared: bool) -> None:
    native = ARCHITECTURES["x86_64"]
    rules = syscall_rules(
        allow_subprocesses=False, is_signal_scope_active=False, shares_files=is_shared
    )
    program = assemble(rules, native)
    number = native.numbers["fcntl"]
    for command in (6, 7, 37, 38):
        found = execute(program, number, native.audit, (3, command, 0, 0, 0, 0))
        assert found == (ALLOW if is_shared else answer(PRETEND))
    for command in (5, 36):
        assert execute(program, number, native.audit, (3, command, 0, 0, 0, 0)) == ALLOW


@pytest.mark.parametrize("scoped", [False, True])
def test_no_childs_end_undoes_the_stop(scoped: bool) -> None:
    for flags, is_allowed in ((17, True), (0x4100 | 17, True), (18, False), (0x4100 | 18, False)):
        arguments = (flags, 0, 0, 0, 0, 0)
        assert (verdict("x86_64", (True, scoped), "clone", arguments) == ALLOW) is is_allowed


def verdict(machine: str, mode: tuple[bool, bool], name: str, arguments: tuple[int, ...]) -> int:
    program, _ = program_of(machine, mode)
    architecture = ARCHITECTURES[machine]
    return execute(program, architecture.numbers[name], architecture.audit, arguments)
