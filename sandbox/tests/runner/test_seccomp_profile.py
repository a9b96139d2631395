"""The profile for containers is what the policy of the cells says now."""

import importlib.util
import json
from pathlib import Path

DOCKER = Path(__file__).resolve().parents[3] / "docker"


def test_profile_for_containers_is_written_from_the_policy() -> None:
    spec = importlib.util.spec_from_file_location("seccomp_profile", DOCKER / "seccomp_profile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCKER / "seccomp-namespaces.json").read_text()
    assert written == module.text(), "run python docker/seccomp_profile.py"


def test_profile_for_containers_opens_no_door_to_the_kernel() -> None:
    profile = json.loads((DOCKER / "seccomp-namespaces.json").read_text())
    allowed = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    refused = {"ptrace", "bpf", "io_uring_setup", "keyctl", "userfaultfd", "perf_event_open"}
    refused |= {"init_module", "kexec_load", "process_vm_readv", "open_by_handle_at", "reboot"}
    assert not allowed & refused
