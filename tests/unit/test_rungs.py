"""Which smaller copies an image has, and which of them a rendition is made of: by sizes alone, or with blank pixels."""

from pathlib import Path

import pytest
import pyvips

from progimage.engine import SIDES, Ladder, RenditionSpec
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame
from progimage.engine.geometry import Size
from progimage.engine.ladder import SPARE, Rung, build, resampled_to, suffices, top_of
from progimage.engine.operations import Operations

LARGE, SMALL = SIDES
LADDER = Ladder(4000, 2000, False, (Rung(1024, 1024, 512, 90_000), Rung(512, 512, 256, 20_000)))


def side_for(query: str, ladder: Ladder = LADDER) -> int | None:
    rung = ladder.rung_for(RenditionSpec.from_canonical(f"JPEG?{query}"))
    return rung.side if rung else None


def blank(size: Size, mode: str = "RGB") -> pyvips.Image:
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    return pyvips.Image.black(*size, bands=bands).copy(interpretation="b-w" if bands < 3 else "srgb")


def test_a_copy_has_at_least_so_many_times_the_pixels_that_are_asked_for() -> None:
    assert SPARE == 1.6  # docs/performance.md says what was measured
    assert suffices((160, 320), (100, 200)) and suffices((16, 16), (10, 10))
    assert not suffices((159, 320), (100, 200)) and not suffices((160, 319), (100, 200))
    assert not suffices((160, 160), (100, 101))


@pytest.mark.parametrize(
    ("query", "side"),
    [
        ("width=1", 512),
        ("width=320&height=160", 512),  # 512 and 256 are 1.6 times as much
        ("width=321&height=160&fit=fill", 1024),
        ("width=320&height=161&fit=fill", 1024),
        ("width=640&height=320", 1024),
        ("width=641&height=320&fit=fill", None),
        ("width=640&height=321&fit=fill", None),
        ("width=160&dpr=2", 512),
        ("width=161&dpr=2", 1024),
        ("ops=width:320;height:160|width:4000;enlarge:true", 512),  # the first stage takes what it needs
        ("ops=rotate:90|width:100", None),
        ("width=100&autorotate=false", 512),
        ("width=100&keep=icc", 512),
        ("width=100&keep=exif", None),
        ("width=100&keep=icc,xmp", None),
    ],
)
def test_the_smallest_copy_that_suffices_is_taken(query: str, side: int | None) -> None:
    assert side_for(query) == side


def test_what_was_turned_is_not_there_as_it_was_stored() -> None:
    turned = Ladder(4000, 2000, True, LADDER.rungs)
    assert side_for("width=100", turned) == 512 and side_for("width=100&autorotate=false", turned) is None


def test_an_image_without_copies_is_read_itself() -> None:
    assert side_for("width=1", Ladder(900, 600, False, ())) is None


def test_a_ladder_has_the_size_of_the_image_and_the_bytes_of_its_files() -> None:
    assert LADDER.size == (4000, 2000) and LADDER.bytes == 110_000


@pytest.mark.parametrize(
    "operations",
    [
        {"crop": ()},
        {"trim": 0.0},
        {"trim": 5.0},
        {"kernel": "nearest"},
    ],
)
def test_what_looks_at_single_pixels_of_the_image_needs_them(operations: dict[str, object]) -> None:
    if "crop" in operations:
        asked = RenditionSpec.from_canonical("PNG?width=100&crop=10,10")
    else:
        asked = Operations(width=100, **operations)  # type: ignore[arg-type,assignment]
    assert resampled_to((4000, 2000), asked) is None
    assert resampled_to((4000, 2000), Operations(width=100)) == (100, 50)


def test_only_drawings_are_enlarged_unasked() -> None:
    assert resampled_to((400, 200), Operations(width=800)) == (400, 200)
    assert resampled_to((400, 200), Operations(width=800), vector=True) == (800, 400)


def built(tmp_path: Path, size: Size, *, mode: str = "RGB", flat: bool = False, orientation: int = 1) -> Ladder | None:
    top = top_of(Frame(blank(size, mode), mode), size)
    if top is None:
        return None
    targets = {side: OutputFile(tmp_path / f"rung-{side}") for side in SIDES}
    upright = size if orientation < 5 else size[::-1]
    return build(top, upright, targets, orientation=orientation, turned=orientation > 1, flat=flat)


@pytest.mark.parametrize(
    ("size", "rungs"),
    [
        ((819, 10), []),  # 512 * 1.6 = 819.2
        ((820, 10), [(512, 6)]),
        ((10, 820), [(6, 512)]),
        ((1638, 20), [(512, 6)]),  # 1024 * 1.6 = 1638.4
        ((1639, 20), [(1024, 12), (512, 6)]),
        ((2048, 1024), [(1024, 512), (512, 256)]),
        ((2048, 1), [(1024, 1), (512, 1)]),
        ((1, 2048), [(1, 1024), (1, 512)]),
    ],
)
def test_an_image_has_a_copy_of_each_side_that_is_much_smaller_than_it(
    tmp_path: Path, size: Size, rungs: list[Size]
) -> None:
    ladder = built(tmp_path, size)
    found = [] if ladder is None else [(rung.width, rung.height) for rung in ladder.rungs]
    assert found == rungs
    if ladder:
        assert ladder.size == size and not ladder.turned
        for rung in ladder.rungs:
            file = tmp_path / f"rung-{rung.side}"
            copy = pyvips.Image.new_from_file(str(file))
            assert (copy.width, copy.height) == (rung.width, rung.height)
            assert rung.bytes == file.stat().st_size > 0 and rung.side in SIDES


def test_other_kinds_of_pixels_have_no_copies() -> None:
    for mode in ("P", "L16", "RGB16", "CMYK", "F", "1"):
        assert top_of(Frame(blank((2000, 20)), mode), (2000, 20)) is None


def test_a_frame_that_was_decoded_smaller_goes_by_the_size_of_the_image(tmp_path: Path) -> None:
    top = top_of(Frame(blank((1000, 500)), "RGB"), (4000, 2000))
    assert top is not None and (top.width, top.height) == (1000, 500)  # it is not made larger
    assert top_of(Frame(blank((400, 200)), "RGB"), (800, 400)) is None
    half = top_of(Frame(blank((2000, 1000)), "RGB"), (4000, 2000))
    assert half is not None and (half.width, half.height) == (1024, 512)
    whole = top_of(Frame(blank((1600, 800)), "RGB"), (1600, 800))
    assert whole is not None and (whole.width, whole.height) == (1600, 800)


def test_copies_are_upright(tmp_path: Path) -> None:
    ladder = built(tmp_path, (2048, 1024), orientation=6)
    assert ladder is not None and ladder.size == (1024, 2048) and ladder.turned
    assert [(rung.width, rung.height) for rung in ladder.rungs] == [(512, 1024), (256, 512)]


@pytest.mark.parametrize(
    ("mode", "flat", "kind"),
    [
        ("RGB", False, b"\xff\xd8"),
        ("L", False, b"\xff\xd8"),
        ("RGB", True, b"\x89PNG"),
        ("RGBA", False, b"\x89PNG"),
        ("LA", False, b"\x89PNG"),
    ],
)
def test_what_jpeg_would_blur_or_cannot_hold_is_kept_as_png(tmp_path: Path, mode: str, flat: bool, kind: bytes) -> None:
    assert built(tmp_path, (1000, 20), mode=mode, flat=flat)
    assert (tmp_path / f"rung-{SMALL}").read_bytes().startswith(kind)
