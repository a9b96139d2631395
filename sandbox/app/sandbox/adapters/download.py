"""Fetches a wheel by its hash: streamed to a file, counted and hashed on the way.

What comes is bytes to this service; another program, without a network, opens them.
"""

import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from sandbox.adapters.package_index import PackageIndex
from sandbox.adapters.thread_work import in_thread
from sandbox.errors import IndexUnavailable
from sandbox.metrics import PACKAGE_DOWNLOADED
from sandbox.packages.lock import LockedPackage
from sandbox.packages.refusal import refusal

_CONNECT_SECONDS: Final = 10.0
# Bytes that stay away for so long will not come any more.
_READ_SECONDS: Final = 30.0
_TRIES: Final = 2
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
# What a second try would not change.
_IN_VAIN: Final = (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Download:
    """Fetches wheels from an index.

    Parameters
    ----------
    index
        Where they may come from.
    max_bytes
        Largest wheel.
    """

    def __init__(self, index: PackageIndex, *, max_bytes: int) -> None:
        self._index = index
        self._max_bytes = max_bytes

    async def fetch(self, package: LockedPackage, target: Path) -> None:
        """Write the package's wheel to `target`.

        Raises
        ------
        PackageRefused
            It is too large, is not what its hash says, or lies where the index may not send us.
        IndexUnavailable
            It can't be fetched.
        """
        if package.size is not None and package.size > self._max_bytes:
            raise self._too_large(package)
        if package.url.startswith("file:"):
            await in_thread(lambda: self._copy(package, target))
            return
        for attempt in range(_TRIES):
            try:
                with target.open("wb") as file:
                    await self._stream(package, file)
            except (httpx.RequestError, httpx.HTTPStatusError, httpx.InvalidURL) as error:
                if attempt == _TRIES - 1 or isinstance(error, _IN_VAIN):
                    raise IndexUnavailable(
                        f"The package index did not deliver {package.filename} "
                        f"({type(error).__name__}), so nothing was installed. Try again later; an "
                        "operator can check the index, proxy and certificate settings.",
                        retry_after_seconds=10.0,
                    ) from None
            else:
                return

    async def _stream(self, package: LockedPackage, file: BinaryIO) -> None:
        digest, total = hashlib.sha256(), 0
        async with self._open(package) as answer:
            answer.raise_for_status()
            # Raw: a wheel is packed already, and what its hash was taken of.
            async for data in answer.aiter_raw(1 << 18):
                total += len(data)
                if total > self._max_bytes:
                    raise self._too_large(package)
                digest.update(data)
                file.write(data)
        PACKAGE_DOWNLOADED.inc(total)
        _check_hash(package, digest.hexdigest())

    @asynccontextmanager
    async def _open(self, package: LockedPackage) -> AsyncIterator[httpx.Response]:
        """Follow the index to the file; credentials go to their own index alone."""
        url = package.url
        for _ in range(_MAX_REDIRECTS):
            self._check_address(package, url)
            async with (
                self._client(url) as client,
                client.stream("GET", url, auth=self._index.credentials_for(url)) as answer,
            ):
                if answer.status_code not in _REDIRECTS:
                    yield answer
                    return
                url = self._next_address(package, url, answer.headers.get("location", ""))
        raise httpx.TooManyRedirects("the index sends from address to address")

    def _next_address(self, package: LockedPackage, url: str, location: str) -> str:
        try:
            return urljoin(url, location)
        except ValueError:
            raise _elsewhere(package) from None

    def _client(self, url: str) -> httpx.AsyncClient:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port or _DEFAULT_PORTS[address.scheme]
        is_checked = address.scheme == "https" and not self._index.is_insecure(host, port)
        try:
            return httpx.AsyncClient(
                trust_env=False,
                proxy=self._index.proxy_for(address.scheme, host),
                verify=self._index.tls if is_checked else False,
                timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
                headers={"accept-encoding": "identity"},
            )
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            # A file of certificates that is not there; a proxy of an unknown kind, or of SOCKS.
            raise IndexUnavailable(
                f"The package index can't be reached ({type(error).__name__}), so nothing was "
                "installed; an operator can check the proxy and certificate settings."
            ) from error

    def _check_address(self, package: LockedPackage, url: str) -> None:
        """Hold the index to the ports that the resolver may use, and to its encryption."""
        with contextlib.suppress(ValueError, KeyError):  # of what is no address of the web
            address = urlsplit(url)
            port = address.port or _DEFAULT_PORTS[address.scheme]
            schemes = {each.scheme for each in self._index.addresses}
            if port in self._index.ports and address.scheme in {"https", *schemes}:
                return
        raise _elsewhere(package)

    def _copy(self, package: LockedPackage, target: Path) -> None:
        try:
            source = Path(unquote(urlsplit(package.url).path)).resolve()
        except ValueError:  # a NUL in it
            raise _elsewhere(package) from None
        if not any(source.is_relative_to(folder.resolve()) for folder in self._index.folders):
            raise refusal("source", package.name, "Its file lies outside of the index's folders.")
        try:
            if source.stat().st_size > self._max_bytes:
                raise self._too_large(package)
            with source.open("rb") as content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
            with target.open("rb") as file:
                _check_hash(package, hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise IndexUnavailable(
                f"The index's file {package.filename} can't be read; an operator can look at it."
            ) from error

    def _too_large(self, package: LockedPackage) -> Exception:
        return refusal(
            "size",
            package.name,
            f"Its file {package.filename} has more than {self._max_bytes} bytes.",
            operator="An operator can raise SANDBOX_PACKAGES_MAX_SET_BYTES.",
        )


def _elsewhere(package: LockedPackage) -> Exception:
    return refusal(
        "source",
        package.name,
        "The index sends to another address for its file, at a port or without an encryption "
        "that the index itself does not use.",
    )


def _check_hash(package: LockedPackage, found: str) -> None:
    if found != package.sha256:
        raise refusal("hash", package.name, "A downloaded file is not what its hash says.")
