"""How often, and how many at once: bounds for each client, in memory or shared by several nodes through Redis."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

import limits
import limits.aio
import structlog
from limits.errors import StorageError

from progimage.access.principal import Client

log = structlog.get_logger(__name__)
_TURN_SECONDS = 5.0
"""How long a request waits for its turn."""
_IPV6_NETWORK = 64  # bits: what one subscriber has

# Takes away the turns that were not given back in time, and adds one if there are still too few.
_TAKE_TURN = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


class TooManyRequests(Exception):
    """The client has used up what it may.

    Args:
        what: Of what there are too many.
        allowed: How many are allowed.
        retry_after: After how many seconds it makes sense to try again.
    """

    def __init__(self, what: str, allowed: str, retry_after: int) -> None:
        """Keep the parts."""
        super().__init__(f"There are too many {what}; try again in {retry_after} s.")
        self.what, self.allowed, self.retry_after = what, allowed, retry_after


class _Turns(Protocol):
    """Counts what is under way at once."""

    async def take(self, name: str, most: int) -> str | None:
        """Take a turn, and return what to give back, or None: there are as many under way as may be."""

    async def give_back(self, name: str, turn: str) -> None:
        """Give a turn back."""


class RateLimits:
    """The bounds on what clients may do.

    Args:
        url: `memory://`, or Redis' URL.
        requests_per_key: Such as `100/second;5000/hour`, or empty: no bound.
        requests_per_address: Likewise, for requests without a key.
        renders_per_key: How many at once, or None: no bound.
        renders_per_address: Likewise, for requests without a key.
        lease_seconds: After how long a turn that nobody gave back is over.

    Attributes:
        are_set: Whether there are any bounds on requests.

    Raises:
        ValueError: A text is no rate, or the URL is of no known kind.
    """

    def __init__(
        self,
        url: str,
        requests_per_key: str,
        requests_per_address: str,
        renders_per_key: int | None,
        renders_per_address: int | None,
        lease_seconds: int,
    ) -> None:
        """Prepare the storage; the first connection is made when it is needed."""
        self._rates = [parse_rates(text) for text in (requests_per_key, requests_per_address)]
        self.are_set = any(self._rates)
        self._renders = (renders_per_key, renders_per_address)
        shared = url.startswith(("redis://", "rediss://", "unix://"))
        if not shared and url != "memory://":
            raise ValueError(f"{url} is neither memory:// nor the URL of a Redis server")
        storage: Any = limits.storage.storage_from_string(
            f"async+{url}", **({"implementation": "redispy"} if shared else {})
        )
        self._failures: tuple[type[Exception], ...] = (StorageError, OSError)
        if shared:
            from redis.exceptions import RedisError

            self._failures += (RedisError,)
        self._limiter = limits.aio.strategies.SlidingWindowCounterRateLimiter(storage)
        self._turns: _Turns = _RedisTurns(url, lease_seconds) if shared else _MemoryTurns()

    async def request(self, client: Client) -> None:
        """Count a request.

        Raises:
            TooManyRequests: It is one too many.
        """
        name, by_key = client_name(client), client.principal.key_id is not None
        for rate in self._rates[not by_key]:
            try:
                if await self._limiter.hit(rate, name):
                    continue
                reset, _ = await self._limiter.get_window_stats(rate, name)
            except self._failures as error:
                # Better no bound for a while than no service.
                log.warning("requests can't be counted now; they are let through", error=repr(error))
                return
            raise TooManyRequests("requests", str(rate), max(1, round(reset - time.time())))

    @asynccontextmanager
    async def rendering(self, client: Client) -> AsyncIterator[None]:
        """Have a turn to use the workers; wait for it if need be.

        Raises:
            TooManyRequests: None came free in time.
        """
        name, by_key = client_name(client), client.principal.key_id is not None
        most = self._renders[not by_key]
        if most is None:
            yield
            return
        turn = await self._turn(name, most)
        try:
            yield
        finally:
            if turn:
                try:
                    await self._turns.give_back(name, turn)
                except self._failures as error:
                    log.warning("a turn can't be given back; it ends by itself", error=repr(error))

    async def check(self) -> None:
        """Raise an exception unless the storage answers."""
        if not await self._limiter.storage.check():
            raise ConnectionError("the storage of rate limits does not answer")

    async def _turn(self, name: str, most: int) -> str | None:
        end = time.monotonic() + _TURN_SECONDS
        pause = 0.01
        while True:
            try:
                turn = await self._turns.take(name, most)
            except self._failures as error:
                log.warning("what is under way can't be counted now; it is let through", error=repr(error))
                return None
            if turn:
                return turn
            if time.monotonic() > end:
                raise TooManyRequests("renderings at once", f"{most} at once", 1)
            await asyncio.sleep(pause)
            pause = min(0.2, pause * 1.5)


class _MemoryTurns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    async def take(self, name: str, most: int) -> str | None:
        if self._taken[name] >= most:
            return None
        self._taken[name] += 1
        return name

    async def give_back(self, name: str, turn: str) -> None:
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]


class _RedisTurns:
    """The turns of all nodes: a sorted set for each client, of the turns and when each is over at the latest."""

    def __init__(self, url: str, lease_seconds: int) -> None:
        from redis.asyncio import Redis  # it takes a tenth of a start to import, and few deployments have a use for it

        self._redis: Redis = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._take = self._redis.register_script(_TAKE_TURN)
        self._lease = lease_seconds

    async def take(self, name: str, most: int) -> str | None:
        now, turn = time.time(), uuid.uuid4().hex
        taken = await self._take(keys=[_key(name)], args=[now, most, now + self._lease, turn, self._lease])
        return turn if taken else None

    async def give_back(self, name: str, turn: str) -> None:
        await self._redis.zrem(_key(name), turn)


def _key(name: str) -> str:
    return f"progimage:turns:{name}"


def client_name(client: Client) -> str:
    """Return what a client is counted as: its key, or its address or network; the owner, for the service's own work."""
    if client.principal.key_id:
        return f"key:{client.principal.key_id}"
    return f"address:{network_of(client.address)}" if client.address else f"owner:{client.principal.owner}"


def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and of an IPv6 address the network, since one subscriber has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> (128 - _IPV6_NETWORK) << (128 - _IPV6_NETWORK)))


def parse_rates(text: str) -> list[limits.RateLimitItem]:
    """Return the rates of a text such as `100/second;5000/hour`; an empty one has none.

    Raises:
        ValueError: It is no list of rates.
    """
    return limits.parse_many(text) if text else []
