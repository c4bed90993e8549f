"""The configurations of nginx in deploy/, with a real nginx."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.integration.test_cloud import noise
from tests.programs import find
from tests.servers import Process, free_port, running

NGINX = find("nginx") or ""
DEPLOY = Path(__file__).parents[2] / "deploy" / "nginx"
pytestmark = pytest.mark.needs("nginx")


@contextmanager
def nginx(folder: Path, name: str, port: int | None = None, **replaced: str) -> Iterator[httpx.Client]:
    """A running nginx with one of the configurations, whose addresses and folders are replaced by some of the test."""
    folder.mkdir(parents=True)
    port = port or free_port()
    text = (DEPLOY / name).read_text()
    text = text.replace("/var/cache/nginx", str(folder))
    usual = {} if "listen 443 ssl http2" in replaced else {"listen 8080": f"listen 127.0.0.1:{port}"}
    for old, new in (usual | replaced).items():
        assert old in text, old
        text = text.replace(old, new)
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; user root; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}\nscgi_temp_path {folder}/scgi;\n{text}\n}}\n"
    )
    checked = subprocess.run([NGINX, "-t", "-c", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with (
        running(Process([NGINX, "-c", str(config)], port, folder / "log")),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        yield client


def nodes_at(*servers: Server) -> dict[str, Any]:
    names = [f"node{number}:5000" for number in (1, 2)]
    return dict(zip(names, (f"127.0.0.1:{server.port}" for server in (*servers, servers[0])), strict=False))


@pytest.mark.alone
def test_a_cache_in_front(tmp_path: Path) -> None:
    control = "public, max-age=31536000, s-maxage=2, immutable"
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", access="open", cache_control=control))
        client = stack.enter_context(nginx(tmp_path / "nginx", "cache.conf", **nodes_at(server)))
        data = noise(1, 900)  # 2.4 MB: three slices
        reference = client.put("/storage/", content=data).text
        path = f"/storage/{reference}.webp?width=99"
        first, second = client.get(path), client.get(path)
        assert first.headers["x-cache"] == "MISS" and second.headers["x-cache"] == "HIT"
        assert first.content == second.content and first.headers["etag"] == second.headers["etag"]
        assert client.get(path, headers={"if-none-match": first.headers["etag"]}).status_code == 304
        tile = f"/iiif/3/{reference}/0,0,100,100/50,50/0/default.jpg"
        assert [client.get(tile).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]
        document = f"/iiif/3/{reference}/info.json"
        kinds = [client.get(document, headers={"accept": kind}) for kind in ("*/*", "application/ld+json")]
        assert [kind.headers["content-type"].partition(";")[0] for kind in kinds] == [
            "application/json",
            "application/ld+json",
        ]
        # An expired one is answered at once, and asked for again behind that.
        time.sleep(3.5)  # whole seconds are counted
        assert client.get(path).headers["x-cache"] == "STALE"
        eventually(lambda: client.get(path).headers["x-cache"] == "HIT")
        # Originals come in slices, each kept by itself.
        part = client.get(f"/storage/{reference}", headers={"range": "bytes=1500000-1500099"})
        assert part.status_code == 206 and part.content == data[1500000:1500100]
        whole = client.get(f"/storage/{reference}")
        assert whole.status_code == 200 and whole.content == data
        assert whole.headers["content-length"] == str(len(data))
        assert client.head(f"/storage/{reference}").headers["content-length"] == str(len(data))
        assert client.get(f"/storage/{reference}/info").json()["reference"] == reference
        assert client.get("/metrics").status_code == 404
        # With a key, nothing is kept, and nothing that was kept is answered.
        assert client.get(path, headers={"authorization": "Bearer some"}).headers["x-cache"] == "BYPASS"
        # While no node answers, what is kept is.
        server.kill()
        time.sleep(3.5)  # whole seconds are counted
        assert client.get(path).content == first.content
        assert client.get(f"/storage/{reference}.webp?width=98").status_code in (502, 504)


def test_a_purge_reaches_the_cache(tmp_path: Path) -> None:
    port = free_port()
    settings: dict[str, Any] = {
        "access": "open",
        "purge_url": f"http://127.0.0.1:{port}/storage/{{reference}}.webp", "purge_method": "GET",
        "purge_headers": '{"X-Refresh": "change-me-please"}',
    }  # fmt: skip
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", **settings))
        client = stack.enter_context(nginx(tmp_path / "nginx", "cache.conf", port, **nodes_at(server)))
        reference = client.put("/storage/", content=noise(2)).text
        assert [client.get(f"/storage/{reference}.webp").headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]
        client.delete(f"/storage/{reference}")
        eventually(lambda: client.get(f"/storage/{reference}.webp").status_code == 404)


def test_nginx_sends_originals_itself(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"access": "open", "send_originals": "accel"}
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", **settings))
        blobs = tmp_path / "data" / "blobs"
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_uid == 0 and path.is_relative_to("/tmp/pytest-of-root"):
                path.chmod(0o755)
        replaced: dict[str, Any] = {
            "/var/lib/progimage/blobs/": f"{blobs}/",
            "127.0.0.1:5000": f"127.0.0.1:{server.port}",
        }
        client = stack.enter_context(nginx(tmp_path / "nginx", "accel.conf", **replaced))
        data = pictures.saved(Image.new("RGB", (2000, 2000)), "BMP")
        reference = client.put("/storage/", content=data).text
        answer = client.get(f"/storage/{reference}")
        assert answer.content == data and answer.headers["content-type"] == "image/bmp"
        assert "immutable" in answer.headers["cache-control"] and "x-accel-redirect" not in answer.headers
        assert client.get(f"/storage/{reference}", headers={"range": "bytes=5-9"}).content == data[5:10]
        saved = client.get(f"/storage/{reference}?download=a.bmp")
        assert saved.headers["content-disposition"] == 'attachment; filename="a.bmp"' and saved.content == data
        assert client.get(f"/storage/{reference}.webp").status_code == 200
        assert client.get("/_originals/aa/aa").status_code == 404  # nobody asks there from outside


CERTIFICATE = "ssl_certificate     /etc/ssl/images.example.org/fullchain.pem;"
CERTIFICATE_KEY = "ssl_certificate_key /etc/ssl/images.example.org/privkey.pem;"


def configured(name: str, port: int, server: Server) -> dict[str, Any]:
    """What is replaced in a configuration so that it stands in front of a server."""
    if name == "cache.conf":
        return nodes_at(server)
    replaced: dict[str, Any] = {"127.0.0.1:5000": f"127.0.0.1:{server.port}"}
    if name == "progimage.conf":
        # Its TLS is left out: there is no certificate.
        replaced |= {"listen 443 ssl http2": f"listen 127.0.0.1:{port}", CERTIFICATE: "", CERTIFICATE_KEY: ""}
    return replaced


@pytest.mark.parametrize("name", ["progimage.conf", "accel.conf", "cache.conf"])
def test_the_world_gets_nothing_through_a_proxy_before_access_is_chosen(tmp_path: Path, name: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data"))
        port = free_port()
        client = stack.enter_context(nginx(tmp_path / "nginx", name, port, **configured(name, port, server)))
        reference = server.put(noise(3))
        for method, path in (
            ("PUT", "/storage/"),
            ("GET", "/storage/"),
            ("DELETE", f"/storage/{reference}"),
            ("GET", "/"),
        ):
            answer = client.request(method, path, content=noise(4) if method == "PUT" else None)
            assert answer.status_code == 403 and "PROGIMAGE_ACCESS" in answer.json()["detail"]
        assert client.get("/healthz").status_code == 200
        eventually(lambda: "forwarded request refused: set PROGIMAGE_ACCESS" in server.log())
        assert server.get(reference).status_code == 200  # who is on this machine notices nothing


@pytest.mark.parametrize("name", ["progimage.conf", "accel.conf", "cache.conf"])
def test_the_unit_of_systemd_lets_nobody_write_through_a_proxy_without_a_key(tmp_path: Path, name: str) -> None:
    unit = (DEPLOY.parent / "progimage.service").read_text()
    (access,) = re.findall(r"^Environment=PROGIMAGE_ACCESS=(.+)$", unit, re.MULTILINE)
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path / "data", access=access))
        port = free_port()
        client = stack.enter_context(nginx(tmp_path / "nginx", name, port, **configured(name, port, server)))
        key = {"authorization": server.as_owner("alice").headers["authorization"]}
        reference = client.put("/storage/", content=noise(3), headers=key).text
        for size in (120_000, 1_000_000, 20_000_000):  # answered while it is still being sent
            assert client.put("/storage/", content=b"a" * size).status_code == 401
        assert client.delete(f"/storage/{reference}").status_code == 401
        # Its own page uploads with a key; that of another site does not. Without TLS a browser tells the origin alone.
        own = {"origin": f"http://127.0.0.1:{port}"} if name != "progimage.conf" else {"sec-fetch-site": "same-origin"}
        basic = httpx.BasicAuth("key", key["authorization"].removeprefix("Bearer "))
        assert client.put("/storage/", content=noise(5), headers=own, auth=basic).status_code == 200
        evil = {"origin": "https://evil.example"}
        assert client.put("/storage/", content=noise(6), headers=evil, auth=basic).status_code == 403
