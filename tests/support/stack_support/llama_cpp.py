"""A real llama.cpp server out of Debian's packages, with a scripted model."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from stack_support.running_stack import ROOT, free_ports
from stack_support.scripted_models import write_models
from stack_support.waiting import wait_until

_PACKAGES = (
    *("llama.cpp-tools", "libllama0", "libggml0"),
    *("libc6", "libstdc++6", "libgcc-s1", "libgomp1", "libssl3t64", "libzstd1", "zlib1g"),
)
_TEMPLATE = (
    "{% for message in messages %}<|begin|>{{ message.role }}\n{{ message.content }}<|end|>\n"
    "{% endfor %}"
    "{% if messages[-1].role == 'tool' %}<|told|>{% else %}<|asked|>{% endif %}"
)


def llama_cpp_folder() -> Path:
    """Return the folder of the unpacked programs, fetched where it is missing."""
    tools = os.environ.get("MCP_STACK_TOOLS") or str(Path.home() / ".cache" / "mcp-stack-tools")
    folder = Path(tools) / "llama.cpp"
    script = ROOT / "tests" / "support" / "debian_programs.sh"
    subprocess.run([script, "forky", folder, *_PACKAGES], check=True, timeout=300)
    return folder


@contextmanager
def llama_server(folder: Path, model: str, *, window: int) -> Iterator[str]:
    """Serve a scripted model for the block; give the address of the OpenAI-compatible API."""
    folder.mkdir(parents=True, exist_ok=True)
    write_models(folder, model)
    (folder / "template.jinja").write_text(_TEMPLATE, encoding="utf-8")
    libraries = llama_cpp_folder() / "usr" / "lib" / "x86_64-linux-gnu"
    (port,) = free_ports(1)
    # Its own C library is newer than this machine's, and it looks for its backends in the folder
    # in which it was started.
    command = [
        *(libraries / "ld-linux-x86-64.so.2", "--library-path", f"{libraries}:{libraries}/llama"),
        *(libraries.parents[1] / "bin" / "llama-server", "--model", folder / f"{model}.gguf"),
        *("--host", "127.0.0.1", "--port", str(port), "--ctx-size", str(window)),
        *("--threads", "1", "--jinja", "--chat-template-file", folder / "template.jinja"),
    ]
    with (folder / "llama.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=libraries / "ggml" / "backends0",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "llama.log").read_text(errors="replace")
        try:
            health = httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False)
        except httpx.TransportError:
            return False
        return health.is_success

    try:
        wait_until(answers, within=30, what="llama.cpp answers")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
