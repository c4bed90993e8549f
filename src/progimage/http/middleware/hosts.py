"""Which requests are meant for this service: what `Host` has to say, and what a proxy may not forward unasked."""

import re
import time
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog

from progimage.problems import Problem

log = structlog.get_logger(__name__)

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]*)?")
_HTTP_1_0 = ("1.0", "1")
"""As ASGI says it, and as Granian does."""
_PROBES = frozenset(("/healthz", "/readyz"))
"""What load balancers ask by addresses of their own; it tells nothing and changes nothing."""
_WARNED_SECONDS = 60


class Hosts:
    """Refuses requests for another name, and forwarded ones, as long as nobody has chosen who may use the service.

    A service that is open on a loopback address trusts whoever can reach it. A web page whose name was made to resolve
    to 127.0.0.1 (DNS rebinding) can, and so can the world through a proxy on this machine.

    Args:
        public_url: Where clients reach the service, if that is set.
        chosen: Who may use the service was chosen: every name is right, and so is every proxy.
    """

    def __init__(self, public_url: str | None, *, chosen: bool) -> None:
        """Note the names."""
        self._chosen = chosen
        self._public_name = (urlsplit(public_url).hostname or "") if public_url else ""
        self._warned_at = -_WARNED_SECONDS * 1.0

    def refusal(self, scope: Any, hosts: list[bytes], forwarded: bytes | None) -> Problem | None:
        """Return why a request is refused, or None: it is not.

        Args:
            scope: Of the request.
            hosts: Its `Host` headers.
            forwarded: The name of a header by which a proxy tells that it forwards the request, if there is one.
        """
        if not any(hosts) and len(hosts) <= 1:  # a server may put an empty one where there is none
            if scope["http_version"] in _HTTP_1_0:
                return None  # which has no names, so that no page of a browser sent it
            return _bad_host("no Host", "exactly one Host header")
        if len(hosts) > 1:
            return _bad_host(f"{len(hosts)} Host headers", "exactly one Host header")
        name = host_name(hosts[0])
        if name is None:
            return _bad_host(hosts[0][:100].decode("latin-1"), "a name or an address, with or without a port")
        if self._chosen or scope["path"] in _PROBES:
            return None
        if forwarded is not None:
            return self._forwarded(forwarded.decode("latin-1"))
        if name == self._public_name or is_loopback_name(name):
            return None
        return Problem(
            421, "wrong-host", "The service is not called so, and who may use it was never chosen.", parameter="Host",
            given=name[:100], allowed="localhost, a loopback address, or the host of PROGIMAGE_PUBLIC_URL; any after"
            " PROGIMAGE_ACCESS was set",
        )  # fmt: skip

    def _forwarded(self, header: str) -> Problem:
        detail = (
            "A proxy forwarded this request, and who may use the service was never chosen: set PROGIMAGE_ACCESS to"
            " keys, or to open for everybody who can reach the proxy."
        )
        now = time.monotonic()
        if now - self._warned_at >= _WARNED_SECONDS:
            self._warned_at = now
            log.warning("a forwarded request is refused: set PROGIMAGE_ACCESS to keys or open", header=header)
        return Problem(403, "access-not-chosen", detail, parameter=header)


@lru_cache(256)
def host_name(host: bytes) -> str | None:
    """Return the name or address of a `Host` header, in small letters and without its port; None: it is none."""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name = match[1].decode().lower()
    return name.strip("[]") if name.startswith("[") else name.removesuffix(".")


@lru_cache(256)
def is_loopback_name(name: str) -> bool:
    """Return whether a name or address can mean nothing but this machine (RFC 6761, section 6.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (inner or address).is_loopback


def _bad_host(given: str, allowed: str) -> Problem:
    return Problem(
        400, "bad-host", "A request says once which host it is for.", parameter="Host", given=given, allowed=allowed
    )
