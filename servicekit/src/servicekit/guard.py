"""Who may talk to a service: known hosts and known web origins, nobody else.

Any web page can post to localhost, and here that would run code. A browser always
names the page's origin on such a request, and DNS rebinding shows in the Host name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_AUTHORITY = re.compile(
    r"^(?P<name>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\.?)(?::(?P<port>\d{1,5}))?$"
)
_ORIGIN = re.compile(r"^(?P<scheme>https?)://(?P<authority>[^/?#@]+)$")


def host_name(authority: str) -> str | None:
    """Return the lower-case name of `name[:port]`; None when it is malformed."""
    found = _AUTHORITY.match(authority.strip().lower())
    return found["name"].removesuffix(".") if found else None


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """Which Host names and web origins a service answers to.

    Parameters
    ----------
    hosts
        Names without port, lower case.
    origins
        Whole origins (`https://chat.example`), lower case; `*` is not one.
    """

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, *, own_name: str, hosts: Iterable[str], origins: Iterable[str]) -> "CallerPolicy":
        """Build the policy: loopback and the service's own name are always known."""
        further = {name for host in hosts if (name := host_name(host))}
        return cls(
            hosts=LOOPBACK_HOSTS | {own_name.lower()} | further,
            origins=frozenset(origin.rstrip("/").lower() for origin in origins),
        )

    def knows_host(self, authority: str) -> bool:
        """Whether a Host header names this service."""
        return host_name(authority) in self.hosts

    def knows_origin(self, origin: str, *, authority: str) -> bool:
        """Whether a page of `origin` may call: it is listed, on loopback, or our own page."""
        lowered = origin.strip().lower()
        if lowered in self.origins:
            return True
        found = _ORIGIN.match(lowered)
        if found is None:
            return False  # "null" and everything opaque
        name = host_name(found["authority"])
        return name in LOOPBACK_HOSTS or (
            name in self.hosts and found["authority"] == authority.strip().lower()
        )
