"""The extension `auto` gives a picture of every size to every client, in a format that it accepts and that holds it."""

import io
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest
import pyvips
from PIL import Image

from tests import pictures
from tests.integration.server import Server

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
FIREFOX = "image/avif,image/jxl,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
OLD_SAFARI = "image/webp,image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"
ACCEPTS = (CHROME, FIREFOX, OLD_SAFARI, "image/webp", "image/avif,image/webp,*/*", "image/jxl", "*/*", "")


def photo(width: int, height: int) -> bytes:
    return bytes(pictures.detailed(width, height).pngsave_buffer(compression=1))


def drawing(width: int, height: int) -> bytes:
    even = pyvips.Image.black(width, height, bands=3).linear(1, [250, 250, 250])
    with_lines = even.cast("uchar").draw_line([20, 20, 200], 0, 0, width - 1, height - 1)
    return bytes(with_lines.copy(interpretation="srgb").pngsave_buffer())


def transparent(width: int, height: int) -> bytes:
    return bytes(pictures.detailed(width, height).bandjoin(120).pngsave_buffer(compression=1))


def decoded(data: bytes, media_type: str = "") -> tuple[int, int]:
    if media_type == "image/jxl":
        height, width = imagecodecs.jpegxl_decode(data).shape[:2]
        return int(width), int(height)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


@pytest.fixture(scope="module")
def large(server: Server) -> dict[tuple[str, int, int], str]:
    """References of pictures that are too long for one format or another, wide and high."""
    made = {}
    for side in (16_384, 16_500, 65_536):
        for width, height in ((side, 24), (24, side)):
            for make in (photo, drawing, transparent):
                made[make.__name__, width, height] = server.put(make(width, height))
    return made


@pytest.mark.parametrize("accept", ACCEPTS)
def test_a_long_picture_comes_whole(server: Server, large: dict[tuple[str, int, int], str], accept: str) -> None:
    for (kind, width, height), reference in large.items():
        answer = server.get(f"{reference}.auto", headers={"accept": accept})
        assert answer.status_code == 200, (kind, width, height, answer.text)
        media_type = answer.headers["content-type"]
        assert media_type in accept or media_type in ("image/png", "image/jpeg"), (kind, width, media_type)
        assert "Accept" in answer.headers["vary"]
        assert decoded(answer.content, media_type) == (width, height), (kind, media_type)
        again = {"accept": accept, "if-none-match": answer.headers["etag"]}
        assert server.get(f"{reference}.auto", headers=again).status_code == 304


def test_answers_in_two_formats_have_two_etags(server: Server, large: dict[tuple[str, int, int], str]) -> None:
    reference = large["photo", 24, 16_500]
    path = f"{reference}.auto?height=16384"
    first, second = (server.get(path, headers={"accept": accept}) for accept in (CHROME, OLD_SAFARI))
    assert (first.headers["content-type"], second.headers["content-type"]) == ("image/avif", "image/jpeg")
    assert first.headers["etag"] != second.headers["etag"]


def test_the_size_of_the_rendition_counts(server: Server, large: dict[tuple[str, int, int], str]) -> None:
    reference, small = large["photo", 24, 16_500], server.put(photo(60, 300))
    for path, media_type in (
        (f"{reference}.auto?height=9000", "image/webp"),
        (f"{reference}.auto?crop=0,0,24,2000", "image/webp"),
        (f"{reference}.auto?height=16383", "image/webp"),
        (f"{reference}.auto?height=16384", "image/jpeg"),
        (f"{small}.auto?height=16500&fit=fill&width=20&enlarge", "image/jpeg"),
        (f"{small}.auto?rotate=90&extend=0,8200,0,8200", "image/png"),
        (f"{small}.auto?ops=height:200|extend:8200,0,8200,0", "image/png"),
        (f"{small}.auto?height=8250&dpr=2&enlarge&width=10&fit=fill", "image/jpeg"),
        (f"{small}.auto?zoom=60&enlarge", "image/jpeg"),
    ):
        answer = server.get(path, headers={"accept": "image/webp"})
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type, (path, answer.text[:300])
        decoded(answer.content)


def test_a_drawing_is_as_large_as_it_is_drawn(server: Server) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="2000"><rect width="20" height="9"/></svg>'
    reference = server.put(svg)
    for query, media_type in (("", "image/webp"), ("?dpi=900", "image/png"), ("?height=16500", "image/png")):
        answer = server.get(f"{reference}.auto{query}", headers={"accept": "image/webp"})
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type, (query, answer.text[:300])


def test_another_page_may_be_longer(server: Server) -> None:
    first, second = Image.effect_noise((50, 40), 60), Image.effect_noise((20, 16_400), 60)
    reference = server.put(pictures.saved(first, "TIFF", save_all=True, append_images=[second]))
    assert server.get(f"{reference}/info").json()["page_sizes"] == [[50, 40], [20, 16_400]]
    for page, media_type in ((1, "image/webp"), (2, "image/jpeg")):
        answer = server.get(f"{reference}.auto?page={page}", headers={"accept": "image/webp"})
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type, answer.text[:300]


def test_animations(server: Server) -> None:
    frames = [Image.fromarray(np.full((16_400, 8), level, np.uint8)) for level in (9, 99, 199)]
    reference = server.put(pictures.saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=90))
    for accept, media_type in (("image/webp", "image/gif"), (CHROME, "image/gif"), ("*/*", "image/gif")):
        answer = server.get(f"{reference}.auto", headers={"accept": accept})
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type
        with Image.open(io.BytesIO(answer.content)) as moving:
            assert (pictures.frame_count(moving), moving.size) == (3, (8, 16_400))
    very = [Image.fromarray(np.full((65_540, 4), level, np.uint8)) for level in (9, 99)]
    long = server.put(pictures.saved(very[0], "PNG", save_all=True, append_images=very[1:], duration=90))
    answer = server.get(f"{long}.auto", headers={"accept": CHROME})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as moving:
        assert (pictures.frame_count(moving), moving.size) == (2, (4, 65_540))


@pytest.mark.parametrize(
    ("accept", "media_type"), [("image/webp", "image/png"), ("image/avif", "image/png"), ("*/*", "image/png")]
)
def test_a_depth_that_is_asked_for_is_held(server: Server, accept: str, media_type: str) -> None:
    reference = server.put(
        bytes((pictures.detailed(90, 60).cast("ushort") << 8).copy(interpretation="rgb16").pngsave_buffer())
    )
    answer = server.get(f"{reference}.auto?depth=16", headers={"accept": accept})
    assert answer.headers["content-type"] == media_type and answer.content[24] == 16
    assert server.get(f"{reference}.auto", headers={"accept": "image/webp"}).headers["content-type"] == "image/webp"


def test_other_doors(server: Server, large: dict[tuple[str, int, int], str]) -> None:
    posted = server.client.post("/transform.auto", content=photo(24, 16_500), headers={"accept": "image/webp"})
    assert posted.status_code == 200 and posted.headers["content-type"] == "image/jpeg"
    body = {"references": [large["drawing", 24, 16_500]], "extension": "auto"}
    (line,) = server.client.post("/storage/renditions", json=body).text.splitlines()
    assert '"status":200' in line


@pytest.mark.parametrize(("extension", "most"), [("webp", 16_383), ("heic", 16_384), ("jpg", 65_500), ("gif", 65_535)])
def test_a_format_that_was_chosen_stays_a_refusal(
    server: Server, large: dict[tuple[str, int, int], str], extension: str, most: int
) -> None:
    answer = server.get(f"{large['photo', 24, 65_536]}.{extension}")
    body = answer.json()
    assert answer.status_code == 400 and body["parameter"] == "extension"
    assert f"at most {most} pixels a side; the image has 24×65536" in body["detail"]


@pytest.fixture(scope="module", autouse=True)
def _no_bound_of_pillow() -> Iterator[None]:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    yield
    Image.MAX_IMAGE_PIXELS = before


@pytest.mark.parametrize("query", ["", "lossless", "lossless&depth=16"])
def test_what_only_some_of_a_format_holds(server: Server, query: str) -> None:
    grey = pyvips.Image.black(17_000, 40).linear(1, 9000).cast("ushort").copy(interpretation="grey16")
    reference = server.put(bytes(grey.pngsave_buffer()))
    answer = server.get(f"{reference}.auto?{query}", headers={"accept": CHROME})
    assert answer.status_code == 200, answer.text
    decoded(answer.content)


@pytest.mark.parametrize(("accept", "query"), [("image/jxl,*/*", "depth=16"), (CHROME, "lossless")])
def test_a_format_that_has_not_what_is_asked_for_is_passed_over(server: Server, accept: str, query: str) -> None:
    moving = server.put(pictures.animation("GIF"))
    still = server.put(pictures.saved(pictures.colour(), "PNG"))
    for reference in (moving, still):
        answer = server.get(f"{reference}.auto?{query}", headers={"accept": accept})
        assert answer.status_code == 200 or (reference == moving and "depth" in query), answer.text
