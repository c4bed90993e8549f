"""The ladder: small renditions are made from smaller copies, and nobody sees a difference."""

import dataclasses
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import pyvips
from PIL import Image

from progimage.engine import SIDES, Limits, RenditionSpec, TooCostly, inspect, inspect_upload, render
from progimage.engine.colourspace import to_grey
from progimage.engine.quality import similarity
from tests.pictures import (
    colour,
    detailed,
    difference,
    oriented,
    pages,
    pixel,
    saved,
    transparent,
    with_swapped_profile,
)

LIMITS = Limits()


@pytest.fixture
def rungs(tmp_path: Path) -> dict[int, Path]:
    return {side: tmp_path / f"step-{side}" for side in SIDES}


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photograph") / "photograph.jpg"
    detailed(4000, 3000).jpegsave(str(path), Q=92)
    return path


def spec(query: str, format: str = "JPEG") -> RenditionSpec:
    return RenditionSpec.parse(format, parse_qsl(query))


def grey(image: pyvips.Image) -> pyvips.Image:
    return to_grey(image.extract_band(0, n=3)).copy_memory()


@pytest.mark.parametrize("width", [60, 200, 300, 319, 500, 600])
def test_a_rendition_of_a_step_is_as_near_to_the_true_downscale(
    photograph: Path, rungs: dict[int, Path], tmp_path: Path, width: int
) -> None:
    ladder = inspect_upload(photograph, LIMITS, rungs).ladder
    assert ladder and ladder.size == (4000, 3000)
    wanted = spec(f"width={width}")
    rung = ladder.rung_for(wanted)
    assert rung
    true = pyvips.Image.new_from_file(str(photograph)).resize(width / 4000, kernel="lanczos3")
    target = tmp_path / "rendition.jpg"
    found = []
    for source, stands_for in ((photograph, None), (rungs[rung.side], ladder.size)):
        rendered = render(source, wanted, target, LIMITS, stands_for=stands_for)
        assert (rendered.width, rendered.height) == (width, round(width * 3 / 4))
        found.append(similarity(grey(true), grey(pyvips.Image.new_from_file(str(target)))))
    assert found[1] > found[0] - 0.002  # both have what the encoder loses, too


@pytest.mark.parametrize(
    ("query", "side"),
    [
        ("width=300", 512),
        ("width=320", 512),
        ("width=330", 1024),
        ("height=200&width=200&fit=cover", 512),
        ("width=600&zoom=0.5", 512),
        ("width=150&dpr=3", 1024),
        ("ops=width:100|rotate:90", 512),
        ("width=300&keep=icc", 512),
        ("width=300&strip=true", 512),
        ("width=700", None),
        ("", None),
        ("width=300&crop=10,10,500,500", None),
        ("width=300&trim=5", None),
        ("width=300&kernel=nearest", None),
        ("width=300&keep=exif", None),
        ("ops=rotate:90|width:100", None),
    ],
)
def test_which_step_is_taken(photograph: Path, rungs: dict[int, Path], query: str, side: int | None) -> None:
    ladder = inspect_upload(photograph, LIMITS, rungs).ladder
    assert ladder
    rung = ladder.rung_for(spec(query))
    assert (rung.side if rung else None) == side


def test_nothing_else_has_a_ladder(tmp_path: Path, rungs: dict[int, Path]) -> None:
    large = 1000, 900
    deep = detailed(*large).cast("ushort") * 257
    images = {
        "small": saved(colour((800, 600)), "PNG"),
        "palette": saved(colour(large).quantize(60), "PNG"),
        "CMYK": saved(colour(large).convert("CMYK"), "JPEG"),
        "16 bits": bytes(deep.cast("ushort").copy(interpretation="rgb16").pngsave_buffer()),
        "animation": saved(colour(large), "GIF", save_all=True, append_images=[transparent(large)]),
        "pages": pages(),
        "drawing": b'<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="1500"><path d="M0 0h9"/></svg>',
    }
    for name, data in images.items():
        path = tmp_path / "image"
        path.write_bytes(data)
        assert inspect_upload(path, LIMITS, rungs).ladder is None, name
    assert not any(path.exists() for path in rungs.values())


@pytest.mark.parametrize("picture", [colour((2000, 1500)), transparent((2000, 1500)), colour((900, 500)).convert("L")])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_alpha_and_grey_stay(tmp_path: Path, rungs: dict[int, Path], picture: Image.Image, format: str) -> None:
    path, target = tmp_path / "image", tmp_path / "rendition.png"
    picture.save(path, format, lossless=True)
    ladder = inspect_upload(path, LIMITS, rungs).ladder
    assert ladder
    rung = ladder.rung_for(spec("width=300", "PNG"))
    assert rung
    render(path, spec("width=300", "PNG"), target, LIMITS)
    with Image.open(target) as image:
        image.load()
    render(rungs[rung.side], spec("width=300", "PNG"), target, LIMITS, stands_for=ladder.size)
    with Image.open(target) as small:
        assert (small.mode, small.size) == (image.mode, image.size)
        assert difference(small, image) < 1.5
        if image.has_transparency_data:
            assert difference(small.getchannel("A").convert("RGB"), image.getchannel("A").convert("RGB")) < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_steps_are_upright(tmp_path: Path, rungs: dict[int, Path], orientation: int) -> None:
    path, target = tmp_path / "image.jpg", tmp_path / "rendition.png"
    path.write_bytes(oriented(orientation, (1800, 1200)))
    ladder = inspect_upload(path, LIMITS, rungs).ladder
    assert ladder and ladder.size == (1800, 1200) and ladder.turned == (orientation > 1)
    rung = ladder.rung_for(spec("width=150", "PNG"))
    assert rung and (rung.width, rung.height) == (512, 341)
    render(rungs[512], spec("width=150", "PNG"), target, LIMITS, stands_for=ladder.size)
    with Image.open(target) as image:
        assert difference(image, colour((1800, 1200)).resize((150, 100), Image.Resampling.LANCZOS)) < 2
    as_stored = ladder.rung_for(spec("width=150&autorotate=false", "PNG"))
    assert as_stored is None or orientation == 1


def test_steps_keep_the_profile(tmp_path: Path, rungs: dict[int, Path]) -> None:
    path, target = tmp_path / "image.jpg", tmp_path / "rendition.png"
    path.write_bytes(with_swapped_profile(size=(1000, 800)))
    ladder = inspect_upload(path, LIMITS, rungs).ladder
    assert ladder
    render(rungs[512], spec("width=100&profile=srgb", "PNG"), target, LIMITS, stands_for=ladder.size)
    with Image.open(target) as image:
        red, green, _ = pixel(image.convert("RGB"), (50, 40))
        assert green > 200 > 100 > red


def test_what_is_told_of_an_image_does_not_depend_on_the_ladder(photograph: Path, rungs: dict[int, Path]) -> None:
    assert inspect_upload(photograph, LIMITS, rungs).info == inspect(photograph, LIMITS)


def test_a_jpeg_that_is_broken_anywhere_is_refused_though_it_is_decoded_small(photograph: Path, tmp_path: Path) -> None:
    data = photograph.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.999):
        broken = tmp_path / "broken.jpg"
        broken.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(Exception, match=r"decoded|premature|end"):
            inspect(broken, LIMITS)


def test_work_is_held_against_its_limit(photograph: Path, tmp_path: Path) -> None:
    light = dataclasses.replace(LIMITS, cost=0.2)
    render(photograph, spec("width=300"), tmp_path / "small.jpg", light)
    inspect(photograph, light)
    with pytest.raises(TooCostly):
        render(photograph, spec("", "WEBP"), tmp_path / "large.webp", light)
    with pytest.raises(TooCostly):
        inspect(photograph, dataclasses.replace(LIMITS, cost=0.01))
