"""Becomes an ordinary user, if root, then another program: `as_user.py UID FOLDER no|with -- …`.

An interpreter below a folder that only root may enter is made readable for this process alone, by
mounts of its own, as `sandbox_runner.mounts` does. "no" refuses namespaces and mounts with a
filter, like the default profile of a container engine; "with" leaves the kernel's own answer.
"""

import errno
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "app"))

import sandbox_runner
from sandbox_runner import kernel, mounts, seccomp
from sandbox_runner.mounts import Tree
from sandbox_runner.policy import readable_trees
from sandbox_runner.protections import interpreter_paths
from sandbox_runner.seccomp import Instruction, Program

LOAD, AND, JUMP_IF_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16
NEW_NAMESPACES = 0x7E020000
REFUSED = ("unshare", "setns", "mount", "umount2", "pivot_root", "mount_setattr", "open_tree")


def main(uid: int, folder: str, namespaces: str, *program: str) -> None:
    if os.geteuid() == 0:
        open_up(uid, folder)
        os.chdir("/")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if namespaces == "no":
        seccomp.install(container_filter().pack().bound_to(os.getpid()))
    home = Path(folder) / "home"
    home.mkdir(exist_ok=True)
    os.environ["HOME"] = os.environ["TMPDIR"] = str(home)
    os.execv(program[0], program)


def open_up(uid: int, folder: str) -> None:
    """Lay covers on the closed folders on the way to the interpreter, the code and `folder`."""
    if not mounts.enter_private_namespace():
        raise SystemExit("root may not make mounts of its own here")
    code = str(Path(sandbox_runner.__file__).resolve().parent)
    needed = [*readable_trees(interpreter_paths()), code, str(Path(__file__).resolve().parent)]
    trees = [Tree(folder, is_writable=True), *(Tree(path) for path in needed)]
    trees += [Tree(os.path.realpath(path)) for path in needed]
    existing = [tree for tree in dict.fromkeys(trees) if Path(tree.path).is_dir()]
    mounts.apply(mounts.plan(existing, mounts.is_closed_for(uid, uid)))


def container_filter() -> Program:
    architecture = seccomp.current_architecture()
    if architecture is None:
        raise SystemExit("no table for this architecture")
    refuse = Instruction(RETURN, REFUSE | errno.EPERM)
    steps = [Instruction(LOAD, NUMBER)]
    for name in REFUSED:
        steps += [Instruction(JUMP_IF_EQUAL, architecture.numbers[name], if_false=1), refuse]
    # What clone3 wants stands behind a pointer; libc falls back to clone.
    clone3 = Instruction(JUMP_IF_EQUAL, architecture.numbers["clone3"], if_false=1)
    steps += [clone3, Instruction(RETURN, REFUSE | errno.ENOSYS)]
    steps += [
        Instruction(JUMP_IF_EQUAL, architecture.numbers["clone"], if_true=1),
        Instruction(RETURN, ALLOW),
        Instruction(LOAD, FIRST_ARGUMENT),
        Instruction(AND, NEW_NAMESPACES),
        Instruction(JUMP_IF_EQUAL, 0, if_false=1),
        Instruction(RETURN, ALLOW),
        refuse,
    ]
    return Program(tuple(steps))


if __name__ == "__main__":
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], *sys.argv[sys.argv.index("--") + 1 :])
