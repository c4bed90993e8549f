"""Who may do what with which image, every way there is: held against a table that knows nothing of the program.

All of it goes through one real server. Each question is asked several times, by identities in turns, so that what one
was allowed is in every cache when the next one asks.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx
import pytest

from progimage.auth import Signer
from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.integration.test_isolation import HOSTILE, SLEEP, qoi

PHOTO = pictures.saved(pictures.colour(), "PNG")
MARK = pictures.saved(pictures.transparent((12, 9)), "PNG")
SIGNING, FOREIGN = "a signing key for the tests of rights", "a signing key of some other service"
UNKNOWN = "00000000-0000-4000-8000-000000000000"

# The images: who may read each. "A signature" is one that is valid.
OWN_KEYS = {"alice", "alice: read", "an administrator"}
SIGNATURES = {"signed by the operator", "signed for a key", "signed as before"}
EVERYBODY = {
    "nobody", "alice", "alice: read", "alice: upload", "alice: delete", "alice: transform", "bob", "an administrator",
    *SIGNATURES,
}  # fmt: skip
READERS: dict[str, set[str]] = {
    "public": EVERYBODY,
    "signed": OWN_KEYS | SIGNATURES,
    "key": OWN_KEYS,
    "of nothing said": OWN_KEYS | SIGNATURES,  # which is `signed` here, by the settings
    "deleted": set(),
    "expired": set(),
    "gone for good": set(),
    "unknown": set(),
}
REFUSED = {
    "a key that was revoked": 401, "a key that has expired": 401, "no key at all": 401, "signed long ago": 403,
    "signed for a revoked key": 403, "signed for an expired key": 403, "signed for a key that may not": 403,
    "signed for no key": 403, "signed by a foreign key": 403, "signed for another path": 403,
    "signed for another method": 403, "signed, and changed": 403, "signed, with two ends": 403,
}  # fmt: skip
"""What is no right at all, and what it is answered with, whatever is asked for."""
SCOPES = ("upload", "read", "delete", "transform")


@dataclass
class Identity:
    """One who asks: a client with a key or without, and what is done to a URL before it is asked for."""

    client: httpx.Client
    prepare: Callable[[str], str] = field(default=lambda url: url)


@dataclass
class House:
    """A deployment with all who ask, and the images that they ask for."""

    server: Server
    identities: dict[str, Identity]
    images: dict[str, str]
    base: str
    alice: httpx.Client
    admin: httpx.Client
    reader_id: str


def signed(
    url: str, key: str = SIGNING, method: str = "GET", expires_in: int = 600, key_id: str | None = None, path: str = ""
) -> str:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    whole = Signer([key]).sign(path or parts.path, query, int(time.time()) + expires_in, method, key_id)
    return f"{parts.path}?{whole.partition('?')[2]}"


def unnamed(url: str) -> str:
    """Sign as before signatures named a key, by the description of that time."""
    parts = urlsplit(url)
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), ("expires", str(int(time.time()) + 600))]
    lines = f"GET\n{parts.path}\n{urlencode(sorted(pairs), quote_via=quote)}"
    digest = hmac.new(SIGNING.encode(), lines.encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return f"{parts.path}?{urlencode([*pairs, ('signature', signature)], quote_via=quote)}"


def put(client: httpx.Client, data: bytes = PHOTO, **options: str) -> str:
    answer = client.put("/storage/", content=data, params=options)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings: dict[str, Any] = {
        "access": "keys", "visibility": "signed", "signing_keys": json.dumps([SIGNING]), "workers": 2,
        "presets": '{"small": "width=20"}', "public_url": "https://images.example.org",
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("rights") / "data", **settings) as server:
        admin, alice = server.as_owner("root", "admin"), server.as_owner("alice")
        images = {name: put(alice, visibility=name) for name in ("public", "signed", "key")}
        images |= {"of nothing said": put(alice), "unknown": UNKNOWN}
        images |= {name: put(alice, visibility="public") for name in ("deleted", "gone for good")}
        images["expired"] = put(alice, visibility="public", expires="1s")
        for name, more in (("deleted", ""), ("gone for good", "?permanently")):
            assert alice.get(f"/storage/{images[name]}").status_code == 200  # it is known before it goes
            assert alice.delete(f"/storage/{images[name]}{more}").status_code == 204
        identities, reader_id = everybody(server, admin, alice)
        eventually(lambda: alice.get(f"/storage/{images['expired']}").status_code == 404)
        base = put(alice, pictures.saved(pictures.colour((90, 70)), "JPEG"), visibility="public")
        yield House(server, identities, images, base, alice, admin, reader_id)


def everybody(server: Server, admin: httpx.Client, alice: httpx.Client) -> tuple[dict[str, Identity], str]:
    def key(*scopes: str, **more: str) -> dict[str, str]:
        answer = admin.post("/keys", json={"owner": "alice", "scopes": scopes, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def bearing(key: dict[str, str]) -> httpx.Client:
        return server.new_client(headers={"authorization": f"Bearer {key['key']}"})

    reader, uploader, revoked, expired = key("read"), key("upload"), key("read"), key("read", expires="1s")
    assert admin.delete(f"/keys/{revoked['id']}").status_code == 204
    eventually(lambda: bearing(expired).get("/account").status_code == 401)
    nobody = server.client
    identities = {
        "nobody": Identity(nobody),
        "alice": Identity(alice),
        "bob": Identity(server.as_owner("bob")),
        "an administrator": Identity(admin),
        **{f"alice: {scope}": Identity(server.as_owner("alice", scope)) for scope in SCOPES},
        "a key that was revoked": Identity(bearing(revoked)),
        "a key that has expired": Identity(bearing(expired)),
        "no key at all": Identity(server.new_client(headers={"authorization": "Bearer of good news"})),
        "signed by the operator": Identity(nobody, signed),
        "signed for a key": Identity(nobody, lambda url: signed(url, key_id=reader["id"])),
        "signed as before": Identity(nobody, unnamed),
        "signed long ago": Identity(nobody, lambda url: signed(url, expires_in=-1)),
        "signed for a revoked key": Identity(nobody, lambda url: signed(url, key_id=revoked["id"])),
        "signed for an expired key": Identity(nobody, lambda url: signed(url, key_id=expired["id"])),
        "signed for a key that may not": Identity(nobody, lambda url: signed(url, key_id=uploader["id"])),
        "signed for no key": Identity(nobody, lambda url: signed(url, key_id="aaaaaaaaaaaaaaaa")),
        "signed by a foreign key": Identity(nobody, lambda url: signed(url, FOREIGN)),
        "signed for another path": Identity(nobody, lambda url: signed(url, path="/storage/another")),
        "signed for another method": Identity(nobody, lambda url: signed(url, method="POST")),
        "signed, and changed": Identity(nobody, lambda url: f"{signed(url)}&download=x"),
        "signed, with two ends": Identity(nobody, lambda url: f"{signed(url)}&expires=9999999999"),
    }
    return identities, reader["id"]


READS = {
    "original": ("/storage/{0}", ("GET", "HEAD")),
    "rendition": ("/storage/{0}.webp?width=9", ("GET", "HEAD")),
    "preset": ("/storage/{0}.jpg?preset=small", ("GET", "HEAD")),
    "info": ("/storage/{0}/info", ("GET",)),
    "placeholder": ("/storage/{0}/placeholder", ("GET",)),
    "palette": ("/storage/{0}/palette?colors=3", ("GET",)),
    "IIIF": ("/iiif/3/{0}/square/9,/0/default.jpg", ("GET", "HEAD")),
    "IIIF's description": ("/iiif/2/{0}/info.json", ("GET", "HEAD")),
    "as a watermark": ("/storage/{1}.webp?width=40&watermark={0}", ("GET", "HEAD")),
    "as a mask in a pipeline": ("/storage/{1}.png?ops=width:40|mask:{0}", ("GET", "HEAD")),
}
WAYS: tuple[tuple[str, dict[str, str]], ...] = (
    ("GET", {}), ("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=0-3"}), ("GET", {"if-none-match": "*"}),
)  # fmt: skip


@pytest.mark.parametrize("what", READS)
def test_who_reads_what(house: House, what: str) -> None:
    path, methods = READS[what]
    in_turns = [*house.identities, *reversed(house.identities)]
    assert set(house.identities) == EVERYBODY | set(REFUSED)
    for image, reference in house.images.items():
        hidden = 400 if what.startswith("as a") else 404
        for who in in_turns:
            identity = house.identities[who]
            url = identity.prepare(path.format(reference, house.base))
            for method, headers in WAYS:
                if method not in methods:
                    continue
                answer = identity.client.request(method, url, headers=headers)
                asked = (who, image, method, headers, answer.status_code, answer.text[:200] if method == "GET" else "")
                if who in REFUSED:
                    assert answer.status_code == REFUSED[who], asked
                elif who not in READERS[image]:
                    assert answer.status_code == hidden, asked
                else:
                    assert answer.status_code in (200, 206 if "range" in headers else 304 if headers else 200), asked
                if answer.status_code in (200, 206, 304):
                    check_what_caches_may(answer, image, who, asked)
                else:
                    assert "etag" not in answer.headers, asked


def check_what_caches_may(answer: httpx.Response, image: str, who: str, asked: object) -> None:
    control = answer.headers.get("cache-control")
    if control is None:  # of a record, which is no image; nothing keeps it without being told
        return
    if image == "public":
        assert control.startswith("public"), asked
    elif who in SIGNATURES:
        assert "immutable" not in control and 0 < int(control.partition("max-age=")[2].partition(",")[0]) <= 600, asked
    else:
        assert control.startswith("private"), asked
    assert (answer.headers.get("access-control-allow-origin") == "*") == (image == "public"), asked


# The changes: who may make each of one of alice's images that is there, and what says that it was made.
@dataclass
class Change:
    """A change of an image, by whom it may be made, and how that is seen in its record."""

    method: str
    path: str
    allowed: set[str]
    seen: Callable[[dict[str, Any] | None], bool]
    body: object = None


CHANGES = {
    "labels": Change(
        "PATCH", "/storage/{0}", {"alice", "alice: upload", "an administrator"},
        lambda record: record is not None and record["labels"] == ["new"], {"labels": ["new"]},
    ),
    "visibility": Change(
        "PATCH", "/storage/{0}", {"alice", "an administrator"},
        lambda record: record is not None and record["visibility"] == "public", {"visibility": "public"},
    ),
    "expiry": Change(
        "PATCH", "/storage/{0}", {"alice", "an administrator"},
        lambda record: record is not None and record["expires_at"] is not None, {"expires": "1d"},
    ),
    "hold": Change(
        "PATCH", "/storage/{0}", {"an administrator"},
        lambda record: record is not None and record["held"] is True, {"held": True},
    ),
    "deletion": Change(
        "DELETE", "/storage/{0}", {"alice", "alice: delete", "an administrator", "signed to delete"},
        lambda record: record is None,
    ),
    "deletion for good": Change(
        "DELETE", "/storage/{0}?permanently", {"alice", "alice: delete", "an administrator", "signed to delete"},
        lambda record: record is None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_who_changes_what(house: House, what: str) -> None:
    change = CHANGES[what]
    identities = house.identities | {
        "signed to delete": Identity(house.server.client, lambda url: signed(url, method="DELETE")),
        "signed to delete, for a key that reads": Identity(
            house.server.client, lambda url: signed(url, method="DELETE", key_id=house.reader_id)
        ),
        "with a ticket": Identity(house.server.client, lambda url: with_ticket(house, url)),
    }
    for visibility in ("public", "signed", "key"):
        for who, identity in identities.items():
            reference = put(house.alice, visibility=visibility)
            if what == "visibility" and visibility == "public":
                continue
            url = identity.prepare(change.path.format(reference))
            body: dict[str, Any] = {} if change.body is None else {"json": change.body}
            answer = identity.client.request(change.method, url, **body)
            record = house.admin.get(f"/storage/{reference}/info")
            seen = change.seen(record.json() if record.status_code == 200 else None)
            asked = (who, visibility, answer.status_code, answer.text[:200])
            assert answer.is_success == seen == (who in change.allowed), asked
            assert answer.is_success or answer.status_code in (400, 401, 403, 404), asked
            if answer.is_success and who not in OWN_KEYS:
                assert answer.content == b"", asked  # it may not read, and is told nothing


def with_ticket(house: House, url: str) -> str:
    ticket = house.alice.post("/tickets", json={"max_bytes": 1000}).json()["url"].partition("ticket=")[2]
    return f"{url}{'&' if '?' in url else '?'}ticket={ticket}"


def test_who_brings_back_and_who_removes_for_good(house: House) -> None:
    allowed = {"alice", "alice: delete", "an administrator"}
    for who, identity in house.identities.items():
        for method, path, there in (
            ("POST", "/storage/{0}/undelete", 200),
            ("DELETE", "/storage/{0}?permanently", 404),
        ):
            reference = put(house.alice, visibility="key")
            assert house.alice.delete(f"/storage/{reference}").status_code == 204
            answer = identity.client.request(method, identity.prepare(path.format(reference)))
            asked = (who, method, answer.status_code, answer.text[:200])
            assert answer.is_success == (who in allowed), asked
            assert house.admin.get(f"/storage/{reference}").status_code == (there if who in allowed else 404), asked
            back = house.admin.post(f"/storage/{reference}/undelete").status_code
            assert back == (200 if who not in allowed else 404), asked


def test_who_has_what_signed(house: House) -> None:
    mine = {
        "GET": {"alice", "alice: read", "an administrator"},
        "DELETE": {"alice", "alice: delete", "an administrator"},
    }
    for who, identity in house.identities.items():
        for image, reference in house.images.items():
            for method, allowed in mine.items():
                wanted = {"url": f"/storage/{reference}", "method": method}
                answer = identity.client.post(identity.prepare("/sign"), json=wanted)
                there = bool(READERS[image])
                assert answer.is_success == (there and who in allowed), (who, image, method, answer.text)
            mark = f"/storage/{house.base}.png?watermark={reference}"
            answer = identity.client.post(identity.prepare("/sign"), json={"url": mark})
            assert answer.is_success == (who in OWN_KEYS and who in READERS[image]), (who, image, answer.text)


def test_who_has_renditions_made(house: House) -> None:
    """A key to `transform` alone transforms what it sends, and what everybody may read."""
    for who, identity in house.identities.items():
        may = who in {"alice", "alice: transform", "bob", "an administrator"}
        for image, reference in house.images.items():
            wanted = {
                "references": [reference, house.base],
                "extension": "gif",
                "queries": ["", f"watermark={reference}"],
            }
            for accept in ("application/x-ndjson", "application/zip"):
                answer = identity.client.post(
                    identity.prepare("/storage/renditions"), json=wanted, headers={"accept": accept}
                )
                assert answer.is_success == may, (who, image, answer.text[:200])
                if may and accept == "application/x-ndjson":
                    reads = who in READERS[image]
                    got = [json.loads(line)["status"] for line in answer.text.splitlines()]
                    assert got == ([200] * 4 if reads else [404, 404, 200, 400]), (who, image, answer.text)
            if who in SIGNATURES or who in REFUSED:
                continue
            answer = identity.client.post(f"/transform.png?watermark={reference}", content=PHOTO)
            expected = 401 if who == "nobody" else 403 if not may else 200 if who in READERS[image] else 400
            assert answer.status_code == expected, (who, image, answer.text[:200])


def test_lists_show_owners_what_is_theirs(house: House) -> None:
    there = {reference for image, reference in house.images.items() if READERS[image]}
    for who, identity in house.identities.items():
        for path, sees in (
            ("/storage/?limit=1000", {"alice", "alice: read"}),
            ("/storage/?owner=alice&limit=1000", OWN_KEYS),
        ):
            answer = identity.client.get(identity.prepare(path))
            listed = {reference for reference in there if reference in answer.text}
            assert listed == (there if who in sees else set()), (who, path, answer.status_code)


def test_who_uploads(house: House) -> None:
    """A key to upload is told facts of the file that it has sent, and nothing that others have said of it."""
    for who, identity in house.identities.items():
        before = house.admin.get("/owners").json()
        answer = identity.client.put(
            identity.prepare("/storage/"), content=MARK, headers={"accept": "application/json"}
        )
        may = who in {"alice", "alice: upload", "bob", "an administrator"}
        assert answer.is_success == may, (who, answer.text[:200])
        if may:
            assert ("labels" in answer.json()) == (who != "alice: upload"), (who, answer.text)
        else:
            assert house.admin.get("/owners").json() == before, who


def test_a_picture_of_two_is_as_hidden_as_the_stricter_one(house: House) -> None:
    asking = ("alice: read", "bob", "nobody", "signed by the operator")
    for shown, base in house.images.items():
        for marked, mark in house.images.items():
            for who in (*asking, *reversed(asking)):
                identity = house.identities[who]
                url = identity.prepare(f"/storage/{base}.webp?width=30&watermark={mark}")
                expected = 404 if who not in READERS[shown] else 400 if who not in READERS[marked] else 200
                for _ in range(2):
                    answer = identity.client.get(url)
                    assert answer.status_code == expected, (who, shown, marked, answer.text[:200])
                if expected == 200:
                    stricter = marked if shown == "public" else shown
                    check_what_caches_may(answer, stricter, who, (who, shown, marked))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, httpx.Client, httpx.Client]]:
    """A server that takes a second for each picture of some images."""
    settings: dict[str, Any] = {
        "access": "keys",
        "visibility": "signed",
        "signing_keys": json.dumps([SIGNING]),
        "workers": 2,
    }
    with serving(tmp_path_factory.mktemp("slow") / "data", HOSTILE, **settings) as server:
        yield server, server.as_owner("root", "admin"), server.as_owner("alice")


PICTURES = {
    "/storage/{0}.webp?watermark={1}": {"the image": 404, "the watermark": 400, "the key of the signature": 403},
    "/storage/{0}/placeholder": {"the image": 404, "the key of the signature": 403},
    "/iiif/3/{0}/full/5,/0/default.png": {"the image": 404, "the key of the signature": 403},
}


COLOURS = count(10)


@pytest.mark.parametrize(("path", "what"), [(path, what) for path, hidden in PICTURES.items() for what in hidden])
def test_what_is_hidden_while_a_picture_is_made_is_not_shown(slow, path: str, what: str) -> None:
    server, admin, alice = slow
    photo, mark = put(alice, qoi(SLEEP, blue=next(COLOURS))), put(alice, MARK)  # pictures that are not there yet
    key = admin.post("/keys", json={"owner": "alice", "scopes": ["read"]}).json()["id"]
    url = signed(path.format(photo, mark), key_id=key)
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.client.get, url)
        eventually(lambda: list((server.data_dir / "spool").glob("*/incoming/*")))  # it is being made
        if what == "the key of the signature":
            assert admin.delete(f"/keys/{key}").is_success
        else:
            hidden = photo if what == "the image" else mark
            assert alice.patch(f"/storage/{hidden}", json={"visibility": "key"}).is_success
        assert not answer.done()
        assert answer.result().status_code == PICTURES[path][what], answer.result().headers
    assert server.client.get(url).status_code == PICTURES[path][what]


@pytest.mark.parametrize("door", ["/transform.png?watermark={0}", "/storage/renditions"])
def test_what_is_deleted_while_a_batch_is_made_is_not_shown(slow, door: str) -> None:
    server, _, alice = slow
    data, mark = qoi(SLEEP, blue=next(COLOURS)), put(alice, MARK)
    wanted = {"references": [put(alice, data)], "extension": "png", "queries": [f"watermark={mark}"]}
    body: dict[str, Any] = {"json": wanted} if door == "/storage/renditions" else {"content": data}
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(alice.post, door.format(mark), **body)
        eventually(lambda: list((server.data_dir / "spool").glob("*/outgoing/*")))  # it is being made
        assert alice.delete(f"/storage/{mark}").is_success
        assert not answer.done()
        assert answer.result().json()["status"] == 400
