"""Checks of `Host` and of forwarded requests, against DNS rebinding and accidental exposure through a proxy."""

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
"""The version in ASGI's notation, and in Granian's."""
_PROBES = frozenset(("/healthz", "/readyz"))
"""Health checks, which load balancers request by addresses; they reveal and change nothing."""
_WARNED_SECONDS = 60


class Hosts:
    """Refuses requests for other host names, and forwarded ones, until `PROGIMAGE_ACCESS` is set.

    A service that is open on a loopback address trusts everyone who can reach it. That includes web pages whose name
    resolves to 127.0.0.1 (DNS rebinding), and everyone who can reach a proxy on this machine.

    Args:
        public_url: The service's public URL, if set.
        chosen: Whether `PROGIMAGE_ACCESS` is set: then every host name and every proxy is allowed.
    """

    def __init__(self, public_url: str | None, *, chosen: bool) -> None:
        self._chosen = chosen
        self._public_name = (urlsplit(public_url).hostname or "") if public_url else ""
        self._warned_at = -_WARNED_SECONDS * 1.0

    def refusal(self, scope: Any, hosts: list[bytes], forwarded: bytes | None) -> Problem | None:
        """Return why a request is refused; None: it isn't.

        Args:
            scope: ASGI scope of the request.
            hosts: Values of all `Host` header fields.
            forwarded: Name of a header field by which a proxy marks forwarded requests, if present.
        """
        if not any(hosts) and len(hosts) <= 1:  # servers may add an empty one if there is none
            if scope["http_version"] in _HTTP_1_0:
                return None  # HTTP/1.0 needs no Host, and no browser uses it
            return _bad_host("no Host header", "exactly one Host header")
        if len(hosts) > 1:
            return _bad_host(f"{len(hosts)} Host headers", "exactly one Host header")
        name = host_name(hosts[0])
        if name is None:
            return _bad_host(hosts[0][:100].decode("latin-1"), "a host name or an address, with or without a port")
        if self._chosen or scope["path"] in _PROBES:
            return None
        if forwarded is not None:
            return self._forwarded(forwarded.decode("latin-1"))
        if name == self._public_name or is_loopback_name(name):
            return None
        return Problem(
            421, "wrong-host", "This host name is not allowed until PROGIMAGE_ACCESS is set.", parameter="Host",
            given=name[:100], allowed="localhost, a loopback address, or the host of PROGIMAGE_PUBLIC_URL; any host if"
            " PROGIMAGE_ACCESS is set",
        )  # fmt: skip

    def _forwarded(self, header: str) -> Problem:
        detail = (
            "A proxy forwarded this request, which is not allowed until PROGIMAGE_ACCESS is set: to keys, or to open"
            " for everyone who can reach the proxy."
        )
        now = time.monotonic()
        if now - self._warned_at >= _WARNED_SECONDS:
            self._warned_at = now
            log.warning("forwarded request refused: set PROGIMAGE_ACCESS to keys or open", header=header)
        return Problem(403, "access-not-chosen", detail, parameter=header)


@lru_cache(256)
def host_name(host: bytes) -> str | None:
    """Return the name or address in a `Host` header field, in lower case, without the port; None if it is invalid."""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name = match[1].decode().lower()
    return name.strip("[]") if name.startswith("[") else name.removesuffix(".")


@lru_cache(256)
def is_loopback_name(name: str) -> bool:
    """Return whether a name or address always means this machine (RFC 6761, section 6.3)."""
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
        400, "bad-host", "The request must have one valid Host header.", parameter="Host", given=given, allowed=allowed
    )
