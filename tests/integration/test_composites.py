"""Pictures that are made of several images: whoever may not have one of them does not have the picture."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.servers import Postgres, S3Server

PHOTO = pictures.saved(pictures.colour((320, 240)), "JPEG")
MARK = pictures.saved(pictures.transparent(), "PNG")
SIGNING = "a signing key for the tests of composites"


def settings(mark: str = "") -> dict[str, Any]:
    presets = {"marked": f"width=200&watermark={mark}"} if mark else {}
    return {
        "access": "keys", "signing_keys": json.dumps([SIGNING]), "surrogate_header": "Surrogate-Key",
        "presets": json.dumps(presets),
    }  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, httpx.Client]]:
    with serving(tmp_path_factory.mktemp("composites") / "data", **settings()) as server:
        yield server, server.as_owner("alice")


def put(client: httpx.Client, data: bytes, **options: str) -> str:
    answer = client.put("/storage/", content=data, params=options)
    assert answer.status_code == 200, answer.text
    return answer.text


def paths_of(photo: str, mark: str) -> list[str]:
    return [
        f"/storage/{photo}.png?watermark={mark}",
        f"/storage/{photo}.webp?width=100&mask={mark}",
        f"/storage/{photo}.jpg?ops=width:90|watermark:{mark}|rotate:90",
        f"/storage/{photo}.jpg?ops=width:90|rotate:90;mask:{mark}",
    ]


def every_way(client: httpx.Client, path: str, etag: str) -> list[httpx.Response]:
    return [
        client.get(path),
        client.head(path),
        client.get(path, headers={"range": "bytes=0-9"}),
        client.get(path, headers={"if-none-match": etag}),
        client.get(path, headers={"origin": "https://elsewhere.example"}),
    ]


def test_a_watermark_that_is_made_private_or_deleted_is_gone_at_once(house) -> None:
    server, alice = house
    for hide, show in (
        (lambda mark: alice.patch(f"/storage/{mark}", json={"visibility": "key"}),
         lambda mark: alice.patch(f"/storage/{mark}", json={"visibility": "public"})),
        (lambda mark: alice.delete(f"/storage/{mark}"), lambda mark: alice.post(f"/storage/{mark}/undelete")),
    ):  # fmt: skip
        photo, mark = put(alice, PHOTO), put(alice, MARK)
        for path in paths_of(photo, mark):
            first = server.client.get(path)
            assert first.status_code == 200, first.text
            etag = first.headers["etag"]
            assert server.client.get(path).status_code == 200  # it is ready in memory by now
            assert hide(mark).is_success
            for answer in every_way(server.client, path, etag):
                assert answer.status_code == 400, (path, answer.headers)
            assert mark in server.client.get(path).text
            assert show(mark).is_success
            assert [answer.status_code for answer in every_way(server.client, path, etag)] == [200, 200, 206, 304, 200]


def test_a_signature_does_not_show_what_its_owner_has_made_private(house) -> None:
    server, alice = house
    photo, mark = put(alice, PHOTO, visibility="signed"), put(alice, MARK, visibility="signed")
    for path in paths_of(photo, mark):
        signed = alice.post("/sign", json={"url": path}).json()["url"]
        first = server.client.get(signed)
        assert first.status_code == 200
        assert alice.patch(f"/storage/{mark}", json={"visibility": "key"}).is_success
        assert {answer.status_code for answer in every_way(server.client, signed, first.headers["etag"])} == {400}
        assert alice.patch(f"/storage/{mark}", json={"visibility": "signed"}).is_success
        assert server.client.get(signed).status_code == 200


def test_an_answer_is_no_more_cacheable_than_its_strictest_image(house) -> None:
    server, alice = house
    photo = put(alice, PHOTO)
    for visibility in ("signed", "key"):
        mark = put(alice, MARK, visibility=visibility)
        for path in paths_of(photo, mark):
            assert server.client.get(path).status_code == 400
            answer = alice.get(path)
            assert answer.status_code == 200
            assert answer.headers["cache-control"].startswith("private")
    mark = put(alice, MARK, expires="60s")
    for path in paths_of(photo, mark):
        control = server.client.get(path).headers["cache-control"]
        assert "immutable" not in control and 0 < int(control.partition("max-age=")[2].partition(",")[0]) <= 60


def test_a_watermark_that_expires_takes_the_picture_along(house) -> None:
    server, alice = house
    photo, mark = put(alice, PHOTO), put(alice, MARK, expires="2s")
    path = f"/storage/{photo}.png?watermark={mark}&width=50"
    assert server.client.get(path).status_code == 200
    eventually(lambda: server.client.get(path).status_code == 400, 10)


def test_a_cdn_is_told_of_every_image(house) -> None:
    server, alice = house
    photo, mark = put(alice, PHOTO), put(alice, MARK)
    for path in paths_of(photo, mark):
        assert server.client.get(path).headers["surrogate-key"] == f"{photo} {mark}"
    assert server.client.get(f"/storage/{photo}.png").headers["surrogate-key"] == photo


def test_batches_and_transformations_keep_to_it(house) -> None:
    server, alice = house
    bob = server.as_owner("bob")
    photo, mark = put(bob, PHOTO), put(alice, MARK, visibility="key")
    batch = bob.post(
        "/storage/renditions",
        json={"references": [photo], "extension": "png", "queries": [f"watermark={mark}", f"ops=width:9|mask:{mark}"]},
    )
    results = [json.loads(line) for line in batch.text.splitlines()]
    assert [result["problem"]["status"] for result in results] == [400, 400]
    assert bob.post(f"/transform.png?watermark={mark}", content=PHOTO).status_code == 400
    assert alice.post(f"/transform.png?watermark={mark}", content=PHOTO).status_code == 200


def test_a_presets_mark_is_the_operators_to_show(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, **settings()) as server:
        alice = server.as_owner("alice")
        photo, mark = put(alice, PHOTO), put(alice, MARK, visibility="key")
    with serving(data, **settings(mark)) as server:
        alice = server.as_owner("alice")
        path = f"/storage/{photo}.webp?preset=marked"
        answer = server.client.get(path)
        assert answer.status_code == 200 and answer.headers["cache-control"].startswith("public")
        assert answer.headers["surrogate-key"] == f"{photo} {mark}"
        assert server.client.get(f"/storage/{photo}.webp?width=200&watermark={mark}").status_code == 400
        assert alice.delete(f"/storage/{mark}").is_success
        assert server.client.get(path).status_code == 400


def test_other_nodes_follow_within_five_seconds(database: Postgres, s3: S3Server, tmp_path: Path) -> None:
    shared = settings() | s3.settings("composites") | {"database_url": database.new_database()}
    with serving(tmp_path / "one", **shared) as one, serving(tmp_path / "two", **shared) as two:
        alice = one.as_owner("alice")
        photo, mark = put(alice, PHOTO), put(alice, MARK)
        path = f"/storage/{photo}.png?watermark={mark}"
        assert two.client.get(path).status_code == 200
        end = time.monotonic() + 4
        while time.monotonic() < end:  # so that what the other node knows is of many ages
            assert two.client.get(path).status_code == 200
            time.sleep(0.05)
        assert alice.patch(f"/storage/{mark}", json={"visibility": "key"}).is_success
        changed = time.monotonic()
        assert one.client.get(path).status_code == 400
        while two.client.get(path).status_code == 200:
            assert time.monotonic() - changed < 5
            time.sleep(0.05)
