"""Settles which model the chat API asks under Compose, then becomes the chat API.

Compose cannot choose between two defaults by itself in a way that both of its generations take:
without an endpoint of the user's own it is the Ollama beside it, and with the profile `embedded`
the embedded model.
"""
# ruff: noqa: INP001  # a script of the images, no package

import os
import sys

DEFAULT_URL = "http://ollama:11434/v1"
DEFAULT_KEY = "ollama"
PROFILE = "embedded"


def settle(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of the middleware."""
    settled = dict(environment)
    profiles = {name.strip() for name in settled.pop("COMPOSE_PROFILES", "").split(",")}
    chosen = any(settled.get(name, "").strip() for name in ("LLM_BASE_URL", "OPENAI_BASE_URL"))
    if chosen or PROFILE in profiles:
        return settled
    settled["LLM_BASE_URL"] = DEFAULT_URL
    settled["LLM_API_KEY"] = settled.get("LLM_API_KEY", "").strip() or DEFAULT_KEY
    return settled


if __name__ == "__main__":
    os.execve(  # noqa: S606  # no shell on purpose
        sys.executable, [sys.executable, "-P", "-m", "middleware"], settle(dict(os.environ))
    )
