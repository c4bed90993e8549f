"""What every response tells browsers, whatever it is: no guessing of types, no framing, no script that is not ours."""

import pytest

from progimage.http.middleware.security_headers import security_headers

JSON = (b"content-type", b"application/json")
IMAGE = (b"content-type", b"image/png")


def added(path: str, *headers: tuple[bytes, bytes]) -> dict[str, str]:
    found = [(name.decode(), value.decode()) for name, value in security_headers(path, headers)]
    assert len(dict(found)) == len(found)
    return dict(found)


def policy(path: str, *headers: tuple[bytes, bytes]) -> dict[str, str]:
    directives = (one.strip().partition(" ") for one in added(path, *headers)["content-security-policy"].split(";"))
    return {name: value for name, _, value in directives}


def test_images_can_be_shown_on_other_sites_and_are_taken_for_nothing_else() -> None:
    assert added("/storage/1", IMAGE) == {
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
    }
    assert added("/storage/1") == added("/storage/1", IMAGE)


@pytest.mark.parametrize(
    "kind", [b"application/json", b"application/problem+json", b"text/plain", b"text/html; charset=utf-8"]
)
def test_a_document_loads_nothing_and_is_framed_by_nobody(kind: bytes) -> None:
    found = policy("/storage/", (b"content-type", kind))
    assert found == {"default-src": "'none'", "frame-ancestors": "'none'"}
    assert added("/storage/", (b"content-type", kind))["referrer-policy"] == "no-referrer"


def test_our_page_runs_only_what_is_ours() -> None:
    page = policy("/", (b"content-type", b"text/html"))
    assert page["default-src"] == page["frame-ancestors"] == page["base-uri"] == page["form-action"] == "'none'"
    assert page["script-src"] == page["style-src"] == page["connect-src"] == "'self'"


def test_only_the_pages_of_the_documentation_have_scripts_in_them() -> None:
    for path in ("/docs", "/docs/", "/docs/openapi.json"):
        assert "'unsafe-inline'" in policy(path, (b"content-type", b"text/html"))["script-src"]
    for path in ("/", "/page/docs", "/storage/docs"):
        assert "'unsafe-inline'" not in str(policy(path, (b"content-type", b"text/html")))


def test_what_a_response_says_itself_is_not_said_twice() -> None:
    own = (b"content-security-policy", b"sandbox")
    assert "content-security-policy" not in added("/storage/1", (b"content-type", b"text/html"), own)
    assert "x-content-type-options" not in added("/storage/1", IMAGE, (b"x-content-type-options", b"nosniff"))
