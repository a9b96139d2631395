"""Writes `docker/seccomp-namespaces.json`: what sandbox-runner may call where it makes namespaces.

Run: ``python docker/seccomp_profile.py``. Docker's own profile refuses namespaces and mounts to all
containers. This one allows them, and else no more than the runner and the code in its cells use:
what the policy of the cells lets through, and what listener, zygote and warden need beside it.
"""
# ruff: noqa: INP001  # a script beside the images, no package

import json
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sandbox" / "app"))

from sandbox_runner import policy

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "docker" / "seccomp-namespaces.json"
_AF_UNIX: Final = 1
_AF_NETLINK: Final = 16
_ENOSYS: Final = 38

# Beside what cells may call: sockets on paths, confining others and oneself, ending others, and
# what an engine's own start of a container takes.
_RUNNERS_OWN: Final = frozenset(
    {
        *("accept", "accept4", "bind", "capget", "capset", "chmod", "chown", "connect", "fchmod"),
        *("fchmodat", "fchown", "fchownat", "fgetxattr", "flistxattr", "flock", "getpriority"),
        *("get_robust_list", "getxattr", "landlock_add_rule", "landlock_create_ruleset"),
        *("landlock_restrict_self", "lchown", "lgetxattr", "listen", "listxattr", "llistxattr"),
        *("openat2", "pidfd_open", "pidfd_send_signal", "seccomp", "setgid", "setgroups"),
        *("setpriority", "setresgid", "setresuid", "setuid", "statx", "tkill", "truncate"),
        "utimensat",
    }
)
_NAMESPACES: Final = frozenset(
    {
        *("clone", "clone3", "mount", "mount_setattr", "pivot_root", "sethostname", "setns"),
        *("umount2", "unshare"),
    }
)


def profile() -> dict[str, Any]:
    """Return the profile in the form that Docker, containerd and Podman read."""
    rules = policy.syscall_rules(allow_subprocesses=True, is_signal_scope_active=True)
    let_through = {
        name for name, rule in rules.items() if rule.then in {policy.ALLOW, policy.PRETEND}
    }
    names = sorted(let_through | _RUNNERS_OWN | _NAMESPACES)
    return {
        # Not EPERM: libc falls back to an older call where a new one does not exist.
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            *(
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}],
                }
                for family in (_AF_UNIX, _AF_NETLINK)
            ),
        ],
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(profile(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
