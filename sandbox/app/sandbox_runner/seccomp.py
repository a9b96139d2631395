"""Turns system call rules into a BPF program and installs it."""

import ctypes
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sandbox_runner import kernel
from sandbox_runner.policy import OWN_PID, PRETEND, UNKNOWN, ArgumentTest, SyscallRule, Verdict
from sandbox_runner.syscalls import ARCHITECTURES, Architecture

_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP: Final = 0x05
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

_RET_KILL_PROCESS: Final = 0x80000000
_RET_ERRNO: Final = 0x00050000
_RET_ALLOW: Final = 0x7FFF0000

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6] (little endian).
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4
_OFFSET_ARGUMENTS: Final = 16

_MAX_SHORT_JUMP: Final = 255
_INSTRUCTION: Final = struct.Struct("=HBBI")
_OPERAND: Final = struct.Struct("=I")
_OPERAND_OFFSET: Final = 4


@dataclass(frozen=True, slots=True)
class Instruction:
    """One BPF instruction; `k` may be `OWN_PID` until the program is bound to a process."""

    code: int
    k: int
    if_true: int = 0
    if_false: int = 0


@dataclass(frozen=True, slots=True)
class PackedProgram:
    """A filter as bytes, packed once for all sessions; `holes` are where a process id belongs."""

    code: bytes
    holes: tuple[int, ...]

    def bound_to(self, pid: int) -> bytes:
        """Return the program's bytes for the process `pid`."""
        code = bytearray(self.code)
        for hole in self.holes:
            _OPERAND.pack_into(code, hole, pid)
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Program:
    """A filter whose process id is still open."""

    instructions: tuple[Instruction, ...]

    def pack(self) -> PackedProgram:
        """Return the program as bytes."""
        steps = self.instructions
        holes = (place for place, step in enumerate(steps) if step.k == OWN_PID)
        return PackedProgram(
            b"".join(
                _INSTRUCTION.pack(
                    step.code, step.if_true, step.if_false, 0 if step.k == OWN_PID else step.k
                )
                for step in steps
            ),
            tuple(_INSTRUCTION.size * place + _OPERAND_OFFSET for place in holes),
        )


def current_architecture() -> Architecture | None:
    """Return this machine's architecture, or None where the tables lack it."""
    return ARCHITECTURES.get(platform.machine())


def assemble(rules: Mapping[str, SyscallRule], architecture: Architecture) -> Program:
    """Return a filter: foreign ABIs die, each rule is found by bisection, the rest is ENOSYS.

    Notes
    -----
    Numbers with equal verdicts are merged into ranges, so a call costs about eight comparisons.
    """
    numbers = architecture.numbers
    by_number = {numbers[name]: rule for name, rule in rules.items() if name in numbers}
    head = [
        Instruction(_LOAD, _OFFSET_ARCH),
        Instruction(_JUMP_IF_EQUAL, architecture.audit, if_true=1),
        Instruction(_RETURN, _RET_KILL_PROCESS),
        Instruction(_LOAD, _OFFSET_NUMBER),
    ]
    if architecture.foreign_bit:
        head += [
            Instruction(_JUMP_IF_AT_LEAST, architecture.foreign_bit, if_false=1),
            Instruction(_RETURN, _answer(UNKNOWN)),
        ]
    return Program(tuple(head) + _bisect(_ranges(by_number)))


def install(program: bytes) -> None:
    """Filter the calls of this process, for good, and of all that it starts."""
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    buffer = ctypes.create_string_buffer(head, len(head))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.addressof(buffer))


def _ranges(by_number: Mapping[int, SyscallRule]) -> list[tuple[int, SyscallRule]]:
    """Return (first number, rule) pairs; each holds up to the next pair's first number."""
    missing = SyscallRule(UNKNOWN)
    ranges: list[tuple[int, SyscallRule]] = []
    for number in range(max(by_number) + 2):
        rule = by_number.get(number, missing)
        if not ranges or ranges[-1][1] != rule:
            ranges.append((number, rule))
    return ranges


def _bisect(ranges: Sequence[tuple[int, SyscallRule]]) -> tuple[Instruction, ...]:
    if len(ranges) == 1:
        return _leaf(ranges[0][1])
    middle = len(ranges) // 2
    pivot = ranges[middle][0]
    below, above = _bisect(ranges[:middle]), _bisect(ranges[middle:])
    if len(below) <= _MAX_SHORT_JUMP:
        head = (Instruction(_JUMP_IF_AT_LEAST, pivot, if_true=len(below)),)
        return head + below + above
    far = (
        Instruction(_JUMP_IF_AT_LEAST, pivot, if_false=1),
        Instruction(_JUMP, len(below)),
    )
    return far + below + above


def _leaf(rule: SyscallRule) -> tuple[Instruction, ...]:
    steps: list[Instruction] = []
    for test in rule.unless:
        steps += _test(test, rule.otherwise)
    for test in rule.pretended:
        steps += _test(test, PRETEND)
    for test in rule.tests:
        steps += _test(test, rule.then)
    last = rule.otherwise if rule.tests else rule.then
    return (*steps, Instruction(_RETURN, _answer(last)))


def _test(test: ArgumentTest, then: Verdict) -> list[Instruction]:
    offset = _OFFSET_ARGUMENTS + 8 * test.argument + (4 if test.is_upper else 0)
    steps = [Instruction(_LOAD, offset)]
    if test.mask != 0xFFFFFFFF:  # noqa: PLR2004  # all bits count
        steps.append(Instruction(_AND, test.mask))
    inner = [Instruction(_RETURN, _answer(then))] if test.also is None else _test(test.also, then)
    return [*steps, Instruction(_JUMP_IF_EQUAL, test.value, if_false=len(inner)), *inner]


def _answer(verdict: Verdict) -> int:
    return _RET_ALLOW if verdict.errno is None else _RET_ERRNO | verdict.errno
