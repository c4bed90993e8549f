"""What makes the service fast must not be seen in its answers: the ladder, answers in memory, light tasks first."""

import asyncio
import hashlib
import json
import threading
import time
from pathlib import Path

import alembic.command
import alembic.config
import httpx
import pytest

from progimage.auth import Caller, Signer
from progimage.auth.caller import EVERYBODY
from progimage.engine import Limits
from progimage.images.library import ImageLibrary, Upload
from progimage.images.records import RecordCache
from progimage.images.redescription import Redescription
from progimage.images.renderer import Renderer
from progimage.storage import (
    Blob,
    Catalogue,
    Changes,
    DiskCache,
    DiskSpace,
    Originals,
    Renditions,
    ScratchFolder,
    Verification,
    open_blob_store,
)
from progimage.storage.database import migrations
from progimage.storage.database.connections import make_engine
from progimage.storage.database.migrations import migrate
from progimage.workers import Busy, Requester, Sandbox, WorkerPool
from tests.attacks import Attack
from tests.blobs import blob_files
from tests.integration.server import Server, serving
from tests.pictures import colour, open_bytes, saved

PHOTOGRAPH = saved(colour((2400, 1600)), "JPEG", quality=95)


def test_small_renditions_need_no_original(data_dir: Path) -> None:
    with serving(data_dir) as server:
        reference = server.put(PHOTOGRAPH)
        original, *rungs = blob_files(data_dir / "blobs")
        assert [path.name for path in rungs] == [f"{original.name}-1024", f"{original.name}-512"]
        assert sum(path.stat().st_size for path in rungs) < original.stat().st_size
        away = original.rename(data_dir / "away")
        for width in (40, 300, 600):
            assert open_bytes(server.get(f"{reference}.webp?width={width}").content).width == width
        away.rename(original)
        assert open_bytes(server.get(f"{reference}.webp?width=1500").content).width == 1500
        kept = sum(path.stat().st_size for path in rungs)
        assert f"progimage_ladder_bytes {float(kept)}" in server.client.get("/metrics").text


def test_a_missing_step_is_no_loss(data_dir: Path) -> None:
    with serving(data_dir) as server:
        reference = server.put(PHOTOGRAPH)
        for rung in blob_files(data_dir / "blobs")[1:]:
            rung.unlink()
        assert open_bytes(server.get(f"{reference}.webp?width=300").content).width == 300
        assert "rung is missing or damaged" in server.log()


def test_the_ladder_goes_with_its_original(data_dir: Path) -> None:
    with serving(data_dir, orphan_grace_seconds=1, sweep_seconds=1, undelete_seconds=0) as server:
        reference = server.put(PHOTOGRAPH)
        assert len(blob_files(data_dir / "blobs")) == 3
        assert server.client.delete(f"/storage/{reference}").status_code == 204
        end = time.monotonic() + 20
        while blob_files(data_dir / "blobs") and time.monotonic() < end:
            time.sleep(0.1)
        assert not blob_files(data_dir / "blobs")


def test_without_ladder(data_dir: Path) -> None:
    with serving(data_dir, ladder=False) as server:
        reference = server.put(PHOTOGRAPH)
        assert len(blob_files(data_dir / "blobs")) == 1
        assert open_bytes(server.get(f"{reference}.webp?width=300").content).width == 300


def test_images_of_an_earlier_version_have_no_ladder_and_stay(data_dir: Path) -> None:
    with serving(data_dir, ladder=False) as server:
        reference = server.put(PHOTOGRAPH)
    downgrade(f"sqlite:///{data_dir / 'progimage.sqlite'}", "0001")  # as the first version left it
    with serving(data_dir) as server:
        assert server.get(reference).content == PHOTOGRAPH
        assert server.client.get("/account").json()["images"] == 1
        assert server.client.get("/storage/?format=jpeg").json()["images"][0]["reference"] == reference
        assert open_bytes(server.get(f"{reference}.webp?width=300").content).width == 300
        assert server.get(f"{server.put(PHOTOGRAPH)}.webp?width=200").status_code == 200


def downgrade(url: str, revision: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with make_engine(url).connect() as connection:
        config.attributes["connection"] = connection.execution_options(writes=True)
        alembic.command.downgrade(config, revision)


CHANGING = {"date", "x-request-id"}


def seen(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in response.headers.items() if name not in CHANGING}
    return response.status_code, headers, response.content


@pytest.mark.parametrize("path", ["", ".webp?width=100", "?download=photo", ".jpg?width=200&download="])
@pytest.mark.parametrize(
    "headers",
    [{}, {"if-none-match": "ETAG"}, {"if-none-match": '"other", ETAG'}, {"if-none-match": "W/ETAG"},
     {"if-none-match": '"other"'}, {"range": "bytes=5-20"}, {"range": "bytes=5-20", "if-range": '"other"'},
     {"if-match": '"other"'}, {"if-match": '"other"', "if-none-match": "ETAG"}, {"origin": "https://a.example"},
     {"origin": "https://a.example", "if-none-match": "ETAG"}, {"if-modified-since": "Wed, 01 Jan 2020 00:00:00 GMT"},
     {"if-none-match": "ETAG", "if-modified-since": "Wed, 01 Jan 2020 00:00:00 GMT"}],
)  # fmt: skip
def test_a_repeated_answer_is_the_same(server: Server, path: str, headers: dict[str, str]) -> None:
    url = server.put(PHOTOGRAPH) + path
    etag = server.client.head(f"/storage/{url}").headers["etag"]
    headers = {name: value.replace("ETAG", etag) for name, value in headers.items()}
    first = server.get(url, headers=headers)  # nothing is ready yet, except what a HEAD makes ready: nothing
    plain = [server.get(url) for _ in range(3)]
    assert len({str(seen(response)) for response in plain}) == 1
    again = server.get(url, headers=headers)
    assert seen(again) == seen(first)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    head = server.client.head(f"/storage/{url}")
    assert {**seen(head)[1]} == {**seen(plain[0])[1]} and not head.content


def test_the_format_is_negotiated_anew_each_time(server: Server) -> None:
    url = server.put(PHOTOGRAPH) + ".auto?width=100"
    for _ in range(2):
        for accept, kind in (("image/avif,*/*", "image/avif"), ("image/webp", "image/webp"), ("*/*", "image/jpeg")):
            assert server.get(url, headers={"accept": accept}).headers["content-type"] == kind


@pytest.mark.alone
def test_a_signature_ends_when_it_says(data_dir: Path) -> None:
    key = "a secret of some length"
    with serving(data_dir, signing_keys=json.dumps([key]), transformations="presets") as server:
        path = f"/storage/{server.put(PHOTOGRAPH)}.webp"
        until = int(time.time()) + 3
        url = Signer([key]).sign(path, [("width", "90")], until, "GET")
        while time.time() < until - 0.5:
            assert server.client.get(url).status_code == 200
        time.sleep(max(0, until + 1 - time.time()))
        assert server.client.get(url).status_code == 403


def test_a_large_original_is_delivered_whole_each_time(server: Server) -> None:
    data = saved(colour((2000, 1500)), "BMP")
    assert len(data) > 8 * 1024 * 1024
    reference = server.put(data)
    for _ in range(3):
        assert server.get(reference).content == data


def test_what_is_deleted_is_gone_from_every_process_at_once(data_dir: Path) -> None:
    with serving(data_dir, http_processes=3, workers=3) as server:
        for _ in range(5):
            reference = server.put(PHOTOGRAPH)
            paths = [f"{server.url}/storage/{reference}", f"{server.url}/storage/{reference}.webp?width=90"]
            for _ in range(20):  # each on a connection of its own, so that all processes have them ready
                for path in paths:
                    assert httpx.get(path, verify=False).status_code == 200
            assert server.client.delete(f"/storage/{reference}").status_code == 204
            statuses = {httpx.get(path, verify=False).status_code for _ in range(20) for path in paths}
            assert statuses == {404}


def test_answers_outlive_the_cache_on_disk(data_dir: Path) -> None:
    with serving(data_dir) as server:
        url = server.put(PHOTOGRAPH) + ".webp?width=90"
        first = server.get(url)
        for _ in range(2):
            for path in (data_dir / "renditions").glob("*/*"):
                if path.is_file() and path.name != "lock":
                    path.unlink()
            assert seen(server.get(url)) == seen(first)
            time.sleep(5.2)  # nothing is ready any more: it is rendered again


def test_every_request_is_logged_and_counted(data_dir: Path) -> None:
    with serving(data_dir, log_format="json") as server:
        url = server.put(PHOTOGRAPH) + ".webp?width=90"
        for _ in range(50):
            server.get(url)
        metrics = server.client.get("/metrics").text
        assert 'progimage_rendition_cache_hits_total{format="WEBP"} 49.0' in metrics
        route = 'method="GET",route="/storage/{reference}",status="200"'
        assert f"progimage_requests_total{{{route}}} 50.0" in metrics
        server.stop()
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        requests = [line for line in lines if line.get("event") == "request" and line["method"] == "GET"]
        assert len(requests) == 50 + len([line for line in requests if not line["path"].endswith(".webp")])
        assert len({line["request_id"] for line in requests}) == len(requests)


@pytest.mark.alone
def test_heavy_tasks_leave_a_worker_to_light_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, gate = Path(__file__).parents[2], tmp_path / "gate"
    monkeypatch.setenv("PYTHONPATH", str(root))
    waiting, someone = Attack("wait_for", (str(gate),)), Requester("someone", frozenset(("owner",)))

    async def scenario() -> None:
        pool = WorkerPool(2, 4, 40, Sandbox(1 << 30, 100, 1 << 20, (str(root),)), "tests.attacks")
        pool.start()
        await pool.warm_up()
        heavy = [asyncio.ensure_future(pool.run(waiting, someone, heavy=True)) for _ in range(3)]
        await asyncio.sleep(0.2)
        with pytest.raises(Busy):  # one runs, and two wait: half of the queue
            await pool.run(waiting, someone, heavy=True)
        for _ in range(5):  # these come later, and are done while the heavy ones are not
            await pool.run(Attack("kept"), someone)
        assert not any(task.done() for task in heavy)
        gate.touch()
        assert await asyncio.gather(*heavy) == ["done"] * 3
        assert pool.pending == 0
        await pool.close()

    asyncio.run(scenario())


@pytest.mark.alone
def test_thumbnails_are_made_beside_huge_conversions(data_dir: Path) -> None:
    huge = saved(colour((9000, 7000)), "JPEG", quality=60)
    with serving(data_dir, workers=2) as server:
        reference = server.put(PHOTOGRAPH)
        stop, converted = threading.Event(), []

        def convert() -> None:
            while not stop.is_set():
                answer = httpx.post(f"{server.url}/transform.webp?width=2500", content=huge, timeout=120)
                converted.append(answer.status_code)

        threads = [threading.Thread(target=convert) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        begun = len(converted)
        for width in range(100, 140):
            assert server.get(f"{reference}.webp?width={width}").status_code == 200
        # Had each thumbnail waited for a huge one, forty of those would be done.
        assert len(converted) - begun < 30
        stop.set()
        for thread in threads:
            thread.join()
        assert set(converted) == {200}


class Unobserved:
    def rendition(self, format: str, seconds: float | None) -> None:
        pass


def test_what_is_swept_while_it_is_uploaded_again_is_whole(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    migrate(url, tmp_path / "lock")
    scratch = ScratchFolder(tmp_path / "spool")
    pool = WorkerPool(1, 4, 30, Sandbox(4 << 30, 600, 1 << 30))
    catalogue, changes = Catalogue(url), Changes(tmp_path / "changes")
    originals = Originals(
        open_blob_store((tmp_path / "blobs").as_uri()), None, catalogue.inventory, catalogue.audit, changes, scratch,
        Verification(),
    )  # fmt: skip
    cached, space = RecordCache(catalogue.records, changes), DiskSpace(tmp_path, 0)
    renditions = Renditions(DiskCache(tmp_path / "renditions", 1 << 20, 100))
    renderer = Renderer(cached, originals, renditions, scratch, pool, Limits(), Unobserved(), space, 5)
    redescription = Redescription(catalogue.inventory, cached, originals, renderer, scratch, ladder=True)
    library = ImageLibrary(catalogue, cached, originals, renderer, redescription, changes, space)
    client = Caller(EVERYBODY)
    inventory = library.catalogue.inventory
    stored = inventory.stored

    async def scenario() -> None:
        def upload() -> Upload:
            path = scratch.incoming / "upload"
            path.write_bytes(PHOTOGRAPH)
            return Upload(path, hashlib.sha256(PHOTOGRAPH).hexdigest(), len(PHOTOGRAPH))

        pool.start()
        [first] = await library.add(client, [upload()])

        async def stored_and_swept(sha256: str, owner: str) -> Blob | None:
            blob = await stored(sha256, owner)
            assert blob
            await library.remove(client, first.reference)
            assert await library.sweep(0) == 1
            return blob

        inventory.stored = stored_and_swept
        [record] = await library.add(client, [upload()])
        assert record.blob.ladder
        assert sorted(path.name for path in blob_files(tmp_path / "blobs")) == sorted(record.blob.names)
        await pool.close()

    asyncio.run(scenario())
    scratch.close()
