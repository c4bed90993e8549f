"""What browsers may do for pages of other origins, and by which names the service answers, through real servers."""

import base64
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from progimage.auth import Signer
from tests import pictures
from tests.integration.server import Server, serving

PNG = pictures.BY_MODE["RGB"]()
SIGNING_KEY = "sixteen characters or more"
EVIL = {"origin": "https://evil.example"}
SHOP = {"origin": "https://shop.example"}
FOREIGN = [
    EVIL, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {**EVIL, "sec-fetch-site": "cross-site"},
    {"origin": "null"},
]  # fmt: skip


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with keys, whose operator lists one other origin."""
    settings: dict[str, Any] = {
        "access": "keys",
        "cors_origins": '["https://shop.example"]',
        "signing_keys": f'["{SIGNING_KEY}"]',
    }
    with serving(tmp_path_factory.mktemp("keyed") / "data", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def alice(keyed: Server) -> httpx.Client:
    return keyed.as_owner("alice")


@pytest.fixture(scope="module")
def admin(keyed: Server) -> httpx.Client:
    return keyed.as_owner("root", "admin")


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def put(client: httpx.Client, **options: str) -> str:
    answer = client.put("/storage/", content=PNG, params=options)
    assert answer.status_code == 200, answer.text
    return answer.text


def basic(client: httpx.Client) -> dict[str, str]:
    """The headers of a browser that keeps the key of a client and adds it by itself."""
    key = client.headers["authorization"].removeprefix("Bearer ")
    return {"authorization": "Basic " + base64.b64encode(f"key:{key}".encode()).decode()}


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_a_foreign_page_neither_changes_nor_lists_an_open_service(server: Server, foreign: dict[str, str]) -> None:
    reference = server.put(PNG)
    client = server.client
    before = client.get("/account").json()
    assert kind(client.put("/storage/", content=PNG, headers=foreign)) == (403, "cross-origin")
    assert kind(client.post("/storage/", files={"data": PNG}, headers=foreign)) == (403, "cross-origin")
    assert kind(client.delete(f"/storage/{reference}", headers=foreign)) == (403, "cross-origin")
    assert kind(client.patch(f"/storage/{reference}", json={"labels": ["x"]}, headers=foreign)) == (403, "cross-origin")
    assert kind(client.post("/transform.png", content=PNG, headers=foreign)) == (403, "cross-origin")
    for path in ("/storage/", "/account", "/jobs", "/metrics"):
        answer = client.get(path, headers=foreign)
        assert kind(answer) == (403, "cross-origin") and "access-control-allow-origin" not in answer.headers
    assert client.get("/account").json() == before
    assert client.get(f"/storage/{reference}", headers=foreign).status_code == 200


def test_own_pages_and_other_clients_notice_nothing(server: Server) -> None:
    for own in (
        {},
        {"origin": server.url},
        {"origin": server.url, "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ):
        reference = server.client.put("/storage/", content=PNG, headers=own).text
        assert server.client.get("/storage/?limit=1", headers=own).json()["images"][0]["reference"] == reference
        assert server.client.delete(f"/storage/{reference}", headers=own).status_code == 204


def test_a_foreign_form_makes_no_administrators_key(keyed: Server, admin: httpx.Client) -> None:
    wanted = json.dumps({"owner": "evil", "scopes": ["admin"], "name": "made by a form"})
    form = {"content-type": "text/plain", **basic(admin)}
    for foreign in FOREIGN:
        for query in ("", "?ticket=x", "?signature=x"):
            answer = keyed.client.post(f"/keys{query}", content=wanted, headers=form | foreign)
            assert kind(answer) == (403, "cross-origin")
        assert kind(keyed.client.get("/audit", headers=basic(admin) | foreign)) == (403, "cross-origin")
    assert "made by a form" not in admin.get("/keys").text
    # The operator's own page may, and whoever knows the key.
    assert keyed.client.get("/keys", headers=basic(admin) | {"origin": keyed.url}).status_code == 200
    assert admin.get("/keys", headers=EVIL).status_code == 200


def test_a_listed_origin_may_do_everything(keyed: Server, alice: httpx.Client) -> None:
    own = basic(alice) | SHOP
    answer = keyed.client.put("/storage/", content=PNG, headers=own)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://shop.example"
    listed = keyed.client.get("/storage/", headers=own)
    assert listed.status_code == 200 and listed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "origin" in listed.headers["vary"].lower()
    assert keyed.client.delete(f"/storage/{answer.text}", headers=own).status_code == 204
    # And reads why something is refused.
    refused = keyed.client.get("/account", headers={**SHOP, "authorization": "Bearer bad"})
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == "https://shop.example"
    preflight = keyed.client.options(
        "/storage/x",
        headers={**SHOP, "access-control-request-method": "PATCH", "access-control-request-headers": "authorization"},
    )
    assert preflight.headers.get_list("access-control-allow-origin") == ["https://shop.example"]
    assert preflight.status_code == 204 and "PATCH" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]


def test_a_preflight_of_a_foreign_page(server: Server) -> None:
    reference = server.put(PNG)
    for method, path in (
        ("PUT", "/storage/"),
        ("DELETE", f"/storage/{reference}"),
        ("GET", "/storage/"),
        ("POST", "/keys"),
    ):
        answer = server.client.options(path, headers={**EVIL, "access-control-request-method": method})
        assert kind(answer) == (403, "cross-origin") and "access-control-allow-origin" not in answer.headers
    asked = {**EVIL, "access-control-request-method": "GET", "access-control-request-headers": "range"}
    answer = server.client.options(f"/storage/{reference}.webp", headers=asked)
    assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] == "*"
    assert not answer.content and answer.headers["access-control-allow-methods"] == "GET, HEAD"


def readable(answer: httpx.Response) -> bool:
    """Whether the scripts of a page of any origin may read an answer."""
    return answer.headers.get("access-control-allow-origin") == "*"


IMAGE_PATHS = [
    "/storage/{}", "/storage/{}.webp?width=20", "/storage/{}.auto", "/storage/{}/info", "/storage/{}/placeholder",
    "/storage/{}/palette", "/iiif/3/{}/info.json", "/iiif/2/{}/full/max/0/default.jpg", "/iiif/3/{}",
]  # fmt: skip


@pytest.mark.parametrize("path", IMAGE_PATHS)
def test_scripts_of_any_page_read_public_images(server: Server, path: str) -> None:
    url = path.format(server.put(PNG))
    for _ in range(3):  # made, from the cache, from memory
        answer = server.client.get(url, headers=EVIL)
        assert answer.status_code in (200, 303) and readable(answer), answer.headers
        assert "etag" in answer.headers["access-control-expose-headers"].lower()
    if path.endswith(("/info", "/3/{}")):
        return
    # Whoever asked first: what a cache keeps is right for all.
    assert readable(server.client.get(url))
    assert readable(server.client.get(url, headers=EVIL | {"if-none-match": answer.headers["etag"]}))


@pytest.mark.parametrize("path", [path for path in IMAGE_PATHS if path != "/iiif/3/{}"])
def test_scripts_of_other_pages_read_no_private_images(keyed: Server, alice: httpx.Client, path: str) -> None:
    for visibility in ("key", "signed"):
        url = path.format(put(alice, visibility=visibility))
        for _ in range(3):
            answer = keyed.client.get(url, headers=basic(alice) | EVIL)
            assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
            assert "origin" in answer.headers["vary"].lower()
        listed = keyed.client.get(url, headers=basic(alice) | SHOP)
        assert listed.headers["access-control-allow-origin"] == "https://shop.example"


def test_private_images_of_an_open_service_are_not_read_either(server: Server) -> None:
    reference = put(server.client, visibility="key")
    for path in (f"/storage/{reference}", f"/storage/{reference}.webp", f"/storage/{reference}/info"):
        for _ in range(3):
            assert "access-control-allow-origin" not in server.client.get(path, headers=EVIL).headers
    public = server.put(PNG)
    marked = f"/storage/{public}.png?watermark={reference}"
    for _ in range(3):
        answer = server.client.get(marked, headers=EVIL)
        assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


def test_a_page_reads_of_a_public_image_what_the_public_is_told(server: Server) -> None:
    reference = put(server.client, label="secret")
    assert server.get(f"{reference}/info").json()["labels"] == ["secret"]
    assert not readable(server.get(f"{reference}/info"))
    told = server.get(f"{reference}/info", headers=EVIL)
    assert readable(told) and told.json()["width"] and "labels" not in told.json()


def test_vary_names_all_that_an_answer_depends_on(keyed: Server, alice: httpx.Client) -> None:
    url = f"/storage/{put(alice, visibility='key')}.auto"
    answer = keyed.client.get(url, headers=basic(alice) | SHOP)
    assert {"accept", "origin"} <= {name.strip() for name in answer.headers["vary"].lower().split(",")}


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_tickets_and_signatures_work_from_any_page(keyed: Server, alice: httpx.Client, foreign: dict[str, str]) -> None:
    ticket = alice.post("/tickets", json={"max_bytes": 10**6}).json()["url"]
    reference = keyed.client.post(ticket, files={"data": PNG}, headers=foreign).text
    assert alice.get(f"/storage/{reference}").status_code == 200
    url = Signer([SIGNING_KEY]).sign(f"/storage/{reference}", [], 2_000_000_000, "DELETE")
    bad = url[:-4] + "AAAA"
    assert kind(keyed.client.delete(bad, headers=basic(alice) | foreign)) == (403, "bad-signature")
    assert kind(keyed.client.post(ticket, files={"data": PNG}, headers=basic(alice) | foreign)) == (403, "bad-ticket")
    assert keyed.client.delete(url, headers=foreign).status_code == 204


def raw(server: Server, request: str) -> tuple[int, str]:
    """The status and body of the answer to a request that no client would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.decode().partition("\r\n\r\n")
    status = re.match(r"HTTP/1\.[01] (\d+)", head)
    assert status
    return int(status[1]), body


def test_a_request_says_once_which_host_it_is_for(server: Server, keyed: Server) -> None:
    for one in (server, keyed):
        for path in ("/formats", "/healthz"):
            for hosts in (
                "",
                "Host: localhost\nHost: localhost\n",
                "Host: localhost\nHost: evil.example\n",
                "Host:\n",
                "Host: a b\n",
            ):
                status, body = raw(one, f"GET {path} HTTP/1.1\n{hosts}Connection: close\n\n")
                assert status == 400 and json.loads(body)["parameter"] == "Host", (path, hosts, body)
            assert raw(one, f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n\n")[0] == 200
            assert raw(one, f"GET {path} HTTP/1.0\n\n")[0] == 200
        assert raw(one, "GET /formats HTTP/1.0\nHost: localhost\nHost: localhost\n\n")[0] == 400


def test_a_name_that_was_rebound_to_this_machine_is_refused(server: Server, keyed: Server) -> None:
    reference = server.put(PNG)
    for host in ("evil.example", f"evil.example:{server.port}", "192.0.2.1", "localhost.evil.example"):
        for path in ("/", "/storage/", f"/storage/{reference}", f"/storage/{reference}.webp"):
            for _ in range(2):
                assert kind(server.client.get(path, headers={"host": host})) == (421, "wrong-host")
        answer = server.client.delete(f"/storage/{reference}", headers={"host": host, "origin": f"http://{host}"})
        assert kind(answer) == (421, "wrong-host")
        assert server.client.get("/healthz", headers={"host": host}).status_code == 200
        assert server.client.get("/readyz", headers={"host": host}).status_code == 200
        # Who has chosen keys has a service of that name, perhaps.
        assert keyed.client.get("/formats", headers={"host": host}).status_code == 200
    for host in ("localhost", "LOCALHOST:80", "images.localhost:1", "127.0.0.2", "[::1]:5000"):
        assert server.client.get(f"/storage/{reference}", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-forwarded-proto", "X-Forwarded-Host"])
def test_what_a_proxy_forwards_is_refused_until_access_is_chosen(server: Server, keyed: Server, header: str) -> None:
    reference = server.put(PNG)
    headers = {header: "for=192.0.2.1"}
    for _ in range(2):
        answer = server.client.get(f"/storage/{reference}", headers=headers)
        assert kind(answer) == (403, "access-not-chosen") and "PROGIMAGE_ACCESS" in answer.json()["detail"]
    assert kind(server.client.delete(f"/storage/{reference}", headers=headers)) == (403, "access-not-chosen")
    assert server.client.get("/readyz", headers=headers).status_code == 200
    assert keyed.client.get("/formats", headers=headers).status_code == 200


def test_the_public_url_is_a_name_and_an_origin_of_the_service(tmp_path: object) -> None:
    with serving(tmp_path / "data", public_url="https://images.example") as server:  # type: ignore[operator]
        own = {"host": "Images.Example", "origin": "https://images.example"}
        assert server.client.put("/storage/", content=PNG, headers=own).status_code == 200
        assert kind(server.client.get("/formats", headers={"host": "evil.example"})) == (421, "wrong-host")
