"""Fetching an image from a URL that somebody else chose, without being led anywhere that only we can reach."""

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
"""In bytes, all interim answers before it included."""
_LEAST_PIECE, _LARGEST_PIECE = 1024, 64 * 1024
_PARSE_SECONDS = 0.001
_REDIRECTS = {301, 302, 303, 307, 308}


class UrlRefused(Exception):
    """A URL is not one from which anything is fetched here.

    Args:
        detail: Why, without telling anything of the network.
        allowed: What would be allowed.
    """

    def __init__(self, detail: str, allowed: str) -> None:
        """Store the parts."""
        super().__init__(detail)
        self.allowed = allowed


class FetchFailed(Exception):
    """The other server could not be reached, or did not answer with a file."""


class TooManyFetches(Exception):
    """A client has as many files fetched as it may, and none of them came to its end in time.

    Args:
        most: How many it may have fetched at once.
    """

    def __init__(self, most: int) -> None:
        """Keep the number."""
        super().__init__(f"There are too many fetches at once; {most} are allowed.")
        self.most = most


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
        at_once: How many files are fetched at once for one client; others wait.
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
        """Keep the bounds."""
        self._at_once = at_once
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._allow, self._deny = allow, deny
        self._ports, self._redirects, self._seconds = ports, redirects, seconds
        self._private_networks = [ip_network(network) for network in private_networks]
        self._resolver = Resolver()
        self._context = ssl.create_default_context()

    @asynccontextmanager
    async def open(self, url: str, client: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Begin to fetch a file, and lend the stream of its bytes.

        Args:
            url: Of the file.
            client: For whom; each has so many fetches at once, and waits for its own only.

        Raises:
            TooManyFetches: It waited in vain.
            UrlRefused: The URL, or one that it leads to, is not allowed.
            FetchFailed: The file can't be had.
        """
        turn = self._turns.setdefault(client, asyncio.Semaphore(self._at_once))
        try:
            await asyncio.wait_for(turn.acquire(), self._seconds)
        except TimeoutError:
            raise TooManyFetches(self._at_once) from None
        try:
            async with asyncio.timeout(self._seconds):
                backend = _Pinned(self._private_networks, self._resolver, client)
                async with (
                    httpcore.AsyncConnectionPool(ssl_context=self._context, network_backend=backend, retries=0) as pool,
                    self._answer(pool, url) as answer,
                ):
                    yield _body(answer)
        except TimeoutError:
            raise FetchFailed(f"It took longer than {self._seconds:g} seconds.") from None
        except httpcore.TimeoutException:
            raise FetchFailed("The server took too long.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchFailed("The server can't be reached, or does not speak HTTP.") from error
        finally:
            turn.release()

    @asynccontextmanager
    async def _answer(self, pool: httpcore.AsyncConnectionPool, url: str) -> AsyncIterator[httpcore.Response]:
        for _ in range(self._redirects + 1):
            url = self._checked(url)
            timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
            async with pool.stream(
                "GET", url.encode("ascii"), headers=_HEADERS, extensions={"timeout": timeouts}
            ) as answer:
                if len(answer.headers) > _MOST_HEADERS:
                    raise FetchFailed("The server's answer has too many header lines.")
                answer.extensions["network_stream"].has_header()
                location = decoded(next((value for name, value in answer.headers if name.lower() == b"location"), b""))
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

    def _checked(self, given: str) -> str:
        """Return the URI of a URL, if it is one from which files are fetched.

        Raises:
            UrlRefused: It is none.
        """
        allowed = "http:// and https:// URLs"
        try:
            url = to_uri(given) if given.isprintable() else given
        except ValueError:
            raise UrlRefused("The URL has a host that can't be one.", allowed) from None
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
        return url


class _Pinned(httpcore.AnyIOBackend):
    """Connects to a host only if all of its addresses are allowed, and then to one of these."""

    def __init__(self, private: list[Any], resolver: Resolver, client: str) -> None:
        self._private, self._resolver, self._client = private, resolver, client

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (as the base class has it)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolver.resolve(host, port, self._client)
        except (OSError, UnicodeError) as error:
            raise FetchFailed("The host's name can't be resolved.") from error
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise UrlRefused("This host is not one of the public Internet.", "hosts with public addresses")
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
    """A connection whose other side can't keep the event loop busy.

    What is read is small enough to be parsed within about a millisecond, and others have their turn after each piece:
    a server that sends nothing but `100 Continue`, or a body in chunks of a byte, costs a hundred times the usual. The
    header of an answer, with all interim ones before it, is bounded in bytes.

    Args:
        stream: The connection.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._header_left: int | None = _LARGEST_HEADER
        self._piece = _LEAST_PIECE
        self._handed_at = 0.0

    def has_header(self) -> None:
        """The header of the answer is there; what comes is its body."""
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
                raise FetchFailed("The header of the server's answer is too large.")
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


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


async def _body(answer: httpcore.Response) -> AsyncIterator[bytes]:
    async for chunk in answer.aiter_stream():
        yield chunk
