"""What is said twice in a request, and what is sent twice."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.integration.server import Server, serving
from tests.servers import Postgres

PNG = pictures.BY_MODE["RGB"]()
LARGE = pictures.saved(pictures.colour().resize((1500, 1200)), "PNG")  # takes long enough for others to come meanwhile
SETTINGS: dict[str, Any] = {"access": "keys", "signing_keys": '["a signing key for the tests of repetition"]'}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("repetition") / "data", presets='{"small": "width=9"}', **SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def alice(server: Server) -> httpx.Client:
    return server.as_owner("alice")


@pytest.fixture(scope="module")
def admin(server: Server) -> httpx.Client:
    return server.as_owner("root", "admin")


def with_key() -> dict[str, str]:
    return {"idempotency-key": str(uuid.uuid4())}


TWICE = [
    ("GET", "/storage/{0}?download=a&download=b"),
    ("GET", "/storage/{0}.webp?download=a&download=b"),
    ("GET", "/storage/{0}.webp?width=9&width=9"),
    ("GET", "/storage/{0}.webp?preset=small&preset=small"),
    ("GET", "/storage/{0}.webp?ops=width:9&ops=width:8"),
    ("GET", "/storage/{0}/palette?colors=2&colors=3"),
    ("DELETE", "/storage/{0}?permanently=false&permanently=true"),
    ("GET", "/storage/?limit=1&limit=2"),
    ("GET", "/storage/?owner=alice&owner=bob"),
    ("GET", "/storage/?deleted=true&deleted=false"),
    ("GET", "/jobs?state=done&state=failed"),
    ("GET", "/jobs?limit=1&limit=2"),
    ("GET", "/keys?owner=alice&owner=bob"),
    ("GET", "/audit?reference={0}&reference={0}"),
    ("PUT", "/storage/?expires=1d&expires=2d"),
    ("PUT", "/storage/?visibility=key&visibility=public"),
    ("PUT", "/storage/?metadata={{}}&metadata={{}}"),
    ("POST", "/transform.png?download=a&download=b"),
    ("POST", "/transform.png?width=9&width=8"),
]


@pytest.mark.parametrize(("method", "path"), TWICE)
def test_of_two_values_neither_is_taken(admin: httpx.Client, method: str, path: str) -> None:
    reference = admin.put("/storage/", content=PNG).text
    body: dict[str, Any] = {"content": PNG} if method in ("PUT", "POST") else {}
    answer = admin.request(method, path.format(reference), **body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["parameter"] == path.partition("?")[2].partition("=")[0]
    assert admin.get(f"/storage/{reference}").status_code == 200


def test_two_keys_are_none(server: Server, alice: httpx.Client, admin: httpx.Client) -> None:
    keys = [client.headers["authorization"] for client in (alice, admin)]
    for pair in (keys, keys[::-1]):
        answer = server.client.get("/account", headers=[("authorization", key) for key in pair])
        assert answer.status_code == 401, answer.text
    twice = [("idempotency-key", str(uuid.uuid4())) for _ in range(2)]
    answer = alice.put("/storage/", content=PNG, headers=twice)
    assert answer.status_code == 400 and answer.json()["parameter"] == "Idempotency-Key"


def at_once(send, times: int = 8) -> list[httpx.Response]:
    with ThreadPoolExecutor(times) as clients:
        return list(clients.map(lambda _: send(), range(times)))


@pytest.mark.parametrize("where", ["SQLite", "PostgreSQL"])
def test_an_upload_that_is_sent_many_times_at_once_is_stored_once(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database: dict[str, Any] = {}
    if where == "PostgreSQL":
        postgres: Postgres = request.getfixturevalue("database")
        database["database_url"] = postgres.new_database()
    with serving(tmp_path / "data", queue=100, **SETTINGS, **database) as server:
        alice = server.as_owner("alice")
        ticket = alice.post("/tickets", json={"max_bytes": 10**6}).json()["url"]
        for client, url in ((alice, "/storage/"), (server.client, ticket)):
            headers = with_key()
            answers = at_once(lambda c=client, u=url, h=headers: c.put(u, content=LARGE, headers=h))
            assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
            assert len({answer.text for answer in answers}) == 1
        parts = [("data", ("a", PNG)), ("data", ("b", LARGE))]
        headers = with_key()
        answers = at_once(lambda: alice.put("/storage/", files=parts, headers=headers))
        assert len({answer.text for answer in answers}) == 1 and len(answers[0].text.splitlines()) == 2
        # Without such a key, a ticket is for one of them.
        ticket = alice.post("/tickets", json={"max_bytes": 10**6}).json()["url"]
        codes = sorted(answer.status_code for answer in at_once(lambda: server.client.put(ticket, content=LARGE)))
        assert codes == [200, *[403] * 7]
        account = alice.get("/account").json()
        assert (account["images"], account["bytes"]) == (5, 4 * len(LARGE) + len(PNG))


def test_what_was_stored_is_answered_though_the_owner_may_not_have_more(server: Server, admin: httpx.Client) -> None:
    bob = server.as_owner("bob")
    tickets = [bob.post("/tickets", json={"max_bytes": 10**6}).json()["url"] for _ in range(2)]
    assert admin.put("/owners/bob", json={"max_images": 2}).status_code == 200
    stored = []
    for client, url in ((bob, "/storage/"), (server.client, tickets[0])):
        headers = with_key()
        stored.append((client, url, headers, client.put(url, content=PNG, headers=headers)))
    for client, url, headers, first in stored:
        again = client.put(url, content=PNG, headers=headers)
        assert (again.status_code, again.text) == (first.status_code, first.text) == (200, first.text)
    for client, url in ((bob, "/storage/"), (server.client, tickets[1])):
        refused = client.put(url, content=PNG, headers=with_key())
        assert refused.status_code == 403 and refused.json()["type"].endswith("quota-exceeded")


def test_an_upload_sent_again_does_not_tell_what_was_said_since(server: Server, alice: httpx.Client) -> None:
    ticket = alice.post("/tickets", json={"max_bytes": 10**6, "labels": ["form"]}).json()["url"]
    for client, url in ((server.as_owner("alice", "upload"), "/storage/"), (server.client, ticket)):
        headers = {**with_key(), "accept": "application/json"}
        first = client.put(url, content=PNG, headers=headers)
        said = {"labels": ["a secret"], "metadata": {"note": "a secret"}, "visibility": "key"}
        assert alice.patch(f"/storage/{first.json()['reference']}", json=said).status_code == 200
        again = client.put(url, content=PNG, headers=headers)
        assert json.loads(again.text) == json.loads(first.text) and "secret" not in again.text
        assert alice.put("/storage/", content=PNG, headers=headers).json()["labels"] == ["a secret"]
