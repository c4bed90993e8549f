"""Originals in cloud stores: real servers of S3 and Azure, and what they may do to us."""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from progimage.storage import DiskCache, Renditions, open_object_store
from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.servers import ObjectServer, Proxy, S3Server

LARGE = random.Random(5).randbytes(2600 * 2500 * 3)


@pytest.fixture(scope="session")
def large() -> bytes:
    """A picture of 19.5 MB, which is sent and read in three parts."""
    return pictures.saved(Image.frombytes("RGB", (2600, 2500), LARGE), "BMP")


def noise(seed: int, side: int = 200) -> bytes:
    data = random.Random(seed).randbytes(side * side * 3)
    return pictures.saved(Image.frombytes("RGB", (side, side), data), "PNG")


def forget_copies(data_dir: Path) -> None:
    """Have originals read from the store again; a node keeps copies of what it has stored or read."""
    for copy in (data_dir / "originals").glob("*/*/*"):
        copy.unlink()


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_everything_works_over_a_cloud_store(
    kind: str, request: pytest.FixtureRequest, data_dir: Path, large: bytes
) -> None:
    store: ObjectServer = request.getfixturevalue(kind)
    settings: dict[str, Any] = store.settings("everything") | {
        "orphan_grace_seconds": 1, "sweep_seconds": 1, "undelete_seconds": 0, "originals_cache_bytes": 0,
    }  # fmt: skip
    with serving(data_dir, **settings) as server:
        data = noise(1)
        reference = server.put(data)
        assert server.put(data) != reference
        big = server.put(large)
        assert server.get(big).content == large  # of the copy that this node has kept
        forget_copies(data_dir)
        for reference_, bytes_ in ((reference, data), (big, large)):
            got = server.get(reference_)
            assert got.content == bytes_ and got.headers["content-length"] == str(len(bytes_))
            part = server.get(reference_, headers={"range": "bytes=1000-1999"})
            assert part.status_code == 206 and part.content == bytes_[1000:2000]
        assert server.get(big, headers={"range": f"bytes={len(large) - 10}-"}).content == large[-10:]
        assert server.client.head(f"/storage/{big}").headers["content-length"] == str(len(large))
        small = server.get(f"{big}.webp", params={"width": 100})
        assert pictures.open_bytes(small.content).size[0] == 100
        archive = server.client.post(
            "/storage/renditions",
            json={"references": [reference], "extension": "png"},
            headers={"accept": "application/zip"},
        )
        assert data in archive.content  # not compressed again
        findings = server.command("scrub", "--json")
        assert findings == ""
        assert "originals" in server.command("doctor")
        server.client.delete(f"/storage/{reference}")
        assert server.get(reference).status_code == 404


def test_blobs_are_put_once_and_go_with_their_last_reference(s3: S3Server, data_dir: Path) -> None:
    settings: dict[str, Any] = s3.settings("once") | {
        "orphan_grace_seconds": 1,
        "sweep_seconds": 1,
        "undelete_seconds": 0,
    }
    with serving(data_dir, **settings) as server:
        data = noise(2, 1500)
        one, other = server.put(data), server.put(data)
        name = hashlib.sha256(data).hexdigest()
        assert {name, f"{name}-512"} <= set(s3.files("once"))
        assert server.get(f"{one}.webp?width=90").status_code == 200
        eventually(lambda: any("-" in file and name not in file for file in s3.files("once")))
        server.client.delete(f"/storage/{one}")
        time.sleep(3)
        assert server.get(other).content == data
        server.client.delete(f"/storage/{other}")
        eventually(lambda: not s3.files("once"))


def test_old_renditions_are_removed_from_the_store(s3: S3Server, data_dir: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = s3.settings("old")
    with serving(data_dir, **settings) as server:
        references = [server.put(noise(n)) for n in (50, 51)]
        for reference in references:
            assert server.get(f"{reference}.webp?width=44").status_code == 200
        eventually(lambda: sum(len(name) < 64 for name in s3.files("old")) == 2)
        shown = server.client.get("/jobs?kind=trim").json()["jobs"]
        assert shown == []  # it is the service's own job, and nobody else's business
    kept = [name for name in s3.files("old") if len(name) < 64]
    assert len(kept) == 2
    os.utime(s3.files("old")[kept[0]], (1, time.time() - 31 * 86400))
    store = open_object_store(settings["blobs_url"], json.loads(settings["blobs_options"]))
    renditions = Renditions(DiskCache(tmp_path / "files", 1 << 20, 10), store)
    assert asyncio.run(renditions.forget_old(30)) == 1
    assert kept[0] not in s3.files("old") and kept[1] in s3.files("old")
    assert {hashlib.sha256(noise(n)).hexdigest() for n in (50, 51)} <= set(s3.files("old"))


def test_originals_come_from_the_store_itself(s3: S3Server, data_dir: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="5" height="5"/></svg>'
    settings: dict[str, Any] = s3.settings("redirected") | {"send_originals": "redirect", "redirect_seconds": 60}
    with serving(data_dir, **settings) as server:
        data = noise(3)
        reference = server.put(data, "noise.png")
        answer = server.get(reference)
        assert answer.status_code == 302 and answer.headers["location"].startswith(f"http://127.0.0.1:{s3.port}/")
        assert "max-age=30" in answer.headers["cache-control"] and "immutable" not in answer.headers["cache-control"]
        there = httpx.get(answer.headers["location"])
        assert there.content == data and there.headers["content-type"] == "image/png"
        assert server.get(reference).status_code == 302  # and again, from memory or not
        assert server.client.head(f"/storage/{reference}").status_code == 200
        # What the store could not say as we do comes from here: a name to save it under, and what a browser could run.
        saved = server.get(reference, params={"download": "a.png"})
        assert saved.status_code == 200 and saved.content == data
        assert server.get(server.put(svg, "a.svg")).content == svg
        etag = saved.headers["etag"]
        assert server.get(reference, headers={"if-none-match": etag}).status_code == 304
        assert server.get(f"{reference}.webp").status_code == 200


@contextlib.contextmanager
def behind_proxy(s3: S3Server, data_dir: Path, bucket: str, **settings: object) -> Iterator[tuple[Server, Proxy]]:
    proxy = Proxy(s3.port)
    try:
        options: dict[str, Any] = s3.settings(bucket, proxy.port) | {"store_seconds": 2} | settings
        with serving(data_dir, **options) as server:
            yield server, proxy
    finally:
        proxy.close()


def test_a_store_that_is_gone_is_a_503_and_nothing_is_lost(s3: S3Server, data_dir: Path) -> None:
    with behind_proxy(s3, data_dir, "gone", originals_cache_bytes=0) as (server, proxy):
        data = noise(10)
        reference = server.put(data)
        server.get(f"{reference}.gif")
        proxy.refuse = True
        proxy.cut_all()
        # Renditions that are on this node are answered; what needs the store is a 503 that says so, within seconds.
        assert server.get(f"{reference}.gif").status_code == 200
        assert server.get(f"{reference}.png?width=18").status_code == 200  # of the copy of the original
        forget_copies(data_dir)
        for answer in (
            server.client.put("/storage/", content=noise(11)),
            server.get(reference),
            server.get(f"{reference}.png?width=17"),
        ):
            assert answer.status_code == 503 and answer.json()["type"].endswith("store-unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
        assert server.client.get("/readyz").status_code == 503 and server.client.get("/healthz").status_code == 200
        proxy.refuse = False
        assert server.client.get("/readyz").status_code == 200
        assert server.get(reference).content == data
        assert server.get(f"{reference}.png?width=17").status_code == 200
        assert server.get(server.put(noise(11))).content == noise(11)


def test_a_store_that_fails_for_a_moment_is_tried_again(s3: S3Server, data_dir: Path, large: bytes) -> None:
    with behind_proxy(s3, data_dir, "moment", originals_cache_bytes=0, store_seconds=8) as (server, proxy):
        data = noise(20)
        reference, big = server.put(data), server.put(large)
        forget_copies(data_dir)
        for request in (
            lambda: server.get(reference),
            lambda: server.get(f"{reference}.png?width=19"),
            lambda: server.client.put("/storage/", content=noise(21)),
        ):
            proxy.refuse = True
            proxy.cut_all()
            threading.Timer(1, lambda: setattr(proxy, "refuse", False)).start()
            assert request().status_code == 200
        # A connection that breaks in the middle of an answer is taken up again where it broke.
        forget_copies(data_dir)
        proxy.cut_after = 5_000_000
        assert server.get(big).content == large
        assert proxy.cuts >= 3
        proxy.cut_after = None
        # Slow is only slow.
        proxy.delay = 0.05
        assert server.get(reference).content == data
        assert server.get(server.put(noise(22))).content == noise(22)


def test_an_upload_that_breaks_off_leaves_nothing_that_could_be_read(
    s3: S3Server, data_dir: Path, large: bytes
) -> None:
    with behind_proxy(s3, data_dir, "broken") as (server, proxy):
        sent = 0

        def cut(data: bytes) -> bool:
            nonlocal sent
            sent += len(data)
            return sent > 10_000_000

        proxy.cut_before = cut
        answer = server.client.put("/storage/", content=large)
        assert answer.status_code == 503 and proxy.cuts
        assert hashlib.sha256(large).hexdigest() not in s3.files("broken")
        proxy.cut_before = lambda data: False
        assert server.get(server.put(large)).content == large


def test_what_the_store_lost_or_bent_is_never_served(s3: S3Server, data_dir: Path) -> None:
    with serving(data_dir, **s3.settings("bent"), originals_cache_bytes=0, ladder=False) as server:
        data = noise(30, 1200)
        name = hashlib.sha256(data).hexdigest()
        reference = server.put(data)
        file = s3.files("bent")[name]
        for harm in (
            lambda: file.write_bytes(data[: len(data) // 2]),
            lambda: file.write_bytes(bytes(reversed(data))),
            lambda: file.unlink(),
        ):
            harm()
            forget_copies(data_dir)
            answer = server.get(f"{reference}.webp?width=33")
            assert answer.status_code == 503 and answer.json()["type"].endswith("blob-damaged"), answer.text
        assert server.get(reference).status_code == 503
        again = server.put(data)  # the same bytes heal it
        for one in (reference, again):
            assert server.get(f"{one}.webp?width=33").status_code in (200, 503)
        server.client.close()


def test_a_store_that_refuses_is_a_503(s3: S3Server, data_dir: Path) -> None:
    settings: dict[str, Any] = s3.settings("refusing")
    wrong = settings | {"blobs_options": settings["blobs_options"].replace("tester-secret", "another-secret")}
    with serving(data_dir, ready=False, **wrong) as server:
        answer = server.client.put("/storage/", content=noise(40))
        assert answer.status_code == 503 and answer.json()["type"].endswith("store-unavailable")
        assert server.client.get("/readyz").status_code == 503
