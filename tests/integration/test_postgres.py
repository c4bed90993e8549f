"""Records on PostgreSQL: a real server, several nodes, and what may happen to it."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.integration.test_cloud import noise
from tests.integration.test_jobs import Site
from tests.servers import Postgres, Proxy, S3Server, postgres

PNG = pictures.BY_MODE["RGB"]()


def images_of(server: Server) -> list[str]:
    return [image["reference"] for image in server.client.get("/storage/", params={"limit": 100}).json()["images"]]


def test_everything_the_database_does(database: Postgres, data_dir: Path) -> None:
    url = database.new_database()
    settings: dict[str, Any] = {
        "database_url": url, "sweep_seconds": 1, "orphan_grace_seconds": 1, "undelete_seconds": 2,
        "signing_keys": '["0123456789abcdef"]', "access": "keys", "presets": '{"small": "width=9"}',
        "prerender": '["small.webp"]',
    }  # fmt: skip
    with serving(data_dir, **settings) as server:
        alice, bob = server.as_owner("alice"), server.as_owner("bob")
        references = [alice.put("/storage/", content=noise(n), params={"label": f"n{n}"}).text for n in range(3)]
        for number, reference in enumerate(references):
            assert alice.get(f"/storage/{reference}").content == noise(number)
            assert alice.get(f"/storage/{reference}/info").json()["labels"] == [f"n{number}"]
        page = alice.get("/storage/", params={"limit": 2}).json()
        rest = alice.get("/storage/", params={"limit": 2, "cursor": page["next"]}).json()
        listed = [image["reference"] for image in (*page["images"], *rest["images"])]
        assert listed == references[::-1] and bob.get("/storage/").json()["images"] == []
        changed = alice.patch(f"/storage/{references[0]}", json={"labels": ["new"], "metadata": {"a": "b"}})
        assert changed.json()["labels"] == ["new"] and changed.json()["metadata"] == {"a": "b"}
        assert alice.delete(f"/storage/{references[1]}").status_code == 204
        assert alice.get(f"/storage/{references[1]}").status_code == 404
        assert alice.post(f"/storage/{references[1]}/undelete").status_code == 200
        alice.delete(f"/storage/{references[2]}")
        eventually(lambda: alice.get("/account").json()["images"] == 2)  # swept away
        ticket = alice.post("/tickets", json={"max_bytes": 10**6, "expires_in": 60}).json()["url"]
        codes = sorted(httpx.put(f"{server.url}{ticket}", content=PNG).status_code for _ in range(2))
        assert codes == [200, 403]
        assert bob.delete(f"/storage/{references[0]}").status_code == 404
        eventually(lambda: alice.get(f"/jobs/prerender-{references[0]}").json()["state"] == "done")
        assert server.command("scrub") == ""
        actions = server.command("audit", "--json")
        assert all(f'"{action}"' in actions for action in ("upload", "delete", "undelete", "purge"))
        name = url.rpartition("/")[2]
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            database.sql("UPDATE audit SET action = 'x'", name)
        assert "error" not in server.command("doctor")


def test_quotas_are_exact_across_nodes(database: Postgres, s3: S3Server, tmp_path: Path) -> None:
    settings: dict[str, Any] = s3.settings("quotas") | {
        "database_url": database.new_database(),
        "max_images_per_owner": 10,
    }
    with ExitStack() as stack:
        nodes = [stack.enter_context(serving(tmp_path / f"node{n}", **settings)) for n in range(2)]

        def upload(number: int) -> int:
            with nodes[number % 2].new_client() as client:
                return client.put("/storage/", content=noise(number, 40)).status_code

        with ThreadPoolExecutor(8) as threads:
            codes = list(threads.map(upload, range(30)))
        assert sorted(set(codes)) == [200, 403] and codes.count(200) == 10
        for node in nodes:
            assert node.client.get("/account").json()["images"] == 10 == len(images_of(node))


def test_a_database_that_restarts(tmp_path: Path, s3: S3Server) -> None:
    with postgres(tmp_path / "postgres") as database:
        settings: dict[str, Any] = s3.settings("restarts") | {"database_url": database.new_database()}
        with serving(tmp_path / "data", **settings) as server:
            acknowledged, codes, over = {}, [], threading.Event()

            def upload(first: int) -> None:
                with httpx.Client(base_url=server.url, timeout=60) as client:
                    for number in range(first, first + 10_000):
                        if over.is_set():
                            return
                        answer = client.put("/storage/", content=noise(number, 60))
                        codes.append(answer.status_code)
                        if answer.status_code == 200:
                            acknowledged[answer.text] = number
                        else:
                            assert answer.json()["type"].endswith("database-unavailable"), answer.text
                            time.sleep(0.1)

            threads = [threading.Thread(target=upload, args=(n * 10_000,)) for n in range(3)]
            for thread in threads:
                thread.start()
            for how in (signal.SIGINT, signal.SIGKILL):  # a fast shutdown, a crash
                time.sleep(2)
                database.stop(how)
                time.sleep(1)
                assert server.client.get("/readyz").status_code == 503
                database.start()
                eventually(lambda: server.client.get("/readyz").status_code == 200)
            time.sleep(2)
            over.set()
            for thread in threads:
                thread.join()
            assert set(codes) == {200, 503} and codes[-1] == 200 and len(acknowledged) > 20
            for reference, number in acknowledged.items():
                assert server.get(reference).content == noise(number, 60)


def test_a_connection_cut_in_the_middle_of_a_commit(database: Postgres, data_dir: Path) -> None:
    proxy = Proxy(database.port)
    with serving(data_dir, database_url=database.new_database(proxy.port), jobs=0) as server:
        stored = {server.put(noise(1))}
        # The server never hears of the commit: nothing happened.
        proxy.cut_before = lambda data: b"COMMIT" in data and b"INSERT INTO images" not in data
        answer = server.client.put("/storage/", content=noise(2))
        proxy.cut_before = lambda data: False
        assert answer.status_code == 503 and answer.json()["type"].endswith("database-unavailable")
        assert set(images_of(server)) == stored and server.client.get("/account").json()["images"] == 1
        # It commits, and we never hear of that: the image is there, and counted, though nobody was told its reference.
        commits = 0

        def last_commit(data: bytes) -> bool:
            nonlocal commits
            commits += b"COMMIT" in data
            return commits == 2  # the first one announces the bytes

        proxy.cut_behind = last_commit
        answer = server.client.put("/storage/", content=noise(3))
        proxy.cut_behind = lambda data: False
        assert answer.status_code == 503
        there = images_of(server)
        assert server.client.get("/account").json()["images"] == len(there) == 2
        for reference in there:
            assert server.get(reference).status_code == 200
        assert server.get(server.put(noise(2))).content == noise(2)
    proxy.close()


@pytest.mark.alone
def test_a_database_that_hangs_is_a_503(database: Postgres, data_dir: Path) -> None:
    proxy = Proxy(database.port)
    with serving(data_dir, database_url=database.new_database(proxy.port), jobs=0) as server:
        reference = server.put(PNG)
        proxy.refuse = True
        proxy.cut_all()
        began = time.monotonic()
        answer = server.client.put("/storage/", content=noise(5))
        assert answer.status_code == 503 and time.monotonic() - began < 15
        assert server.client.get("/healthz").status_code == 200
        for path in ("/jobs", "/jobs/some", "/metrics", "/account", "/storage/"):
            assert server.client.get(path).status_code == 503, path
        proxy.refuse = False
        assert server.get(reference).content == PNG and server.client.get("/jobs").status_code == 200
    proxy.close()


@pytest.mark.alone
def test_a_node_whose_database_is_gone_stops_all_the_same(tmp_path: Path) -> None:
    site = Site()

    def slowly(path: str) -> tuple[int, bytes]:
        time.sleep(2)
        return 200, PNG

    site.answer = slowly
    with (
        postgres(tmp_path / "postgres") as database,
        serving(tmp_path / "data", database_url=database.new_database(), **site.settings()) as server,
    ):
        server.client.post("/storage/import", json={"urls": [f"{site.url}/1.png"], "background": True})
        eventually(lambda: site.asked)
        database.stop(signal.SIGKILL)
        time.sleep(4)  # what came of the job can't be written down
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 15  # of thirty, after which it would be killed
    site.server.shutdown()


def test_nodes_start_together_on_an_empty_database(database: Postgres, s3: S3Server, tmp_path: Path) -> None:
    settings: dict[str, Any] = s3.settings("together") | {"database_url": database.new_database()}
    with ExitStack() as stack, ThreadPoolExecutor(3) as threads:
        nodes = list(threads.map(lambda n: Server(tmp_path / f"node{n}", **settings), range(3)))
        for node in nodes:
            stack.callback(node.stop)
        reference = nodes[0].put(PNG)
        assert all(node.get(reference).content == PNG for node in nodes)
        assert not any("Traceback" in node.log() for node in nodes)
