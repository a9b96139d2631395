"""`make local`: start the stack and keep it running."""

import asyncio
import re
import time
from pathlib import Path

from launcher.console import Console
from launcher.ports import PortConflict, find_conflicts
from launcher.settings import DEFAULT_PORTS, LauncherSettings, env_prefix
from launcher.stack import run_stack
from launcher.state_file import (
    StackState,
    living_stack,
    remove_state,
    this_process,
    write_state,
)
from launcher.units import MODEL

_PORT_IN_USE_STATUS = 1


def up(settings: LauncherSettings, console: Console) -> int:
    """Run the stack until a signal ends it; give the exit status."""
    running = living_stack(settings.run_dir)
    if running is not None:
        console.event("launcher", _already_running(running), "error")
        return _PORT_IN_USE_STATUS
    conflicts = find_conflicts(
        (name, settings.host(name), settings.ports[name]) for name in wanted_services(settings)
    )
    if conflicts:
        console.event("launcher", _conflict_text(conflicts), "error")
        return _PORT_IN_USE_STATUS
    urls = {name: settings.url(name) for name in wanted_services(settings)}
    try:
        write_state(settings.run_dir, this_process("starting", urls))
    except OSError as error:
        console.event("launcher", f"cannot write {settings.run_dir}: {error.strerror}", "error")
        return 1
    try:
        return asyncio.run(_run(settings, console, urls))
    finally:
        remove_state(settings.run_dir)


async def _run(settings: LauncherSettings, console: Console, urls: dict[str, str]) -> int:
    started_at = time.monotonic()
    console.event("launcher", f"starts {', '.join(urls)}")

    async def on_running(_stop: asyncio.Event) -> None:
        write_state(settings.run_dir, this_process("running", urls))
        console.block(_final_block(settings, time.monotonic() - started_at))

    failure = await run_stack(settings, console, on_running=on_running)
    if failure is not None:
        console.event("launcher", f"the stack did not start: {failure.sentence}", "error")
        return failure.exit_status
    console.event("launcher", "everything has ended")
    return 0


def wanted_services(settings: LauncherSettings) -> tuple[str, ...]:
    """Name the services that will listen on a port."""
    return tuple(name for name in DEFAULT_PORTS if name != MODEL or settings.uses_embedded_model)


def _already_running(state: StackState) -> str:
    return (
        f"The stack already runs from this folder: process {state.supervisor_pid}, "
        f"chat at {state.urls.get('middleware', '?')}/chat.\n"
        f"Use it as it is, or end it with Ctrl-C in its terminal or `kill {state.supervisor_pid}`."
    )


def _conflict_text(conflicts: tuple[PortConflict, ...]) -> str:
    example = conflicts[0]
    variable = f"{env_prefix(example.service)}PORT"
    return "\n".join(
        [
            *(conflict.sentence() for conflict in conflicts),
            "Nothing was started. End the holder, or choose another port:",
            f"  {variable}={example.port + 100} make local",
        ]
    )


def _final_block(settings: LauncherSettings, seconds: float) -> str:
    def local(name: str) -> str:
        return settings.url(name).replace("//127.0.0.1:", "//localhost:")

    chat = f"{local('middleware')}/chat"
    rows = [
        ("page", f"{local('middleware')}/"),
        ("chat", f"{chat}  (POST)"),
        ("MCP", f"{local('mcp-server')}/mcp"),
        ("docs", f"{local('middleware')}/docs"),
        *((name, local(name)) for name in wanted_services(settings)),
        ("logs", _shown(settings.run_dir / "logs", settings.root)),
    ]
    lines = [
        "",
        f"Ready in {seconds:.1f} s.",
        "",
        *(f"  {name:<16}{address}" for name, address in rows),
        "",
        f"  Model: {_model_line(settings)}",
        "",
        "Try:",
        f"  curl -X POST {chat} -H 'Content-Type: application/json' \\",
        """       -d '{"messages":[{"role":"user","content":"What time is it?"}]}'""",
        '  make ask Q="what is 17*23?"',
        "",
        "Ctrl-C ends everything.",
        "",
    ]
    return "\n".join(lines)


def _model_line(settings: LauncherSettings) -> str:
    if settings.uses_embedded_model:
        return (
            "the embedded one (answers by rules, no language model). A real one: "
            "LLM_BASE_URL=http://localhost:11434/v1 make local"
        )
    name = (
        "LLM_BASE_URL"
        if settings.environment.get("LLM_BASE_URL", "").strip()
        else "OPENAI_BASE_URL"
    )
    return f"{_without_password(settings.environment[name])} ({name})"


def _without_password(address: str) -> str:
    return re.sub(r"//[^/@]*@", "//", address.strip())


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
