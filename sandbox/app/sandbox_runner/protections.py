"""Settles, from the settings and the kernel, how sessions are confined and what that is worth."""

import os
import sys
import sysconfig
from dataclasses import dataclass

from sandbox_runner import landlock, probe, seccomp
from sandbox_runner.needs import lacking
from sandbox_runner.policy import InterpreterPaths, path_rules, slot_rule, syscall_rules
from sandbox_runner.protocol import Protection, ProtectionState
from sandbox_runner.seccomp import Program
from sandbox_runner.settings import RunnerSettings


@dataclass(frozen=True, slots=True)
class Shield:
    """What every session is confined with, tried out, and what to tell of it.

    Attributes
    ----------
    view
        The root of sessions in namespaces of their own, None where they have none.
    """

    landlock_abi: int
    filter: Program | None
    view: str | None
    protections: tuple[Protection, ...]
    is_safe: bool


def interpreter_paths() -> InterpreterPaths:
    """Return where this interpreter keeps its files."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    libraries = [sysconfig.get_paths()[name] for name in names]
    libraries += [path for path in sys.path if path.startswith("/") and path.endswith("-packages")]
    return InterpreterPaths(
        prefix=sys.prefix,
        base_prefix=os.path.realpath(sys.base_prefix),
        libraries=tuple(dict.fromkeys(libraries)),
        executable=os.path.realpath(sys.executable),
    )


def raise_shield(
    settings: RunnerSettings,
    *,
    probe_slot: str,
    has_quota: bool,
    has_private_mounts: bool,
    view: str | None,
    view_problem: str,
) -> Shield:
    """Build what confines sessions and try each part out."""
    abi, landlock_lines = _landlock(settings, probe_slot)
    used_view, namespaces_line = _namespaces(settings, probe_slot, view, view_problem)
    keeps_signals = abi >= landlock.ABI_SCOPES or used_view is not None
    program, filter_line = _filter(settings, is_scoped=keeps_signals)
    others = _others(settings, has_quota, has_private_mounts, is_filtered=program is not None)
    lines = (*landlock_lines, filter_line, namespaces_line, *others)
    return Shield(abi, program, used_view, lines, is_safe=not lacking(lines))


def _namespaces(
    settings: RunnerSettings, probe_slot: str, view: str | None, problem: str
) -> tuple[str | None, Protection]:
    """Return the view if a session in namespaces of its own was seen to be shut in, else None."""
    if not settings.namespaces:
        return None, Protection("namespaces", "disabled", "switched off by a setting")
    if not settings.private_mounts:
        return None, Protection("namespaces", "disabled", "they need private mounts, switched off")
    if view is None:
        return None, Protection("namespaces", "unavailable", problem)
    verdict = probe.try_namespaces(view, probe_slot)
    if not verdict.holds:
        return None, Protection("namespaces", "unavailable", verdict.detail)
    return view, Protection("namespaces", "active", "user, pid, network, IPC, mount, uts")


def _landlock(settings: RunnerSettings, probe_slot: str) -> tuple[int, tuple[Protection, ...]]:
    abi = landlock.abi_version(settings.landlock_abi_max)
    if abi == 0:
        detail = "the kernel offers no Landlock"
        return 0, (
            Protection("landlock", "unavailable", detail),
            Protection("signal-scope", "unavailable", detail),
        )
    shared = path_rules(
        interpreter_paths(),
        packages=settings.package_sets,
        allow_subprocesses=settings.subprocesses,
        workspace=settings.workspace_rule,
    )
    rules = (*shared, slot_rule(probe_slot))
    verdict = probe.try_landlock(rules, abi, probe_slot)
    if not verdict.holds:
        return 0, (
            Protection("landlock", "unavailable", verdict.detail),
            Protection("signal-scope", "unavailable", verdict.detail),
        )
    if abi < landlock.ABI_SCOPES:
        detail = f"ABI {abi} is below {landlock.ABI_SCOPES}: processes are swept instead"
        state = Protection(
            "landlock", "degraded" if abi < landlock.ABI_TCP else "active", f"ABI {abi}"
        )
        return abi, (state, Protection("signal-scope", "degraded", detail))
    scope = probe.try_signal_scope()
    if not scope.holds:
        lower = landlock.ABI_SCOPES - 1
        return lower, (
            Protection("landlock", "active", f"ABI {lower}"),
            Protection("signal-scope", "degraded", scope.detail),
        )
    return abi, (
        Protection("landlock", "active", f"ABI {abi}"),
        Protection("signal-scope", "active"),
    )


def _filter(settings: RunnerSettings, *, is_scoped: bool) -> tuple[Program | None, Protection]:
    architecture = seccomp.current_architecture()
    if architecture is None:
        return None, Protection("seccomp", "unavailable", "no table for this architecture")
    rules = syscall_rules(
        allow_subprocesses=settings.subprocesses,
        is_signal_scope_active=is_scoped,
        shares_files=settings.subprocesses or settings.workspace_rule is not None,
    )
    program = seccomp.assemble(rules, architecture)
    verdict = probe.try_filter(program, architecture, allow_subprocesses=settings.subprocesses)
    if not verdict.holds:
        return None, Protection("seccomp", "unavailable", verdict.detail)
    return program, Protection("seccomp", "active", f"{len(program.instructions)} instructions")


def _others(
    settings: RunnerSettings, has_quota: bool, has_private_mounts: bool, *, is_filtered: bool
) -> tuple[Protection, ...]:
    return (
        _tried("no-new-privileges", probe.try_privileges()),
        _tried("resource-limits", probe.try_limits()),
        _tried("memory-watch", probe.try_memory_watch()),
        _by_filter("network", "no sockets but pairs", is_filtered=is_filtered),
        Protection("subprocesses", "disabled", "allowed by a setting")
        if settings.subprocesses
        else _by_filter("subprocesses", "none can be started", is_filtered=is_filtered),
        Protection("disk-quota", *_quota(settings, has_quota=has_quota)),
        Protection("workspace", *_workspace(settings)),
        _user(),
        Protection("private-mounts", *_private_mounts(settings, has_them=has_private_mounts)),
    )


def _tried(name: str, verdict: probe.Verdict, detail: str = "") -> Protection:
    if verdict.holds:
        return Protection(name, "active", detail)
    return Protection(name, "unavailable", verdict.detail)


def _user() -> Protection:
    verdict, groups = probe.try_user(), probe.further_groups()
    if verdict.holds and groups:
        # An ordinary user can't leave groups; what Landlock does not govern they still open.
        names = ", ".join(map(str, groups))
        return Protection("user", "degraded", f"user {os.getuid()}, who stays in groups {names}")
    return _tried("user", verdict, f"user {os.getuid()}")


def _by_filter(name: str, detail: str, *, is_filtered: bool) -> Protection:
    if is_filtered:
        return Protection(name, "active", detail)
    return Protection(name, "unavailable", "there is no system call filter")


def _quota(settings: RunnerSettings, *, has_quota: bool) -> tuple[ProtectionState, str]:
    if has_quota:
        return "active", "a file system for each slot"
    # Switched off or not to be had: what the warden does instead is the same.
    return "degraded", "bytes and entries are watched" + (
        "" if settings.tmpfs and settings.private_mounts else ", by a setting"
    )


def _private_mounts(settings: RunnerSettings, *, has_them: bool) -> tuple[ProtectionState, str]:
    if has_them:
        return "active", "the machine's folders are hidden"
    if not settings.private_mounts:
        return "disabled", "switched off by a setting"
    return "unavailable", "names of the machine's files show"


def _workspace(settings: RunnerSettings) -> tuple[ProtectionState, str]:
    if settings.workspace_rule is None:
        return "active", "no code sees the user's folder"
    verb = "change" if settings.workspace_rule.is_writable else "read"
    return "disabled", f"code may {verb} the user's folder, by a setting"
