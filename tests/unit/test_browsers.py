"""What pages of other origins may do, by the headers that browsers send; and which hosts the service answers as."""

from types import SimpleNamespace
from typing import Any

import pytest

from progimage.http.middleware import hosts as hosts_module
from progimage.http.middleware.cors import Browsers, is_foreign, is_public, is_public_read, note_visibility
from progimage.http.middleware.hosts import Hosts, host_name, is_loopback_name
from progimage.problems import Problem

IMAGE = "/storage/7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90"
LISTED = "https://shop.example"
EVIL = "https://evil.example"
LISTS = (
    "/storage",
    "/storage/",
    "/storage//",
    "//storage/",
    "/account",
    "/audit",
    "/keys",
    "/owners",
    "/jobs",
    "/jobs/x",
)
WRITES = (
    ("PUT", "/storage/"), ("PUT", "/storage/a.png"), ("POST", "/storage/"), ("POST", "/storage/import"),
    ("POST", "/keys"), ("POST", "/keys/x/rotate"), ("DELETE", "/keys/x"), ("PUT", "/owners/x"), ("POST", "/sign"),
    ("POST", "/tickets"), ("PATCH", IMAGE), ("DELETE", IMAGE), ("POST", f"{IMAGE}/undelete"), ("POST", "/transform"),
)  # fmt: skip


def scope(method: str, path: str, query: str = "", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs, "state": {},
        "http_version": "1.1",
    }  # fmt: skip


def allowed(
    method: str,
    path: str,
    query: str = "",
    *,
    host: str = "images.example",
    origin: str | None = None,
    site: str | None = None,
    bearer: bool = False,
    origins: tuple[str, ...] = (),
    public_url: str | None = None,
) -> bool:
    browsers = Browsers(list(origins), public_url)
    given = [None if value is None else value.encode() for value in (host, origin, site)]
    problem = browsers.refusal(scope(method, path, query), *given, bearer=bearer)
    if problem:
        assert problem.status == 403 and problem.parameter in ("Origin", "Sec-Fetch-Site") and problem.allowed
    return problem is None


@pytest.mark.parametrize(("method", "path"), [*WRITES, *(("GET", path) for path in LISTS)])
def test_only_own_and_listed_pages_write_and_list(method: str, path: str) -> None:
    own = "https://images.example"
    assert allowed(method, path, origin=own)
    assert allowed(method, path, origin=own, site="same-origin")
    assert allowed(method, path, site="same-origin") and allowed(method, path, site="none")
    assert allowed(method, path, origin=LISTED, site="cross-site", origins=(LISTED,))
    assert allowed(method, path, origin=LISTED, site="cross-site", origins=("https://*.example",))
    assert allowed(method, path, origin=EVIL, site="cross-site", origins=("*",))
    assert allowed(method, path, origin=EVIL, site="cross-site", bearer=True)
    for site in ("cross-site", "same-site", None, "nonsense", "same-origin, none"):
        assert not allowed(method, path, origin=EVIL, site=site, origins=(LISTED,))
    for site in ("cross-site", "same-site"):
        assert not allowed(method, path, site=site, origins=(LISTED,))
        assert not allowed(method, path, origin=own, site=site)  # TLS or not: another site says the browser
    for origin in (
        "null",
        "",
        "https://images.example, https://evil.example",
        f"{EVIL}:443",
        "https://images.example.evil",
    ):
        assert not allowed(method, path, origin=origin, origins=(LISTED,)) and not allowed(method, path, origin=origin)
    assert not allowed(method, path, origin="null", site="same-origin", origins=("*",))


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("images.example", "https://images.example", True),
        ("images.example", "http://images.example", True),  # a proxy may speak TLS for us
        ("images.example:443", "https://images.example", True),
        ("Images.Example:80", "http://images.example", True),
        ("images.example:443", "http://images.example", False),
        ("localhost:5000", "http://localhost:5000", True),
        ("localhost:5000", "http://localhost:3000", False),
        ("localhost:5000", "http://127.0.0.1:5000", False),
        ("[::1]:5000", "http://[::1]:5000", True),
    ],
)
def test_the_own_origin_without_a_site(host: str, origin: str, own: bool) -> None:
    assert allowed("PUT", "/storage/", host=host, origin=origin) is own


def test_the_public_url_is_the_own_origin() -> None:
    for url in ("https://images.example:443", "HTTPS://Images.Example", "https://images.example/below"):
        assert allowed("PUT", "/storage/", host="node1:5000", origin="https://images.example", public_url=url)
    url = "https://images.example/"
    assert allowed("PUT", "/storage/", host="node1:5000", origin="https://images.example", public_url=url)
    assert allowed(
        "PUT", "/storage/", host="node1:5000", origin="https://images.example", site="cross-site", public_url=url
    )
    assert not allowed("PUT", "/storage/", host="node1:5000", origin="https://images.example")
    assert not allowed("PUT", "/storage/", host="node1:5000", origin="http://images.example", public_url=url)


@pytest.mark.parametrize("origin", [EVIL, "null"])
def test_signatures_and_tickets_let_any_page_in_where_they_are_looked_at(origin: str) -> None:
    foreign: dict[str, Any] = {"origin": origin, "site": "cross-site"}
    assert allowed("POST", "/storage/", "ticket=x", **foreign)
    assert allowed("PUT", "/storage/", "ticket=x", **foreign)
    assert allowed("PUT", "/storage/a.png", "ticket=x", **foreign)
    assert allowed("DELETE", IMAGE, "expires=1&signature=x", **foreign)
    assert allowed("DELETE", IMAGE, "%73ignature=x", **foreign)
    for method, path in WRITES:
        for query in ("ticket=x", "signature=x", "ticket=x&signature=x"):
            uploads = (method == "PUT" and path.startswith("/storage")) or (method, path) == ("POST", "/storage/")
            signed = (method, path) == ("DELETE", IMAGE)
            right = (uploads and "ticket" in query) or (signed and "signature" in query)
            assert allowed(method, path, query, **foreign) is right, (method, path, query)
    assert not allowed("GET", "/storage/", "signature=x&ticket=x", **foreign)
    assert not allowed("POST", "/storage/", "a=ticket", **foreign)


def test_any_page_reads_what_is_public() -> None:
    for path in ("/", IMAGE, f"{IMAGE}.webp", f"{IMAGE}/info", "/iiif/3/x/info.json", "/formats", "/docs", "/healthz"):
        for method in ("GET", "HEAD"):
            assert is_public_read(method, path) and allowed(method, path, origin=EVIL, site="cross-site")
        assert not is_public_read("POST", path)
    for path in (*LISTS, "/metrics", "/storage/ /".replace(" ", "/"), "/nothing"):
        assert not is_public_read("GET", path), path


def test_a_foreign_page_is_known_as_one() -> None:
    browsers = Browsers([LISTED], None)
    for origin, foreign in ((EVIL, True), (LISTED, False), ("https://images.example", False)):
        request = scope("GET", f"{IMAGE}/info")
        assert browsers.refusal(request, b"images.example", origin.encode(), None, bearer=False) is None
        assert is_foreign(request) is foreign


def preflight(origins: list[str], origin: str, method: str, path: str) -> dict[str, str]:
    request = scope(
        "OPTIONS", path, origin=origin, access_control_request_method=method,
        access_control_request_headers="authorization",
    )  # fmt: skip
    browsers = Browsers(origins, None)
    try:
        found = list(browsers.preflight(request, origin.encode()).items())
    except Problem as problem:
        assert problem.status == 403
        return {}
    found += [(name.decode(), value.decode()) for name, value in browsers.response_headers(request, origin.encode())]
    assert len(dict(found)) == len(found)  # a browser takes no header twice
    return dict(found)


def test_preflights() -> None:
    for method, path in (*WRITES, ("GET", "/storage/"), ("GET", "/account"), ("PUT", IMAGE)):
        assert preflight([], EVIL, method, path) == preflight([LISTED], EVIL, method, path) == {}
        listed = preflight([LISTED], LISTED, method, path)
        assert listed["access-control-allow-origin"] == LISTED and listed["vary"] == "Origin"
        assert method in listed["access-control-allow-methods"].split(", ")
        assert listed["access-control-allow-headers"] == "authorization"
        assert preflight(["*"], EVIL, method, path)["access-control-allow-origin"] == "*"
    public = preflight([], EVIL, "GET", f"{IMAGE}.webp")
    assert public["access-control-allow-origin"] == "*" and public["access-control-allow-methods"] == "GET, HEAD"
    assert "range" in public["access-control-allow-headers"]
    assert "authorization" not in public["access-control-allow-headers"] != "*"
    assert "access-control-allow-credentials" not in public


def answer(origins: list[str], origin: str | None, method: str = "GET", visibilities: tuple[bool, ...] = ()) -> dict:
    request = scope(method, IMAGE)
    for public in visibilities:
        note_visibility(request, public=public)
    pairs = Browsers(origins, None).response_headers(request, None if origin is None else origin.encode())
    headers = {name.decode(): value.decode() for name, value in pairs}
    headers.pop("access-control-expose-headers", None)
    return headers


def test_answers_may_be_read_by_any_page_if_all_that_is_in_them_is_public() -> None:
    everybody = {"access-control-allow-origin": "*"}
    # The same whoever asks, so that a cache can give one page what it kept for another.
    for origin in (None, EVIL, LISTED, "null"):
        for origins in ([], [LISTED], ["*"]):
            assert answer(origins, origin, visibilities=(True,)) == everybody
            assert answer(origins, origin, "HEAD", (True, True)) == everybody
    for visibilities in ((), (False,), (True, False), (False, True)):
        assert answer([], EVIL, visibilities=visibilities) == {}
        assert answer([LISTED], EVIL, visibilities=visibilities) == {"vary": "Origin"}
        assert answer([LISTED], None, visibilities=visibilities) == {"vary": "Origin"}
        assert answer([LISTED], LISTED, visibilities=visibilities) == {
            "access-control-allow-origin": LISTED,
            "vary": "Origin",
        }
        assert answer(["*"], EVIL, visibilities=visibilities) == everybody
    assert answer([], EVIL, "POST", (True,)) == {}


def test_names_of_hosts() -> None:
    for given, name in (
        ("localhost", "localhost"), ("LOCALHOST:5000", "localhost"), ("localhost.:80", "localhost"), ("a_b:", "a_b"),
        ("[::1]:5000", "::1"), ("127.0.0.1", "127.0.0.1"), ("", None), ("a b", None), ("a/b", None), ("a@b", None),
        ("a:b", None), ("[::1", None), ("a,b", "a,b"), ("a:1:2", None), ("é", None),
    ):  # fmt: skip
        assert host_name(given.encode()) == name, given
    for name in ("localhost", "images.localhost", "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"):
        assert is_loopback_name(name), name
    for name in (
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "10.0.0.1",
        "::",
        "127.1",
        "1",
    ):
        assert not is_loopback_name(name), name


def refused(hosts: list[bytes], forwarded: bytes | None = None, **more: Any) -> tuple[int, str | None] | None:
    chosen, public_url = more.pop("chosen", False), more.pop("public_url", None)
    request = scope("GET", more.pop("path", "/formats")) | more
    problem = Hosts(public_url, chosen=chosen).refusal(request, hosts, forwarded)
    return (problem.status, problem.parameter) if problem else None


def test_a_request_says_once_which_host_it_is_for() -> None:
    for chosen in (False, True):
        for path in ("/formats", "/healthz"):
            for hosts in ([], [b""], [b"localhost", b"localhost"], [b"", b"localhost"], [b"a b"]):
                assert refused(hosts, path=path, chosen=chosen) == (400, "Host")
        assert (
            refused([], http_version="1.0", chosen=chosen) is refused([b""], http_version="1.0", chosen=chosen) is None
        )
        assert refused([b"a", b"b"], http_version="1.0", chosen=chosen) == (400, "Host")


def test_hosts_are_held_against_our_names_until_access_is_chosen() -> None:
    for host in (b"localhost:5000", b"127.0.0.1", b"[::1]:5000", b"Images.Example:8443"):
        assert refused([host], public_url="https://images.example") is None
    for host in (b"evil.example:5000", b"192.168.0.7", b"images.example.evil"):
        assert refused([host], public_url="https://images.example") == (421, "Host")
        assert refused([host], chosen=True) is None
        assert refused([host], path="/healthz") is refused([host], path="/readyz") is None


def test_what_a_proxy_forwards_is_refused_until_access_is_chosen() -> None:
    for header in (b"forwarded", b"x-forwarded-for", b"x-forwarded-host"):
        assert refused([b"localhost"], header) == (403, header.decode())
        assert refused([b"localhost"], header, chosen=True) is refused([b"localhost"], header, path="/readyz") is None


def test_a_refusal_says_what_was_sent_and_what_would_do() -> None:
    browsers = Browsers([], None)
    for origin, site, parameter, given in (
        (b"https://evil.example", b"cross-site", "Origin", "https://evil.example"),
        (None, b"cross-site", "Sec-Fetch-Site", "cross-site"), (b"x" * 500, None, "Origin", "x" * 200),
    ):  # fmt: skip
        problem = browsers.refusal(scope("PUT", "/storage/"), b"images.example", origin, site, bearer=False)
        assert problem is not None and (problem.parameter, problem.given) == (parameter, given)
        assert "PROGIMAGE_CORS_ORIGINS" in str(problem.allowed)


def test_a_request_of_no_page_is_nobodys() -> None:
    request = scope("PUT", "/storage/")
    assert Browsers([LISTED], None).refusal(request, b"images.example", None, None, bearer=False) is None
    assert not is_foreign(request) and not is_public(request)


def test_a_request_without_a_host_is_of_no_origin() -> None:
    assert Browsers([], None).refusal(scope("PUT", "/storage/"), None, b"http://a", None, bearer=False) is not None


def test_a_preflight_is_answered_to_any_page() -> None:
    assert allowed("OPTIONS", "/keys", origin=EVIL, site="cross-site")


def test_answers_are_as_public_as_the_least_public_image_in_them() -> None:
    for visibilities, public in (((), False), ((True,), True), ((True, True), True), ((True, False, True), False)):
        request = scope("GET", IMAGE)
        for one in visibilities:
            note_visibility(request, public=one)
        assert is_public(request) is public


def test_only_images_are_announced_to_any_page() -> None:
    for path in ("/storage/", "/storage", "/iiif/", "/formats", "/", "/docs/x"):
        assert preflight([], EVIL, "GET", path) == {}
    for path in (IMAGE, "/iiif/3/x/info.json"):
        assert preflight([], EVIL, "HEAD", path)


def test_scripts_may_read_the_header_fields_that_tell_of_an_image() -> None:
    request = scope("GET", IMAGE)
    note_visibility(request, public=True)
    told = (
        dict(Browsers([], None).response_headers(request, None))[b"access-control-expose-headers"].decode().split(", ")
    )
    assert {"Content-Disposition", "Content-Range", "ETag", "X-Request-ID"} == set(told)


def test_a_preflight_without_header_fields_allows_none() -> None:
    request = scope("OPTIONS", "/keys", access_control_request_method="POST")
    found = Browsers([LISTED], None).preflight(request, LISTED.encode())
    assert "access-control-allow-headers" not in found and found["access-control-max-age"] == "600"


@pytest.mark.parametrize(
    ("url", "origin", "own"),
    [
        ("http://a.example:80", "http://a.example", True), ("https://a.example:443/x", "https://a.example", True),
        ("http://a.example:443", "http://a.example", False), ("http://a.example:443", "http://a.example:443", True),
        ("https://a.example:8443", "https://a.example:8443", True), ("https://a.example", "https://A.Example", True),
    ],
)  # fmt: skip
def test_the_usual_port_belongs_to_no_origin(url: str, origin: str, own: bool) -> None:
    assert allowed("PUT", "/storage/", host="node1", origin=origin, site="cross-site", public_url=url) is own


def test_what_is_wrong_with_a_host_is_said() -> None:
    def given(names: list[bytes]) -> tuple[object, object]:
        problem = Hosts(None, chosen=False).refusal(scope("GET", "/formats"), names, None)
        assert problem is not None
        return problem.given, problem.allowed

    assert given([]) == given([b""]) != given([b"a b"]) and "Host" in str(given([])[0])
    assert str(given([b"a", b"b", b"c"])[0]).startswith("3 ")
    assert given([b"a b" * 99])[0] == ("a b" * 99)[:100] and given([b"a" * 200])[0] == "a" * 100
    assert given([b"Evil.Example:80"])[0] == "evil.example"


def test_names_of_http_1_0_are_none() -> None:
    for version in ("1.0", "1"):  # RFC 9112, section 3.2: only from 1.1 on a request has to have one
        assert refused([], http_version=version) is None
    for version in ("1.1", "2", "3"):
        assert refused([], http_version=version) == (400, "Host")


def test_the_operator_is_warned_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    seconds = 5000.0
    monkeypatch.setattr(hosts_module, "log", SimpleNamespace(warning=lambda text, header: warned.append(header)))
    monkeypatch.setattr(hosts_module, "time", SimpleNamespace(monotonic=lambda: seconds))
    guard = Hosts(None, chosen=False)
    for seconds, count in ((5000.0, 1), (5000.1, 1), (5059.9, 1), (5060.0, 2), (5061.0, 2), (5121.0, 3)):
        assert guard.refusal(scope("GET", "/formats"), [b"localhost"], b"forwarded") is not None
        assert len(warned) == count, seconds
    seconds = 0.0  # just after a start
    assert Hosts(None, chosen=False).refusal(scope("GET", "/formats"), [b"localhost"], b"forwarded")
    assert len(warned) == 4
