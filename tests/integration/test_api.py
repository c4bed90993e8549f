"""The API, to the letter, as an application meets it."""

import subprocess
import uuid
from pathlib import Path

import pytest

from tests import pictures
from tests.blobs import blob_files
from tests.integration.server import Server, serving

PHOTO = pictures.saved(pictures.colour((320, 240)), "JPEG", quality=90)


def problem(response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status and body["title"] and body["detail"] and body["type"]
    return body


def shell(command: str, cwd: Path) -> str:
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("curl", "file")
def test_curl_session(server: Server, tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(PHOTO)
    host = server.url
    reference = shell(f"curl -s -X PUT {host}/storage/ -F data=@image.jpg", tmp_path)
    assert str(uuid.UUID(reference)) == reference
    shell(f"curl -s {host}/storage/{reference} | cmp - image.jpg", tmp_path)
    assert shell(f"curl -s {host}/storage/{reference} | file --brief --mime-type -", tmp_path) == "image/jpeg\n"
    assert shell(f"curl -s {host}/storage/{reference}.bmp | file --brief --mime-type -", tmp_path) == "image/bmp\n"
    by_name = shell(f"curl -s -T image.jpg {host}/storage/", tmp_path)
    shell(f"curl -s {host}/storage/{by_name} | cmp - image.jpg", tmp_path)
    assert server.get(f"{by_name}/info").json()["filename"] == "image.jpg"


def test_raw_body_post_and_several_parts(server: Server) -> None:
    for method in ("PUT", "POST"):
        response = server.client.request(method, "/storage/", content=PHOTO)
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/plain")
        assert server.get(response.text).content == PHOTO
    chunked = server.client.put("/storage/", content=(PHOTO[i : i + 999] for i in range(0, len(PHOTO), 999)))
    assert server.get(chunked.text).content == PHOTO
    png = pictures.BY_MODE["RGB"]()
    files = [("data", ("a.jpg", PHOTO)), ("data", ("b.png", png)), ("data", ("c.jpg", PHOTO))]
    references = server.client.post("/storage/", files=files).text.split("\n")
    assert [server.get(r).content for r in references] == [PHOTO, png, PHOTO]
    assert len(set(references)) == 3
    records = server.client.put("/storage/", files=files, headers={"accept": "application/json"}).json()
    assert [record["filename"] for record in records] == ["a.jpg", "b.png", "c.jpg"]


def test_several_parts_are_all_or_nothing(data_dir: Path) -> None:
    with serving(data_dir) as server:
        files = [("data", ("a.jpg", PHOTO)), ("data", ("b.jpg", b"no image"))]
        body = problem(server.client.put("/storage/", files=files), 400)
        assert "image 2 of 2" in body["detail"]
        assert "progimage_images 0.0" in server.client.get("/metrics").text
        assert not blob_files(data_dir / "blobs")
        assert not list((data_dir / "spool").glob("*/incoming/*"))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "missing-data"),
        (b"hello", "not-an-image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not-an-image"),
        (b"%PDF-1.7\n", "not-an-image"),
        (PHOTO[:-700], "corrupt-image"),
        (PHOTO[:300], "corrupt-image"),
        (pictures.BY_MODE["RGB"]()[:-60], "corrupt-image"),
    ],
)
def test_refuses_what_is_no_whole_image(server: Server, data: bytes, kind: str) -> None:
    for response in (
        server.client.put("/storage/", files={"data": ("x.jpg", data)}),
        server.client.put("/storage/", content=data),
    ):
        body = problem(response, 400)
        assert body["type"].endswith(kind) and body["parameter"] == "data"


def test_refuses_forms_without_data(server: Server) -> None:
    body = problem(server.client.put("/storage/", files={"date": ("x.jpg", PHOTO)}), 400)
    assert body["parameter"] == "date" and "data" in body["allowed"]
    empty = server.client.put(
        "/storage/", content=b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert problem(empty, 400)["parameter"] == "data"
    half = server.client.put(
        "/storage/", content=b"--b\r\nContent-Disp", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    problem(half, 400)
    problem(server.client.put("/storage/", content=b"x", headers={"content-type": "multipart/mixed; boundary=b"}), 400)
    assert problem(server.client.put("/storage/?expiry=1", content=PHOTO), 400)["parameter"] == "expiry"


def test_unknown_and_unwritable_formats(server: Server) -> None:
    reference = server.put(PHOTO)
    body = problem(server.get(f"{reference}.nope"), 400)
    assert body["parameter"] == "extension" and body["given"] == "nope" and "png" in body["allowed"]
    assert "SVG can be read, but not written" in problem(server.get(f"{reference}.svg"), 400)["detail"]
    assert server.get(f"{reference}.PNG").headers["content-type"] == "image/png"
    assert problem(server.get(f"{reference}.png?wide=3"), 400)["parameter"] == "wide"
    for page in ("0", "-1", "2", "x", "1.5", ""):
        body = problem(server.get(f"{reference}.png?page={page}"), 400)
        assert (body["parameter"], body["given"]) == ("page", page)
    problem(server.get(f"{reference}?page=1"), 400)


def test_unknown_references(server: Server) -> None:
    unknown = str(uuid.uuid4())
    for path in (unknown, f"{unknown}.png", f"{unknown}.nope", f"{unknown}.png?bad=1", f"{unknown}/info"):
        problem(server.get(path), 404)
    for path in (f"{unknown}/x/y", "no-uuid", "no-uuid.png", unknown.upper(), f"{unknown}%00", "%2e%2e%2fetc"):
        problem(server.get(path), 404)
    problem(server.client.delete(f"/storage/{unknown}"), 404)


def test_slashes(server: Server) -> None:
    reference = server.put(PHOTO)
    assert server.get(f"{reference}/").content == PHOTO
    assert server.client.put("/storage", content=PHOTO).status_code == 200
    problem(server.get(f"{reference}%2Finfo"), 404)
    problem(server.get(f"{reference}%2F"), 404)


def test_methods(server: Server) -> None:
    reference = server.put(PHOTO)
    for method, path in (("PATCH", "/storage/"), ("DELETE", "/storage/"), ("POST", f"/storage/{reference}")):
        response = server.client.request(method, path)
        problem(response, 405)
        assert response.headers["allow"]
    assert "GET" in problem_headers(server.client.put(f"/storage/{reference}", content=PHOTO))["allow"]


def problem_headers(response) -> dict:
    problem(response, 405)
    return response.headers


def test_delete(server: Server) -> None:
    one, other = server.put(PHOTO), server.put(PHOTO)
    assert server.get(f"{one}.webp").status_code == 200
    assert server.client.delete(f"/storage/{one}").status_code == 204
    for path in (one, f"{one}.webp", f"{one}.png", f"{one}/info"):
        problem(server.get(path), 404)
    problem(server.client.delete(f"/storage/{one}"), 404)
    assert server.get(other).content == PHOTO


def test_info(server: Server) -> None:
    data = pictures.oriented(6)
    info = server.get(f"{server.put(data, 'é photo.jpg')}/info").json()
    assert (info["format"], info["media_type"]) == ("JPEG", "image/jpeg")
    assert (info["width"], info["height"], info["orientation"]) == (48, 64, 6)
    assert (info["frames"], info["mode"], info["bit_depth"], info["alpha"], info["icc"]) == (1, "RGB", 8, False, None)
    assert info["exif"]["Make"] == "Testmaker"
    assert info["bytes"] == len(data) and len(info["sha256"]) == 64 and info["uploaded_at"]
    assert info["filename"] == "é photo.jpg"


def test_formats(server: Server) -> None:
    rows = {row["name"]: row for row in server.client.get("/formats").json()}
    assert rows["GIF"]["animated"] and rows["GIF"]["can_write"] and "gif" in rows["GIF"]["extensions"]
    assert rows["SVG"]["can_read"] and not rows["SVG"]["can_write"]
    assert rows["EPS"]["can_write"] and not rows["EPS"]["can_read"]
    assert not {"BUFR", "GRIB", "HDF5", "WMF", "MPEG"} & set(rows)


def test_limits(data_dir: Path) -> None:
    with serving(
        data_dir, max_upload_bytes=20_000, max_pixels=5000, max_frames=3, max_total_pixels=14_000, max_upload_parts=2
    ) as server:
        big = b"\xff\xd8" + bytes(20_000)
        for response in (
            server.client.put("/storage/", content=big),
            server.client.put("/storage/", content=(big[i : i + 1000] for i in range(0, len(big), 1000))),
            server.client.put("/storage/", files={"data": big}),
        ):
            body = problem(response, 413)
            assert body["allowed"] == 20_000 and body["parameter"] == "data"
        too_wide = pictures.saved(pictures.colour((100, 60)), "PNG")
        assert problem(server.client.put("/storage/", content=too_wide), 413)["given"] == 6000
        assert "frames" in problem(server.client.put("/storage/", content=pictures.animation(frames=4)), 413)["detail"]
        small = pictures.saved(pictures.colour((8, 8)), "PNG")
        problem(server.client.put("/storage/", files=[("data", small)] * 3), 413)
        assert server.client.put("/storage/", files=[("data", small)] * 2).status_code == 200


def test_operation(server: Server) -> None:
    assert server.client.get("/healthz").text == "ok"
    assert server.client.get("/readyz").text == "ready"
    reference = server.put(PHOTO)
    for _ in range(2):
        server.get(f"{reference}.tga")
    text = server.client.get("/metrics").text
    for name in (
        'progimage_requests_total{method="GET",route="/storage/{reference}",status="200"}',
        'progimage_render_seconds_count{format="TGA"}',
        'progimage_rendition_cache_hits_total{format="TGA"}',
        "progimage_pool_workers",
        "progimage_pool_tasks",
        "progimage_bytes_stored",
    ):
        assert name in text, text
    response = server.client.get("/healthz", headers={"x-request-id": "abc-123"})
    assert response.headers["x-request-id"] == "abc-123"
    assert server.client.get("/healthz", headers={"x-request-id": "bad,id"}).headers["x-request-id"] != "bad,id"
    assert '"request_id"' in server.log()


def test_documentation(server: Server) -> None:
    document = server.client.get("/docs/openapi.json").json()
    assert {"/storage", "/storage/{reference}", "/storage/{reference}.{extension}", "/formats"} <= set(
        document["paths"]
    )
    page = server.client.get("/docs", follow_redirects=True)
    assert "swagger-ui" in page.text and "https://" not in page.text
    assert server.client.get("/docs/assets/swagger-ui-bundle.js").status_code == 200
