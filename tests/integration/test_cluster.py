"""Several nodes over one PostgreSQL and one S3 server."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from progimage.images.records import KNOWN_SECONDS
from progimage.jobs.leases import LEASE_SECONDS
from tests import pictures
from tests.cluster import STALE_SECONDS, Cluster
from tests.integration.server import Server, eventually
from tests.integration.test_cloud import noise
from tests.integration.test_jobs import Site
from tests.servers import Postgres, S3Server

PNG = pictures.BY_MODE["RGB"]()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


@pytest.fixture(scope="module")
def settings(database: Postgres, s3: S3Server, site: Site) -> dict[str, Any]:
    return s3.settings("nodes") | site.settings() | {
        "database_url": database.new_database(), "workers": 1, "sweep_seconds": 2, "access": "keys",
        "undelete_seconds": 0, "orphan_grace_seconds": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def nodes(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        started = []
        for number in range(2):
            started.append(Server(folder / f"node{number}", **settings))
            stack.callback(started[-1].stop)
        yield started
    for node in started:
        assert '"status":500' not in node.log() and "Traceback" not in node.log()


def counted(node: Server, name: str) -> float:
    text = node.client.get("/metrics").text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_what_one_node_has_stored_and_rendered_is_everywhere(nodes: list[Server]) -> None:
    one, other = nodes
    alice = one.as_owner("alice")
    reference = alice.put("/storage/", content=noise(1, 300)).text
    first = one.get(f"{reference}.webp?width=50")
    time.sleep(1)  # it is on its way to the store
    rendered = counted(other, "progimage_rendition_cache_misses_total")
    second = other.get(f"{reference}.webp?width=50")
    assert second.content == first.content and second.headers["etag"] == first.headers["etag"]
    assert counted(other, "progimage_rendition_cache_misses_total") == rendered  # it was brought, not rendered
    assert other.get(reference).content == noise(1, 300)


def test_a_node_that_lost_its_disk_loses_nothing(nodes: list[Server]) -> None:
    import shutil

    alice = nodes[0].as_owner("alice")
    reference = alice.put("/storage/", content=noise(2, 300)).text
    assert nodes[0].get(f"{reference}.png?width=11").status_code == 200
    for folder in ("originals", "renditions"):
        shutil.rmtree(nodes[0].data_dir / folder)
    assert nodes[0].get(f"{reference}.png?width=12").status_code == 200
    assert nodes[0].get(reference).content == noise(2, 300)


@pytest.mark.alone
def test_deletion_reaches_every_node_within_five_seconds(nodes: list[Server]) -> None:
    one, other = nodes
    alice = one.as_owner("alice")
    reference = alice.put("/storage/", content=noise(3)).text
    for node in nodes:
        for path in (reference, f"{reference}.webp"):
            assert node.get(path).status_code == 200
    alice.delete(f"/storage/{reference}")
    deleted = time.monotonic()
    assert one.get(reference).status_code == 404
    while other.get(f"{reference}.webp").status_code != 404 or other.get(reference).status_code != 404:
        assert time.monotonic() - deleted < KNOWN_SECONDS + 1
        time.sleep(0.1)
    assert KNOWN_SECONDS == STALE_SECONDS
    # What the other node has on its disk goes, too, and so does what is in the store.
    eventually(lambda: not _cached_files(other, noise(3)) and not _cached_files(one, noise(3)))


def _cached_files(node: Server, data: bytes) -> list[Path]:
    import hashlib

    name = hashlib.sha256(data).hexdigest()
    return [path for folder in ("originals", "renditions") for path in (node.data_dir / folder).glob(f"*/{name}/*")]


@pytest.mark.alone
def test_a_revoked_key_is_refused_everywhere_within_five_seconds(nodes: list[Server]) -> None:
    one, other = nodes
    key = one.command("keys", "create", "--owner", "carol")
    headers = {"authorization": f"Bearer {key}"}
    assert other.client.get("/account", headers=headers).status_code == 200
    one.command("keys", "revoke", key.split("_")[1])
    revoked = time.monotonic()
    while other.client.get("/account", headers=headers).status_code != 401:
        assert time.monotonic() - revoked < KNOWN_SECONDS + 1
        time.sleep(0.1)


def test_many_nodes_asked_for_the_same_rendition_make_it_once_each_at_most(nodes: list[Server]) -> None:
    alice = nodes[0].as_owner("alice")
    reference = alice.put("/storage/", content=noise(4, 900)).text
    before = sum(counted(node, "progimage_rendition_cache_misses_total") for node in nodes)

    def ask(number: int) -> bytes:
        with nodes[number % 2].new_client() as client:
            return client.get(f"/storage/{reference}.avif?width=321").content

    with ThreadPoolExecutor(16) as threads:
        bodies = set(threads.map(ask, range(32)))
    assert len(bodies) == 1
    assert sum(counted(node, "progimage_rendition_cache_misses_total") for node in nodes) - before <= len(nodes)


@pytest.mark.alone
def test_the_jobs_of_a_node_that_never_comes_back_are_done_by_others(
    settings: dict[str, Any], nodes: list[Server], site: Site, tmp_path: Path
) -> None:
    def slowly(path: str) -> tuple[int, bytes]:
        time.sleep(4)
        return 200, PNG

    site.answer = slowly
    lost = Server(tmp_path / "lost", **settings)
    owner = lost.as_owner("dave")
    urls = [f"{site.url}/{number}.png" for number in range(6)]  # as many as three nodes do at once
    begun = owner.post("/storage/import", json={"urls": urls, "background": True}).json()
    eventually(lambda: len(site.asked) == len(urls))
    lost.kill()
    killed = time.monotonic()
    with httpx.Client(base_url=nodes[0].url, headers=owner.headers, timeout=30) as heir:
        eventually(lambda: heir.get(begun["url"]).json()["state"] == "done", 60)
        assert time.monotonic() - killed < LEASE_SECONDS + 23
        listed = heir.get("/storage/", params={"limit": 100}).json()["images"]
        assert sorted(image["reference"] for image in listed) == sorted(begun["references"])


def test_sweeps_are_done_by_one_node_of_all(nodes: list[Server]) -> None:
    admin = nodes[0].as_owner("operator", "admin")

    def swept() -> list[dict]:
        return [job for job in admin.get("/jobs?kind=sweep&limit=50").json()["jobs"] if job["state"] == "done"]

    eventually(lambda: len(swept()) >= 4)
    ids = [job["id"] for job in swept()]
    assert len(set(ids)) == len(ids)


def test_a_cluster_whose_parts_are_killed_loses_nothing(tmp_path: Path) -> None:
    """Kills, restarts and pauses, one after another; `python -m tests.cluster --seconds 600` does it for ten."""
    cluster = Cluster(tmp_path, 3)
    faults = 6 if cluster.store.has_bound else 5
    try:
        report = cluster.run(seconds=15, least_faults=faults)
    finally:
        cluster.close()
    print(report.text())
    assert not report.wrong, report.text()
    assert len({fault.name for fault in report.faults}) == faults
    assert report.acknowledged > 20
    assert report.successes[-1] > report.faults[-1].ended
