"""Signatures of requests, without a server."""

import time
from urllib.parse import parse_qsl, urlsplit

import pytest

from progimage.auth import BadSignature, Signer, signing_key_id

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
        with pytest.raises(BadSignature, match=f"{name} is given 2 times") as refusal:
            Signer([KEY]).verify("GET", PATH, twice)
        assert refusal.value.parameter == name


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
