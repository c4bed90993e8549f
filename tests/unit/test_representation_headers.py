"""What a response says of a representation: who may keep it and how long, as what to save it, where it is."""

from urllib.parse import unquote

import pytest

from tests.unit.representations import DATE, ETAG, ask, cache_control, disposition, elsewhere, parameters

USUAL = "public, max-age=31536000, s-maxage=3600, immutable"


def test_a_response_names_its_version() -> None:
    headers = ask().headers
    assert headers["etag"] == f'"{ETAG}"' and headers["last-modified"] == DATE


def test_it_says_nothing_of_what_it_does_not_have() -> None:
    unsaid = {"content-disposition", "content-encoding", "vary", "link", "content-security-policy", "surrogate-key"}
    assert not unsaid & set(ask().headers)


def test_it_says_what_it_has() -> None:
    headers = ask(
        encoding="gzip", vary="Accept", links='<x>; rel="canonical"', surrogate=("surrogate-key", "a b"),
        filename="a.png",
    ).headers  # fmt: skip
    assert headers["content-encoding"] == "gzip" and headers["vary"] == "Accept"
    assert headers["link"] == '<x>; rel="canonical"' and headers["surrogate-key"] == "a b"
    assert headers["content-disposition"] == 'attachment; filename="a.png"'


def test_browsers_never_guess_another_type() -> None:
    assert ask(media_type="image/jpeg").headers["x-content-type-options"] == "nosniff"


def test_a_drawing_runs_no_scripts_and_loads_nothing() -> None:
    policy = ask(media_type="image/svg+xml").headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy and "sandbox" in policy
    assert not any(one.startswith("script-src") or "allow" in one for one in policy)


@pytest.mark.parametrize(("status", "header"), [(302, "location"), (200, "x-accel-redirect")])
def test_bytes_that_are_elsewhere_are_pointed_to(status: int, header: str) -> None:
    reply = elsewhere(header, "/there", status)
    assert (reply.status, reply.headers[header], reply.body, reply.is_complete) == (status, "/there", b"", True)
    # A proxy that adds the bytes has the type of them from us; a redirect has none.
    assert reply.headers.get("content-type") == ("image/png" if status == 200 else None)
    assert "content-length" not in reply.headers and reply.headers["etag"] == f'"{ETAG}"'


def test_a_proxy_that_adds_the_bytes_makes_a_usual_response_of_it() -> None:
    assert elsewhere("x-accel-redirect", "/there").status == 200


# RFC 6266, with the grammar of RFC 8187 for what is not ASCII.
@pytest.mark.parametrize("name", ["photo.jpg", "a b (1).png", "x;y=z.gif", "~'!#$&*.png"])
def test_a_plain_name_is_given_once_in_quotes(name: str) -> None:
    header = disposition(name)
    assert header.startswith("attachment;") and "filename*" not in header
    assert parameters(header).get_filename() == name


@pytest.mark.parametrize("name", ["Straße.jpg", "写真.png", 'a"b.png', "a\\b.png", "100%.png", "a\nb.png", "ÿ\x7f.png"])
def test_any_other_name_is_given_in_utf_8_too(name: str) -> None:
    header = disposition(name)
    assert header.isascii() and header.isprintable()  # no line can be added to the response
    plain, extended = (part.strip() for part in header.split("; ")[1:])
    assert extended.startswith("filename*=UTF-8''") and unquote(extended.partition("''")[2]) == name
    safe = plain.removeprefix('filename="').removesuffix('"')
    assert len(safe) == len(name) and not set(safe) & set('"\\%')  # old clients get one that is as long
    assert all(kept in ("_", given) for kept, given in zip(safe, name, strict=True))


def test_what_everybody_may_keep_forever_stays_as_it_is() -> None:
    assert cache_control(USUAL, private=False, seconds=None) == USUAL


@pytest.mark.parametrize("seconds", [None, 0, 60])
def test_what_is_private_is_kept_by_no_shared_cache(seconds: int | None) -> None:
    for usual in (USUAL, "Public, S-MaxAge=60, max-age=5", "max-age=9", "s-maxage=1,public"):
        directives = [one.strip().lower() for one in cache_control(usual, private=True, seconds=seconds).split(",")]
        assert directives[0] == "private" and "public" not in directives
        assert not any(one.startswith("s-maxage") for one in directives)


@pytest.mark.parametrize("seconds", [0, 1, 3599, 3600, 3601, 31535999])
def test_what_ends_is_kept_no_longer_than_that(seconds: int) -> None:
    given = dict(
        one.strip().split("=") for one in cache_control(USUAL, private=False, seconds=seconds).split(",") if "=" in one
    )
    assert given == {"max-age": str(min(seconds, 31536000)), "s-maxage": str(min(seconds, 3600))}


def test_what_ends_is_not_immutable() -> None:
    assert "immutable" not in cache_control("max-age=5, Immutable", private=False, seconds=9).lower()
    assert "immutable" in cache_control("max-age=5, immutable", private=True, seconds=None)


def test_no_time_is_made_longer_and_no_other_directive_is_touched() -> None:
    for private in (False, True):
        found = cache_control("max-age=5, stale-while-revalidate=60, no-transform", private=private, seconds=30)
        assert found.removeprefix("private, ") == "max-age=5, stale-while-revalidate=60, no-transform"
    assert cache_control("no-store", private=False, seconds=5) == "no-store"
    assert cache_control("max-age=x", private=False, seconds=5) == "max-age=x"
