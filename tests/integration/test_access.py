"""Who may do what, through the real server, with two owners and somebody without a key."""

import base64
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from progimage.auth import Signer
from tests import pictures
from tests.blobs import blob_files
from tests.integration.server import Server, eventually, serving

PNG = pictures.BY_MODE["RGB"]()
SIGNING_KEYS = ["the newest of the signing keys", "one that is on its way out"]
PRESETS = '{"thumb": "width=20"}'


@dataclass
class House:
    """A deployment with keys, two owners, an administrator, and a client without a key."""

    server: Server
    alice: httpx.Client
    bob: httpx.Client
    admin: httpx.Client
    nobody: httpx.Client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings: dict[str, Any] = {
        "access": "keys",
        "signing_keys": f'["{SIGNING_KEYS[0]}", "{SIGNING_KEYS[1]}"]',
        "presets": PRESETS,
        "workers": 2,
    }
    with serving(tmp_path_factory.mktemp("house") / "data", **settings) as server:
        clients = server.as_owner("alice"), server.as_owner("bob"), server.as_owner("root", "admin")
        yield House(server, *clients, server.client)


def put(client: httpx.Client, data: bytes = PNG, **options: str) -> str:
    answer = client.put("/storage/", content=data, params=options)
    assert answer.status_code == 200, answer.text
    return answer.text


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


EVERYTHING = [
    ("PUT", "/storage/"),
    ("POST", "/storage/"),
    ("GET", "/storage/"),
    ("PATCH", "/storage/{reference}"),
    ("DELETE", "/storage/{reference}"),
    ("POST", "/storage/{reference}/undelete"),
    ("POST", "/storage/renditions"),
    ("POST", "/storage/import"),
    ("POST", "/transform.png"),
    ("POST", "/info"),
    ("POST", "/tickets"),
    ("POST", "/sign"),
    ("GET", "/account"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("DELETE", "/keys/x"),
    ("POST", "/keys/x/rotate"),
    ("GET", "/owners"),
    ("PUT", "/owners/alice"),
    ("GET", "/audit"),
]
BODIES = {
    "/storage/{reference}": {},
    "/storage/renditions": {"references": [], "extension": "png"},
    "/storage/import": {"urls": ["http://example.org"]},
    "/tickets": {"max_bytes": 1},
    "/sign": {"url": "/storage/x"},
    "/keys": {"owner": "x", "scopes": ["read"]},
    "/keys/x/rotate": {},
    "/owners/alice": {},
}


def ask(client: httpx.Client, method: str, path: str, reference: str) -> httpx.Response:
    body = (
        {"json": BODIES[path]}
        if path in BODIES and method != "DELETE"
        else {"content": PNG if method != "GET" else b""}
    )
    return client.request(method, path.format(reference=reference), **body)


def test_without_a_key_nothing_but_public_reading(house: House) -> None:
    reference = put(house.alice)
    for method, path in EVERYTHING:
        answer = ask(house.nobody, method, path, reference)
        assert kind(answer) == (401, "key-needed"), (method, path, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert house.nobody.get(f"/storage/{reference}").content == PNG
    assert house.nobody.get(f"/storage/{reference}.webp?width=10").status_code == 200
    assert set(house.nobody.get(f"/storage/{reference}/info").json()).isdisjoint({"owner", "labels", "metadata"})
    for path in ("/formats", "/healthz", "/readyz", "/metrics", "/docs", "/docs/openapi.json"):
        assert house.nobody.get(path).status_code == 200


SCOPES = ("upload", "read", "delete", "transform", "admin")
PUBLIC = {
    "/storage/{reference}", "/storage/{reference}.{extension}", "/storage/{reference}/info",
    "/storage/{reference}/placeholder", "/storage/{reference}/palette", "/formats", "/parameters", "/healthz",
    "/readyz", "/metrics",
}  # fmt: skip
"""What is answered without a key, as far as an image's visibility allows it."""


def documented() -> dict[tuple[str, str], set[str]]:
    """Which scopes allow which request, as the table of docs/access.md says."""
    table: dict[tuple[str, str], set[str]] = {}
    for line in (Path(__file__).parents[2] / "docs" / "access.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and re.match(r"`[A-Z]+ /", cells[0]):
            scopes = {scope for scope, cell in zip(SCOPES, cells[1:], strict=True) if cell == "yes"}
            for one in re.findall(r"`([^`]+)`", cells[0]):
                method, path = one.split(" ")
                table[method, path] = scopes
    return table


def test_the_table_of_scopes_has_every_request(house: House) -> None:
    paths = house.nobody.get("/docs/openapi.json").json()["paths"]
    declared = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if method in ("get", "put", "post", "patch", "delete") and not path.startswith("/iiif")
        if not (method == "get" and path in PUBLIC)
    } - {("PUT", "/storage/{reference}")}  # where curl -T puts the name of its file
    assert set(documented()) == declared


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_allows_what_its_scopes_say(house: House, scope: str) -> None:
    client = house.server.as_owner("carol", scope)
    bodies = {
        "/storage/import": {"urls": ["http://example.org"]}, "/tickets": {"max_bytes": 1},
        "/storage/{reference}": {}, "/sign": {"url": "/storage/x"}, "/keys": {"owner": "x", "scopes": []},
        "/storage/renditions": {"references": [], "extension": "png"}, "/keys/{id}/rotate": {},
        "/owners/{owner}": {},
    }  # fmt: skip
    for (method, path), scopes in documented().items():
        body: dict[str, Any] = {"json": bodies[path]} if path in bodies and method in ("POST", "PUT", "PATCH") else {}
        if not body and method in ("PUT", "POST") and path != "/storage/{reference}/undelete" and "retry" not in path:
            body = {"content": PNG}
        reference = "00000000-0000-4000-8000-000000000000"
        filled = path.format(reference=reference, id="x", owner="carol", extension="png")
        answer = client.request(method, filled, **body)
        if scope in scopes:
            assert answer.status_code not in (401, 403, 405) or kind(answer)[1] == "url-not-allowed", (
                path,
                answer.text,
            )
        else:
            assert kind(answer) == (403, "scope-missing"), (method, path, answer.text)


def test_uploading_alone_reads_nothing(house: House) -> None:
    server = house.server
    writer, reader = server.as_owner("wilma", "upload"), server.as_owner("wilma", "upload", "read")
    deleter = server.as_owner("wilma", "delete")
    reference = put(writer, visibility="key", label="secret")
    for change in ({"labels": ["other"]}, {}):
        answer = writer.patch(f"/storage/{reference}", json=change)
        assert (answer.status_code, answer.content) == (204, b"")
    refused = writer.patch(f"/storage/{reference}", json={"visibility": "public"})
    assert kind(refused) == (403, "scope-missing") and "read" in refused.json()["allowed"]
    assert kind(writer.patch(f"/storage/{reference}", json={"expires": "1d"})) == (403, "scope-missing")
    assert house.nobody.get(f"/storage/{reference}").status_code == 404
    assert writer.get(f"/storage/{reference}").status_code == 404
    assert reader.patch(f"/storage/{reference}", json={"visibility": "public"}).json()["labels"] == ["other"]
    assert deleter.delete(f"/storage/{reference}").status_code == 204
    answer = deleter.post(f"/storage/{reference}/undelete")
    assert (answer.status_code, answer.content) == (204, b"")
    assert reader.get(f"/storage/{reference}").status_code == 200


def test_who_may_read_what(house: House) -> None:
    """Every identity, at every path of an image, of each visibility: who is let in was worked out by hand."""
    server, admin = house.server, house.server.as_owner("root", "admin")
    wanda = server.as_owner("wanda")
    owned = {visibility: put(wanda, visibility=visibility) for visibility in ("public", "signed", "key")}
    gone = admin.post("/keys", json={"owner": "wanda", "scopes": ["read"]}).json()
    revoked = server.new_client(headers={"authorization": f"Bearer {gone['key']}"})
    signed_by_gone = {
        path: revoked.post("/sign", json={"url": path}).json()["url"]
        for reference in owned.values()
        for path in (f"/storage/{reference}", f"/storage/{reference}.webp?width=9")
    }
    assert admin.delete(f"/keys/{gone['id']}").status_code == 204
    plain = ["", ".webp?width=9", "/info", "/placeholder", "/palette"]
    iiif = ["full/max/0/default.png", "info.json"]
    identities: dict[str, tuple[httpx.Client, set[str]]] = {
        "nobody": (house.nobody, {"public"}),
        "another owner": (house.bob, {"public"}),
        "its owner": (wanda, {"public", "signed", "key"}),
        "an administrator": (admin, {"public", "signed", "key"}),
        **{
            f"its owner's key to {scope} alone": (
                server.as_owner("wanda", scope), {"public", "signed", "key"} if scope == "read" else {"public"},
            )
            for scope in ("upload", "read", "delete", "transform")
        },
    }  # fmt: skip
    for who, (client, sees) in identities.items():
        for visibility, reference in owned.items():
            paths = [f"/storage/{reference}{end}" for end in plain] + [f"/iiif/3/{reference}/{end}" for end in iiif]
            for path in paths:
                for method in ("GET", "HEAD"):
                    if method == "HEAD" and path.rpartition("/")[2] in ("info", "placeholder", "palette"):
                        continue
                    status = client.request(method, path).status_code
                    assert status == (200 if visibility in sees else 404), (who, visibility, method, path, status)
    for visibility, reference in owned.items():
        for path in (f"/storage/{reference}", f"/storage/{reference}.webp?width=9"):
            parts = urlsplit(path)
            query = parse_qsl(parts.query)
            good = Signer(SIGNING_KEYS).sign(parts.path, query, int(time.time()) + 60)
            old = Signer(SIGNING_KEYS).sign(parts.path, query, int(time.time()) - 60)
            foreign = Signer(["some other key, quite long"]).sign(parts.path, query)
            assert house.nobody.get(good).status_code == (404 if visibility == "key" else 200), path
            for bad in (old, foreign, signed_by_gone[path]):
                assert house.nobody.get(bad).status_code == 403, bad
    assert revoked.get(f"/storage/{owned['public']}").status_code == 401


def test_a_ticket_upload_that_is_sent_again_answers_as_the_first(house: House) -> None:
    ticket = house.alice.post("/tickets", json={"max_bytes": 100_000}).json()["url"]
    key = {"idempotency-key": str(uuid.uuid4())}
    first = house.nobody.put(ticket, content=PNG, headers=key)
    again = house.nobody.put(ticket, content=PNG, headers=key)
    assert (first.status_code, again.status_code) == (200, 200) and first.text == again.text
    other = pictures.saved(pictures.colour((9, 9)), "PNG")
    assert house.nobody.put(ticket, content=other, headers=key).status_code == 409
    for headers in ({}, {"idempotency-key": str(uuid.uuid4())}):
        assert kind(house.nobody.put(ticket, content=PNG, headers=headers)) == (403, "bad-ticket")


@pytest.mark.parametrize("visibility", ["public", "signed", "key"])
def test_an_owner_does_not_get_at_anothers(house: House, visibility: str) -> None:
    reference = put(house.alice, visibility=visibility, label="secret", expires="1h")
    unknown = "00000000-0000-4000-8000-000000000000"
    reads = ["", ".webp?width=9", ".png", "/info", "/placeholder", "/palette"]
    for client in (house.bob, house.nobody):
        for tail in reads:
            answer = client.get(f"/storage/{reference}{tail}")
            if visibility == "public":
                assert answer.status_code == 200
                continue
            other = client.get(f"/storage/{unknown}{tail}")
            assert kind(answer) == kind(other) == (404, "unknown-reference")
            assert answer.text.replace(reference, unknown) == other.text
            assert {n for n in answer.headers if n != "date"} == {n for n in other.headers if n != "date"}
    for method, path in (("PATCH", ""), ("DELETE", ""), ("DELETE", "?permanently"), ("POST", "/undelete")):
        body: dict[str, Any] = {"json": {"labels": []}} if method == "PATCH" else {}
        answer = house.bob.request(method, f"/storage/{reference}{path}", **body)
        assert kind(answer) == (404, "unknown-reference")
    assert reference not in house.bob.get("/storage/").text
    assert kind(house.bob.get("/storage/?owner=alice")) == (403, "not-allowed")
    assert kind(house.bob.post("/sign", json={"url": f"/storage/{reference}"})) == (404, "unknown-reference")
    results = house.bob.post("/storage/renditions", json={"references": [reference], "extension": "gif"}).json()
    assert results["status"] == (200 if visibility == "public" else 404)
    assert house.alice.get(f"/storage/{reference}").content == PNG
    assert house.alice.get(f"/storage/{reference}/info").json()["labels"] == ["secret"]
    assert reference in house.alice.get("/storage/").text and reference in house.admin.get("/storage/?owner=alice").text


def test_a_private_image_is_nobodys_watermark(house: House) -> None:
    mine, theirs = put(house.bob), put(house.alice, visibility="key")
    shown = put(house.alice)
    for client, base in ((house.bob, mine), (house.nobody, shown)):
        for parameter in ("watermark", "mask"):
            for extension in ("png", "auto"):
                answer = client.get(f"/storage/{base}.{extension}?{parameter}={theirs}")
                assert kind(answer) == (400, "invalid-parameter") and answer.json()["parameter"] == parameter
        pipeline = f'[{{"width": 9}}, {{"watermark": "{theirs}"}}]'
        assert client.get(f"/storage/{base}.png", params={"ops": pipeline}).status_code == 400
    assert house.bob.post(f"/transform.png?watermark={theirs}", content=PNG).status_code == 400
    asked = {"references": [mine], "extension": "png", "queries": [f"watermark={theirs}"]}
    assert house.bob.post("/storage/renditions", json=asked).json()["status"] == 400
    assert kind(house.bob.post("/sign", json={"url": f"/storage/{mine}.png?watermark={theirs}"}))[0] == 400
    assert house.alice.get(f"/storage/{shown}.png?watermark={theirs}").status_code == 200
    # What the owner has had made is in the cache now, and still nobody else's.
    assert house.nobody.get(f"/storage/{shown}.png?watermark={theirs}").status_code == 400


def test_what_was_public_can_be_made_private_at_once(house: House) -> None:
    reference = put(house.alice)
    for _ in range(3):
        assert house.nobody.get(f"/storage/{reference}").status_code == 200
        assert house.nobody.get(f"/storage/{reference}.webp").status_code == 200
    assert house.alice.patch(f"/storage/{reference}", json={"visibility": "key"}).status_code == 200
    assert house.nobody.get(f"/storage/{reference}").status_code == 404
    assert house.nobody.get(f"/storage/{reference}.webp").status_code == 404
    for path in ("", ".webp"):
        answer = house.alice.get(f"/storage/{reference}{path}")
        assert answer.status_code == 200 and answer.headers["cache-control"].startswith("private")
        assert house.nobody.get(f"/storage/{reference}{path}").status_code == 404
    assert house.alice.patch(f"/storage/{reference}", json={"visibility": None}).json()["visibility"] == "public"
    assert house.nobody.get(f"/storage/{reference}").headers["cache-control"].startswith("public")


def test_every_way_to_give_a_key(house: House) -> None:
    key = house.alice.headers["authorization"].removeprefix("Bearer ")
    for pair in (("any name", key), (key, "")):
        assert httpx.get(f"{house.server.url}/account", auth=pair).json()["owner"] == "alice"
    for header in (
        f"Bearer {key}x", f"Bearer {key[:-1]}", "Bearer", "Bearer x", "Basic x",
        "Basic " + base64.b64encode(b"a:b").decode(), "Digest x",
        f"bearer {'pgi_' + 'a' * 16 + '_' + 'b' * 43}", "Bearer pgi__", f"Bearer {key}\u00e9",
    ):  # fmt: skip
        answer = house.nobody.get("/account", headers={b"authorization": header.encode("latin-1")})
        assert kind(answer) == (401, "invalid-key"), header
        assert answer.headers["www-authenticate"]
    assert house.nobody.get("/account", headers={"authorization": f"bearer {key}"}).status_code == 200


def test_keys_by_the_api(house: House) -> None:
    made = house.admin.post(
        "/keys", json={"owner": "dora", "name": "phone", "scopes": ["upload", "read"], "expires": "1h"}
    )
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    document = made.json()
    client = httpx.Client(base_url=house.server.url, headers={"authorization": f"Bearer {document['key']}"})
    assert client.get("/account").json()["owner"] == "dora"
    [listed] = house.admin.get("/keys?owner=dora").json()
    assert listed["id"] == document["id"] and listed["active"] and "key" not in listed and "sha256" not in listed
    newer = house.admin.post(f"/keys/{document['id']}/rotate", json={"grace_seconds": 3600}).json()
    other = httpx.Client(base_url=house.server.url, headers={"authorization": f"Bearer {newer['key']}"})
    assert client.get("/account").status_code == other.get("/account").status_code == 200
    assert newer["scopes"] == ["read", "upload"]
    assert house.admin.delete(f"/keys/{document['id']}").status_code == 204
    assert kind(client.get("/account")) == (401, "invalid-key") and other.get("/account").status_code == 200
    assert kind(house.admin.delete(f"/keys/{document['id']}")) == (404, "unknown-key")
    at_once = house.admin.post(f"/keys/{newer['id']}/rotate", json={"grace_seconds": 0}).json()
    assert other.get("/account").status_code == 401
    assert house.nobody.get("/account", headers={"authorization": f"Bearer {at_once['key']}"}).status_code == 200
    for wrong in (
        {"owner": "../x", "scopes": ["read"]}, {"owner": "x", "scopes": []}, {"owner": "x", "scopes": ["fly"]},
        {"owner": "x", "scopes": ["read"], "expires": "yesterday"}, {"owner": "x"}, {"bogus": 1},
    ):  # fmt: skip
        answer = house.admin.post("/keys", json=wrong)
        assert answer.status_code == 400 and answer.json()["parameter"], wrong


def test_keys_by_the_command_line(house: House) -> None:
    client = house.server.as_owner("erin", "read")
    id = client.headers["authorization"].split("_")[1]
    assert client.get("/account").status_code == 200
    assert id in house.server.command("keys", "list", "--owner", "erin")
    newer = house.server.command("keys", "rotate", id, "--grace", "1h")
    assert house.nobody.get("/account", headers={"authorization": f"Bearer {newer}"}).status_code == 200
    house.server.command("keys", "revoke", id)
    assert client.get("/account").status_code == 401  # the running server was told
    stored = (house.server.data_dir / "progimage.sqlite").read_bytes()
    for path in house.server.data_dir.glob("progimage.sqlite*"):
        stored += path.read_bytes()
    assert newer.split("_", 2)[2].encode() not in stored and newer.split("_")[1].encode() in stored


def test_an_expired_key_ends(house: House) -> None:
    key = house.server.command("keys", "create", "--owner", "fay", "--expires", "5")
    ask_ = lambda: house.nobody.get("/account", headers={"authorization": f"Bearer {key}"}).status_code  # noqa: E731
    assert ask_() == 200
    eventually(lambda: ask_() == 401, seconds=6)


def test_signed_requests(house: House) -> None:
    reference = put(house.alice, visibility="signed")
    hidden = put(house.alice, visibility="key")
    for key in SIGNING_KEYS:
        for tail, query in (
            ("", []),
            (".webp", [("width", "9")]),
            ("/info", []),
            ("/placeholder", []),
            ("/palette", [("colors", "2")]),
        ):
            path = f"/storage/{reference}{tail}"
            url = Signer([key]).sign(path, query, int(time.time()) + 60)
            answer = house.nobody.get(url)
            assert answer.status_code == 200, answer.text
            assert house.nobody.get(url.replace(reference, put(house.alice, visibility="signed"))).status_code == 403
            assert house.nobody.get(f"{url}&download=x").status_code == 403
            assert house.nobody.get(path, params=dict(query)).status_code == 404
            assert kind(house.nobody.delete(url))[0] in (403, 405)
    url = Signer(SIGNING_KEYS).sign(f"/storage/{reference}", [], int(time.time()) + 60)
    control = house.nobody.get(url).headers["cache-control"]
    assert "immutable" not in control and 50 <= int(control.rpartition("max-age=")[2]) <= 60
    assert house.nobody.head(url).status_code == 200
    assert kind(house.nobody.get(Signer(["some other key, quite long"]).sign(f"/storage/{reference}", []))) == (
        403,
        "bad-signature",
    )
    assert house.nobody.get(Signer(SIGNING_KEYS).sign(f"/storage/{hidden}", [])).status_code == 404  # keys alone
    brief = Signer(SIGNING_KEYS).sign(f"/storage/{reference}", [], int(time.time()) + 4)
    assert house.nobody.get(brief).status_code == 200
    time.sleep(5)
    assert kind(house.nobody.get(brief)) == (403, "bad-signature")
    assert (
        house.nobody.delete(Signer(SIGNING_KEYS).sign(f"/storage/{reference}", [], method="DELETE")).status_code == 204
    )
    assert house.alice.get(f"/storage/{reference}").status_code == 404


def test_signing_by_the_api_and_the_command_line(house: House) -> None:
    reference = put(house.alice, visibility="signed")
    signed = house.alice.post("/sign", json={"url": f"/storage/{reference}.webp?width=8", "expires_in": 60}).json()
    assert house.nobody.get(signed["url"]).status_code == 200 and signed["expires_at"]
    assert (
        house.nobody.get(house.server.command("sign", f"/storage/{reference}.png", "--expires", "60")).status_code
        == 200
    )
    for wrong in (
        {"url": "/keys"}, {"url": f"/storage/{reference}", "method": "PUT"},
        {"url": f"/storage/{reference}", "expires_in": 0}, {"url": f"/storage/{reference}.bogus"},
        {"url": f"/storage/{reference}.png?bogus=1"},
    ):  # fmt: skip
        assert house.alice.post("/sign", json=wrong).status_code == 400, wrong


def test_an_upload_ticket(house: House) -> None:
    made = house.alice.post(
        "/tickets", json={"max_bytes": len(PNG), "visibility": "key", "labels": ["form"], "expires": "1h"}
    )
    assert made.status_code == 201
    url = made.json()["url"]
    assert kind(house.nobody.put(url, content=PNG + b"x")) == (413, "body-too-large")
    assert house.nobody.put(url, content=b"no image").status_code == 400  # neither has used it up
    assert house.nobody.put(f"{url}&visibility=public", content=PNG).status_code == 400
    answers = attack(lambda _: house.nobody.put(url, content=PNG), 8)
    assert sorted(answer.status_code for answer in answers) == [200, *[403] * 7]
    reference = next(answer.text for answer in answers if answer.status_code == 200)
    info = house.alice.get(f"/storage/{reference}/info").json()
    assert (
        info["owner"] == "alice" and info["visibility"] == "key" and info["labels"] == ["form"] and info["expires_at"]
    )
    assert kind(house.nobody.put(url, content=PNG))[0] == 403
    by_hand = house.server.command("ticket", "--owner", "bob", "--max-bytes", "100000", "--expires", "60")
    reference = house.nobody.post(by_hand, files={"data": ("x.png", PNG)}).text
    assert house.bob.get(f"/storage/{reference}/info").json()["owner"] == "bob"
    for wrong in (
        f"{url}x",
        url[:-9],
        "/storage/?ticket=",
        "/storage/?ticket=a.b",
        by_hand.replace("ticket=e", "ticket=f"),
    ):
        assert kind(house.nobody.put(wrong, content=PNG)) == (403, "bad-ticket")
    brief = house.alice.post("/tickets", json={"max_bytes": 10_000, "expires_in": 1}).json()["url"]
    time.sleep(2.1)
    assert kind(house.nobody.put(brief, content=PNG)) == (403, "bad-ticket")


def test_a_ticket_is_void_without_its_key(house: House) -> None:
    client = house.server.as_owner("gina", "upload")
    url = client.post("/tickets", json={"max_bytes": 100_000}).json()["url"]
    house.server.command("keys", "revoke", client.headers["authorization"].split("_")[1])
    assert kind(house.nobody.put(url, content=PNG)) == (403, "bad-ticket")


def attack(work, times: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(times) as clients:
        return list(clients.map(work, range(times)))


def test_what_others_have_is_not_learned_from_an_upload(house: House) -> None:
    data = pictures.saved(pictures.colour().resize((800, 600)), "PNG")
    one, other = put(house.alice, data), put(house.bob, data)
    etags = {
        client.get(f"/storage/{reference}.webp").headers["etag"]
        for client, reference in ((house.alice, one), (house.bob, other))
    }
    assert len(etags) == 2  # each has renditions of its own
    hits = 'progimage_rendition_cache_hits_total{format="QOI"}'
    house.alice.get(f"/storage/{one}.qoi")
    house.bob.get(f"/storage/{other}.qoi")
    assert hits not in house.nobody.get("/metrics").text  # bob's was rendered though alice's was there
    files = blob_files(house.server.data_dir / "blobs")
    assert files and len(files) == len({path.name for path in files})


def test_refusals_and_deeds_are_in_the_audit_log(house: House) -> None:
    reference = put(house.alice)
    house.alice.patch(f"/storage/{reference}", json={"labels": ["x"]})
    house.alice.delete(f"/storage/{reference}")
    events = house.admin.get(f"/audit?reference={reference}").json()["events"]
    assert [event["action"] for event in events] == ["delete", "change", "upload"]
    key_id = house.alice.headers["authorization"].split("_")[1]
    assert all(
        event["owner"] == "alice" and event["key_id"] == key_id and event["address"] == "127.0.0.1" for event in events
    )
    client = house.server.as_owner("hugo", "read")
    for _ in range(20):
        assert client.delete(f"/storage/{reference}").status_code == 403
    refused = house.admin.get("/audit?action=refused&owner=hugo").json()["events"]
    assert len(refused) == 1 and refused[0]["detail"]["status"] == 403
    lines = house.server.command("audit", "--action", "key-create", "--owner", "hugo", "--json")
    assert "hugo" in lines and client.headers["authorization"].split("_", 2)[2] not in lines
    first = house.admin.get("/audit?limit=2").json()
    second = house.admin.get(f"/audit?limit=2&cursor={first['next']}").json()
    ids = [event["id"] for event in first["events"] + second["events"]]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == 4
    assert kind(house.admin.get("/audit?cursor=bogus")) == (400, "invalid-parameter")


def test_the_audit_log_is_append_only(house: House) -> None:
    import sqlite3

    put(house.alice)
    with sqlite3.connect(house.server.data_dir / "progimage.sqlite") as database:
        for statement in ("UPDATE audit SET owner = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)


def test_no_secret_is_logged(house: House) -> None:
    reference = put(house.alice, visibility="signed")
    url = Signer(SIGNING_KEYS).sign(f"/storage/{reference}", [], int(time.time()) + 60)
    ticket = house.alice.post("/tickets", json={"max_bytes": 9}).json()["url"]
    house.nobody.get(url)
    house.nobody.put(ticket, content=b"x")
    time.sleep(0.5)  # lines are written five times a second
    log = house.server.log()
    key = house.alice.headers["authorization"].split("_", 2)[2]
    for secret in (*SIGNING_KEYS, key, url.partition("signature=")[2], ticket.partition("ticket=")[2]):
        assert secret not in log
    for event in house.admin.get("/audit?limit=1000").json()["events"]:
        assert key not in str(event) and "ticket=" not in str(event) and "signature=" not in str(event)


def test_headers_that_keep_browsers_safe(house: House) -> None:
    for path in ("/formats", "/docs", "/healthz", "/nothing", f"/storage/{put(house.alice)}"):
        headers = house.nobody.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        if not path.startswith("/storage"):
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in headers["content-security-policy"]
    svg = house.nobody.get(f"/storage/{put(house.alice, pictures.SVG)}").headers["content-security-policy"]
    assert "sandbox" in svg and "script-src" not in svg


def test_open_access_on_loopback_has_no_administrator(server: Server) -> None:
    reference = put(server.client)
    assert server.client.get(f"/storage/{reference}/info").json()["owner"] == "default"
    for path in ("/keys", "/owners", "/audit"):
        assert kind(server.client.get(path)) == (401, "key-needed")
    assert kind(server.client.patch(f"/storage/{reference}", json={"held": True})) == (401, "key-needed")
    private = put(server.client, visibility="key")
    stranger = server.as_owner("stranger")
    assert (
        stranger.get(f"/storage/{private}").status_code == 404
        and server.client.get(f"/storage/{private}").status_code == 200
    )
    # An Authorization header that is for a proxy on the way does no harm.
    assert server.client.get("/account", headers={"authorization": "Basic Zm9vOmJhcg=="}).status_code == 200


def test_the_metrics_can_ask_for_a_token(tmp_path) -> None:
    with serving(tmp_path / "data", metrics_token="of the monitoring", access="keys", workers=1) as server:
        assert kind(server.client.get("/metrics")) == (401, "key-needed")
        headers = {"authorization": "Bearer of the monitoring"}
        assert "progimage_images" in server.client.get("/metrics", headers=headers).text
