"""Signatures of requests, without a server."""

import base64
import hashlib
import hmac
import re
import time
from dataclasses import replace
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
import pytest

from progimage import clock
from progimage.auth import BadSignature, Signer, Ticket, Visibility, signing_key_id

KEY, OTHER = "a signing key of tests", "another signing key"
PATH = "/storage/7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90.webp"


def query_of(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


def test_a_signature_says_which_key_it_ends_with() -> None:
    own = Signer([KEY]).verify("GET", PATH, query_of(Signer([KEY]).sign(PATH, [("width", "9")])))
    assert (own.query, own.key_id, own.is_named) == ([("width", "9")], None, True)
    asked = Signer([KEY]).sign(PATH, [("width", "9")], key_id="abcdefgh")
    verified = Signer([KEY]).verify("GET", PATH, query_of(asked))
    assert (verified.query, verified.key_id) == ([("width", "9")], "abcdefgh")
    with pytest.raises(BadSignature):  # taken out of the settings
        Signer([OTHER]).verify("GET", PATH, query_of(asked))


def test_a_key_can_be_replaced_by_and_by() -> None:
    url = Signer([OTHER]).sign(PATH, [])
    assert Signer([KEY, OTHER]).verify("GET", PATH, query_of(url)).is_named
    assert signing_key_id(KEY) != signing_key_id(OTHER)


@pytest.mark.parametrize("name", ["expires", "key_id", "signature"])
def test_nothing_is_given_twice(name: str) -> None:
    query = query_of(Signer([KEY]).sign(PATH, [("width", "9")], int(time.time()) + 60))
    for twice in ([*query, (name, dict(query)[name])], [(name, "1"), *query]):
        with pytest.raises(BadSignature, match=f"`{name}` is given 2 times") as refusal:
            Signer([KEY]).verify("GET", PATH, twice)
        assert refusal.value.parameter == name and str(refusal.value)[0] != "("  # it is one sentence


@pytest.mark.parametrize("name", ["expires", "key_id", "signature"])
def test_what_belongs_to_a_signature_is_not_signed(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Signer([KEY]).sign(PATH, [(name, "1")])


@pytest.mark.parametrize("change", ["width", "expires", "key_id"])
def test_nothing_of_a_signed_request_can_be_changed(change: str) -> None:
    query = query_of(Signer([KEY]).sign(PATH, [("width", "9")], int(time.time()) + 60, key_id="abcdefgh"))
    changed = [(name, "1999999999" if name == change else value) for name, value in query]
    for bent in (changed, [pair for pair in query if pair[0] != change]):
        with pytest.raises(BadSignature):
            Signer([KEY]).verify("GET", PATH, bent)


@pytest.fixture
def at_a_thousand_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: 1000.0)


def by_hand(key: str, method: str, path: str, query: list[tuple[str, str]]) -> str:
    """Return a signature as docs/access.md tells clients to make it."""
    encoded = ((quote(name, safe=""), quote(value, safe="")) for name, value in sorted(query))
    text = f"{method}\n{path}\n" + "&".join(f"{name}={value}" for name, value in encoded)
    digest = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_any_client_can_make_a_signature() -> None:
    query = [("width", "9"), ("text", "a b&c/é"), ("expires", "99999999999"), ("height", "1"), ("a", "2"), ("a", "1")]
    signed = [*query, ("key_id", "abcdefgh")]
    for signature in (by_hand(KEY, "GET", PATH, signed), by_hand(KEY, "GET", PATH, signed[::-1])):
        verified = Signer([KEY]).verify("GET", PATH, [*signed, ("signature", signature)])
        assert verified.query == [pair for pair in query if pair[0] != "expires"]
    url = Signer([KEY]).sign(PATH, [("width", "9")], 5, key_id="abcdefgh")
    pairs = [("width", "9"), ("expires", "5"), ("key_id", "abcdefgh")]
    assert query_of(url) == [*pairs, ("signature", by_hand(KEY, "GET", PATH, pairs))]


def test_a_signature_is_of_one_method_and_one_path() -> None:
    query = query_of(Signer([KEY]).sign(PATH, [], method="DELETE"))
    assert Signer([KEY]).verify("DELETE", PATH, query)
    for method, path in (("GET", PATH), ("HEAD", PATH), ("DELETE", f"{PATH}x")):
        with pytest.raises(BadSignature):
            Signer([KEY]).verify(method, path, query)
    read = query_of(Signer([KEY]).sign(PATH, []))
    assert Signer([KEY]).verify("HEAD", PATH, read) == Signer([KEY]).verify("GET", PATH, read)


def test_the_path_is_signed_as_it_is_and_written_percent_encoded() -> None:
    url = Signer([KEY]).sign("/storage/é b.png", [])
    assert url.startswith("/storage/%C3%A9%20b.png?")
    assert Signer([KEY]).verify("GET", "/storage/é b.png", query_of(url)).query == []


@pytest.mark.usefixtures("at_a_thousand_seconds")
@pytest.mark.parametrize(
    ("expires", "valid"),
    [("1000", True), ("1001", True), ("999", False), ("0", False), ("999999999999", True), ("1000000000000", False),
     ("", False), ("-5", False), ("2e9", False), ("٣٠٠٠", False), ("2000.5", False), (" 2000", False)],
)  # fmt: skip
def test_a_signature_is_valid_up_to_and_with_the_second_when_it_expires(expires: str, valid: bool) -> None:
    query = [("expires", expires), ("key_id", "abcdefgh")]
    signed = [*query, ("signature", by_hand(KEY, "GET", PATH, query))]
    if valid:
        assert Signer([KEY]).verify("GET", PATH, signed).query == []
        return
    with pytest.raises(BadSignature, match="expired") as refusal:
        Signer([KEY]).verify("GET", PATH, signed)
    assert refusal.value.parameter == "signature"


def test_a_signature_of_before_names_no_key() -> None:
    verified = Signer([KEY]).verify("GET", PATH, [("signature", by_hand(KEY, "GET", PATH, []))])
    assert (verified.query, verified.key_id, verified.is_named) == ([], None, False)


def test_a_signature_says_the_signing_key_that_it_was_made_with() -> None:
    for own, other in ((KEY, OTHER), (OTHER, KEY)):
        query = [("key_id", signing_key_id(own))]
        assert (
            Signer([KEY, OTHER]).verify("GET", PATH, [*query, ("signature", by_hand(own, "GET", PATH, query))]).is_named
        )
        with pytest.raises(BadSignature) as refusal:
            Signer([KEY, OTHER]).verify("GET", PATH, [*query, ("signature", by_hand(other, "GET", PATH, query))])
        assert refusal.value.parameter == "key_id"


@pytest.mark.parametrize("signature", ["", "x", "é", "=" * 43, by_hand(OTHER, "GET", PATH, [])])
def test_any_other_text_is_no_signature(signature: str) -> None:
    for query in ([("signature", signature)], []):
        with pytest.raises(BadSignature) as refusal:
            Signer([KEY]).verify("GET", PATH, query)
        assert refusal.value.parameter == "signature"


def test_the_name_of_a_key_tells_nothing_of_it() -> None:
    assert signing_key_id(KEY) == signing_key_id(KEY.encode()) != signing_key_id(OTHER)
    assert re.fullmatch("sk-[0-9a-f]{12}", signing_key_id(KEY))
    assert signing_key_id(KEY)[3:] not in hashlib.sha256(KEY.encode()).hexdigest()


def test_without_a_key_nothing_is_signed() -> None:
    assert Signer([KEY]).can_sign and not Signer([]).can_sign


FULL = Ticket("id", "anna", "key1", 500, 1000, Visibility.SIGNED, 60, ("a", "b"), {"c": "d"}, True)


@pytest.mark.usefixtures("at_a_thousand_seconds")
@pytest.mark.parametrize("ticket", [FULL, Ticket("id", "anna", None, 500, 1001)])
def test_a_ticket_is_redeemed_as_it_was_issued(ticket: Ticket) -> None:
    assert Signer([OTHER, KEY]).redeem(Signer([KEY]).issue(ticket)) == ticket
    assert not Ticket("id", "anna", None, 500, 1001).damaged


@pytest.mark.usefixtures("at_a_thousand_seconds")
def test_a_ticket_ends() -> None:
    ended = Signer([KEY]).issue(replace(FULL, until=999))
    with pytest.raises(BadSignature, match="expired"):
        Signer([KEY]).redeem(ended)
    Signer([KEY]).redeem(Signer([KEY]).issue(replace(FULL, until=1000)))


def ticket_of(payload: bytes) -> str:
    text = base64.urlsafe_b64encode(payload).decode().rstrip("=")
    digest = hmac.new(KEY.encode(), f"ticket\n{text}".encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


@pytest.mark.usefixtures("at_a_thousand_seconds")
def test_nobody_else_makes_or_changes_a_ticket() -> None:
    text = Signer([KEY]).issue(FULL)
    payload, _, signature = text.partition(".")
    larger = base64.urlsafe_b64encode(base64.urlsafe_b64decode(payload + "==").replace(b"500", b"900")).decode()
    for bent in (
        f"{larger.rstrip('=')}.{signature}",
        payload,
        f"{payload}.",
        f".{signature}",
        "",
        f"{text}x",
        f"x{text}",
    ):
        with pytest.raises(BadSignature):
            Signer([KEY]).redeem(bent)
    with pytest.raises(BadSignature):
        Signer([OTHER]).redeem(text)
    request = query_of(Signer([KEY]).sign("/storage/", [], method="PUT"))
    with pytest.raises(BadSignature):
        Signer([KEY]).redeem(f"{payload}.{dict(request)['signature']}")


@pytest.mark.usefixtures("at_a_thousand_seconds")
def test_a_ticket_of_another_version_is_refused_as_one() -> None:
    assert Signer([KEY]).redeem(ticket_of(msgspec.json.encode(FULL))) == FULL
    for payload in (b"", b"{}", b"not JSON", b'{"id": 5}', b"\xff"):
        with pytest.raises(BadSignature, match="version"):
            Signer([KEY]).redeem(ticket_of(payload))


@pytest.mark.usefixtures("at_a_thousand_seconds")
def test_a_ticket_is_no_longer_than_a_query_can_be() -> None:
    least = len(Signer([KEY]).issue(replace(FULL, metadata={"c": ""})))
    fits = 4096 - least
    while len(text := Signer([KEY]).issue(replace(FULL, metadata={"c": "x" * fits}))) > 4096:
        fits -= 1
    assert 4093 <= len(text) <= 4096 and Signer([KEY]).redeem(text).owner == "anna"
    with pytest.raises(BadSignature):
        Signer([KEY]).redeem(Signer([KEY]).issue(replace(FULL, metadata={"c": "x" * (fits + 3)})))
