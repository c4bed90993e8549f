"""What becomes of signed URLs when the key that they were made with is gone."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from progimage.auth import Signer
from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.servers import Postgres, S3Server

KEYS = ["the first signing key of tests", "the second signing key of tests"]
SETTINGS: dict[str, Any] = {"access": "keys", "visibility": "signed"}
PNG = pictures.saved(pictures.colour(), "PNG")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("signatures") / "data", signing_keys=json.dumps(KEYS), **SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Server) -> httpx.Client:
    return server.as_owner("root", "admin")


def key_of(admin: httpx.Client, *scopes: str) -> dict[str, str]:
    answer = admin.post("/keys", json={"owner": "alice", "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def client_of(server: Server, key: dict[str, str]) -> httpx.Client:
    return server.new_client(headers={"authorization": f"Bearer {key['key']}"})


def unnamed(path: str, query: list[tuple[str, str]]) -> str:
    """Sign as version 0.1 did, by the description of the time."""
    lines = f"GET\n{path}\n{urlencode(sorted(query), quote_via=quote)}"
    digest = hmac.new(KEYS[0].encode(), lines.encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return f"{path}?{urlencode([*query, ('signature', signature)], quote_via=quote)}"


def test_a_revoked_key_voids_its_signed_urls_at_once(server: Server, admin: httpx.Client) -> None:
    key, other = key_of(admin, "upload", "read", "delete"), key_of(admin, "read")
    alice = client_of(server, key)
    reference = alice.put("/storage/", content=PNG).text
    wanted = [f"/storage/{reference}", f"/storage/{reference}.webp?width=9", f"/storage/{reference}/info"]
    urls = [alice.post("/sign", json={"url": url, "expires_in": None}).json()["url"] for url in wanted[:2]]
    deleting = alice.post("/sign", json={"url": wanted[0], "method": "DELETE", "expires_in": 60}).json()["url"]
    others = client_of(server, other).post("/sign", json={"url": wanted[0]}).json()["url"]
    for url in (*urls, *urls, others):  # the second time it is ready in memory
        assert f"key_id={other['id'] if url == others else key['id']}" in url
        assert server.client.get(url).status_code == 200
    assert admin.delete(f"/keys/{key['id']}").status_code == 204
    for url in urls:
        for answer in (server.client.get(url), server.client.head(url)):
            assert answer.status_code == 403
        assert server.client.get(url).json()["parameter"] == "key_id"
    assert server.client.delete(deleting).status_code == 403
    assert server.client.get(others).status_code == 200


def test_a_signature_needs_the_scope_of_its_key(server: Server, admin: httpx.Client) -> None:
    reader = key_of(admin, "read")
    alice = client_of(server, key_of(admin, "upload", "read"))
    reference = alice.put("/storage/", content=PNG).text
    forged = Signer(KEYS).sign(f"/storage/{reference}", [], int(time.time()) + 60, "DELETE", reader["id"])
    assert server.client.delete(forged).status_code == 403
    nobodys = Signer(KEYS).sign(f"/storage/{reference}", [], key_id="aaaaaaaaaaaaaaaa")
    assert server.client.get(nobodys).status_code == 403


def test_an_expired_key_voids_its_signed_urls(server: Server, admin: httpx.Client) -> None:
    answer = admin.post("/keys", json={"owner": "alice", "scopes": ["upload", "read"], "expires": "2s"})
    alice = client_of(server, answer.json())
    reference = alice.put("/storage/", content=PNG).text
    url = alice.post("/sign", json={"url": f"/storage/{reference}", "expires_in": 3600}).json()["url"]
    assert server.client.get(url).status_code == 200
    eventually(lambda: server.client.get(url).status_code == 403, 10)


def test_only_reading_is_signed_without_end(server: Server, admin: httpx.Client) -> None:
    alice = client_of(server, key_of(admin, "upload", "read", "delete"))
    reference = alice.put("/storage/", content=PNG).text
    refused = alice.post("/sign", json={"url": f"/storage/{reference}", "method": "DELETE", "expires_in": None})
    assert refused.status_code == 400 and refused.json()["parameter"] == "expires_in"
    for query in ("expires=9", "key_id=a", "signature=b"):
        refused = alice.post("/sign", json={"url": f"/storage/{reference}?{query}"})
        assert refused.status_code == 400 and refused.json()["parameter"] == "url", query


def test_two_of_a_kind_are_refused(server: Server, admin: httpx.Client) -> None:
    reference = client_of(server, key_of(admin, "upload")).put("/storage/", content=PNG).text
    url = Signer(KEYS).sign(f"/storage/{reference}", [], int(time.time()) + 60)
    assert server.client.get(url).status_code == 200
    for twice in ("expires=9999999999", "key_id=sk-000000000000", "signature=a"):
        answer = server.client.get(f"{url}&{twice}")
        assert answer.status_code == 403 and answer.json()["parameter"] == twice.partition("=")[0]


def test_a_signing_key_that_is_taken_out_voids_its_signed_urls(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, signing_keys=json.dumps(KEYS), **SETTINGS) as server:
        reference = server.as_owner("alice").put("/storage/", content=PNG).text
        first, second = (Signer([key]).sign(f"/storage/{reference}", []) for key in KEYS)
        asked = server.as_owner("alice").post("/sign", json={"url": f"/storage/{reference}"}).json()["url"]
        by_command = server.command("sign", f"/storage/{reference}")
        for url in (first, second, asked, by_command):
            assert server.client.get(url).status_code == 200
    with serving(data, signing_keys=json.dumps(KEYS[1:]), **SETTINGS) as server:
        assert [server.client.get(url).status_code for url in (first, second, asked, by_command)] == [
            403,
            200,
            403,
            403,
        ]


def test_signatures_of_the_old_form_work_for_a_stated_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, signing_keys=json.dumps(KEYS), **SETTINGS) as server:
        reference = server.as_owner("alice").put("/storage/", content=PNG).text
        old = [unnamed(f"/storage/{reference}", []), unnamed(f"/storage/{reference}.webp", [("width", "9")])]
        assert [server.client.get(url).status_code for url in old] == [200, 200]
    with serving(data, signing_keys=json.dumps(KEYS), unnamed_signatures_until="2026-01-31", **SETTINGS) as server:
        for url in old:
            answer = server.client.get(url)
            assert answer.status_code == 403 and "2026-01-31" in answer.json()["detail"]
        assert server.client.get(Signer(KEYS).sign(f"/storage/{reference}", [])).status_code == 200


def test_caches_keep_an_answer_no_longer_than_its_key_is_valid(server: Server, admin: httpx.Client) -> None:
    answer = admin.post("/keys", json={"owner": "alice", "scopes": ["upload", "read"], "expires": "1h"})
    alice = client_of(server, answer.json())
    reference = alice.put("/storage/", content=PNG).text
    for path in (f"/storage/{reference}", f"/storage/{reference}.webp?width=9"):
        for seconds, most in ((None, 3600), (7200, 3600), (60, 60)):
            url = alice.post("/sign", json={"url": path, "expires_in": seconds}).json()["url"]
            control = server.client.get(url).headers["cache-control"]
            assert "immutable" not in control
            assert most - 30 < int(control.partition("max-age=")[2].partition(",")[0]) <= most


def test_other_nodes_follow_within_five_seconds(database: Postgres, s3: S3Server, tmp_path: Path) -> None:
    shared = SETTINGS | s3.settings("signatures") | {"database_url": database.new_database()}
    shared["signing_keys"] = json.dumps(KEYS)
    with serving(tmp_path / "one", **shared) as one, serving(tmp_path / "two", **shared) as two:
        admin = one.as_owner("root", "admin")
        key = key_of(admin, "upload", "read")
        alice = client_of(one, key)
        reference = alice.put("/storage/", content=PNG).text
        urls = [alice.post("/sign", json={"url": f"/storage/{reference}{end}"}).json()["url"] for end in ("", ".webp")]
        ticket = alice.post("/tickets", json={"max_bytes": 10_000}).json()["url"]
        end = time.monotonic() + 3
        while time.monotonic() < end:  # so that what the other node knows is of many ages
            assert {two.client.get(url).status_code for url in urls} == {200}
            time.sleep(0.05)
        assert admin.delete(f"/keys/{key['id']}").status_code == 204
        revoked = time.monotonic()
        assert {one.client.get(url).status_code for url in urls} == {403}
        assert two.client.put(ticket, content=PNG).status_code == 403  # a ticket is never taken from memory
        while {two.client.get(url).status_code for url in urls} != {403}:
            assert time.monotonic() - revoked < 5
            time.sleep(0.05)
