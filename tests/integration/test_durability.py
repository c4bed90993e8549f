"""What was acknowledged is never lost, and nothing half-written is ever readable."""

import hashlib
import random
import threading
import time
from pathlib import Path

import httpx
from PIL import Image

from tests import pictures
from tests.blobs import blob_files
from tests.integration.server import eventually, serving


def noise(seed: int) -> bytes:
    generator = random.Random(seed)
    size = generator.randrange(40, 500)
    return pictures.saved(Image.frombytes("RGB", (size, size), generator.randbytes(size * size * 3)), "PNG")


def test_kill_at_any_moment(data_dir: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    generator = random.Random(7)
    seed = 0
    for round_ in range(6):
        with serving(data_dir) as server:
            for reference, digest in acknowledged.items():
                answer = server.get(reference)
                assert answer.status_code == 200 and hashlib.sha256(answer.content).digest() == digest
            assert not list((data_dir / "spool").glob("*/incoming/*"))
            stopped = threading.Event()

            def upload(first: int) -> None:
                for index in range(first, first + 10_000):
                    data = noise(index)
                    try:
                        answer = httpx.put(f"{server.url}/storage/", content=data, timeout=30, verify=False)
                    except httpx.TransportError:
                        return
                    if stopped.is_set():
                        return
                    acknowledged[answer.text] = hashlib.sha256(data).digest()
                    httpx.get(f"{server.url}/storage/{answer.text}.webp", timeout=30, verify=False)

            threads = [threading.Thread(target=_quietly, args=(upload, seed + 100_000 * n)) for n in range(3)]
            seed += 10_000
            for thread in threads:
                thread.start()
            time.sleep(generator.uniform(0.2, 1.0))
            server.kill()
            stopped.set()
            for thread in threads:
                thread.join()
        assert round_ or acknowledged
    with serving(data_dir) as server:
        assert len(acknowledged) > 20
        for reference, digest in acknowledged.items():
            assert hashlib.sha256(server.get(reference).content).digest() == digest
            rendition = server.get(f"{reference}.webp")
            assert rendition.status_code == 200
            pictures.open_bytes(rendition.content).load()
        for blob in blob_files(data_dir / "blobs"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def _quietly(upload, first: int) -> None:
    try:
        upload(first)
    except httpx.TransportError:
        return  # the server was killed under the request


def test_identical_uploads_share_one_blob(data_dir: Path) -> None:
    data = noise(1)
    with serving(data_dir, orphan_grace_seconds=1, sweep_seconds=1, undelete_seconds=0) as server:
        one, other = server.put(data), server.put(data)
        blobs = data_dir / "blobs"
        assert one != other and len(blob_files(blobs)) == 1
        server.client.delete(f"/storage/{one}")
        time.sleep(3)
        assert server.get(other).content == data and server.get(one).status_code == 404
        assert server.get(f"{other}.webp").status_code == 200
        server.client.delete(f"/storage/{other}")
        eventually(lambda: not blob_files(blobs))
        assert not list((data_dir / "renditions").glob("*/*/*"))
        again = server.put(data)
        assert server.get(again).content == data


def test_everything_survives_a_restart(data_dir: Path) -> None:
    data = pictures.animation()
    with serving(data_dir) as server:
        reference = server.put(data, "dance.gif")
        rendition = server.get(f"{reference}.webp")
        info = server.get(f"{reference}/info").json()
    with serving(data_dir) as server:
        assert server.get(reference).content == data
        again = server.get(f"{reference}.webp")
        assert again.content == rendition.content and again.headers["etag"] == rendition.headers["etag"]
        assert 'cache_hits_total{format="WEBP"} 1.0' in server.client.get("/metrics").text
        assert server.get(f"{reference}/info").json() == info


def test_several_http_processes_share_one_data_folder(data_dir: Path) -> None:
    with serving(data_dir, http_processes=2, workers=2) as server:
        references = []
        for index in range(12):  # new connections, so that both processes are met
            data = noise(index)
            answer = httpx.put(f"{server.url}/storage/", content=data, timeout=30, verify=False)
            references.append((answer.text, data))
        for reference, data in references * 2:
            url = f"{server.url}/storage/{reference}"
            assert httpx.get(url, verify=False).content == data
            assert httpx.get(f"{url}.webp", timeout=30, verify=False).status_code == 200
        text = httpx.get(f"{server.url}/metrics").text
        total = sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("progimage_requests_total")
        )
        assert total >= 12 + 48 and "progimage_pool_workers 2.0" in text
        assert len(list((data_dir / "spool").glob("*"))) == 2


def test_the_cache_keeps_to_its_size(data_dir: Path) -> None:
    with serving(data_dir, cache_bytes=300_000) as server:
        for index in range(12):
            reference = server.put(noise(index))
            assert server.get(f"{reference}.qoi").status_code == 200
        import os

        for file in (data_dir / "renditions").glob("*/*/*"):
            os.utime(file, (1, 1))
        last = server.put(noise(99))
        first = server.get(f"{last}.bmp")
        assert first.status_code == 200
        held = sum(file.stat().st_size for file in (data_dir / "renditions").glob("*/*/*"))
        assert held <= max(300_000, len(first.content))
        assert server.get(f"{reference}.qoi").status_code == 200
