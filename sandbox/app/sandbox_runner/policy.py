"""What a worker may do, as data: paths, system calls, limits. No I/O."""
# ruff: noqa: SIM905  # two hundred names read better as words than as quoted literals

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

# ---------------------------------------------------------------- paths


@dataclass(frozen=True, slots=True)
class PathRule:
    """A file, or all beneath a folder, that may be read or also be written.

    Attributes
    ----------
    is_users
        Whether the user works there too: then nothing in it is run, and no links come into being
        that the user's own programs would follow.
    """

    path: str
    is_writable: bool = False
    is_users: bool = False


@dataclass(frozen=True, slots=True)
class InterpreterPaths:
    """Where the interpreter that runs the cells keeps its files."""

    prefix: str
    base_prefix: str
    libraries: tuple[str, ...]
    executable: str


_SYSTEM_LIBRARIES: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/usr/share/fonts",
    "/usr/share/mime",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    # mimetypes reads whichever of these is there, and dies when it may not.
    "/etc/mime.types",
    "/etc/apache2/mime.types",
    "/etc/httpd/mime.types",
    "/etc/httpd/conf/mime.types",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
)
_SYSTEM_PROGRAMS: Final = ("/bin", "/usr/bin", "/usr/local/bin")
_SHARED_PREFIXES: Final = ("/", "/usr", "/usr/local")
"""Prefixes that hold more than an interpreter: only its libraries are granted."""


def readable_trees(interpreter: InterpreterPaths) -> tuple[str, ...]:
    """Return the folders that the interpreter itself needs, also for late imports."""
    prefixes = {interpreter.prefix, interpreter.base_prefix}
    own = [prefix for prefix in sorted(prefixes) if prefix not in _SHARED_PREFIXES]
    return tuple(dict.fromkeys([*own, *interpreter.libraries]))


def path_rules(
    interpreter: InterpreterPaths,
    *,
    packages: str | None,
    allow_subprocesses: bool,
    workspace: PathRule | None = None,
) -> tuple[PathRule, ...]:
    """Return every path that all workers may reach, beside each one's slot; others are refused."""
    readable = [*_SYSTEM_LIBRARIES, *readable_trees(interpreter)]
    if packages is not None:
        readable.append(packages)
    if allow_subprocesses:
        readable += [*_SYSTEM_PROGRAMS, interpreter.executable]
    return (
        *(PathRule(path) for path in readable),
        PathRule("/dev/null", is_writable=True),
        *(() if workspace is None else (workspace,)),
    )


def slot_rule(slot: str) -> PathRule:
    """Return the rule for a session's own folder."""
    return PathRule(slot, is_writable=True)


# ---------------------------------------------------------------- system calls


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter answers: None lets the call through, else this errno (0: a fake success)."""

    errno: int | None


ALLOW: Final = Verdict(None)
REFUSE: Final = Verdict(errno.EPERM)
UNKNOWN: Final = Verdict(errno.ENOSYS)
"""libc and interpreters fall back when a call does not exist; after EPERM they give up."""
PRETEND: Final = Verdict(0)

OWN_PID: Final = -1
"""Stands for the worker's process id, which is not known when the filter is built."""


@dataclass(frozen=True, slots=True)
class ArgumentTest:
    """Holds when ``argument & mask == value``, on 32 bits, and `also` holds if there is one.

    Attributes
    ----------
    is_upper
        Whether the upper 32 bits are looked at; of most arguments the kernel reads the lower alone.
    """

    argument: int
    value: int
    mask: int = 0xFFFFFFFF
    is_upper: bool = False
    also: "ArgumentTest | None" = None


@dataclass(frozen=True, slots=True)
class SyscallRule:
    """The verdict `then` if any of `tests` holds (or there are none), else `otherwise`.

    If any of `unless` holds, the answer is `otherwise` in any case, and else `PRETEND` if any of
    `pretended` holds.
    """

    then: Verdict
    tests: tuple[ArgumentTest, ...] = ()
    otherwise: Verdict = REFUSE
    unless: tuple[ArgumentTest, ...] = ()
    pretended: tuple[ArgumentTest, ...] = ()


_CLONE_FILES: Final = 0x00000400
_CLONE_PARENT: Final = 0x00008000
_CLONE_THREAD: Final = 0x00010000
_CLONE_NEW_NAMESPACES: Final = 0x7E020000
"""Cgroup, uts, ipc, user, pid, net and mount namespaces."""

_ALLOWED: Final = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close lseek
fstat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat
symlink symlinkat ftruncate fsync fdatasync sync_file_range dup dup2 dup3 pipe pipe2
getdents getdents64 mprotect munmap mremap madvise msync mincore brk poll ppoll select pselect6
epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4 sendto recvfrom sendmsg recvmsg
sendmmsg recvmmsg shutdown getsockname getpeername rt_sigaction rt_sigprocmask
rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack nanosleep clock_nanosleep
clock_gettime clock_getres gettimeofday time times getitimer setitimer alarm pause getpid
gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid getpgrp
getsid setsid setpgid umask getrlimit
setrlimit getrusage uname sysinfo getcpu getrandom futex futex_waitv set_robust_list rseq membarrier
set_tid_address arch_prctl sched_yield sched_getaffinity sched_getparam sched_getscheduler
sched_get_priority_max sched_get_priority_min exit exit_group wait4 waitid restart_syscall
copy_file_range sendfile fadvise64 readahead statfs fstatfs
""".split()

_REFUSED: Final = """
ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_open
pidfd_getfd pidfd_send_signal mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig
fsmount fspick mount_setattr unshare setns keyctl add_key request_key bpf userfaultfd io_uring_setup
io_uring_enter io_uring_register perf_event_open name_to_handle_at open_by_handle_at fanotify_init
fanotify_mark memfd_create memfd_secret shmget shmat shmctl shmdt msgget msgsnd msgrcv msgctl semget
semop semctl semtimedop mq_open mq_unlink init_module finit_module delete_module kexec_load
kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd iopl ioperm modify_ldt personality
syslog vhangup settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname
migrate_pages move_pages mbind set_mempolicy remap_file_pages ioprio_set setpriority sched_setattr
sched_setscheduler sched_setparam mlock mlock2 mlockall setuid setgid setreuid setregid setresuid
setresgid setgroups setfsuid setfsgid capset setxattr lsetxattr fsetxattr removexattr lremovexattr
fremovexattr mknod mknodat truncate inotify_init inotify_init1 inotify_add_watch socket connect bind
listen accept accept4 seccomp tkill timer_create
""".split()
"""timer_create: a timer may send SIGCONT, and so undo the stop between two cells."""

_PRETENDED: Final = """
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat
flock
""".split()
"""Landlock does not govern these: the archive and copy functions call them and must not fail.

flock: whoever may read a file may lock it, and so hold up all others who use it, as the installer
its cache. Locks by fcntl, which databases use, need the right to write, and are real where there
may be somebody to lock out.
"""

_NO_ATTRIBUTES: Final = "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr".split()

# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what isatty and asyncio ask for.
_IOCTL_REQUESTS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_OFD_GETLK, F_DUPFD_CLOEXEC,
# F_GETPIPE_SZ. Not F_SETOWN and F_NOTIFY (signals, watching), not F_SETPIPE_SZ.
_FCNTL_COMMANDS: Final = (0, 1, 2, 3, 4, 5, 36, 1030, 1032)
# F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
_LOCKING_COMMANDS: Final = (6, 7, 37, 38)

# PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ,
# PR_GET_NO_NEW_PRIVS, PR_SET_VMA (names of glibc's arenas). Not PR_SET_PDEATHSIG: a worker must
# die with its warden.
_PRCTL_OPTIONS: Final = (2, 3, 15, 16, 21, 23, 39, 0x53564D41)

# SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SO_PASSCRED, SO_PEERCRED, SO_RCVTIMEO,
# SO_SNDTIMEO, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN, and the two newer ones for times. Not
# SO_PEERPIDFD, which gives a descriptor of the warden, nor those that attach a program.
_SOCKET_OPTIONS: Final = (2, 3, 4, 9, 13, 16, 17, 20, 21, 30, 38, 39, 66, 67)
# SO_SNDBUF, SO_RCVBUF: what waits in a socket is memory that the warden does not see.
_BUFFER_OPTIONS: Final = (7, 8)
_CLOSE_RANGE_UNSHARE: Final = 2

_MODE_ARGUMENTS: Final = {"open": 2, "openat": 3, "creat": 1}
"""The calls that make files, and which argument is the mode."""
_SET_ID_BITS: Final = (0o4000, 0o2000)

_MAP_TYPE: Final = 0x0F
_MAP_PRIVATE: Final = 0x02
_MAP_ANONYMOUS: Final = 0x20
_MAP_HUGETLB: Final = 0x40000
_PAGE_BYTES: Final = 4096

_SIGNAL_CALLS: Final = {"kill": 1, "tgkill": 2, "rt_sigqueueinfo": 1, "rt_tgsigqueueinfo": 2}
"""The calls that send a signal, and which argument is its number."""
_SIGCONT: Final = 18
_FAREWELL_MASK: Final = 0xFF
"""The bits of clone's flags that name the signal which a child's end sends to its parent."""
_PROCESS_CALLS: Final = ("fork", "vfork", "execve", "execveat")
_AF_UNIX: Final = 1
_SOCKET_TYPE_MASK: Final = 0xF
# SOCK_DGRAM, and SOCK_RAW, which is the same here.
_ADDRESSABLE_SOCKETS: Final = (2, 3)


def syscall_rules(
    *, allow_subprocesses: bool, is_signal_scope_active: bool, shares_files: bool = True
) -> Mapping[str, SyscallRule]:
    """Return the rule of each system call by name; a call without one does not exist (ENOSYS).

    Parameters
    ----------
    allow_subprocesses
        Whether a worker may start processes; threads it may start anyhow.
    is_signal_scope_active
        Whether Landlock keeps signals inside the session. Otherwise, or where there is nobody
        else to signal, a worker may signal only itself.
    shares_files
        Whether other processes may write to the same files. Otherwise each lock is granted and
        none is made: they are the kernel's memory, which no limit bounds.
    """
    rules = {name: SyscallRule(ALLOW) for name in _ALLOWED}
    rules |= {name: SyscallRule(REFUSE) for name in _REFUSED}
    rules |= {name: SyscallRule(PRETEND) for name in _PRETENDED}
    rules |= {name: SyscallRule(Verdict(errno.EOPNOTSUPP)) for name in _NO_ATTRIBUTES}
    rules |= {
        "ioctl": _one_of(1, _IOCTL_REQUESTS, otherwise=Verdict(errno.ENOTTY)),
        "fcntl": _one_of(1, (*_FCNTL_COMMANDS, *_LOCKING_COMMANDS))
        if shares_files
        else replace(
            _one_of(1, _FCNTL_COMMANDS),
            pretended=tuple(ArgumentTest(1, command) for command in _LOCKING_COMMANDS),
        ),
        "prctl": _one_of(0, _PRCTL_OPTIONS),
        # One end of a datagram pair could still send to any socket on a path or of a known name.
        "socketpair": replace(
            _one_of(0, (_AF_UNIX,)),
            unless=tuple(ArgumentTest(1, kind, _SOCKET_TYPE_MASK) for kind in _ADDRESSABLE_SOCKETS),
        ),
        # Blocks beyond a file's end, which the other modes give, are bounded by no limit.
        "fallocate": _one_of(1, (0,), otherwise=Verdict(errno.EOPNOTSUPP)),
        "getsockopt": _one_of(
            2, (*_SOCKET_OPTIONS, *_BUFFER_OPTIONS), otherwise=Verdict(errno.ENOPROTOOPT)
        ),
        "setsockopt": replace(
            _one_of(2, _SOCKET_OPTIONS, otherwise=Verdict(errno.ENOPROTOOPT)),
            pretended=tuple(ArgumentTest(2, option) for option in _BUFFER_OPTIONS),
        ),
        # A thread with descriptors of its own has as many again as its process may have.
        "close_range": SyscallRule(
            ALLOW, unless=(ArgumentTest(2, _CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_UNSHARE),)
        ),
        "mmap": _maps(),
        # Of another process of the same user these would change limits and processors.
        "prlimit64": _one_of(0, (0, OWN_PID)),
        "sched_setaffinity": _one_of(0, (0, OWN_PID)),
        # clone3 hides its flags behind a pointer; libc falls back to clone.
        "clone3": SyscallRule(UNKNOWN),
    }
    if allow_subprocesses:
        no_namespace = ArgumentTest(0, 0, mask=_CLONE_NEW_NAMESPACES)
        # A child that ends while its session is being stopped would undo the stop.
        farewell = ArgumentTest(0, _SIGCONT, mask=_FAREWELL_MASK)
        # A child of its parent's would be the warden's own, which it has to reap one by one.
        sibling = ArgumentTest(0, _CLONE_PARENT, mask=_CLONE_PARENT)
        # A thread with descriptors of its own: see close_range.
        apart = ArgumentTest(0, _CLONE_THREAD, mask=_CLONE_THREAD | _CLONE_FILES)
        rules["clone"] = SyscallRule(ALLOW, (no_namespace,), unless=(farewell, sibling, apart))
        rules |= {name: SyscallRule(ALLOW) for name in _PROCESS_CALLS}
    else:
        thread = _CLONE_THREAD | _CLONE_FILES
        is_thread = ArgumentTest(0, thread, mask=thread | _CLONE_NEW_NAMESPACES)
        rules["clone"] = SyscallRule(ALLOW, (is_thread,))
        rules |= {name: SyscallRule(REFUSE) for name in _PROCESS_CALLS}
    # In a folder that others reach too, such a file would run as its owner for all of them.
    rules |= {
        name: SyscallRule(ALLOW, unless=tuple(ArgumentTest(mode, bit, bit) for bit in _SET_ID_BITS))
        for name, mode in _MODE_ARGUMENTS.items()
    }
    may_signal_others = allow_subprocesses and is_signal_scope_active
    signal_rule = SyscallRule(ALLOW) if may_signal_others else _one_of(0, (OWN_PID,))
    # A thread that keeps sending SIGCONT undoes the stop between two cells.
    return rules | {
        name: replace(signal_rule, unless=(ArgumentTest(number, _SIGCONT),))
        for name, number in _SIGNAL_CALLS.items()
    }


def _maps() -> SyscallRule:
    """Let pass maps of files and private memory; of shared memory without a file, one page each.

    Pages of such memory live for as long as one page of it is mapped, and count as nobody's: with
    more than one, a session would hold any amount of memory that the warden does not see. Huge
    pages are the machine's few, and reserved before they are touched and counted.
    """
    is_page = ArgumentTest(1, 0, is_upper=True, also=ArgumentTest(1, _PAGE_BYTES))
    is_less = ArgumentTest(
        1, 0, is_upper=True, also=ArgumentTest(1, 0, mask=0xFFFFFFFF & ~(_PAGE_BYTES - 1))
    )
    of_file = ArgumentTest(3, 0, mask=_MAP_ANONYMOUS)
    is_private = ArgumentTest(3, _MAP_PRIVATE, mask=_MAP_TYPE)
    is_huge = ArgumentTest(3, _MAP_HUGETLB, mask=_MAP_HUGETLB)
    # The errno that programs expect of memory that can't be had.
    refused = Verdict(errno.ENOMEM)
    tests = (is_private, of_file, is_less, is_page)
    return SyscallRule(ALLOW, tests, otherwise=refused, unless=(is_huge,))


def _one_of(argument: int, values: Sequence[int], otherwise: Verdict = REFUSE) -> SyscallRule:
    return SyscallRule(ALLOW, tuple(ArgumentTest(argument, value) for value in values), otherwise)


# ---------------------------------------------------------------- limits


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may use, every value settled. Sizes in bytes.

    Attributes
    ----------
    memory_bytes
        Resident memory that the processes of a session have of their own, together.
    processes
        Processes and threads, together.
    output_bytes
        Kept of stdout, and of stderr, for each run.
    file_bytes, disk_bytes, disk_entries
        One file; all files of the slot; number of files and folders in it.
    open_files
        Descriptors of one process.
    """

    memory_bytes: int
    processes: int
    output_bytes: int
    file_bytes: int
    disk_bytes: int
    disk_entries: int
    open_files: int
