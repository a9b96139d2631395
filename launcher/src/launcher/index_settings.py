"""pip's settings of the package index, in uv's words.

A machine with a mirror, a proxy or its own certificates has told pip; uv reads none of that.
Part of the set-up, so it needs nothing installed.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where the certificates of the system are: pip uses them by itself, uv when it is told.
_SYSTEM_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_SECTIONS = ("global", "install", ":env:")


@dataclass(frozen=True)
class IndexSettings:
    """What uv gets: variables (they may hold passwords) and arguments."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    arguments: tuple[str, ...] = ()


def pip_values(listing: str) -> dict[str, str]:
    """Read the output of `pip config list`; later sections win as they do in pip."""
    by_section: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        name, separator, literal = line.partition("=")
        section, _, key = name.rpartition(".")
        if not separator or section not in by_section:
            continue
        try:
            value = ast.literal_eval(literal)
        except (ValueError, SyntaxError):
            continue
        by_section[section][key] = str(value)
    merged: dict[str, str] = {}
    for section in _SECTIONS:
        merged.update(by_section[section])
    return merged


def from_pip(pip: Mapping[str, str], environ: Mapping[str, str]) -> IndexSettings:
    """Translate pip's settings; what uv was told itself stays."""
    found: dict[str, str] = {}

    def offer(name: str, value: str, *rivals: str) -> None:
        if value and not any(environ.get(each) for each in (name, *rivals)):
            found[name] = value

    def words(key: str) -> str:
        return " ".join(pip.get(key, "").split())

    offer("UV_DEFAULT_INDEX", words("index-url"), "UV_INDEX_URL")
    if words("extra-index-url"):
        offer("UV_INDEX", words("extra-index-url"), "UV_EXTRA_INDEX_URL")
        # As pip does; the hashes of the lock decide what is accepted.
        offer("UV_INDEX_STRATEGY", "unsafe-best-match")
    offer("UV_INSECURE_HOST", words("trusted-host"))
    offer("UV_HTTP_TIMEOUT", pip.get("timeout", pip.get("default-timeout", "")))
    offer("SSL_CLIENT_CERT", pip.get("client-cert", ""))
    proxy = pip.get("proxy", "")
    offer("HTTPS_PROXY", proxy, "https_proxy", "ALL_PROXY", "all_proxy")
    offer("HTTP_PROXY", proxy, "http_proxy", "ALL_PROXY", "all_proxy")
    offer("SSL_CERT_FILE", pip.get("cert", ""))
    has_own = environ.get("SSL_CERT_FILE") or pip.get("cert")
    if not has_own and any(Path(store).exists() for store in _SYSTEM_STORES):
        offer("UV_SYSTEM_CERTS", "1", "UV_NATIVE_TLS")
    return IndexSettings(found, _arguments(pip, environ))


def _arguments(pip: Mapping[str, str], environ: Mapping[str, str]) -> tuple[str, ...]:
    arguments: list[str] = []
    if not environ.get("UV_FIND_LINKS"):
        for place in pip.get("find-links", "").split():
            # pip passes over a folder that is missing; uv would stop.
            if "://" in place or os.path.isdir(place):  # noqa: PTH112  # any text, also no path
                arguments += ["--find-links", place]
    if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        arguments.append("--no-index")
    return tuple(arguments)
