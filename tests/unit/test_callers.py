"""Who may do what: scopes, owners and visibilities; docs/access.md has the table."""

import pytest

from progimage.auth import DEFAULT_OWNER, NOBODY, Principal, Scope, Visibility, is_owner
from progimage.auth.caller import EVERYBODY, OPERATOR

READER = Principal("anna", frozenset({Scope.READ}), "key")
UPLOADER = Principal("anna", frozenset({Scope.UPLOAD}), "key")
ADMIN = Principal("anna", frozenset({Scope.ADMIN}), "key")


def test_a_key_may_do_what_its_scopes_say_and_an_admin_everything() -> None:
    for scope in Scope:
        assert READER.may(scope) is (scope is Scope.READ) and ADMIN.may(scope)
        assert not NOBODY.may(scope) and OPERATOR.may(scope)
        assert EVERYBODY.may(scope) is (scope is not Scope.ADMIN)


def test_a_key_acts_for_its_owner_and_an_admin_for_all() -> None:
    assert READER.owns("anna") and not READER.owns("bert") and ADMIN.owns("bert")
    assert EVERYBODY.owns(DEFAULT_OWNER) and not EVERYBODY.owns("anna") and not NOBODY.owns(DEFAULT_OWNER)


@pytest.mark.parametrize(
    ("principal", "owner", "hidden"),
    [
        (READER, "anna", True), (READER, "bert", False), (UPLOADER, "anna", False), (ADMIN, "bert", True),
        (NOBODY, "anna", False), (NOBODY, "", False), (EVERYBODY, DEFAULT_OWNER, True), (EVERYBODY, "anna", False),
    ],
)  # fmt: skip
def test_everybody_reads_what_is_public_and_its_owner_the_rest(principal: Principal, owner: str, hidden: bool) -> None:
    assert principal.reads(owner, Visibility.PUBLIC)
    for visibility in (Visibility.SIGNED, Visibility.KEY):
        assert principal.reads(owner, visibility) is hidden


def test_names_of_owners() -> None:
    for name in ("a", "A9", "anna@example.org", "a.b_c-d", "9", "x" * 64):
        assert is_owner(name), name
    for name in ("", ".a", "_a", "-a", "@a", "a b", "ä", "a/b", "a\n", "x" * 65):
        assert not is_owner(name), name
