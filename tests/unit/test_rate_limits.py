"""How often and how many at once: what is counted as one client, when it is refused, and what the answer says."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from progimage.auth import NOBODY, Caller, Principal, RateLimits, Scope, TooManyRequests, caller_name, rate_limits
from progimage.auth.rate_limits import Policy, network_of, parse_rates

KEY = Caller(Principal("anna", frozenset({Scope.READ}), "key1"), "192.0.2.1")
OTHER_KEY = Caller(Principal("anna", frozenset({Scope.READ}), "key2"), "192.0.2.1")
GUEST, OTHER_GUEST = Caller(NOBODY, "192.0.2.1"), Caller(NOBODY, "192.0.2.2")
SERVICE = Caller(Principal("anna", frozenset()), "")


def limits(
    requests: tuple[str, str] = ("", ""),
    renders: tuple[int | None, int | None] = (None, None),
    cpu: tuple[str, str] = ("", ""),
) -> RateLimits:
    return RateLimits("memory://", *requests, *renders, 60, *cpu)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


async def refused(rates: RateLimits, caller: Caller) -> TooManyRequests | None:
    try:
        await rates.request(caller)
    except TooManyRequests as refusal:
        return refusal
    return None


def test_as_many_requests_as_are_allowed_are_answered() -> None:
    @run
    async def scenario() -> None:
        rates = limits(("3/hour", "2/hour"))
        assert [await refused(rates, KEY) is None for _ in range(5)] == [True] * 3 + [False] * 2
        assert [await refused(rates, GUEST) is None for _ in range(4)] == [True] * 2 + [False] * 2


def test_each_key_and_each_address_is_counted_by_itself() -> None:
    @run
    async def scenario() -> None:
        rates = limits(("1/hour", "1/hour"))
        for caller in (KEY, OTHER_KEY, GUEST, OTHER_GUEST, SERVICE):
            assert await refused(rates, caller) is None, caller
        for caller in (KEY, OTHER_KEY, GUEST, OTHER_GUEST):
            assert await refused(rates, caller) is not None, caller


def test_what_is_not_bounded_is_not_counted() -> None:
    @run
    async def scenario() -> None:
        rates = limits(("", "1/hour"))
        for _ in range(5):
            assert await refused(rates, KEY) is None
        assert await refused(rates, GUEST) is None and await refused(rates, GUEST) is not None

    assert limits(("", "1/hour")).are_set and limits(("1/hour", "")).are_set
    assert not limits().are_set and not limits(renders=(1, 1), cpu=("1/hour", "")).are_set


def test_of_several_bounds_each_has_to_be_kept() -> None:
    @run
    async def scenario() -> None:
        rates = limits(("100/second;2/hour", ""))
        assert [await refused(rates, KEY) is None for _ in range(3)] == [True, True, False]
        refusal = await refused(rates, KEY)
        assert refusal is not None and refusal.allowed == "2 per 1 hour"


def test_a_refusal_says_the_policy_and_when_to_come_again() -> None:
    """RFC 9110, section 10.2.3, and draft-ietf-httpapi-ratelimit-headers-10: structured fields (RFC 9651)."""

    @run
    async def scenario() -> None:
        rates = limits(("2/minute", ""))
        for _ in range(2):
            await rates.request(KEY)
        refusal = await refused(rates, KEY)
        assert refusal is not None
        headers = refusal.headers
        assert headers["ratelimit-policy"] == '"requests";q=2;w=60'
        again = re.fullmatch(r'"requests";r=0;t=(\d+)', headers["ratelimit"])
        assert again and headers["retry-after"] == again[1] == str(refusal.retry_after)
        assert 1 <= int(again[1]) <= 120 and f"try again in {again[1]} s" in str(refusal)


def test_a_policy_tells_what_is_left() -> None:
    assert Policy("cpu", 60, 3600).headers(7, 90) == {
        "ratelimit-policy": '"cpu";q=60;w=3600', "ratelimit": '"cpu";r=7;t=90',
    }  # fmt: skip


def test_no_wait_is_shorter_than_a_second() -> None:
    seconds_until = rate_limits._seconds_until
    assert seconds_until(time.time() - 5) == 1 and seconds_until(time.time()) == 1
    assert seconds_until(time.time() + 9.5) == 10


def test_so_many_renderings_run_at_once_and_the_next_waits_for_its_turn() -> None:
    @run
    async def scenario() -> None:
        rates = limits(renders=(2, 1))
        order: list[str] = []

        async def render(name: str, caller: Caller, end: asyncio.Event) -> None:
            async with rates.rendering(caller):
                order.append(name)
                await end.wait()

        ends = [asyncio.Event() for _ in range(5)]
        names = (("first", KEY), ("second", KEY), ("third", KEY), ("guest", GUEST), ("guest again", GUEST))
        tasks = [asyncio.create_task(render(*pair, end)) for pair, end in zip(names, ends, strict=True)]
        await asyncio.sleep(0.05)
        assert order == ["first", "second", "guest"]
        ends[1].set()
        await asyncio.sleep(0.3)
        assert order == ["first", "second", "guest", "third"]
        ends[3].set()
        await asyncio.sleep(0.3)
        assert order[-1] == "guest again"
        for end in ends:
            end.set()
        await asyncio.gather(*tasks)


def test_whoever_waits_too_long_for_a_turn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_TURN_SECONDS", 0.05)

    @run
    async def scenario() -> None:
        rates = limits(renders=(1, None))
        async with rates.rendering(KEY):
            with pytest.raises(TooManyRequests) as refusal:
                async with rates.rendering(KEY):
                    raise AssertionError("there was no turn")
            assert refusal.value.allowed == "1 at once" and refusal.value.headers == {"retry-after": "1"}
            async with rates.rendering(OTHER_KEY), rates.rendering(GUEST), rates.rendering(GUEST):
                pass
        async with rates.rendering(KEY):  # it was given back, as was the one that failed
            pass
        with pytest.raises(KeyError):
            async with rates.rendering(KEY):
                raise KeyError
        async with rates.rendering(KEY):
            pass


async def spend(rates: RateLimits, caller: Caller, seconds: float) -> None:
    rates.spent(caller_name(caller), seconds)
    await asyncio.sleep(0)
    while rates._counting:
        await asyncio.sleep(0)


async def may_render(rates: RateLimits, caller: Caller) -> bool:
    try:
        async with rates.rendering(caller):
            return True
    except TooManyRequests:
        return False


def test_whoever_has_used_its_cpu_time_up_waits() -> None:
    @run
    async def scenario() -> None:
        rates = limits(cpu=("2/minute", "1/minute"))
        await spend(rates, KEY, 1.9)
        assert await may_render(rates, KEY)
        await spend(rates, KEY, 0.2)
        with pytest.raises(TooManyRequests) as refusal:
            async with rates.rendering(KEY):
                pass
        assert re.findall("[0-9]+ seconds", refusal.value.allowed) == ["2 seconds", "60 seconds"]
        assert refusal.value.headers["ratelimit-policy"] == '"cpu";q=2;w=60'
        assert await may_render(rates, OTHER_KEY) and await may_render(rates, GUEST)
        await spend(rates, GUEST, 0.999)
        assert await may_render(rates, GUEST)
        await spend(rates, GUEST, 0.001)
        assert not await may_render(rates, GUEST) and await may_render(rates, OTHER_GUEST)


def test_the_least_work_is_a_millisecond_and_too_much_is_all_that_is_left() -> None:
    @run
    async def scenario() -> None:
        rates = limits(cpu=("", "1/minute"))
        await spend(rates, GUEST, 999)
        assert not await may_render(rates, GUEST)
        for _ in range(1000):
            await spend(rates, OTHER_GUEST, 0)
        assert not await may_render(rates, OTHER_GUEST)


def test_the_own_work_of_the_service_is_not_counted_in_cpu_time() -> None:
    @run
    async def scenario() -> None:
        rates = limits(cpu=("1/minute", "1/minute"))
        await spend(rates, SERVICE, 999)
        assert await may_render(rates, SERVICE)


class Broken:
    """A storage that does not answer."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: object, **__: object) -> bool:
            raise OSError("no answer")

        return fail


def test_without_its_storage_the_service_lets_everybody_through() -> None:
    @run
    async def scenario() -> None:
        rates = limits(("1/hour", "1/hour"), (1, 1), ("1/hour", "1/hour"))
        rates._limiter = rates._turns = Broken()  # type: ignore[assignment]
        for _ in range(3):
            assert await refused(rates, KEY) is None
            await spend(rates, KEY, 9)
        assert await may_render(rates, KEY)
        async with rates.rendering(GUEST), rates.rendering(GUEST):
            pass


def test_whether_the_storage_answers_can_be_asked() -> None:
    @run
    async def scenario() -> None:
        rates = limits(("1/hour", ""))
        await rates.check()

        async def silent() -> bool:
            return False

        rates._limiter.storage.check = silent
        with pytest.raises(ConnectionError):
            await rates.check()


def test_what_a_client_is_counted_as() -> None:
    assert caller_name(KEY) != caller_name(OTHER_KEY)
    assert caller_name(GUEST) != caller_name(OTHER_GUEST)
    assert caller_name(KEY) == caller_name(Caller(KEY.principal, "192.0.2.9"))  # wherever it is used
    assert caller_name(Caller(NOBODY, "2001:db8:1:2::1")) == caller_name(Caller(NOBODY, "2001:db8:1:2:3:4:5:6"))
    assert len({caller_name(one) for one in (KEY, GUEST, SERVICE, Caller(NOBODY, "anna"), Caller(NOBODY, "key1"))}) == 5


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3::", "2001:db8:1:3::"),
        ("2001:db8:1:2:8000::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::"),
        ("proxy", "proxy"),
        ("", ""),
    ],
)
def test_a_subscriber_of_ipv6_has_64_bits_to_choose_from(address: str, network: str) -> None:
    assert network_of(address) == network


def test_rates_are_read_from_text() -> None:
    assert [(rate.amount, rate.get_expiry()) for rate in parse_rates("100/second;5000/hour")] == [
        (100, 1),
        (5000, 3600),
    ]
    assert parse_rates("") == []
    with pytest.raises(ValueError, match="often"):
        parse_rates("often")


@pytest.mark.parametrize("url", ["", "memory", "http://x", "memcached://x", "/socket"])
def test_bounds_are_kept_in_memory_or_in_redis(url: str) -> None:
    with pytest.raises(ValueError, match="Redis"):
        RateLimits(url, "", "", None, None, 60)
    RateLimits("redis://127.0.0.1:1", "1/hour", "", 1, 1, 60)  # it connects when it is needed
