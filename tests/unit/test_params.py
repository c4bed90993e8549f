"""The query of a request: which parameters it may have, and who may ask for which transformations."""

import asyncio
from datetime import date
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from litestar import Litestar, Request, get
from litestar.params import Parameter

from progimage import clock
from progimage.auth import NOBODY, ApiKey, Caller, Principal, Scope, Signer
from progimage.engine import InvalidParameter
from progimage.http.basis import basis_of
from progimage.http.middleware.authentication import CALLER
from progimage.http.params import (
    ANY_QUERY,
    SIGNABLE,
    known_query,
    query_of,
    refuse_query,
    refuse_unsigned,
    transformations_of,
    verified_query,
)
from progimage.problems import Problem

NOW = 1_800_000_000.0  # 2027-01-15
SIGNER = Signer(["a signing key of tests"])
PATH = "/storage/1.png"
PRESETS = {"thumb": [("width", "100")]}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


class Keys:
    """Knows one API key."""

    def __init__(self, scopes: set[Scope] = {Scope.READ}, expires_at: float | None = None) -> None:  # noqa: B006
        self.key = ApiKey("abcdefgh", "anna", "", "", frozenset(scopes), 0, expires_at)

    async def find(self, id: str) -> ApiKey | None:
        return self.key if id == self.key.id else None


def state(keys: Keys | None = None, *, until: date = date(2027, 1, 15), transformations: str = "any") -> Any:
    settings = SimpleNamespace(unnamed_signatures_until=until, transformations=transformations, preset_queries=PRESETS)
    library = SimpleNamespace(changes=SimpleNamespace(state=lambda id: 7))
    return SimpleNamespace(signer=SIGNER, settings=settings, library=library, key_ring=keys or Keys())


def request(query: str = "", method: str = "GET", principal: Principal = NOBODY) -> Request[Any, Any, Any]:
    scope: Any = {
        "type": "http", "method": method, "path": PATH, "query_string": query.encode(), "headers": [], "state": {},
        CALLER: Caller(principal), "route_handler": SimpleNamespace(opt=ANY_QUERY),
    }  # fmt: skip
    return Request(scope)


@get(["/plain/{reference:str}", "/other/{reference:str}"])
async def plain(
    reference: str, width: str | None = None, start: Annotated[str | None, Parameter(query="cursor")] = None
) -> None: ...


@get("/signable", opt=SIGNABLE)
async def signable(width: str | None = None) -> None: ...


@get("/any", opt=ANY_QUERY)
async def anything() -> None: ...


ROUTES: list[Any] = Litestar([plain, signable, anything]).routes
HANDLERS: dict[str, Any] = {str(handler): handler for route in ROUTES for handler in route.route_handlers}


def handler_of(name: str) -> Any:
    return next(handler for text, handler in HANDLERS.items() if text.endswith(f".{name}"))


@pytest.mark.parametrize(
    ("handler", "query", "unknown"),
    [
        ("plain", "", None), ("plain", "width=5&cursor=x", None), ("plain", "start=x", "start"),
        ("plain", "reference=1", "reference"), ("plain", "widht=5", "widht"), ("plain", "width=5&width=5", "width"),
        ("plain", "signature=x", "signature"), ("signable", "width=5", None), ("any", "x=5&x=6", None),
    ],
)  # fmt: skip
def test_a_handler_takes_the_parameters_that_it_declares(handler: str, query: str, unknown: str | None) -> None:
    found = handler_of("anything" if handler == "any" else handler)
    if unknown is None:
        asyncio.run(known_query(request(query), found))
        return
    with pytest.raises((Problem, InvalidParameter)) as refusal:
        asyncio.run(known_query(request(query), found))
    assert getattr(refusal.value, "parameter") == unknown  # noqa: B009, both have one


def test_a_signed_request_is_verified_before_its_parameters_are_looked_at() -> None:
    asyncio.run(known_query(request("widht=5&signature=x&expires=1&key_id=y"), handler_of("signable")))
    for query, unknown in (("width", None), ("widht", "widht")):
        asked = request(SIGNER.sign(PATH, [(query, "5")]).partition("?")[2])
        asked.scope["route_handler"] = handler_of("signable")
        if unknown is None:
            assert asyncio.run(verified_query(asked, state())) == [("width", "5")]
            continue
        with pytest.raises(Problem) as problem:
            asyncio.run(verified_query(asked, state()))
        assert (problem.value.status, problem.value.parameter) == (400, unknown)


def verified(url: str, keys: Keys | None = None, method: str = "GET", **more: Any) -> tuple[Any, Any]:
    asked = request(url.partition("?")[2], method)
    return asyncio.run(verified_query(asked, state(keys, **more))), basis_of(asked.scope)


def refused(url: str, keys: Keys | None = None, method: str = "GET", **more: Any) -> Problem:
    with pytest.raises(Problem) as problem:
        verified(url, keys, method, **more)
    assert (problem.value.status, problem.value.kind) == (403, "bad-signature")
    return problem.value


def test_a_query_is_read_with_all_values_of_a_name() -> None:
    found = query_of(request("b=1&a=&b=%C3%A9+x"))
    assert sorted(found) == [("a", ""), ("b", "1"), ("b", "é x")]


def test_without_a_signature_a_query_is_as_it_is() -> None:
    query, basis = verified("?width=5&expires=1")
    assert sorted(query) == [("expires", "1"), ("width", "5")] and not basis.is_signed and not basis.ends


def test_a_signature_is_noted_and_taken_away() -> None:
    query, basis = verified(SIGNER.sign(PATH, [("width", "5")]))
    assert query == [("width", "5")] and basis.is_signed and basis.ends_at is None and not basis.seen
    query, basis = verified(SIGNER.sign(PATH, [("width", "5")], int(NOW) + 60))
    assert query == [("width", "5")] and basis.ends_at == NOW + 60


def test_a_response_ends_with_the_key_that_it_was_signed_for() -> None:
    url = SIGNER.sign(PATH, [], int(NOW) + 60, key_id="abcdefgh")
    for expires_at, ends_at in ((None, NOW + 60), (NOW + 5, NOW + 5), (NOW + 500, NOW + 60)):
        _, basis = verified(url, Keys(expires_at=expires_at))
        assert basis.is_signed and basis.ends_at == ends_at and basis.seen == {"abcdefgh": 7}


def test_a_signature_that_is_not_right_is_refused() -> None:
    assert refused("?width=5&signature=x").parameter == "signature"
    assert refused(SIGNER.sign(PATH, [], int(NOW) - 1)).parameter == "signature"
    assert refused(SIGNER.sign("/storage/2.png", [])).parameter == "signature"


def test_a_signature_falls_with_its_key() -> None:
    assert refused(SIGNER.sign(PATH, [], key_id="unknown0")).parameter == "key_id"
    url = SIGNER.sign(PATH, [], key_id="abcdefgh")
    assert refused(url, Keys({Scope.UPLOAD})).parameter == "key_id"
    assert verified(url, Keys({Scope.ADMIN}))[1].is_signed and verified(url, Keys(), "HEAD")[1].is_signed


def test_a_key_that_may_delete_can_have_that_signed() -> None:
    url = SIGNER.sign(PATH, [], key_id="abcdefgh", method="DELETE")
    assert verified(url, Keys({Scope.DELETE}), "DELETE")[1].is_signed
    assert refused(url, Keys({Scope.READ}), "DELETE").parameter == "key_id"
    other = SIGNER.sign(PATH, [], key_id="abcdefgh", method="PUT")
    assert refused(other, Keys({Scope.READ, Scope.UPLOAD, Scope.DELETE}), "PUT").parameter == "key_id"
    assert verified(other, Keys({Scope.ADMIN}), "PUT")[1].is_signed


def test_signatures_that_name_no_key_work_up_to_and_with_a_day() -> None:
    import base64
    import hashlib
    import hmac

    digest = hmac.new(b"a signing key of tests", f"GET\n{PATH}\n".encode(), hashlib.sha256).digest()
    url = f"?signature={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    assert verified(url)[1].is_signed and verified(url, until=date(2027, 1, 16))[1].is_signed
    problem = refused(url, until=date(2027, 1, 14))
    assert problem.parameter == "key_id" and "2027-01-14" in problem.detail


def test_only_known_parameters_are_taken_and_each_once() -> None:
    refuse_query([("a", "1"), ("b", "2")], ("a", "b", "c"))
    refuse_query([])
    with pytest.raises(Problem) as problem:
        refuse_query([("a", "1"), ("x", "2")], ("a", "b"))
    assert (problem.value.status, problem.value.parameter, problem.value.given) == (400, "x", "2")
    assert problem.value.allowed == ["a", "b"]
    with pytest.raises(InvalidParameter) as repeated:
        refuse_query([("a", "1"), ("a", "2")], ("a",))
    assert (repeated.value.parameter, repeated.value.given) == ("a", "2")


def test_transformations_are_those_of_the_query_and_its_preset_without_the_name_to_save_as() -> None:
    asked = transformations_of(request(), state(), [("preset", "thumb"), ("download", "a.png"), ("blur", "2")])
    assert asked.query == [("width", "100"), ("blur", "2")]
    with pytest.raises(InvalidParameter) as repeated:
        transformations_of(request(), state(), [("download", "a"), ("download", "b")])
    assert repeated.value.parameter == "download"


@pytest.mark.parametrize(
    ("principal", "signed", "allowed"),
    [
        (NOBODY, False, False),
        (NOBODY, True, True),
        (Principal("anna", frozenset({Scope.TRANSFORM}), "key"), False, True),
        (Principal("anna", frozenset({Scope.READ}), "key"), False, False),
        (Principal("anna", frozenset({Scope.TRANSFORM})), False, False),
        (Principal("anna", frozenset({Scope.ADMIN}), "key"), False, True),
    ],
)
def test_where_only_presets_are_open_others_need_a_signature_or_a_key(
    principal: Principal, signed: bool, allowed: bool
) -> None:
    closed = state(transformations="presets")
    asked = request(principal=principal)
    basis_of(asked.scope).is_signed = signed
    for names in ([], ["preset"], ["preset", "download"]):
        refuse_unsigned(asked, names, closed.settings)
    refuse_unsigned(asked, ["width"], state().settings)
    if allowed:
        refuse_unsigned(asked, ["preset", "width"], closed.settings)
        return
    with pytest.raises(Problem) as problem:
        transformations_of(asked, closed, [("preset", "thumb"), ("width", "5")])
    assert (problem.value.status, problem.value.parameter) == (403, "width")
    assert isinstance(problem.value.allowed, list) and {"preset", "signature"} <= set(problem.value.allowed)


def test_a_query_keeps_its_order_and_what_is_repeated() -> None:
    text = "&".join(f"p{number % 7}={number}" for number in range(40))
    assert query_of(request(text)) == [(f"p{number % 7}", str(number)) for number in range(40)]
