"""API keys: what they look like, which are valid, and what is kept of them."""

import base64
import hashlib
import re

import pytest

from progimage import clock
from progimage.auth import ApiKey, BadKey, Scope, new_key, parse_key
from progimage.auth.keys import hashed
from progimage.http.middleware.authentication import credentials

SCOPES = frozenset({Scope.READ})
ID, SECRET = "abcdefgh23456789", "s3cret_with_underscores"


@pytest.fixture(autouse=True)
def at_a_thousand_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: 1000.0)


def test_a_new_key_is_its_id_and_a_secret_of_which_only_a_hash_is_kept() -> None:
    new = new_key("anna", "for the shop", SCOPES, expires_at=2000.0)
    match = re.fullmatch(r"pgi_([a-z2-7]{16})_([A-Za-z0-9_-]{43})", new.text)
    assert match  # 80 bits in base32, 256 bits in base64url
    assert len(base64.urlsafe_b64decode(match[2] + "=")) == 32
    assert parse_key(new.text) == (new.key.id, match[2])
    assert new.key.sha256 == hashlib.sha256(match[2].encode()).hexdigest() and match[2] not in repr(new.key)
    assert new.key.matches(match[2]) and not new.key.matches(f"{match[2]}x") and not new.key.matches("")
    assert (new.key.owner, new.key.name, new.key.scopes) == ("anna", "for the shop", SCOPES)
    assert (new.key.created_at, new.key.expires_at, new.key.revoked_at) == (1000.0, 2000.0, None)
    assert new_key("anna", "", SCOPES).text != new.text and new_key("anna", "", SCOPES).key.expires_at is None


def test_whoever_uses_a_key_acts_for_its_owner() -> None:
    key = new_key("anna", "", SCOPES).key
    assert (key.principal.owner, key.principal.scopes, key.principal.key_id) == ("anna", SCOPES, key.id)


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "active"),
    [
        (None, None, True), (1000.1, None, True), (1000.0, None, False), (999.0, None, False),
        (None, 1.0, False), (2000.0, 1.0, False), (None, 0.0, False),
    ],
)  # fmt: skip
def test_a_key_is_valid_until_it_expires_or_is_revoked(
    expires_at: float | None, revoked_at: float | None, active: bool
) -> None:
    key = ApiKey(ID, "anna", "", hashed(SECRET), SCOPES, 1.0, expires_at, revoked_at)
    assert key.is_active is active


def test_a_secret_may_have_the_separator_in_it() -> None:
    assert parse_key(f"pgi_{ID}_{SECRET}") == (ID, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "", "pgi", "pgi_", f"pgi_{ID}", f"pgi_{ID}_", f"xyz_{ID}_{SECRET}", f"PGI_{ID}_{SECRET}", f"_{ID}_{SECRET}",
        f"pgi_{ID}x_{SECRET}", f"pgi_{ID[1:]}_{SECRET}", f"pgi__{SECRET}", f"pgi_{ID}_sécret", f"pgi-{ID}-{SECRET}",
    ],
)  # fmt: skip
def test_what_is_no_key_of_ours_is_known_without_a_database(text: str) -> None:
    with pytest.raises(BadKey):
        parse_key(text)


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        # RFC 6750, section 2.1; RFC 9110, section 11.1: the name of a scheme in any case.
        ("Bearer key", ["key"]),
        ("bearer key", ["key"]),
        ("BEARER   key ", ["key"]),
        ("Bearer", [""]),
        # RFC 7617: a user name and a password, of which only the password may have colons.
        (f"Basic {basic('user:key')}", ["key", "user"]),
        (f"basic {basic('user:k:e:y')}", ["k:e:y", "user"]),
        (f"Basic {basic('key:')}", ["", "key"]),
        (f"Basic {basic('key')}", ["", "key"]),
        (f"Basic {basic('ü:ß')}", ["ß", "ü"]),
        ("Basic not-base64!", []),
        ("Basic a2V5O", []),
        ("Basic " + base64.b64encode(b"\xff:\xfe").decode(), []),
        ("Basic", ["", ""]),
        ("Digest username=x", []),
        ("key", []),
        ("", []),
    ],
)
def test_an_authorization_header_may_carry_a_key_in_these_ways(header: str, texts: list[str]) -> None:
    assert credentials(header) == texts
