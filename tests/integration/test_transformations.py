"""Transformations over HTTP: renditions, /transform, batches, negotiation, presets, signatures, looks."""

import io
import json
import subprocess
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.gallery import GALLERY
from PIL import Image

from progimage.auth import Signer
from tests import pictures
from tests.integration.server import PROGIMAGE, Server, serving
from tests.unit.test_png_header import chunk

PHOTO = (GALLERY / "photograph.jpg").read_bytes()
LOGO = (GALLERY / "logo.svg").read_bytes()
KEY, OLD_KEY = "a-key-of-the-tests-1", "a-key-of-the-tests-0"
BROWSER = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    presets = {"avatar": "width=96&height=96&gravity=smart&radius=max", "wide": "aspect=2:1&width=200&quality=50"}
    with serving(
        tmp_path_factory.mktemp("restricted") / "data",
        presets=json.dumps(presets),
        transformations="presets",
        signing_keys=json.dumps([KEY, OLD_KEY]),
        max_batch=6,
    ) as running:
        yield running


def size_of(data: bytes) -> tuple[int, int]:
    return pictures.open_bytes(data).size


def test_a_rendition_of_any_shape_is_cached_whatever_the_order(server: Server) -> None:
    reference = server.put(PHOTO)
    one = server.get(f"{reference}.webp?width=120&height=80&fit=inside")
    other = server.get(f"{reference}.webp?fit=inside&h=80&w=120")
    assert one.status_code == 200 and size_of(one.content) == (120, 80)
    assert one.headers["etag"] == other.headers["etag"] and one.content == other.content
    unchanged = server.get(f"{reference}.webp?w=120&fit=inside&h=80", headers={"if-none-match": one.headers["etag"]})
    assert unchanged.status_code == 304
    assert server.get(f"{reference}.webp?width=121&height=80").headers["etag"] != one.headers["etag"]


def test_the_same_format_with_a_transformation_is_encoded_anew(server: Server) -> None:
    reference = server.put(PHOTO)
    assert server.get(f"{reference}.jpg").content == PHOTO
    assert size_of(server.get(f"{reference}.jpg?width=50").content)[0] == 50


def test_problems_name_parameter_value_and_range(server: Server) -> None:
    reference = server.put(PHOTO)
    for query, parameter, given in (
        ("width=0", "width", "0"),
        ("blur=999", "blur", "999"),
        ("width=60000&height=60000&enlarge", "width", "60000"),
        (f"watermark={uuid.UUID(int=5)}", "watermark", str(uuid.UUID(int=5))),
        ("ops=flip|rotate:x", "ops 2: rotate", "x"),
        ("crop=9000,0,5,5", "crop", "9000,0,5,5"),
        ("preset=nope", "preset", "nope"),
        ("max_bytes=100", "max_bytes", "100"),
    ):
        answer = server.get(f"{reference}.jpg?{query}")
        body = answer.json()
        assert answer.status_code == 400, query
        assert (body["parameter"], body["given"]) == (parameter, given) and "allowed" in body
    body = server.get(f"{reference}.jpg?widht=5").json()
    assert "did you mean width?" in body["detail"] and "width" in body["allowed"]


def test_transforming_without_storing(server: Server) -> None:
    before = server.client.get("/metrics").text
    for options in ({"content": PHOTO}, {"files": {"data": ("cat.jpg", PHOTO)}}):
        answer = server.client.post("/transform.png?width=60&radius=max", **options)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
        assert size_of(answer.content) == (60, 40) and int(answer.headers["content-length"]) == len(answer.content)
    stored = server.get(f"{server.put(PHOTO)}.png?width=60&radius=max")
    assert stored.content == answer.content
    own = server.client.post("/transform?width=60", content=PHOTO)
    assert own.headers["content-type"] == "image/jpeg" and size_of(own.content) == (60, 40)
    after = server.client.get("/metrics").text
    assert 'route="/transform.{extension}"' in after and 'route="/{name}",status="200"' not in after
    stored_images = [line for line in before.splitlines() if line.startswith("progimage_images ")]
    assert stored_images  # nothing but what `put` stores is counted


def test_transform_refuses_what_it_must(server: Server) -> None:
    for path, content, status, parameter in (
        ("/transform.png?widht=5", PHOTO, 400, "widht"),
        ("/transform.nope", PHOTO, 400, "extension"),
        ("/transform.svg", PHOTO, 400, "extension"),
        ("/transform.png", b"no image", 400, "data"),
        ("/transform.png", b"", 400, "data"),
        ("/info", b"no image", 400, "data"),
        ("/info?x=1", PHOTO, 400, "x"),
    ):
        answer = server.client.post(path, content=content)
        assert answer.status_code == status, (path, answer.text)
        assert answer.json()["parameter"] == parameter
    assert server.client.get("/transform.png").status_code == 405
    assert server.client.get("/nothing-here").status_code == 404


def test_several_images_as_a_zip_one_failing(server: Server) -> None:
    files = [("data", ("cat.jpg", PHOTO)), ("data", ("broken", b"nothing")), ("data", ("logo.svg", LOGO))]
    answer = server.client.post("/transform.webp?width=40", files=files)
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    lines = [json.loads(line) for line in archive.read("results.ndjson").splitlines()]
    assert [line["status"] for line in lines] == [200, 400, 200]
    assert lines[1]["problem"]["type"].endswith("not-an-image")
    for line in (lines[0], lines[2]):
        assert size_of(archive.read(line["file"])) == (line["width"], line["height"])


def test_several_images_as_lines(server: Server) -> None:
    import base64

    files = [("data", ("a", PHOTO)), ("data", ("b", b"nothing"))]
    answer = server.client.post("/transform.png?width=40", files=files, headers={"accept": "application/x-ndjson"})
    good, bad = (json.loads(line) for line in answer.text.splitlines())
    assert size_of(base64.b64decode(good["data"])) == (40, 27) and bad["status"] == 400
    refused = server.client.post("/transform.png", files=files, headers={"accept": "text/html"})
    assert refused.status_code == 406


def test_many_renditions_at_once(server: Server) -> None:
    photo, logo = server.put(PHOTO), server.put(LOGO)
    wanted = {"references": [photo, "unknown", logo], "extension": "webp", "queries": ["width=30", "width=20&blur=1"]}
    answer = server.client.post("/storage/renditions", json=wanted)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 404, 404, 200, 200]
    for line in lines:
        if line["status"] == 200:
            one = server.client.get(line["url"])
            assert one.headers["etag"] == f'"{line["etag"]}"' and len(one.content) == line["bytes"]
    answer = server.client.post("/storage/renditions", json=wanted, headers={"accept": "application/zip"})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert len(archive.namelist()) == 5 and archive.testzip() is None


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b"nonsense", "body"),
        (b'{"references": [1], "extension": "png"}', "body"),
        (b'{"references": [], "extension": "png"}', "references"),
        (b'{"references": ["a"], "extension": "nope"}', "extension"),
        (b'{"references": ["a"], "extension": "png", "queries": ["width=x"]}', "width"),
        (b'{"references": ["a"], "extension": "png", "presets": ["x"]}', "preset"),
    ],
)
def test_a_wrong_batch_is_refused_as_a_whole(server: Server, body: bytes, parameter: str) -> None:
    answer = server.client.post("/storage/renditions", content=body)
    assert answer.status_code == 400 and answer.json()["parameter"] == parameter


def test_a_client_that_leaves_stops_the_batch(server: Server) -> None:
    reference = server.put(PHOTO)
    queries = [f"width={width}&blur=20" for width in range(1000, 1060)]
    wanted = {"references": [reference], "extension": "avif", "queries": [f"{query}&enlarge" for query in queries]}
    with server.client.stream("POST", "/storage/renditions", json=wanted) as answer:
        next(answer.iter_lines())
    for _ in range(100):
        metrics = server.client.get("/metrics").text
        if "progimage_pool_tasks 0.0" in metrics:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the batch went on")


def test_the_format_is_negotiated(server: Server) -> None:
    photo, logo = server.put(PHOTO), server.put(LOGO)
    moving = server.put(pictures.animation())
    for reference, accept, media_type in (
        (photo, BROWSER, "image/avif"),
        (photo, "image/webp", "image/webp"),
        (photo, "image/avif;q=0, image/webp", "image/webp"),
        (photo, "*/*", "image/jpeg"),
        (photo, "image/jxl", "image/jxl"),
        (logo, BROWSER, "image/webp"),
        (logo, "*/*", "image/png"),
        (moving, "*/*", "image/gif"),
        (moving, "image/webp", "image/webp"),
        (moving, "image/jxl", "image/gif"),
    ):
        answer = server.get(f"{reference}.auto?width=40", headers={"accept": accept})
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type, (accept, answer.text[:200])
        assert "Accept" in answer.headers["vary"]
        again = {"accept": accept, "if-none-match": answer.headers["etag"]}
        unchanged = server.get(f"{reference}.auto?width=40", headers=again)
        assert unchanged.status_code == 304 and "Accept" in unchanged.headers["vary"]
    round_one = server.get(f"{photo}.auto?width=40&radius=max&quality=70", headers={"accept": "*/*"})
    assert round_one.headers["content-type"] == "image/png"
    assert server.get(f"{photo}.auto", headers={"accept": "*/*"}).content == PHOTO
    posted = server.client.post("/transform.auto?width=40", content=LOGO, headers={"accept": "image/webp"})
    assert posted.headers["content-type"] == "image/webp" and posted.headers["vary"] == "Accept"


def test_presets_and_what_may_override_them(restricted: Server) -> None:
    reference = restricted.put(PHOTO)
    answer = restricted.get(f"{reference}.png?preset=avatar")
    assert size_of(answer.content) == (96, 96) and pictures.pixel(pictures.open_bytes(answer.content), (0, 0))[3] == 0
    signer = Signer([KEY])
    path, query = f"/storage/{reference}.png", [("preset", "avatar"), ("w", "50"), ("radius", "0")]
    made = restricted.client.get(signer.sign(path, query))
    assert size_of(made.content) == (50, 96)


def test_only_presets_or_signed_requests(restricted: Server) -> None:
    reference = restricted.put(PHOTO)
    path = f"/storage/{reference}.webp"
    assert restricted.client.get(path).status_code == 200
    assert restricted.client.get(f"{path}?preset=wide&download").status_code == 200
    for query in ("width=5", "preset=wide&width=5", "ops=flip"):
        answer = restricted.client.get(f"{path}?{query}")
        assert answer.status_code == 403 and answer.json()["type"].endswith("not-allowed")
    assert restricted.client.post("/transform.png?width=5", content=PHOTO).status_code == 403
    wanted = {"references": [reference], "extension": "png", "queries": ["width=5"]}
    assert restricted.client.post("/storage/renditions", json=wanted).status_code == 403
    wanted = {"references": [reference], "extension": "png", "presets": ["avatar", "wide"]}
    lines = restricted.client.post("/storage/renditions", json=wanted).text.splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200, 200]
    assert restricted.client.get(json.loads(lines[0])["url"]).status_code == 200
    assert (
        restricted.client.post("/storage/renditions", json=wanted | {"references": [reference] * 4}).status_code == 413
    )


def test_signatures(restricted: Server) -> None:
    path = f"/storage/{restricted.put(PHOTO)}.webp"
    get = restricted.client.get
    signed = Signer([KEY]).sign(path, [("width", "33"), ("text", "a&b c")], int(time.time()) + 60)
    assert size_of(get(signed).content)[0] == 33
    assert restricted.client.head(signed).status_code == 200
    assert get(Signer([OLD_KEY]).sign(path, [("width", "33")])).status_code == 200
    for wrong in (
        signed.replace("width=33", "width=34"),
        signed + "&blur=5",
        signed.replace(".webp", ".png"),
        signed[:-1] + ("A" if signed[-1] != "A" else "B"),
        Signer(["another-key-of-tests"]).sign(path, [("width", "33")]),
        Signer([KEY]).sign(path, [("width", "33")], int(time.time()) - 1),
        Signer([KEY]).sign(path, [("width", "33")], method="POST"),
        f"{path}?width=5&signature=",
    ):
        answer = get(wrong)
        assert answer.status_code == 403 and answer.json()["parameter"] == "signature", wrong
    posted = Signer([KEY]).sign("/transform.png", [("width", "9")], method="POST")
    assert size_of(restricted.client.post(posted, content=PHOTO).content)[0] == 9


def test_the_command_signs(restricted: Server, tmp_path: Path) -> None:
    path = f"/storage/{restricted.put(PHOTO)}.webp"
    environment = {"PROGIMAGE_SIGNING_KEYS": json.dumps([KEY])}
    command = [PROGIMAGE, "sign", f"{restricted.url}{path}?width=44", "--expires", "60"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert size_of(restricted.client.get(done.stdout.strip()).content)[0] == 44
    failed = subprocess.run([PROGIMAGE, "sign", "/x"], env={}, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1 and "PROGIMAGE_SIGNING_KEYS" in failed.stderr


def test_settings_that_make_no_sense_are_refused_at_the_start(tmp_path: Path) -> None:
    for name, value, says in (
        ("PRESETS", '{"a": "widht=5"}', "did you mean width"),
        ("PRESETS", '{"a b": ""}', "a b"),
        ("SIGNING_KEYS", '["short"]', "16 characters"),
        ("AUTO_FORMATS", '["SVG"]', "SVG"),
    ):
        command = [PROGIMAGE, "serve", "--data-dir", str(tmp_path / "data")]
        done = subprocess.run(command, env={f"PROGIMAGE_{name}": value}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and says in done.stderr, done.stderr


def test_what_an_image_is_like(server: Server) -> None:
    reference = server.put(PHOTO)
    answer = server.get(f"{reference}/placeholder")
    body = answer.json()
    assert (body["width"], body["height"]) == (451, 300) and len(body["blurhash"]) > 20 and body["thumbhash"]
    preview = body["data_uri"].removeprefix("data:image/webp;base64,")
    import base64

    assert max(size_of(base64.b64decode(preview))) == 24
    assert server.get(f"{reference}/placeholder", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    colours = server.get(f"{reference}/palette?colors=4").json()
    assert 2 <= len(colours) <= 4 and abs(sum(colour["share"] for colour in colours) - 1) < 0.01
    assert [colour["share"] for colour in colours] == sorted((c["share"] for c in colours), reverse=True)
    red = server.put(pictures.saved(Image.new("RGB", (30, 30), (255, 0, 0)), "PNG"))
    assert server.get(f"{red}/palette").json() == [{"color": "#ff0000", "share": 1.0}]
    for path in (f"{reference}/palette?colors=0", f"{reference}/palette?x=1", f"{reference}/placeholder?x=1"):
        assert server.get(path).status_code == 400
    assert server.get(f"{uuid.uuid4()}/placeholder").status_code == 404
    info = server.get(f"{reference}/info").json()
    assert len(info["perceptual_hash"]) == 32 and info["line_art"] is False
    assert server.get(f"{server.put(LOGO)}/info").json()["line_art"] is True
    posted = server.client.post("/info", content=PHOTO).json()
    assert posted["perceptual_hash"] == info["perceptual_hash"] and posted["bytes"] == len(PHOTO)


def test_the_openapi_document_has_every_parameter(server: Server) -> None:
    from progimage.engine import RenditionSpec
    from progimage.engine.parameters import declared

    paths = server.client.get("/docs/openapi.json").json()["paths"]
    for path, method in (("/storage/{reference}.{extension}", "get"), ("/transform.{extension}", "post")):
        described = {one["name"]: one for one in paths[path][method]["parameters"]}
        for one in declared(RenditionSpec):
            assert (
                one.doc in described[one.name]["description"] and one.kind.allowed in described[one.name]["description"]
            )


def test_masks_and_watermarks_are_stored_images(server: Server) -> None:
    photo, logo = server.put(PHOTO), server.put(LOGO)
    plain, marked = (server.get(f"{photo}.png?width=200{more}").content for more in ("", f"&watermark={logo}"))
    assert plain != marked and size_of(marked)[0] == 200
    masked = pictures.open_bytes(server.get(f"{photo}.png?width=200&mask={logo}").content)
    assert masked.mode == "RGBA" and pictures.pixel(masked, (0, 0))[3] < 40
    staged = server.get(f"{photo}.png?ops=width:100|watermark:{logo}|mask:{logo}")
    assert staged.status_code == 200 and size_of(staged.content)[0] == 100


def test_hdr_is_kept_at_any_size(server: Server) -> None:
    plain = pictures.saved(Image.new("RGB", (2000, 1500), (148, 148, 148)), "PNG")
    reference = server.put(plain[:33] + chunk(b"cICP", bytes([9, 16, 0, 1])) + plain[33:])
    for width in (1400, 100):
        made = server.get(f"{reference}.png?hdr=keep&width={width}").content
        assert b"cICP\x09\x10\x00\x01" in made and made[24] == 16, width
    assert server.get(f"{reference}.png?hdr=keep").content == server.get(reference).content
    shown = pictures.open_bytes(server.get(f"{reference}.jpg?width=100").content)
    assert min(shown.convert("L").tobytes()) >= 250
