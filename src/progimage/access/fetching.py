"""Fetching an image from a URL that somebody else chose, without being led anywhere that only we can reach."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from progimage.access.addresses import is_public

_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 2048
_HEADERS: list[tuple[bytes | str, bytes | str]] = [
    ("Accept", "image/*,*/*;q=0.5"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", "ProgImage"),
]
_REDIRECTS = {301, 302, 303, 307, 308}


class UrlRefused(Exception):
    """A URL is not one from which anything is fetched here.

    Args:
        detail: Why, without telling anything of the network.
        allowed: What would be allowed.
    """

    def __init__(self, detail: str, allowed: str) -> None:
        """Keep the parts."""
        super().__init__(detail)
        self.allowed = allowed


class FetchFailed(Exception):
    """The other server could not be reached, or did not answer with a file."""


class Fetcher:
    """Fetches files by HTTP and HTTPS.

    A host's name is resolved once; all of its addresses have to be public, and the connection is made to one of just
    those, so that a name that is resolved to something else the next time leads nowhere. Each redirect is looked at
    like the first URL.

    Args:
        allow: Patterns of host names, such as `*.example.org`; none: any host.
        deny: Patterns of host names that are refused even if `allow` has them.
        private_networks: Networks that may be reached though they are not public.
        ports: The ports that may be reached.
        redirects: How many are followed.
        seconds: How long all of it may take.
    """

    def __init__(
        self,
        allow: Sequence[str],
        deny: Sequence[str],
        private_networks: Iterable[str],
        ports: Sequence[int],
        redirects: int,
        seconds: float,
    ) -> None:
        """Keep the bounds."""
        self._allow, self._deny = allow, deny
        self._ports, self._redirects, self._seconds = ports, redirects, seconds
        self._backend = _Pinned([ip_network(network) for network in private_networks])
        self._context = ssl.create_default_context()

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Begin to fetch a file, and lend the stream of its bytes.

        Raises:
            UrlRefused: The URL, or one that it leads to, is not allowed.
            FetchFailed: The file can't be had.
        """
        try:
            async with asyncio.timeout(self._seconds):
                async with (
                    httpcore.AsyncConnectionPool(
                        ssl_context=self._context, network_backend=self._backend, retries=0
                    ) as pool,
                    self._answer(pool, url) as answer,
                ):
                    yield _body(answer)
        except TimeoutError:
            raise FetchFailed(f"It took longer than {self._seconds:g} seconds.") from None
        except httpcore.TimeoutException:
            raise FetchFailed("The server took too long.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchFailed("The server can't be reached, or does not speak HTTP.") from error

    @asynccontextmanager
    async def _answer(self, pool: httpcore.AsyncConnectionPool, url: str) -> AsyncIterator[httpcore.Response]:
        for _ in range(self._redirects + 1):
            self._check(url)
            timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
            async with pool.stream(
                "GET", url.encode("ascii"), headers=_HEADERS, extensions={"timeout": timeouts}
            ) as answer:
                location = _header(answer, b"location")
                if answer.status in _REDIRECTS and location:
                    url = urljoin(url, location)
                    continue
                if answer.status != 200:
                    raise FetchFailed(f"The server answered {answer.status}.")
                if _header(answer, b"content-encoding") not in ("", "identity"):
                    raise FetchFailed("The server sent a compressed answer, which was not asked for.")
                yield answer
                return
        raise FetchFailed(f"There were more than {self._redirects} redirects.")

    def _check(self, url: str) -> None:
        allowed = "http:// and https:// URLs"
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise UrlRefused("The URL is too long, or has characters that are not allowed in one.", allowed)
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise UrlRefused("This is no URL.", allowed) from None
        if parts.scheme not in _PORTS or not host:
            raise UrlRefused("This is no URL of the web.", allowed)
        if parts.username is not None or parts.password is not None:
            raise UrlRefused("The URL has a name or a password in it.", allowed)
        if port not in self._ports:
            raise UrlRefused("The URL has a port that is not allowed here.", f"the ports {self._ports}")
        if any(fnmatch(host, pattern) for pattern in self._deny):
            raise UrlRefused("This host is not allowed here.", "other hosts")
        if self._allow and not any(fnmatch(host, pattern) for pattern in self._allow):
            raise UrlRefused("This host is not allowed here.", f"the hosts {', '.join(self._allow)}")


class _Pinned(httpcore.AnyIOBackend):
    """Connects to a host only if all of its addresses are allowed, and then to one of these."""

    def __init__(self, private: list[Any]) -> None:
        self._private = private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (as the base class has it)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await asyncio.to_thread(
                socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        except (OSError, UnicodeError) as error:
            raise FetchFailed("The host's name can't be resolved.") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise UrlRefused("This host is not one of the public Internet.", "hosts with public addresses")
        last: Exception | None = None
        for address in addresses:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise FetchFailed("The server can't be reached.") from last

    def _is_allowed(self, address: str) -> bool:
        parsed = ip_address(address)
        return is_public(parsed) or any(
            parsed.version == network.version and parsed in network for network in self._private
        )


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


async def _body(answer: httpcore.Response) -> AsyncIterator[bytes]:
    async for chunk in answer.aiter_stream():
        yield chunk
