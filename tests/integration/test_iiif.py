"""The IIIF Image API 2.1 and 3.0: the official validator, and what it does not look at."""

import io
import urllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests import pictures
from tests.integration.server import Server, serving

SIZE = 64, 48
CANNOT_PASS = {
    "3.0": {
        # It asks for `!2000,3000` of 1000 x 1000 pixels, and wants an error. Section 4.2 of 3.0 says of `!w,h`: as
        # large as possible, but not larger than the region, w or h. Only `w,h` and the like are errors then.
        "size_noup",
    },
    "2.0": set(),
}


@pytest.fixture
def validator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The validator. Three of its tests are written for Python 2, and get what they expect of it."""
    import magic

    def urlopen(url: str) -> Any:
        with urllib.request.urlopen(url) as answer:
            text = answer.read().decode("latin-1")  # Python 2's str
        return SimpleNamespace(read=lambda: text, close=lambda: None, getcode=lambda: answer.status)

    known = magic.Magic()

    class OldMagic:
        def __enter__(self) -> "OldMagic":
            return self

        def __exit__(self, *error: object) -> None:
            return

        def id_buffer(self, text: str) -> str:
            return str(known.from_buffer(text.encode("latin-1")))

    monkeypatch.setattr(urllib, "urlopen", urlopen, raising=False)
    monkeypatch.setattr(magic, "Magic", OldMagic)
    from iiif_validator import validator

    return validator


def reference_image(colours: list[list[tuple[int, int, int]]]) -> bytes:
    """The validator's own: a hundred squares of colours that it knows."""
    image = Image.new("RGB", (1000, 1000))
    draw = ImageDraw.Draw(image)
    for x, column in enumerate(colours):
        for y, colour in enumerate(column):
            draw.rectangle((x * 100, y * 100, x * 100 + 99, y * 100 + 99), fill=colour)
    return pictures.saved(image, "PNG")


@pytest.mark.parametrize(("version", "count"), [("2.0", 42), ("3.0", 45)])
def test_the_official_validator(server: Server, validator: Any, version: str, count: int) -> None:
    reference = server.put(reference_image(validator.ValidationInfo().colorInfo))
    suite = validator.TestSuite(validator.ValidationInfo())
    tests = suite.list_tests(version)
    assert len(tests) == count
    failed = {}
    for name in tests:
        host = server.url.removeprefix("http://")
        result = validator.ImageAPI(reference, host, f"iiif/{version[0]}", "http", "", version, debug=False)
        try:
            suite.run_test(name, result)
        except Exception as error:
            failed[name] = repr(error), result.urls[-1:]
        else:
            if result.exception:
                failed[name] = str(result.exception), result.urls[-1:]
    assert set(failed) == CANNOT_PASS[version], failed
    assert all(urls[0].endswith("/full/!2000,3000/0/default.jpg") for _, urls in failed.values())


@pytest.fixture(scope="module")
def picture(server: Server) -> str:
    return server.put(pictures.saved(pictures.colour(SIZE), "PNG"))


def ask(server: Server, path: str, **options: Any) -> httpx.Response:
    return server.client.get(f"/iiif/{path}", **options)


def shown(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_a_description_in_version_3(server: Server, picture: str) -> None:
    answer = ask(server, f"3/{picture}/info.json")
    document = answer.json()
    assert document["@context"] == "http://iiif.io/api/image/3/context.json"
    assert document["id"] == f"{server.url}/iiif/3/{picture}" and document["type"] == "ImageService3"
    assert (document["width"], document["height"], document["profile"]) == (*SIZE, "level2")
    assert document["sizes"][-1] == {"width": SIZE[0], "height": SIZE[1]}
    assert document["tiles"] == [{"width": 512, "scaleFactors": [1]}]
    assert {"jp2", "avif", "pdf"} <= set(document["extraFormats"]) and "maxArea" not in document
    assert answer.headers["content-type"] == "application/json" and answer.headers["vary"] == "Accept"
    again = ask(server, f"3/{picture}/info.json", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    linked = ask(server, f"3/{picture}/info.json", headers={"accept": "application/ld+json"})
    assert linked.headers["content-type"].startswith("application/ld+json;profile=")
    assert linked.headers["etag"] != answer.headers["etag"] and linked.json() == document


def test_a_description_in_version_2(server: Server, picture: str) -> None:
    answer = ask(server, f"2/{picture}/info.json")
    document = answer.json()
    level, more = document["profile"]
    assert document["@id"] == f"{server.url}/iiif/2/{picture}" and level.endswith("/image/2/level2.json")
    assert "sizeAboveFull" in more["supports"] and "bitonal" in more["qualities"]
    assert 'rel="http://www.w3.org/ns/json-ld#context"' in answer.headers["link"]


def test_the_base_uri_leads_to_the_description(server: Server, picture: str) -> None:
    for version in ("2", "3"):
        answer = ask(server, f"{version}/{picture}")
        assert answer.status_code == 303 and answer.headers["location"].endswith(f"/iiif/{version}/{picture}/info.json")
    assert ask(server, f"1/{picture}/info.json").status_code == 404


@pytest.mark.parametrize(
    ("asked", "size", "canonical"),
    [
        ("3/full/max/0/default.png", (64, 48), "full/max/0/default.png"),
        ("3/full/^max/0/color.png", (64, 48), "full/max/0/default.png"),
        ("3/square/max/0/default.png", (48, 48), "8,0,48,48/max/0/default.png"),
        ("3/0,0,32,24/16,/0/gray.png", (16, 12), "0,0,32,24/16,12/0/gray.png"),
        ("3/50,40,100,100/max/0/default.png", (14, 8), "50,40,14,8/max/0/default.png"),
        ("3/pct:25,25,50,50/,12/90.0/default.png", (12, 16), "16,12,32,24/16,12/90/default.png"),
        ("3/full/pct:50/!360/default.png", (32, 24), "full/32,24/!0/default.png"),
        ("3/full/!20,20/0/bitonal.png", (20, 15), "full/20,15/0/bitonal.png"),
        ("3/full/!200,200/0/default.png", (64, 48), "full/max/0/default.png"),
        ("3/full/^!128,128/0/default.png", (128, 96), "full/^128,96/0/default.png"),
        ("3/full/10,40/0/default.png", (10, 40), "full/10,40/0/default.png"),
        ("3/full/^pct:150/270/default.png", (72, 96), "full/^96,72/270/default.png"),
        ("2/full/full/0/default.png", (64, 48), "full/full/0/default.png"),
        ("2/full/max/0/default.png", (64, 48), "full/full/0/default.png"),
        ("2/full/32,/0/default.png", (32, 24), "full/32,/0/default.png"),
        ("2/full/32,24/0/default.png", (32, 24), "full/32,/0/default.png"),
        ("2/full/32,32/0/default.png", (32, 32), "full/32,32/0/default.png"),
        ("2/full/128,/0/default.png", (128, 96), "full/128,/0/default.png"),
    ],
)
def test_what_is_asked_for(server: Server, picture: str, asked: str, size: tuple[int, int], canonical: str) -> None:
    version, _, path = asked.partition("/")
    answer = ask(server, f"{version}/{picture}/{path}")
    assert shown(answer).size == size
    assert f'<{server.url}/iiif/{version}/{picture}/{canonical}>;rel="canonical"' in answer.headers["link"]
    assert ask(server, f"{version}/{picture}/{canonical}").content == answer.content


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ("64,0,10,10/max/0/default.png", "region"), ("0,0,0,10/max/0/default.png", "region"),
        ("pct:0,0,0,50/max/0/default.png", "region"), ("1.5,0,10,10/max/0/default.png", "region"),
        ("everything/max/0/default.png", "region"), ("full/full/0/default.png", "size"),
        ("full/65,/0/default.png", "size"), ("full/pct:101/0/default.png", "size"), ("full/0,/0/default.png", "size"),
        ("full/pct:0.1/0/default.png", "size"), ("full/^99999,99999/0/default.png", "size"),
        ("full/max/361/default.png", "rotation"), ("full/max/-1/default.png", "rotation"),
        ("full/max/0/native.png", "quality"), ("full/max/0/default.bmp", "format"), ("full/max/0/default", "quality"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_for(server: Server, picture: str, asked: str, parameter: str) -> None:
    answer = ask(server, f"3/{picture}/{asked}")
    assert answer.status_code == 400 and answer.json()["parameter"] == parameter and answer.json()["allowed"]


def test_every_format_and_the_same_renditions_as_elsewhere(server: Server, picture: str) -> None:
    types = {
        "jpg": "image/jpeg", "png": "image/png", "tif": "image/tiff", "gif": "image/gif", "webp": "image/webp",
        "jp2": "image/jp2", "pdf": "application/pdf", "avif": "image/avif",
    }  # fmt: skip
    for extension, media_type in types.items():
        answer = ask(server, f"3/{picture}/0,0,32,24/16,12/0/gray.{extension}")
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type
    same = server.get(f"{picture}.webp?crop=0,0,32,24&width=16&height=12&fit=fill&grayscale")
    other = ask(server, f"3/{picture}/0,0,32,24/16,12/0/gray.webp")
    assert same.content == other.content and same.headers["etag"] == other.headers["etag"]


def test_mirrored_then_turned(server: Server, picture: str) -> None:
    original = pictures.colour(SIZE)
    turned = shown(ask(server, f"3/{picture}/full/max/!90/default.png")).convert("RGB")
    expected = original.transpose(Image.Transpose.FLIP_LEFT_RIGHT).transpose(Image.Transpose.ROTATE_270)
    assert turned.tobytes() == expected.tobytes()
    corner = pictures.pixel(shown(ask(server, f"3/{picture}/full/max/45/default.png")).convert("RGBA"), (0, 0))
    assert corner[3] == 0  # transparent where the format can be


def test_an_image_that_is_to_be_turned(server: Server) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    reference = server.put(pictures.saved(pictures.colour(SIZE), "JPEG", exif=exif, quality=95))
    document = ask(server, f"3/{reference}/info.json").json()
    assert (document["width"], document["height"]) == SIZE[::-1]
    upright = shown(ask(server, f"3/{reference}/full/max/0/default.jpg"))
    assert upright.size == SIZE[::-1] and upright.getexif().get(0x0112, 1) == 1


def test_animations_and_pages_are_known_by_the_first(server: Server) -> None:
    reference = server.put(pictures.animation())
    assert getattr(shown(ask(server, f"3/{reference}/full/max/0/default.gif")), "n_frames", 1) == 1


def test_bounds_are_told_and_kept(data_dir: Path) -> None:
    with serving(data_dir, iiif_max_side=40, iiif_max_area=900, public_url="https://images.example.org/") as server:
        reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
        document = ask(server, f"3/{reference}/info.json").json()
        assert [document[name] for name in ("maxWidth", "maxHeight", "maxArea")] == [40, 40, 900]
        assert document["id"] == f"https://images.example.org/iiif/3/{reference}"
        assert all(size["width"] * size["height"] <= 900 for size in document["sizes"])
        assert shown(ask(server, f"3/{reference}/full/max/0/default.png")).size == (34, 25)
        assert shown(ask(server, f"3/{reference}/0,0,8,6/^max/0/default.png")).size == (34, 25)
        assert ask(server, f"3/{reference}/full/40,30/0/default.png").status_code == 400
        assert ask(server, f"3/{reference}/full/41,10/0/default.png").status_code == 400
        assert ask(server, f"2/{reference}/info.json").json()["profile"][1]["maxArea"] == 900


def test_who_may_see_an_image(data_dir: Path) -> None:
    settings: dict[str, Any] = {"access": "keys", "transformations": "presets", "signing_keys": '["0123456789abcdef"]'}
    with serving(data_dir, **settings) as server:
        alice = server.as_owner("alice")
        content = pictures.saved(pictures.colour(SIZE), "PNG")
        public = alice.put("/storage/", content=content).text
        hidden = alice.put("/storage/", content=content, params={"visibility": "key"}).text
        signed = alice.put("/storage/", content=content, params={"visibility": "signed"}).text
        assert ask(server, f"3/{hidden}/info.json").status_code == 404
        assert alice.get(f"/iiif/3/{hidden}/info.json").headers["cache-control"].startswith("private")
        assert ask(server, f"3/{public}/full/max/0/default.png").status_code == 200
        # Where only presets are for everybody, regions and sizes are not.
        assert ask(server, f"3/{public}/square/max/0/default.png").status_code == 403
        assert alice.get(f"/iiif/3/{public}/square/max/0/default.png").status_code == 200
        path = f"/iiif/3/{signed}/square/max/0/default.png"
        assert server.client.get(path).status_code == 404
        assert server.client.get(server.command("sign", path)).status_code == 200


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[tuple[str, Image.Image]]:
    """A photograph so large that it has a pyramid; its sides are no multiples of anything."""
    pixels = pictures.detailed(5701, 4001)
    data = pixels.jpegsave_buffer(Q=95)
    yield server.put(data), Image.fromarray(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_tiles_of_a_large_image_are_its_pixels(server: Server, large: tuple[str, Image.Image], factor: int) -> None:
    reference, original = large
    width, height = original.size
    reach = 512 * factor
    for left, top in ((reach, 0), (width // reach * reach, height // reach * reach)):
        region = left, top, min(reach, width - left), min(reach, height - top)
        size = -(-region[2] // factor), -(-region[3] // factor)
        asked = ",".join(map(str, region))
        tile = shown(ask(server, f"3/{reference}/{asked}/{size[0]},{size[1]}/0/default.png")).convert("RGB")
        assert tile.size == size
        box = (left, top, left + region[2], top + region[3])
        expected = original.crop(box).resize(size, Image.Resampling.BOX)
        error = np.abs(np.asarray(tile, int) - np.asarray(expected, int)).mean()
        assert error < 6, (factor, region, error)


def test_a_part_is_the_same_however_it_comes(server: Server, large: tuple[str, Image.Image]) -> None:
    """A box that fits no tile: from the pyramid it lies where it does in the original, to less than a pixel."""
    reference, original = large
    tile = shown(ask(server, f"3/{reference}/1001,777,1203,901/300,/0/default.png")).convert("RGB")
    expected = original.crop((1001, 777, 2204, 1678)).resize(tile.size, Image.Resampling.LANCZOS)

    def difference(shift: int) -> float:
        moved = np.roll(np.asarray(expected, int), shift, axis=1)
        return float(np.abs(np.asarray(tile, int) - moved)[8:-8, 8:-8].mean())

    assert difference(0) < min(difference(1), difference(-1)) / 2 and difference(0) < 6
