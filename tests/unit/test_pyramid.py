"""Parts of a pyramid are parts of the image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progimage.engine import Ladder, LimitExceeded, Limits, RenditionSpec, TooCostly, build_pyramid, may_serve, render
from progimage.engine.files import InputFile
from progimage.engine.pyramid import open_pyramid
from tests import pictures

USUAL = Limits()
SIZE = 1501, 1103  # no multiples of anything


def rendered(source: Path, query: str, limits: Limits = USUAL, *, pyramid: bool = False) -> np.ndarray:
    spec = RenditionSpec.from_canonical(f"PNG?{query}")
    target = source.with_name("rendered.png")
    render(source, spec, target, limits, {}, None, pyramid)
    with Image.open(target) as image:
        return np.asarray(image.convert("RGBA"), dtype=int)


@pytest.fixture(params=["RGB", "RGBA", "L"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """An image and its pyramid, which keeps every sample."""
    picture = pictures.colour(SIZE)
    if request.param == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(SIZE))
    source, pyramid = tmp_path / "image.png", tmp_path / "pyramid"
    picture.convert(request.param).save(source)
    build_pyramid(source, pyramid, True, Limits())
    return source, pyramid


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("crop=512,0,512,512", 0),  # a tile at full size has the samples themselves
        ("crop=1024,1024,477,79", 0),
        ("crop=301,207,333,211", 0),
        ("crop=0,0,1024,1024&width=512&height=512&fit=fill", 2),
        ("crop=1024,1024,477,79&width=239&height=40&fit=fill", 4),  # the pyramid has no half columns
        ("crop=10%,10%,30%,30%&width=50", 3),
        ("crop=100,100,400,300&rotate=90&grayscale=true", 1),
    ],
)
def test_it_gives_what_the_original_gives(both: tuple[Path, Path], query: str, most: float) -> None:
    source, pyramid = both
    from_original, from_pyramid = rendered(source, query), rendered(pyramid, query, pyramid=True)
    assert from_original.shape == from_pyramid.shape
    assert np.abs(from_original - from_pyramid).mean() <= most


def test_it_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source, pyramid = tmp_path / "image.jpg", tmp_path / "pyramid"
    pictures.colour(SIZE).save(source, exif=exif, quality=95)
    build_pyramid(source, pyramid, True, Limits())
    opened = open_pyramid(InputFile(pyramid), Limits())
    assert (*opened.size, opened.description.first.orientation) == (*SIZE[::-1], 1) and opened.levels == 3
    query = "crop=100,200,300,400"
    assert np.abs(rendered(source, query) - rendered(pyramid, query, pyramid=True)).mean() < 0.5


def test_a_tile_is_little_work_however_large_the_image(both: tuple[Path, Path]) -> None:
    source, pyramid = both
    little = Limits(cost=0.01)
    assert rendered(pyramid, "crop=0,0,200,200", little, pyramid=True).shape == (200, 200, 4)
    with pytest.raises(TooCostly):
        rendered(source, "crop=0,0,200,200", little)
    with pytest.raises(LimitExceeded):
        open_pyramid(InputFile(pyramid), Limits(pixels=1000))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("crop=0,0,512,512", True),
        ("crop=10%,10%,40%,40%", True),
        ("crop=0,0,5000,4000", False),  # most of it
        ("crop=512,512", False),  # where it is has to be found out
        ("crop=0,0,512,512&trim=10", False),
        ("crop=0,0,512,512&kernel=nearest", False),
        ("crop=0,0,512,512&keep=exif", False),
        ("width=300", False),
    ],
)
def test_when_it_is_used(query: str, expected: bool) -> None:
    spec = RenditionSpec.from_canonical(f"JPEG?{query}")
    assert may_serve(Ladder(6000, 4000, False, ()), spec) is expected
    assert not may_serve(Ladder(600, 400, False, ()), spec)
    if query == "crop=0,0,5000,4000":
        assert may_serve(Ladder(10_000, 6000, False, ()), spec)  # of a huge image, every part
    turned = RenditionSpec.from_canonical(f"JPEG?{query}&autorotate=false")
    assert not may_serve(Ladder(6000, 4000, True, ()), turned)
