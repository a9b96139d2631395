"""Which model is asked: an endpoint is chosen by a base URL alone.

A key that lies in the environment selects nothing, and goes only to the address
that it belongs to: nobody's chat goes to a paid service by accident, and nobody's
key to a stranger.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

EMBEDDED_MODEL = "embedded"
# A server that says nothing about its window has at least this one.
_DEFAULT_CONTEXT_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """What the environment says about the model; keys never show in a repr."""

    embedded_url: str
    model_name: str
    llm_base_url: str | None = None
    llm_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is, and what it is asked with.

    `notices` are sentences for the log: keys that were found and are not used.
    """

    kind: Literal["embedded", "configured"]
    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()

    @property
    def shown_url(self) -> str:
        """The address as logs and errors may show it: without a user's name and password."""
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def is_internal(self) -> bool:
        """Whether it is on this machine or network, so that no proxy stands between."""
        parts = urlsplit(self.base_url)
        host = (parts.hostname or "").rstrip(".")
        if host == "host.docker.internal" or host.endswith(".localhost") or "." not in host:
            return ":" not in host or _is_near(host, parts.scheme)
        return _is_near(host, parts.scheme)

    @property
    def root_url(self) -> str:
        """The server's own address, before the API's `/v1`."""
        return self.base_url.rstrip("/").removesuffix("/v1")

    @property
    def default_window(self) -> int | None:
        """The window, in tokens, of a model of which nothing is known; None where there is none."""
        return None if self.kind == "embedded" else _DEFAULT_CONTEXT_TOKENS


def choose_endpoint(settings: LlmSettings) -> Endpoint:
    """Return the endpoint that the base URLs choose: LLM_BASE_URL, OPENAI_BASE_URL, embedded."""
    if settings.llm_base_url:
        return Endpoint(
            "configured",
            settings.llm_base_url,
            settings.model_name,
            settings.llm_api_key,
            _unused(settings, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        )
    if settings.openai_base_url:
        return Endpoint(
            "configured",
            settings.openai_base_url,
            settings.model_name,
            settings.openai_api_key,
            _unused(settings, "LLM_API_KEY", "LLM_BASE_URL"),
        )
    return Endpoint(
        "embedded",
        settings.embedded_url,
        EMBEDDED_MODEL,
        None,
        _unused(settings, "LLM_API_KEY", "LLM_BASE_URL")
        + _unused(settings, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    )


def _unused(settings: LlmSettings, key_name: str, url_name: str) -> tuple[str, ...]:
    key = settings.llm_api_key if key_name == "LLM_API_KEY" else settings.openai_api_key
    if not key:
        return ()
    notice = (
        f"{key_name} is set and not used: a key selects no endpoint, and goes only to {url_name}. "
        f"Set {url_name} to use it."
    )
    return (notice,)


def _is_near(host: str, scheme: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A private address behind https has a certificate of an own CA, which only the
    # outward client knows.
    return address.is_loopback or (address.is_private and scheme == "http")
