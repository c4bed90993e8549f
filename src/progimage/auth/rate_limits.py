"""Rate and concurrency limits per caller, in memory or shared by several nodes through Redis."""

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

from progimage.auth.caller import Caller

log = structlog.get_logger(__name__)
_TURN_SECONDS = 5.0
"""How long a request waits for its turn before it is rejected."""
_BY_KEY, _BY_ADDRESS = "key:", "address:"
_IPV6_NETWORK = 64  # bits: the prefix that one subscriber gets

# Removes the turns whose lease is over, then adds one if the limit allows it.
_TAKE_TURN = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """A rate limit, as described by the header fields `RateLimit-Policy` and `RateLimit`.

    Attributes:
        name: What is counted: `requests` or `cpu`.
        quota: Allowed number of requests, or seconds of CPU time, per window.
        window: Length of the window in seconds.
    """

    name: str
    quota: int
    window: int

    def headers(self, remaining: int, reset: int) -> dict[str, str]:
        """Return the header fields (draft-ietf-httpapi-ratelimit-headers-10).

        Args:
            remaining: Remaining quota in this window.
            reset: Seconds until more quota is available.
        """
        return {
            "ratelimit-policy": f'"{self.name}";q={self.quota};w={self.window}',
            "ratelimit": f'"{self.name}";r={remaining};t={reset}',
        }


class TooManyRequests(Exception):
    """The caller has exceeded a limit.

    Args:
        detail: Which limit, as the start of a sentence.
        allowed: How much is allowed.
        retry_after: Seconds to wait before trying again.
        policy: The limit, if header fields describe it.
    """

    def __init__(self, detail: str, allowed: str, retry_after: int, policy: Policy | None = None) -> None:
        super().__init__(f"{detail}; try again in {retry_after} s.")
        self.allowed, self.retry_after = allowed, retry_after
        self.headers = {"retry-after": str(retry_after)}
        if policy:
            self.headers |= policy.headers(0, retry_after)


class _Turns(Protocol):
    """Counts concurrent work."""

    async def take(self, name: str, limit: int) -> str | None:
        """Take a turn and return its id, to be given back; None: the limit is reached."""

    async def give_back(self, name: str, turn: str) -> None:
        """Give a turn back."""


class RateLimits:
    """The rate and concurrency limits of callers. Redis is connected to when it is first needed.

    Args:
        url: `memory://`, or the URL of a Redis server.
        requests_per_key: Requests per API key, such as `100/second;5000/hour`; empty: unlimited.
        requests_per_address: The same for requests without a key, per network address.
        renders_per_key: Concurrent renditions per API key; None: unlimited.
        renders_per_address: The same for requests without a key, per network address.
        cpu_per_key: Seconds of CPU time per API key, such as `60/minute;600/hour`; empty: unlimited.
        cpu_per_address: The same for requests without a key, per network address.
        lease_seconds: How long a turn is held at most if it is not given back.

    Attributes:
        are_set: Whether there are any limits on requests.

    Raises:
        ValueError: A rate is malformed, or the URL is neither `memory://` nor Redis.
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

    async def request(self, caller: Caller) -> None:
        """Count a request.

        Raises:
            TooManyRequests: The rate limit is exceeded.
        """
        name, by_key = caller_name(caller), caller.principal.key_id is not None
        for rate in self._rates[not by_key]:
            try:
                if await self._limiter.hit(rate, name):
                    continue
                reset, _ = await self._limiter.get_window_stats(rate, name)
            except self._failures as error:
                # Better to go without limits for a while than to reject everything.
                log.warning("request limits unavailable; requests are allowed", error=repr(error))
                return
            policy = Policy("requests", rate.amount, rate.get_expiry())
            raise TooManyRequests("Too many requests", str(rate), _seconds_until(reset), policy)

    @asynccontextmanager
    async def rendering(self, caller: Caller) -> AsyncIterator[None]:
        """Hold a turn to use the workers, after waiting for one if necessary.

        Raises:
            TooManyRequests: No turn became free in time, or the caller has used up its CPU time.
        """
        name, by_key = caller_name(caller), caller.principal.key_id is not None
        await self._check_cpu(name, by_key)
        limit = self._renders[not by_key]
        if limit is None:
            yield
            return
        turn = await self._turn(name, limit)
        try:
            yield
        finally:
            if turn:
                try:
                    await self._turns.give_back(name, turn)
                except self._failures as error:
                    log.warning("turn not given back; it expires with its lease", error=repr(error))

    def spent(self, name: str, seconds: float) -> None:
        """Count CPU time that a caller has used.

        Args:
            name: Name of the caller, see `caller_name`.
            seconds: CPU time in seconds.
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
                log.warning("cpu limits unavailable; requests are allowed", error=repr(error))
                return
            policy = Policy("cpu", rate.amount // 1000, rate.get_expiry())
            allowed = f"{policy.quota} seconds of CPU time per {policy.window} seconds"
            raise TooManyRequests("CPU time limit reached", allowed, _seconds_until(reset), policy)

    async def _count_cpu(self, name: str, by_key: bool, milliseconds: int) -> None:
        for rate in self._cpu[not by_key]:
            try:
                # A cost beyond the limit would not be counted at all.
                _, remaining = await self._limiter.get_window_stats(rate, name)
                if remaining > 0:
                    await self._limiter.hit(rate, name, cost=min(milliseconds, remaining))
            except self._failures as error:
                log.warning("cpu limits unavailable; cpu time not counted", error=repr(error))
                return

    async def check(self) -> None:
        """Check that the storage of the counters is available.

        Raises:
            Exception: It isn't.
        """
        if not await self._limiter.storage.check():
            raise ConnectionError("the storage of rate limits does not respond")

    async def _turn(self, name: str, limit: int) -> str | None:
        end = time.monotonic() + _TURN_SECONDS
        pause = 0.01
        while True:
            try:
                turn = await self._turns.take(name, limit)
            except self._failures as error:
                log.warning("concurrency limits unavailable; work is allowed", error=repr(error))
                return None
            if turn:
                return turn
            if time.monotonic() > end:
                raise TooManyRequests("Too many concurrent renditions", f"{limit} at once", 1)
            await asyncio.sleep(pause)
            pause = min(0.2, pause * 1.5)


class _MemoryTurns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    async def take(self, name: str, limit: int) -> str | None:
        if self._taken[name] >= limit:
            return None
        self._taken[name] += 1
        return name

    async def give_back(self, name: str, turn: str) -> None:
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]


class _RedisTurns:
    """The turns of all nodes: a sorted set for each caller, with the turns and the ends of their leases."""

    def __init__(self, url: str, lease_seconds: int) -> None:
        from redis.asyncio import Redis  # importing it takes a tenth of the startup time, and few deployments use it

        self._redis: Redis = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._take = self._redis.register_script(_TAKE_TURN)
        self._lease = lease_seconds

    async def take(self, name: str, limit: int) -> str | None:
        now, turn = time.time(), uuid.uuid4().hex
        taken = await self._take(keys=[_key(name)], args=[now, limit, now + self._lease, turn, self._lease])
        return turn if taken else None

    async def give_back(self, name: str, turn: str) -> None:
        await self._redis.zrem(_key(name), turn)


def _key(name: str) -> str:
    return f"progimage:turns:{name}"


def caller_name(caller: Caller) -> str:
    """Return the name a caller is counted under: its key, else its network; for the service's own work, the owner."""
    if caller.principal.key_id:
        return f"{_BY_KEY}{caller.principal.key_id}"
    return f"{_BY_ADDRESS}{network_of(caller.address)}" if caller.address else f"owner:{caller.principal.owner}"


def network_of(address: str) -> str:
    """Return an IPv4 address unchanged, and the /64 network of an IPv6 address, since one subscriber has all of it."""
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
    """Return the rates in a text such as `100/second;5000/hour`; none if it is empty.

    Raises:
        ValueError: The text is malformed.
    """
    return limits.parse_many(text) if text else []


def _in_milliseconds(rate: limits.RateLimitItem) -> limits.RateLimitItem:
    """Return a rate of CPU seconds in milliseconds, since counters are integers."""
    return type(rate)(rate.amount * 1000, rate.multiples, "CPU")


def _seconds_until(reset: float) -> int:
    return max(1, math.ceil(reset - time.time()))
