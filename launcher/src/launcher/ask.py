"""`make ask`: one question, its tool calls and its answer, a right exit status."""

import asyncio
import base64
import dataclasses
import http.client
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from launcher.console import Console
from launcher.ports import free_ports
from launcher.settings import DEFAULT_PORTS, LauncherSettings
from launcher.stack import run_stack
from launcher.state_file import living_stack

ANSWERED, FAILED, USAGE = 0, 1, 2
_OK = 200
_DEFAULT_CHAT_SECONDS = 60.0
# The service keeps its own deadline; this is for one that does not.
_MARGIN_SECONDS = 10.0
_START_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
# What stands for pictures in the text that a model reads.
_PICTURE_NOTES = re.compile(r"^\[(?:\d+ pictures? attached|image: [^\]]+)\]\n?", re.MULTILINE)


@dataclass(frozen=True)
class ChatAnswer:
    """What the chat service said, or why it could not be asked."""

    status: int | None
    body: Any


def ask(settings: LauncherSettings, question: str, *, out: TextIO, err: TextIO) -> int:
    """Ask the running stack; else one that is started for the question."""
    if not question.strip():
        err.write('No question. Try: make ask Q="what is 17*23?"\n')
        return USAGE
    url = running_chat(settings)
    if url is not None:
        answer = _post_chat(settings, url, question)
        return render(answer, out=out, err=err, pictures=_pictures_folder(settings))
    return asyncio.run(_ask_own_stack(settings, question, out=out, err=err))


def running_chat(settings: LauncherSettings) -> str | None:
    """Find a stack that answers; waits for one that is just starting."""
    ends_at = time.monotonic() + _START_WAIT_SECONDS
    while (state := living_stack(settings.run_dir)) is not None:
        if state.phase == "running" or time.monotonic() > ends_at:
            return state.urls.get("middleware")
        time.sleep(_POLL_SECONDS)
    # One that somebody else started: in containers, or from another folder.
    url = settings.url("middleware")
    health = _get_json(f"{url}/health")
    return url if isinstance(health, dict) and "dependencies" in health else None


async def _ask_own_stack(
    settings: LauncherSettings, question: str, *, out: TextIO, err: TextIO
) -> int:
    err.write("No stack runs; starting one for this question …\n")
    err.flush()
    status = FAILED
    with tempfile.TemporaryDirectory(prefix="mcp-ask-") as run_dir:
        own = private_settings(settings, Path(run_dir))

        async def on_running(stop: asyncio.Event) -> None:
            nonlocal status
            asking = asyncio.create_task(
                asyncio.to_thread(_post_chat, own, own.url("middleware"), question)
            )
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                answer = asking.result()
                status = render(answer, out=out, err=err, pictures=_pictures_folder(settings))
            stopping.cancel()
            stop.set()

        console = Console(err, is_quiet=not settings.is_verbose)
        failure = await run_stack(own, console, on_running=on_running)
        if failure is not None:
            err.write(f"The stack did not start: {failure.sentence}\n")
            return failure.exit_status
    return status


def private_settings(settings: LauncherSettings, run_dir: Path) -> LauncherSettings:
    """Give settings for a stack beside any other: free ports, loopback, own run folder."""
    names = tuple(DEFAULT_PORTS)
    hosts = {f"{name.upper().replace('-', '_')}_HOST" for name in names}
    return dataclasses.replace(
        settings,
        run_dir=run_dir,
        ports=dict(zip(names, free_ports(len(names)), strict=True)),
        environment={k: v for k, v in settings.environment.items() if k not in hosts},
    )


def _pictures_folder(settings: LauncherSettings) -> Path:
    return settings.run_dir / "pictures"


def render(answer: ChatAnswer, *, out: TextIO, err: TextIO, pictures: Path) -> int:
    """Print tool calls and answer, or the problem; give the exit status.

    Parameters
    ----------
    pictures
        The folder that pictures are saved in; each one's path is printed.
    """
    if answer.status != _OK or not isinstance(answer.body, dict):
        err.write(_problem_text(answer) + "\n")
        return FAILED
    for call in answer.body.get("tool_calls") or []:
        out.write(_call_text(call) + "\n")
        out.writelines(
            f"    picture: {path}\n" for path in _saved(call.get("images") or [], pictures)
        )
    out.write(f"{answer.body.get('response', '')}\n")
    out.flush()
    return ANSWERED


def _saved(images: list[dict[str, str]], folder: Path) -> list[Path]:
    """Save pictures under names that are not taken yet."""
    paths = []
    for image in images:
        folder.mkdir(parents=True, exist_ok=True)
        kind = re.sub(r"\W", "", image["media_type"].rpartition("/")[2])
        descriptor, name = tempfile.mkstemp(f".{kind}", "picture-", folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64decode(image["data"]))
        paths.append(Path(name))
    return paths


def _call_text(call: dict[str, Any]) -> str:
    arguments = json.dumps(call.get("arguments"), ensure_ascii=False)
    mark = "✗" if call.get("is_error") else "→"
    output = str(call.get("output", "")).rstrip()
    if call.get("images"):
        output = _PICTURE_NOTES.sub("", output).rstrip()  # their paths follow
    lines = "".join(f"\n    {line}" for line in output.splitlines())
    return f"{mark} {call.get('name')} {arguments}{lines}"


def _problem_text(answer: ChatAnswer) -> str:
    if answer.status is None:
        return f"The chat failed: {answer.body}"
    if isinstance(answer.body, dict) and answer.body.get("detail"):
        kind = str(answer.body.get("type", "")).rpartition(":")[2]
        request = answer.body.get("request_id")
        suffix = f" (request {request})" if request else ""
        return f"The chat failed: {answer.body['detail']} [{answer.status} {kind}]{suffix}"
    return f"The chat failed: the service answered {answer.status}."


def _post_chat(settings: LauncherSettings, url: str, question: str) -> ChatAnswer:
    body = json.dumps({"messages": [{"role": "user", "content": question}]}).encode()
    try:
        seconds = float(settings.environment.get("MIDDLEWARE_CHAT_TIMEOUT_SECONDS") or "")
    except ValueError:
        seconds = _DEFAULT_CHAT_SECONDS
    try:
        return _request("POST", f"{url}/chat", body, seconds + _MARGIN_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        return ChatAnswer(None, f"{url} does not answer: {error or type(error).__name__}")


def _get_json(url: str) -> Any:
    try:
        return _request("GET", url, None, 3.0).body
    except (OSError, http.client.HTTPException):
        return None


def _request(method: str, url: str, body: bytes | None, seconds: float) -> ChatAnswer:
    parts = urlsplit(url)
    # http.client: it reads no proxy settings, which are for the outside world.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        connection.request(method, parts.path, body=body, headers=headers)
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    try:
        return ChatAnswer(response.status, json.loads(raw))
    except ValueError:
        return ChatAnswer(response.status, None)


def main_streams() -> tuple[TextIO, TextIO]:
    """Give standard output and error, able to write any answer."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    return sys.stdout, sys.stderr
