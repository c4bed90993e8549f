"""The Python client, against a real server: each test for both clients where they differ."""

import asyncio
import io
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

import progimage
from progimage.client import AsyncClient, Client, ConnectionFailed, Image, ServiceError
from tests import pictures
from tests.integration.server import Server, serving
from tests.servers import Proxy, free_port

PNG = pictures.saved(pictures.colour(), "PNG")


def noise(seed: int) -> bytes:
    return pictures.saved(Pillow.frombytes("RGB", (20, 20), random.Random(seed).randbytes(1200)), "PNG")


class Awaited:
    """An AsyncClient whose methods are awaited at once, so that the same test is one for both clients."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name == "list":
            return lambda **filters: self._loop.run_until_complete(self._collected(**filters))
        if asyncio.iscoroutinefunction(method):
            return lambda *args, **kwargs: self._loop.run_until_complete(method(*args, **kwargs))
        return method

    async def _collected(self, **filters: Any) -> list[Image]:
        return [image async for image in self._client.list(**filters)]

    def stream_whole(self, *arguments: Any, **options: Any) -> bytes:
        async def read() -> bytes:
            async with self._client.stream(*arguments, **options) as chunks:
                return b"".join([chunk async for chunk in chunks])

        return self._loop.run_until_complete(read())


class Blocking(Client):
    def stream_whole(self, *arguments: Any, **options: Any) -> bytes:
        with self.stream(*arguments, **options) as chunks:
            return b"".join(chunks)


Make = Callable[..., Any]


@pytest.fixture(params=[Blocking, Awaited], ids=["blocking", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    with ExitStack() as stack:

        def made(*arguments: Any, **options: Any) -> Any:
            client = request.param(*arguments, **options)
            stack.callback(client.close)
            return client

        yield made


@pytest.fixture
def client(make: Make, server: Server) -> Any:
    return make(server.url)


def test_it_is_what_the_package_has() -> None:
    assert progimage.Client is Client and progimage.AsyncClient is AsyncClient


def test_put_from_everything(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "a picture ü.png"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        file.seek(0)
        stored = [
            client.put(path),
            client.put(str(path)),
            client.put(PNG),
            client.put(io.BytesIO(PNG)),
            client.put(file),
        ]
    assert [image.filename for image in stored] == [path.name, path.name, None, None, path.name]
    assert {image.sha256 for image in stored} == {client.info(stored[0].reference).sha256}
    assert len({image.reference for image in stored}) == 5
    first = stored[0]
    assert (first.format, first.width, first.height, first.bytes) == ("PNG", 64, 48, len(PNG))
    assert client.get(first.reference) == PNG


def test_what_is_said_of_an_image_is_found_again(client: Any) -> None:
    image = client.put(noise(1), labels=["client-a", "client-b"], metadata={"shelf": "7"}, expires="30d")
    assert image.labels == ["client-a", "client-b"] and image.metadata == {"shelf": "7"} and image.expires_at
    assert next(found.reference for found in client.list(labels=["client-a"], sha256=image.sha256)) == image.reference
    changed = client.change(image.reference, labels=["client-c"], expires=None)
    assert changed.labels == ["client-c"] and changed.expires_at is None
    client.delete(image.reference)
    with pytest.raises(ServiceError) as gone:
        client.info(image.reference)
    assert gone.value.status == 404 and gone.value.kind == "unknown-reference"
    assert client.undelete(image.reference).reference == image.reference
    client.delete(image.reference, permanently=True)


def test_lists_go_on_over_pages(client: Any) -> None:
    label = f"pages-{random.random()}"
    references = [client.put(noise(n), labels=[label]).reference for n in range(5)]
    import progimage.client.calls as calls

    usual, calls._LISTED_AT_ONCE = calls._LISTED_AT_ONCE, 2
    try:
        assert [image.reference for image in client.list(labels=[label])] == references[::-1]
        assert [image.reference for image in client.list(labels=[label], limit=3)] == references[:1:-1]
    finally:
        calls._LISTED_AT_ONCE = usual


def test_renditions_files_and_streams(client: Any, tmp_path: Path) -> None:
    reference = client.put(PNG).reference
    small = client.get(reference, "webp", width=20, flip=True, crop=(0, 0, 40, 30))
    assert Pillow.open(io.BytesIO(small)).size == (20, 15)
    path = client.download(reference, tmp_path / "small.jpg", width=20)
    assert Pillow.open(path).format == "JPEG" and Pillow.open(path).size == (20, 15)
    assert client.download(reference, tmp_path / "original").read_bytes() == PNG
    assert client.stream_whole(reference) == PNG
    with pytest.raises(ServiceError) as wrong:
        client.download(reference, tmp_path / "no.png", width=0)
    assert wrong.value.parameter == "width" and "1 to 65535" in str(wrong.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["original", "small.jpg"]
    turned = client.transform(PNG, "png", rotate=90)
    assert Pillow.open(io.BytesIO(turned)).size == (48, 64)
    found = client.renditions([reference], "png", queries=[{"width": 10}, {"width": 11}])
    assert [rendition.query for rendition in found] == ["width=10", "width=11"] and all(one.url for one in found)


def test_what_else_there_is(client: Any) -> None:
    reference = client.put(PNG).reference
    assert client.placeholder(reference).data_uri.startswith("data:image/webp")
    assert client.palette(reference, 3)[0].share > 0
    assert any(format.name == "AVIF" and format.can_write for format in client.formats())
    assert client.account().owner == "default"


def test_urls(client: Any, server: Server) -> None:
    reference = client.put(PNG).reference
    url = client.url(reference, "png", width=20, crop=("10%", "10%", "80%", "80%"), grayscale=True)
    assert httpx.get(url).status_code == 200 and "grayscale=true" in url
    sources = client.srcset(reference, "webp", widths=(10, 20)).split(", ")
    assert [source.rpartition(" ")[2] for source in sources] == ["10w", "20w"]
    assert all(httpx.get(source.partition(" ")[0]).status_code == 200 for source in sources)
    assert httpx.get(client.iiif_url(reference, "square", "20,")).status_code == 200


def test_keys_signatures_and_tickets(make: Make, data_dir: Path) -> None:
    secret = "0123456789abcdef"
    with serving(data_dir, access="keys", visibility="signed", signing_keys=f'["{secret}"]') as server:
        with pytest.raises(ServiceError) as refused:
            make(server.url, attempts=1).put(PNG)
        assert refused.value.status == 401
        key = server.as_owner("alice").headers["authorization"].removeprefix("Bearer ")
        alice = make(server.url, key, signing_key=secret)
        reference = alice.put(PNG).reference
        plain = alice.url(reference, "webp", width=10)
        assert httpx.get(plain).status_code == 404
        for signed in (alice.url(reference, "webp", width=10, expires_in=60), alice.sign(plain)):
            assert httpx.get(signed).status_code == 200
        with pytest.raises(ValueError, match="signing key"):
            make(server.url, key).url(reference, expires_in=60)
        ticket = alice.ticket(10**6, labels=["visitor"])
        assert httpx.post(alice.ticket(10**6).url, content=PNG).status_code == 200
        visitor = make(server.url).put(PNG, ticket=httpx.URL(ticket.url).params["ticket"])
        assert alice.info(visitor.reference).labels == ["visitor"]


def test_an_upload_whose_answer_is_lost_is_stored_once(make: Make, data_dir: Path) -> None:
    """The server stores it, and the connection breaks before the answer is through; it is sent again by itself."""
    with serving(data_dir) as server:
        proxy = Proxy(server.port)
        client = make(f"http://127.0.0.1:{proxy.port}")
        proxy.cut_after = 0
        back = threading.Timer(0.6, lambda: setattr(proxy, "cut_after", None))
        back.start()
        image = client.put(PNG)
        back.join()
        assert proxy.cuts >= 1
        images = server.client.get("/storage/").json()["images"]
        assert [one["reference"] for one in images] == [image.reference]
        proxy.close()


def test_a_service_that_is_not_there_yet(make: Make, data_dir: Path) -> None:
    with pytest.raises(ConnectionFailed, match="can't be reached"):
        make(f"http://127.0.0.1:{free_port()}", attempts=2).formats()


def test_idempotency_keys(server: Server) -> None:
    key = {"idempotency-key": "6f1b0a52-3f5c-4a9b-9d3e-2f6f6f1b0a52"}
    put = lambda content, **headers: server.client.put("/storage/", content=content, headers=headers)  # noqa: E731
    first = put(noise(40), **key)
    assert put(noise(40), **key).text == first.text
    other = put(noise(41), **key)
    assert other.status_code == 409 and other.json()["type"].endswith("idempotency-key-reused")
    assert put(noise(40)).text != first.text
    assert put(noise(40), **{"idempotency-key": "1"}).json()["parameter"] == "Idempotency-Key"
    server.client.delete(f"/storage/{first.text}")
    assert put(noise(40), **key).text == first.text  # it says what the first one did
    server.client.post(f"/storage/{first.text}/undelete")
    assert server.as_owner("bob").put("/storage/", content=noise(40), headers=key).text != first.text
