"""Where packages come from, as this machine's own pip and uv settings say it.

The installer sees these settings and nothing else of the environment.
"""

import ipaddress
import netrc
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

# Ours, then uv's name of each: what the world's pip and uv settings say about the index.
_PASSED_ON: Final = (
    ("UV_INDEX", "UV_INDEX"),
    ("UV_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
    ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
    ("UV_FIND_LINKS", "UV_FIND_LINKS"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ("UV_INSECURE_HOST", "UV_INSECURE_HOST"),
    ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST"),
    ("SSL_CERT_FILE", "SSL_CERT_FILE"),
    ("PIP_CERT", "SSL_CERT_FILE"),
    ("SSL_CERT_DIR", "SSL_CERT_DIR"),
    ("HTTPS_PROXY", "HTTPS_PROXY"),
    ("https_proxy", "HTTPS_PROXY"),
    ("HTTP_PROXY", "HTTP_PROXY"),
    ("http_proxy", "HTTP_PROXY"),
    ("ALL_PROXY", "ALL_PROXY"),
    ("all_proxy", "ALL_PROXY"),
    ("NO_PROXY", "NO_PROXY"),
    ("no_proxy", "NO_PROXY"),
    ("UV_SYSTEM_CERTS", "UV_SYSTEM_CERTS"),
    ("UV_NATIVE_TLS", "UV_NATIVE_TLS"),
    ("UV_HTTP_TIMEOUT", "UV_HTTP_TIMEOUT"),
    ("NETRC", "NETRC"),
    ("UV_OFFLINE", "UV_OFFLINE"),
)
_INDEX_NAMES: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
# These hold the credentials of an index: UV_INDEX_<NAME>_USERNAME, _PASSWORD.
_INDEX_CREDENTIAL: Final = re.compile(r"UV_INDEX_(\w+)_(?:USERNAME|PASSWORD)")
# Without a setting uv takes an address that it knows itself: a name, reached over HTTPS.
_BUILT_IN: Final = "https://built-in.invalid/simple"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_DNS_PORT: Final = 53


def settings_of(world: Mapping[str, str], *, index_url: str | None) -> dict[str, str]:
    """Return what the environment says about the index, in uv's words.

    Parameters
    ----------
    index_url
        The index that goes before the environment's.
    """
    settings: dict[str, str] = {}
    for name, theirs in _PASSED_ON:
        if (value := world.get(name)) and theirs not in settings:
            # pip separates several links by spaces, uv by commas.
            is_links = name == "PIP_FIND_LINKS"
            settings[theirs] = ",".join(value.split()) if is_links else value
    settings |= {name: value for name, value in world.items() if _INDEX_CREDENTIAL.fullmatch(name)}
    index = index_url or next((world[name] for name in _INDEX_NAMES if world.get(name)), None)
    if index:
        settings["UV_DEFAULT_INDEX"] = index
    return settings


@dataclass(frozen=True)
class PackageIndex:
    """The index, its mirrors and folders, and how they are reached.

    Parameters
    ----------
    settings
        As `settings_of` returns them.
    """

    settings: Mapping[str, str]

    @cached_property
    def addresses(self) -> tuple[SplitResult, ...]:
        """The index, further indexes and pages of links, with their credentials."""
        words = [self.settings.get("UV_DEFAULT_INDEX", _BUILT_IN)]
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
            words += re.split(r"[\s,]+", self.settings.get(name, ""))
        # A named index is written name=url.
        plain = (re.sub(r"^[\w-]+=(?=https?://)", "", word) for word in words)
        return tuple(urlsplit(word) for word in plain if word.startswith(("http://", "https://")))

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """Folders of this machine in which wheels lie."""
        links = re.split(r"[\s,]+", self.settings.get("UV_FIND_LINKS", ""))
        indexes = [self.settings.get("UV_DEFAULT_INDEX", "")]
        return tuple(
            Path(unquote(word.removeprefix("file://")))
            for word in (*links, *indexes)
            if word.startswith(("/", "file://"))
        )

    @cached_property
    def ports(self) -> tuple[int, ...]:
        """TCP ports of the indexes and proxies, that of HTTPS, and of name servers if needed.

        An index over HTTPS may keep its files at another address: then at the usual port.
        """
        ports = {_port(address) for address in (*self.addresses, *self._proxies)}
        if any(address.scheme == "https" for address in self.addresses):
            ports.add(_DEFAULT_PORTS["https"])
        if self.looks_up_names:
            ports.add(_DNS_PORT)
        return tuple(sorted(ports))

    @cached_property
    def looks_up_names(self) -> bool:
        """Whether a name server is needed to reach them."""
        return any(not _is_number(each.hostname) for each in (*self.addresses, *self._proxies))

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Files and folders that the resolver has to read for these settings."""
        names = [self.settings.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC")]
        return tuple(str(path) for path in (*filter(None, names), *self.folders))

    @cached_property
    def tls(self) -> ssl.SSLContext | bool:
        """What certificates are checked with, as uv would: True is what the client brings."""
        file, folder = self.settings.get("SSL_CERT_FILE"), self.settings.get("SSL_CERT_DIR")
        if file or folder:
            return ssl.create_default_context(cafile=file, capath=folder)
        if self.settings.get("UV_SYSTEM_CERTS") or self.settings.get("UV_NATIVE_TLS"):
            return ssl.create_default_context()
        return True

    def is_insecure(self, host: str, port: int) -> bool:
        """Whether the operator said that this host's certificate is not to be checked."""
        hosts = re.split(r"[\s,]+", self.settings.get("UV_INSECURE_HOST", ""))
        return host in hosts or f"{host}:{port}" in hosts

    def credentials_for(self, url: str) -> tuple[str, str] | None:
        """Return user and password for an address: only that of the index they belong to."""
        asked = urlsplit(url)
        for address in self.addresses:
            if _realm(address) == _realm(asked) and address.username is not None:
                return unquote(address.username), unquote(address.password or "")
        return self._named_credentials(asked) or self._netrc_credentials(asked)

    def _named_credentials(self, asked: SplitResult) -> tuple[str, str] | None:
        for word in re.split(r"[\s,]+", self.settings.get("UV_INDEX", "")):
            name, _, url = word.partition("=")
            if not url.startswith("http") or _realm(urlsplit(url)) != _realm(asked):
                continue
            key = re.sub(r"\W", "_", name).upper()
            user = self.settings.get(f"UV_INDEX_{key}_USERNAME")
            password = self.settings.get(f"UV_INDEX_{key}_PASSWORD")
            if user is not None or password is not None:
                return user or "", password or ""
        return None

    def _netrc_credentials(self, asked: SplitResult) -> tuple[str, str] | None:
        if "NETRC" not in self.settings:
            return None
        try:
            found = netrc.netrc(self.settings["NETRC"]).authenticators(asked.hostname or "")
        except (OSError, ValueError, netrc.NetrcParseError):  # ValueError: no text
            return None
        return None if found is None else (found[0], found[2] or "")

    @cached_property
    def _proxies(self) -> tuple[SplitResult, ...]:
        words = (self.settings.get(name) for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"))
        return tuple(
            urlsplit(word if "://" in word else f"http://{word}") for word in words if word
        )

    def proxy_for(self, scheme: str, host: str) -> str | None:
        """Return the proxy that leads to a host, if one does."""
        for word in re.split(r"[\s,]+", self.settings.get("NO_PROXY", "")):
            bare = word.removeprefix("*").lstrip(".")
            if word == "*" or (bare and (host == bare or host.endswith(f".{bare}"))):
                return None
        proxy = self.settings.get(f"{scheme.upper()}_PROXY") or self.settings.get("ALL_PROXY")
        return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def installer_environment(
    settings: Mapping[str, str], *, cache: Path, home: Path
) -> dict[str, str]:
    """Return the resolver's whole environment.

    Parameters
    ----------
    settings
        As `settings_of` returns them.
    """
    return {
        **settings,
        "PATH": os.defpath,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home),
        "UV_CACHE_DIR": str(cache),
        "UV_NO_PROGRESS": "1",
        # One more try for a lost packet; the default of three waits ten seconds for an index
        # that is down, which somebody in a chat would have to sit through.
        "UV_HTTP_RETRIES": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }


def _port(address: SplitResult) -> int:
    return address.port or _DEFAULT_PORTS.get(address.scheme, 1080)


def _realm(address: SplitResult) -> tuple[str, str | None, int]:
    return address.scheme, address.hostname, _port(address)


def _is_number(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True
