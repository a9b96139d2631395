"""Settles which model the chat API asks under Compose, then becomes the chat API.

Compose cannot choose between two defaults by itself in a way that both of its generations take:
without an endpoint of the user's own it is that of DEFAULT_LLM_BASE_URL, the Ollama beside it, and
with the profile `embedded` the embedded model.
"""
# ruff: noqa: INP001  # a script of the images, no package

import os
import socket
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

OLLAMA_HOST = "ollama"
PROFILE = "embedded"
# The dot ends it: a search domain of the host's with a wildcard has an answer for any other name.
EMBEDDED_NAME = "embedded-model."
TIMEOUT = "MIDDLEWARE_CHAT_TIMEOUT_SECONDS"
# A model on the processor reads the tools' definitions for a minute or two before its first word.
OLLAMA_SECONDS = "300"
# A resolver that does not answer, on a machine without a network, takes glibc ten seconds and more.
_LOOKUP_SECONDS = 3.0


def settle(
    environment: dict[str, str], *, is_beside_us: Callable[[str], bool] | None = None
) -> dict[str, str]:
    """Return the environment of the middleware.

    Parameters
    ----------
    environment
        As Compose gives it.
    is_beside_us
        Tells whether a container of that name runs; asked only where no setting decides.
    """
    settled = dict(environment)
    default_url = settled.pop("DEFAULT_LLM_BASE_URL", "")
    default_key = settled.pop("DEFAULT_LLM_API_KEY", "")
    profiles = {name.strip() for name in settled.pop("COMPOSE_PROFILES", "").split(",")}
    given = (settled.get(name, "").strip() for name in ("LLM_BASE_URL", "OPENAI_BASE_URL"))
    chosen = next((url for url in given if url), "")
    if chosen:
        return _with_time(settled) if urlsplit(chosen).hostname == OLLAMA_HOST else settled
    if PROFILE in profiles:
        return settled
    # `docker-compose --profile embedded up` tells no container which profile was asked for.
    if (is_beside_us or has_address)(EMBEDDED_NAME):
        return settled
    settled["LLM_BASE_URL"] = default_url
    settled["LLM_API_KEY"] = settled.get("LLM_API_KEY", "").strip() or default_key
    return _with_time(settled)


def _with_time(settled: dict[str, str]) -> dict[str, str]:
    return settled | {TIMEOUT: settled.get(TIMEOUT, "").strip() or OLLAMA_SECONDS}


def has_address(name: str, *, seconds: float = _LOOKUP_SECONDS) -> bool:
    """Tell whether a name resolves within `seconds`."""
    found = threading.Event()

    def look() -> None:
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            return
        found.set()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(seconds)
    return found.is_set()


if __name__ == "__main__":
    os.execve(  # noqa: S606  # no shell on purpose
        sys.executable, [sys.executable, "-P", "-m", "middleware"], settle(dict(os.environ))
    )
