"""How often, and how many at once: bounds for each client, in memory or shared by several nodes through Redis."""

import asyncio
import math
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

import limits
import limits.aio
import structlog
from limits.errors import StorageError

from progimage.auth.caller import Client

log = structlog.get_logger(__name__)
_TURN_SECONDS = 5.0
"""How long a request waits for its turn."""
_BY_KEY, _BY_ADDRESS = "key:", "address:"
_IPV6_NETWORK = 64  # bits: what one subscriber has

# Takes away the turns that were not given back in time, and adds one if there are still too few.
_TAKE_TURN = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """A bound on what a client may do, as the header fields `RateLimit-Policy` and `RateLimit` tell it.

    Attributes:
        name: What is counted: `requests` or `cpu`.
        quota: How much is allowed within a window: requests, or seconds of CPU time.
        window: In seconds.
    """

    name: str
    quota: int
    window: int

    def headers(self, remaining: int, reset: int) -> dict[str, str]:
        """Return the header fields (draft-ietf-httpapi-ratelimit-headers-10).

        Args:
            remaining: What is left of the quota.
            reset: After how many seconds there is more.
        """
        return {
            "ratelimit-policy": f'"{self.name}";q={self.quota};w={self.window}',
            "ratelimit": f'"{self.name}";r={remaining};t={reset}',
        }


class TooManyRequests(Exception):
    """The client has used up what it may.

    Args:
        detail: What it has used up.
        allowed: How much is allowed.
        retry_after: After how many seconds it makes sense to try again.
        policy: What says so, if it is one that is told in header fields.
    """

    def __init__(self, detail: str, allowed: str, retry_after: int, policy: Policy | None = None) -> None:
        """Store the parts."""
        super().__init__(f"{detail}; try again in {retry_after} s.")
        self.allowed, self.retry_after = allowed, retry_after
        self.headers = {"retry-after": str(retry_after)}
        if policy:
            self.headers |= policy.headers(0, retry_after)


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
        cpu_per_key: How many seconds of CPU time, such as `60/minute;600/hour`, or empty: no bound.
        cpu_per_address: Likewise, for requests without a key.
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
        cpu_per_key: str = "",
        cpu_per_address: str = "",
    ) -> None:
        """Prepare the storage; the first connection is made when it is needed."""
        self._rates = [parse_rates(text) for text in (requests_per_key, requests_per_address)]
        self.are_set = any(self._rates)
        self._renders = (renders_per_key, renders_per_address)
        self._cpu = [[_in_milliseconds(rate) for rate in parse_rates(text)] for text in (cpu_per_key, cpu_per_address)]
        self._counting: set[asyncio.Task[None]] = set()
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
            policy = Policy("requests", rate.amount, rate.get_expiry())
            raise TooManyRequests("There are too many requests", str(rate), _seconds_until(reset), policy)

    @asynccontextmanager
    async def rendering(self, client: Client) -> AsyncIterator[None]:
        """Have a turn to use the workers; wait for it if need be.

        Raises:
            TooManyRequests: None came free in time, or the client has used up its CPU time.
        """
        name, by_key = client_name(client), client.principal.key_id is not None
        await self._check_cpu(name, by_key)
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

    def spent(self, name: str, seconds: float) -> None:
        """Count CPU time that a client has used.

        Args:
            name: Of the client, see `client_name`.
            seconds: How much.
        """
        by_key = name.startswith(_BY_KEY)
        if not self._cpu[not by_key] or not name.startswith((_BY_KEY, _BY_ADDRESS)):
            return
        counting = asyncio.create_task(self._count_cpu(name, by_key, max(1, round(seconds * 1000))))
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)

    async def _check_cpu(self, name: str, by_key: bool) -> None:
        for rate in self._cpu[not by_key]:
            try:
                if await self._limiter.test(rate, name):
                    continue
                reset, _ = await self._limiter.get_window_stats(rate, name)
            except self._failures as error:
                log.warning("CPU time can't be counted now; requests are let through", error=repr(error))
                return
            policy = Policy("cpu", rate.amount // 1000, rate.get_expiry())
            allowed = f"{policy.quota} seconds of CPU time in {policy.window} seconds"
            raise TooManyRequests("The CPU time is used up", allowed, _seconds_until(reset), policy)

    async def _count_cpu(self, name: str, by_key: bool, milliseconds: int) -> None:
        for rate in self._cpu[not by_key]:
            try:
                # What goes beyond the bound would not be counted at all.
                _, remaining = await self._limiter.get_window_stats(rate, name)
                if remaining > 0:
                    await self._limiter.hit(rate, name, cost=min(milliseconds, remaining))
            except self._failures as error:
                log.warning("CPU time can't be counted now", error=repr(error))
                return

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
                raise TooManyRequests("There are too many renderings at once", f"{most} at once", 1)
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
        return f"{_BY_KEY}{client.principal.key_id}"
    return f"{_BY_ADDRESS}{network_of(client.address)}" if client.address else f"owner:{client.principal.owner}"


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


def _in_milliseconds(rate: limits.RateLimitItem) -> limits.RateLimitItem:
    """Return a rate of CPU seconds such that it counts milliseconds, since counters have whole numbers."""
    return type(rate)(rate.amount * 1000, rate.multiples, "CPU")


def _seconds_until(reset: float) -> int:
    return max(1, math.ceil(reset - time.time()))
