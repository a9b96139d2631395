"""A real Ollama on a free port, with models whose answers are scripted."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from stack_support.running_stack import free_ports
from stack_support.scripted_models import write_models
from stack_support.waiting import wait_until

VERSION = "0.24.0"
_END_SECONDS = 10.0


def ollama_binary() -> Path:
    """Return where `tests/support/ollama/build.sh` puts the binary; it may not be there yet."""
    tools = os.environ.get("MCP_STACK_TOOLS") or str(Path.home() / ".cache" / "mcp-stack-tools")
    return Path(tools) / f"ollama-{VERSION}" / "bin" / "ollama"


@dataclass
class RealOllama:
    """A server that runs."""

    port: int
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def root_url(self) -> str:
        """The server's own address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of its OpenAI-compatible API."""
        return f"{self.root_url}/v1"

    def start(self) -> None:
        """Start it, the first time or after its end, and wait until it answers."""
        with (self.folder / "ollama.log").open("ab") as log:
            process = subprocess.Popen(
                [ollama_binary(), "serve"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.process = process

        def answers() -> bool:
            assert process.poll() is None, self.log()
            try:
                return httpx.get(self.root_url, timeout=2, trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_until(answers, within=20, what="Ollama answers")

    def command(self, *arguments: str) -> str:
        """Run the command line's client and return what it printed."""
        done = subprocess.run(
            [ollama_binary(), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"ollama {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def create(self, *names: str) -> None:
        """Make these of the scripted models."""
        write_models(self.folder, *names)
        for name in names:
            self.command("create", name, "-f", f"{name}.Modelfile")

    def runners(self) -> list[psutil.Process]:
        """Return the processes that hold a model."""
        if self.process is None:
            return []
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill_runners(self) -> int:
        """Kill what holds a model, as a lack of memory does; return how many there were."""
        found = self.runners()
        for runner in found:
            runner.kill()
        psutil.wait_procs(found, timeout=5)
        return len(found)

    def end(self, *, is_killed: bool = False) -> None:
        """End the server, and the runners that a killed one leaves behind."""
        runners, process = self.runners(), self.process
        if process is None:
            return
        process.send_signal(signal.SIGKILL if is_killed else signal.SIGTERM)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_SECONDS)
        for runner in runners:
            try:
                runner.kill()
            except psutil.NoSuchProcess:
                continue

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "ollama.log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def real_ollama(
    folder: Path, models: Sequence[str] = (), **environment: str
) -> Iterator[RealOllama]:
    """Serve for the block; `environment` holds further variables of Ollama's."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    # Nothing of the person's own settings, and no way to the network.
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_KEEP_ALIVE": "10m",
    } | environment
    server = RealOllama(port, folder, variables)
    try:
        server.start()
        server.create(*models)
        yield server
    finally:
        server.end()
