"""Fetching images from URLs chosen by callers, without access to internal networks (SSRF)."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakValueDictionary

import httpcore

from progimage.fetching.addresses import is_public
from progimage.fetching.iri import decoded, to_uri
from progimage.fetching.resolving import Resolver

_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 2048
_HEADERS: list[tuple[bytes | str, bytes | str]] = [
    ("Accept", "image/*,*/*;q=0.5"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", "ProgImage"),
]
_MOST_HEADERS = 200
_LARGEST_HEADER = 64 * 1024
"""In bytes, including all interim responses before it."""
_LEAST_PIECE, _LARGEST_PIECE = 1024, 64 * 1024
_PARSE_SECONDS = 0.001
_REDIRECTS = {301, 302, 303, 307, 308}


class UrlRefused(Exception):
    """The URL is not allowed.

    Args:
        detail: Why, without revealing anything about the network.
        allowed: The allowed URLs, ports or hosts.
    """

    def __init__(self, detail: str, allowed: str) -> None:
        super().__init__(detail)
        self.allowed = allowed


class FetchFailed(Exception):
    """The server could not be reached, or did not return a file."""


class TooManyFetches(Exception):
    """The caller has too many concurrent fetches, and none of them finished in time.

    Args:
        limit: The maximum number of concurrent fetches.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"Too many concurrent fetches; at most {limit} are allowed.")
        self.limit = limit


class Fetcher:
    """Fetches files over HTTP and HTTPS.

    A host name is resolved once. All of its addresses must be public, and the connection is made to one of them, so a
    name that resolves differently the next time (DNS rebinding) has no effect. Every redirect is checked like the first
    URL.

    Args:
        allow: Patterns of host names, such as `*.example.org`; none: any host.
        deny: Patterns of host names that are rejected even if `allow` matches them.
        private_networks: Non-public networks that are allowed.
        ports: The allowed ports.
        redirects: Maximum number of redirects to follow.
        seconds: Timeout for a whole fetch, in seconds.
        at_once: Maximum number of concurrent fetches for one caller; others wait.
    """

    def __init__(
        self,
        allow: Sequence[str],
        deny: Sequence[str],
        private_networks: Iterable[str],
        ports: Sequence[int],
        redirects: int,
        seconds: float,
        at_once: int,
    ) -> None:
        self._at_once = at_once
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._allow, self._deny = allow, deny
        self._ports, self._redirects, self._seconds = ports, redirects, seconds
        self._private_networks = [ip_network(network) for network in private_networks]
        self._resolver = Resolver()
        self._context = ssl.create_default_context()

    @asynccontextmanager
    async def open(self, url: str, caller: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Start to fetch a file, and yield the stream of its bytes.

        Args:
            url: URL of the file.
            caller: Name of the caller; concurrent fetches are limited for each caller separately.

        Raises:
            TooManyFetches: None of the caller's other fetches finished in time.
            UrlRefused: The URL, or one that it redirects to, is not allowed.
            FetchFailed: The file can't be fetched.
        """
        turn = self._turns.setdefault(caller, asyncio.Semaphore(self._at_once))
        try:
            await asyncio.wait_for(turn.acquire(), self._seconds)
        except TimeoutError:
            raise TooManyFetches(self._at_once) from None
        try:
            async with asyncio.timeout(self._seconds):
                backend = _Pinned(self._private_networks, self._resolver, caller)
                async with (
                    httpcore.AsyncConnectionPool(ssl_context=self._context, network_backend=backend, retries=0) as pool,
                    self._response(pool, url) as response,
                ):
                    yield _body(response)
        except TimeoutError:
            raise FetchFailed(f"The fetch took longer than {self._seconds:g} seconds.") from None
        except httpcore.TimeoutException:
            raise FetchFailed("The server did not respond in time.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchFailed("The server can't be reached or doesn't speak HTTP.") from error
        finally:
            turn.release()

    @asynccontextmanager
    async def _response(self, pool: httpcore.AsyncConnectionPool, url: str) -> AsyncIterator[httpcore.Response]:
        for _ in range(self._redirects + 1):
            url = self._checked(url)
            timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
            async with pool.stream(
                "GET", url.encode("ascii"), headers=_HEADERS, extensions={"timeout": timeouts}
            ) as response:
                if len(response.headers) > _MOST_HEADERS:
                    raise FetchFailed("The server's response has too many header fields.")
                response.extensions["network_stream"].has_header()
                location = decoded(
                    next((value for name, value in response.headers if name.lower() == b"location"), b"")
                )
                if response.status in _REDIRECTS and location:
                    url = urljoin(url, location)
                    continue
                if response.status != 200:
                    raise FetchFailed(f"The server returned status {response.status}.")
                if _header(response, b"content-encoding") not in ("", "identity"):
                    raise FetchFailed("The server sent a compressed response that was not requested.")
                yield response
                return
        raise FetchFailed(f"The URL redirects more than {self._redirects} times.")

    def _checked(self, given: str) -> str:
        """Return the URI of a URL, if it is allowed.

        Raises:
            UrlRefused: It isn't.
        """
        allowed = "http:// and https:// URLs"
        try:
            url = to_uri(given) if given.isprintable() else given
        except ValueError:
            raise UrlRefused("The URL has an invalid host name.", allowed) from None
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise UrlRefused("The URL is too long or contains invalid characters.", allowed)
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise UrlRefused("The URL is invalid.", allowed) from None
        if parts.scheme not in _PORTS or not host:
            raise UrlRefused("The URL is not an HTTP or HTTPS URL.", allowed)
        if parts.username is not None or parts.password is not None:
            raise UrlRefused("The URL contains a user name or password.", allowed)
        if port not in self._ports:
            raise UrlRefused("The URL's port is not allowed.", f"the ports {self._ports}")
        if any(fnmatch(host, pattern) for pattern in self._deny):
            raise UrlRefused("The URL's host is not allowed.", "other hosts")
        if self._allow and not any(fnmatch(host, pattern) for pattern in self._allow):
            raise UrlRefused("The URL's host is not allowed.", f"the hosts {', '.join(self._allow)}")
        return url


class _Pinned(httpcore.AnyIOBackend):
    """Connects to a host only if all of its addresses are allowed, and only to one of them."""

    def __init__(self, private: list[Any], resolver: Resolver, caller: str) -> None:
        self._private, self._resolver, self._caller = private, resolver, caller

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (as the base class has it)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolver.resolve(host, port, self._caller)
        except (OSError, UnicodeError) as error:
            raise FetchFailed("The host name can't be resolved.") from error
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise UrlRefused("The host is not on the public Internet.", "hosts with public addresses")
        last: Exception | None = None
        for address in addresses:
            try:
                return _Bounded(await super().connect_tcp(address, port, timeout, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise FetchFailed("The server can't be reached.") from last

    def _is_allowed(self, address: str) -> bool:
        parsed = ip_address(address)
        return is_public(parsed) or any(
            parsed.version == network.version and parsed in network for network in self._private
        )


class _Bounded(httpcore.AsyncNetworkStream):
    """A connection whose server can't keep the event loop busy.

    Each read is small enough to be parsed within about a millisecond, and other tasks get their turn after it: a server
    that sends only `100 Continue`, or a body in chunks of one byte, costs a hundred times as much as usual. The header
    of a response, including all interim responses before it, is limited in bytes.

    Args:
        stream: The connection.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._header_left: int | None = _LARGEST_HEADER
        self._piece = _LEAST_PIECE
        self._handed_at = 0.0

    def has_header(self) -> None:
        """Note that the header of the response is complete; the body follows."""
        self._header_left = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._handed_at:
            slow = time.thread_time() - self._handed_at > _PARSE_SECONDS
            self._piece = max(_LEAST_PIECE, self._piece // 2) if slow else min(_LARGEST_PIECE, self._piece * 2)
        await asyncio.sleep(0)
        data = await self._stream.read(min(max_bytes, self._piece), timeout)
        if self._header_left is not None:
            self._header_left -= len(data)
            if self._header_left < 0:
                raise FetchFailed("The header of the server's response is too large.")
        self._handed_at = time.thread_time()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._header_left = _LARGEST_HEADER
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


async def _body(response: httpcore.Response) -> AsyncIterator[bytes]:
    async for chunk in response.aiter_stream():
        yield chunk
