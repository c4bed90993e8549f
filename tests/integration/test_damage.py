"""Damaged images at every door: refused, or kept with damaged=accept, and what becomes of them then."""

import asyncio
import base64
import functools
import io
import json
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from progimage.client import AsyncClient, Client, ServiceError
from tests import pictures
from tests.integration.server import PROGIMAGE, Server, eventually, serving
from tests.integration.test_inspections import version


def damaged(seed: int) -> bytes:
    """Return the upper half of a photograph that has smaller copies; another one for each seed."""
    whole = bytes(pictures.detailed(1100, 800).linear(1, seed).cast("uchar").jpegsave_buffer(Q=60))
    return whole[: len(whole) // 2]


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = damaged(int(self.path[1:]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, site: str) -> Iterator[Server]:
    settings: dict[str, Any] = {
        "upload_by_url": "true", "fetch_private_networks": '["127.0.0.1/32"]',
        "fetch_ports": f"[{site.rpartition(':')[2]}]", "signing_keys": '["a-secret-key-of-32-characters-or-so"]',
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("damage") / "data", **settings) as server:
        yield server


def refused(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert answer.status_code == 400 and body["type"].endswith("corrupt-image"), answer.text
    assert "damaged=accept" in body["detail"] and body["parameter"] == "data"
    return dict(body)


def by_query(server: Server, data: bytes, url: str, wanted: str) -> str:
    return stored(server.client.put(f"/storage/?damaged={wanted}", content=data))


def by_form(server: Server, data: bytes, url: str, wanted: str) -> str:
    files: dict[str, tuple[str | None, str | bytes]] = {"data": ("a.jpg", data), "damaged": (None, wanted)}
    return stored(server.client.post("/storage/", files=files))


def by_url(server: Server, data: bytes, url: str, wanted: str) -> str:
    return stored(server.client.put("/storage/", params={"url": url, "damaged": wanted}))


def by_list(server: Server, data: bytes, url: str, wanted: str) -> str:
    answer = server.client.post("/storage/import", json={"urls": [url], "damaged": wanted})
    line = json.loads(answer.text)
    return line["reference"] if line["status"] == 200 else ""


def by_job(server: Server, data: bytes, url: str, wanted: str) -> str:
    begun = server.client.post("/storage/import", json={"urls": [url], "damaged": wanted, "background": True}).json()

    def state() -> str:
        return str(server.client.get(begun["url"]).json()["state"])

    eventually(lambda: state() in ("done", "failed"))
    return str(begun["references"][0]) if state() == "done" else ""


def by_ticket(server: Server, data: bytes, url: str, wanted: str) -> str:
    made = server.client.post("/tickets", json={"max_bytes": 10_000_000, "damaged": wanted}).json()
    return stored(server.client.put(made["url"], content=data))


def by_printed_ticket(server: Server, data: bytes, url: str, wanted: str) -> str:
    path = server.command("ticket", "--max-bytes", "10000000", "--damaged", wanted)
    return stored(server.client.put(path, content=data))


def by_client(server: Server, data: bytes, url: str, wanted: str) -> str:
    with Client(server.url) as client:
        try:
            return client.put(data, damaged=wanted).reference
        except ServiceError:
            return ""


def by_async_client(server: Server, data: bytes, url: str, wanted: str) -> str:
    async def put() -> str:
        async with AsyncClient(server.url) as client:
            try:
                return (await client.put(data, damaged=wanted)).reference
            except ServiceError:
                return ""

    return asyncio.run(put())


def by_command(server: Server, data: bytes, url: str, wanted: str) -> str:
    command = [PROGIMAGE, "put", "-", "--damaged", wanted, "--url", server.url]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    return done.stdout.decode().strip()


def stored(answer: httpx.Response) -> str:
    if answer.status_code == 200:
        return answer.text
    refused(answer)
    return ""


DOORS: list[Callable[[Server, bytes, str, str], str]] = [
    by_query, by_form, by_url, by_list, by_job, by_ticket, by_printed_ticket, by_client, by_async_client, by_command,
]  # fmt: skip


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_every_door(house: Server, site: str, door: Callable[[Server, bytes, str, str], str]) -> None:
    seed = DOORS.index(door)
    put = functools.partial(door, house, damaged(seed), f"{site}/{seed}")
    assert put("refuse") == ""
    reference = put("accept")
    info = house.get(f"{reference}/info").json()
    assert info["damaged"] is True and "rows are missing" in info["warnings"][0]
    assert put("refuse") == "", "that it is stored by now settles nothing"
    assert house.get(reference).content == damaged(seed)
    assert house.get(f"{reference}.png?width=40").status_code == 200


def test_every_rendition_is_made_of_what_is_left(house: Server) -> None:
    data = damaged(50)
    reference = house.client.put("/storage/?damaged=accept", content=data).text
    with Image.open(io.BytesIO(house.get(f"{reference}.png").content)) as whole:
        pixels = np.asarray(whole)
        assert whole.size == (1100, 800) and (pixels[-200:] == 128).all() and pixels[:200].std() > 10
    with Image.open(io.BytesIO(house.get(f"{reference}.png?width=200").content)) as small:  # of a smaller copy
        assert (np.asarray(small)[-25:] == 128).all() and np.asarray(small)[:30].std() > 10
    part = house.get(f"{reference}.png?crop=0,0,300,300&width=100")
    assert part.status_code == 200
    for path in (
        ".webp", ".avif?width=300", ".jpg?rotate=90", ".auto", ".gif?width=100", ".jpg?keep=exif", ".tiff?width=900",
        "/placeholder", "/palette",
    ):  # fmt: skip
        answer = house.get(f"{reference}{path}")
        assert answer.status_code == 200 and answer.headers["etag"], path
    iiif = house.client.get(f"/iiif/3/{reference}/0,0,400,400/200,/0/default.jpg")
    assert iiif.status_code == 200
    base = house.put(pictures.BY_MODE["RGB"]())
    assert house.get(f"{base}.png?watermark={reference}").status_code == 200
    body: dict[str, Any] = {"references": [reference], "extension": "webp", "queries": ["width=50"]}
    assert json.loads(house.client.post("/storage/renditions", json=body).text)["status"] == 200
    posted = house.client.post(f"/transform.png?watermark={reference}", content=pictures.BY_MODE["RGB"]())
    assert posted.status_code == 200


def test_nothing_of_an_unstored_image_is_lost_unnoticed(house: Server) -> None:
    data = damaged(60)
    refused(house.client.post("/info", content=data))
    assert house.client.post("/info?damaged=accept", content=data).json()["damaged"] is True
    for extension in (".png", ".auto", ""):
        refused(house.client.post(f"/transform{extension}?width=50", content=data))
        kept = house.client.post(f"/transform{extension}?width=50&damaged=accept", content=data)
        assert kept.status_code == 200 and Image.open(io.BytesIO(kept.content)).size[0] == 50
    several = house.client.post(
        "/transform.png?damaged=accept", files=[("data", ("a.jpg", data)), ("data", ("b.jpg", data))]
    )
    assert len(zipfile.ZipFile(io.BytesIO(several.content)).namelist()) == 3


@pytest.mark.parametrize("path", ["/storage/", "/info", "/transform.png"])
def test_what_is_no_answer_to_the_question(house: Server, path: str) -> None:
    method = "PUT" if path == "/storage/" else "POST"
    for query in ("damaged=maybe", "damaged=", "damaged=accept&damaged=refuse"):
        answer = house.client.request(method, f"{path}?{query}", content=damaged(0))
        assert answer.status_code == 400 and answer.json()["parameter"] == "damaged", (query, answer.text)


def test_a_whole_image_is_whole_whatever_is_said(house: Server) -> None:
    data = pictures.BY_MODE["RGB"]()
    info = house.get(f"{house.client.put('/storage/?damaged=accept', content=data).text}/info").json()
    assert info["damaged"] is False and info["warnings"] == []


def test_what_is_no_image_stays_refused(house: Server) -> None:
    for data in (b"hello", damaged(0)[:300], pictures.saved(pictures.colour(), "WEBP")[:-40]):
        answer = house.client.put("/storage/?damaged=accept", content=data)
        assert answer.status_code == 400 and "damaged=accept" not in answer.text


def test_owners_do_not_settle_it_for_each_other(house: Server) -> None:
    alice, bob = house.as_owner("alice"), house.as_owner("bob")
    data = damaged(70)
    first = alice.put("/storage/?damaged=accept", content=data).text
    refused(bob.put("/storage/", content=data))
    second = bob.put("/storage/?damaged=accept", content=data).text
    assert alice.delete(f"/storage/{first}").status_code == 204
    assert bob.get(f"/storage/{second}.png?width=30").status_code == 200
    assert bob.get(f"/storage/{second}/info").json()["damaged"] is True


def test_it_is_described_anew_as_what_it_is(tmp_path: Path) -> None:
    import sqlite3

    with serving(tmp_path / "data") as server:
        reference = server.client.put("/storage/?damaged=accept", content=damaged(80)).text
    with sqlite3.connect(tmp_path / "data" / "progimage.sqlite") as database:
        (info,) = database.execute("select info from blobs").fetchone()
        old = json.loads(info) | {"damaged": False, "warnings": [], "inspection": 0}
        database.execute("update blobs set info = ?, inspection = 0", [json.dumps(old)])
    with serving(tmp_path / "data", sweep_seconds=3600) as server:
        told = server.get(f"{reference}/info").json()
        assert told["damaged"] is True and "rows are missing" in told["warnings"][0]
        assert version(tmp_path / "data", reference) > 0
        assert server.get(f"{reference}.webp?width=200").status_code == 200


def test_what_costs_no_pixel_is_told(house: Server) -> None:
    whole = pictures.saved(pictures.colour((300, 200)), "JPEG", progressive=True)
    reference = house.put(whole[:-2])
    info = house.get(f"{reference}/info").json()
    assert info["warnings"] == ["The JPEG has no end marker."] and info["damaged"] is False
    assert house.get(reference).content == whole[:-2]
    sound = house.put(whole)
    for rendition in (".png", ".webp?width=90", ".avif?width=90", ".png?crop=10,10,50,50"):
        assert house.get(f"{reference}{rendition}").content == house.get(f"{sound}{rendition}").content


def test_commands_without_a_service(tmp_path: Path) -> None:
    (tmp_path / "half.jpg").write_bytes(damaged(90))
    command: list[str | Path] = [PROGIMAGE, "transform", tmp_path / "half.jpg", tmp_path / "out.png", "width=60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "damaged=accept" in done.stderr
    subprocess.run([*command, "--damaged", "accept"], check=True, capture_output=True, timeout=60)
    assert Image.open(tmp_path / "out.png").size == (60, 44)
    info = subprocess.run(
        [PROGIMAGE, "info", tmp_path / "half.jpg", "--json"], capture_output=True, check=True, timeout=60
    )
    assert json.loads(info.stdout)["damaged"] is True


def test_results_in_base64(house: Server) -> None:
    files = [("data", ("a.jpg", damaged(0))), ("data", ("b.jpg", pictures.saved(pictures.colour(), "JPEG")))]
    answer = house.client.post("/transform.png?width=20", files=files, headers={"accept": "application/x-ndjson"})
    bad, good = map(json.loads, answer.text.splitlines())
    assert bad["status"] == 400 and "damaged=accept" in bad["problem"]["detail"]
    assert base64.b64decode(good["data"]).startswith(b"\x89PNG")
