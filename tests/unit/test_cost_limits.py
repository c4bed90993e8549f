"""What is refused before any pixel is decoded: too large a picture, too much memory or work. And how little is read."""

import pytest

from progimage.engine import FORMATS, InvalidParameter, Limits, RenditionSpec, TooCostly
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.cost import Facts, rendition_cost
from progimage.engine.cost_limits import check_cost, decoding
from progimage.engine.description import Description, Page
from progimage.engine.faces import LOOKED_AT
from progimage.engine.geometry import Size

JPEG = Decoder(frames=None, shrinks=(8, 4, 2))  # type: ignore[arg-type]
DRAWING = Decoder(frames=None, draws=True)  # type: ignore[arg-type]


def source(
    size: Size = (1000, 1000), format: str = "PNG", mode: str = "RGB", orientation: int = 1, **more: object
) -> Source:
    about = {name: more.pop(name) for name in ("depth", "gain_map", "always_turned") if name in more}
    page = Page(*size, orientation=orientation)
    description = Description(format=FORMATS[format], pages=(page,), mode=mode, **about)  # type: ignore[arg-type]
    return Source(None, None, description, Limits(), **more)  # type: ignore[arg-type]


def refusal(query: str, limits: Limits, frames: int = 1, image: Source | None = None) -> InvalidParameter | None:
    try:
        check_cost(image or source(), RenditionSpec.from_canonical(query), frames, limits, {})
    except InvalidParameter as refused:
        return refused
    return None


@pytest.mark.parametrize(
    ("query", "pixels", "name"),
    [
        ("PNG?width=2000&enlarge", 2000 * 2000, "width"),
        ("PNG?height=2000&enlarge", 2000 * 2000, "height"),
        ("PNG?width=2000&height=500&fit=fill&enlarge", 2000 * 500, "width"),
        ("PNG?width=100&zoom=30", 3000 * 3000, "zoom"),
        ("PNG?width=2000&height=1500&fit=contain", 2000 * 1500, "width"),
        ("PNG?width=2000&height=1000&enlarge", 2000 * 2000, "width"),  # what is cut off was made first
        ("PNG?rotate=45", 1415 * 1415, "rotate"),  # 1000 times the root of 2
        ("PNG?extend=100,0", 1000 * 1200, "extend"),
        ("PNG?border=0,50", 1100 * 1000, "border"),
        ("PNG?extend=100&dpr=2", 1400 * 1400, "extend"),
        ("PNG?ops=width:500|border:100,200", 900 * 700, "ops 2: border"),
        ("PNG?ops=extend:500|width:500", 2000 * 2000, "ops 1: extend"),
    ],
)
def test_a_picture_of_exactly_as_many_pixels_as_are_allowed_can_be_made(query: str, pixels: int, name: str) -> None:
    assert refusal(query, Limits(pixels=pixels)) is None
    refused = refusal(query, Limits(pixels=pixels - 1))
    assert refused is not None and refused.parameter == name
    assert f"at most {pixels - 1} pixels;" in refused.allowed


def test_a_refusal_says_what_was_given_and_what_would_come_of_it() -> None:
    refused = refusal("PNG?width=3000&height=2000&fit=fill&enlarge", Limits(pixels=5_999_999))
    assert refused is not None and refused.given == "3000" and "3000×2000" in refused.allowed
    assert refusal("PNG?rotate=45", Limits(pixels=1_100_000)).given == "45"  # type: ignore[union-attr]


def test_only_a_drawing_is_enlarged_unasked_and_only_at_first() -> None:
    drawing = source((1000, 1000), "SVG")
    assert refusal("PNG?width=2000", Limits(pixels=1_000_000)) is None
    assert refusal("PNG?width=2000", Limits(pixels=3_999_999), image=drawing) is not None
    assert refusal("PNG?ops=flip:true|width:2000", Limits(pixels=1_000_000), image=drawing) is None


def test_all_frames_together_are_limited_too() -> None:
    query = "GIF?width=100&height=100"
    assert refusal(query, Limits(total_pixels=70_000), frames=7) is None
    refused = refusal(query, Limits(total_pixels=69_999), frames=7)
    assert refused is not None and "at most 9999 pixels " in refused.allowed
    both = refusal(query, Limits(pixels=5_000, total_pixels=69_999), frames=7)
    assert both is not None and "at most 5000 pixels " in both.allowed  # the lower one


def test_an_image_that_is_turned_is_measured_upright() -> None:
    tall = source((400, 100), orientation=6)  # 100*400 once it is upright
    assert refusal("PNG?width=200&enlarge", Limits(pixels=200 * 800), image=tall) is None
    assert refusal("PNG?width=200&enlarge", Limits(pixels=200 * 800 - 1), image=tall) is not None
    assert refusal("PNG?autorotate=false&width=200&enlarge", Limits(pixels=40_000), image=tall) is None
    always = source((400, 100), orientation=6, always_turned=True)
    assert refusal("PNG?autorotate=false&width=200&enlarge", Limits(pixels=159_999), image=always) is not None


def test_a_smaller_copy_counts_as_the_image_that_it_stands_for() -> None:
    copy = source((100, 50), stands_for=(1000, 500))
    assert refusal("PNG?width=400", Limits(pixels=80_000), image=copy) is None
    assert refusal("PNG?zoom=0.5", Limits(pixels=124_999), image=copy) is not None


@pytest.mark.parametrize(("size", "frames", "allowed"), [((10_000, 10_000), 1, True), ((10_000, 10_001), 1, False)])
def test_a_median_is_taken_of_a_hundred_million_pixels_at_most(size: Size, frames: int, allowed: bool) -> None:
    refused = refusal("PNG?median=3", Limits(pixels=10**9), frames, source(size))
    assert (refused is None) is allowed
    if refused:
        assert (refused.parameter, refused.given) == ("median", "3") and refused.allowed.endswith("here are 100010000")


def test_a_median_counts_the_pixels_of_all_frames_and_of_the_largest_size_on_the_way() -> None:
    limits = Limits(pixels=10**9, total_pixels=10**10)
    moving = source((1000, 1000), "GIF")
    assert refusal("GIF?median=3", limits, 100, moving) is None
    assert refusal("GIF?median=3", limits, 101, moving).parameter == "median"  # type: ignore[union-attr]
    huge = source((10_000, 10_000))
    assert refusal("PNG?median=3&width=5000", limits, 1, huge) is None
    assert refusal("PNG?ops=width:5000|zoom:3|width:10;median:3", limits, 1, huge).parameter == "ops 3: median"  # type: ignore[union-attr]
    assert refusal("PNG?ops=width:5000;median:3|zoom:3", limits, 1, huge) is None


MEGA = 1_000_000


@pytest.mark.parametrize(
    ("query", "frames", "image", "bytes"),
    [
        # The frame, 4 bytes a pixel; and the largest result, before and after a step that needs all of it.
        ("PNG?blur=2", 1, source(), 4 * (1 + 2) * MEGA),
        ("PNG?width=500", 1, source(), 4 * (1 + 2) * MEGA),
        ("PNG?width=2000&enlarge", 1, source(), 4 * (1 + 2 * 4) * MEGA),
        ("PNG?blur=2", 1, source(depth=16, mode="RGB16"), 8 * (1 + 2) * MEGA),
        ("PNG?blur=2", 1, source(depth=10), 8 * (1 + 2) * MEGA),
        # Animations: GIF's encoder needs six frames at once, WebP's one, PNG's all; as does whoever looks for a size.
        ("GIF?blur=2", 2, source(format="GIF"), 4 * (1 + 1 + 2) * MEGA),
        ("GIF?blur=2", 6, source(format="GIF"), 4 * (1 + 1 + 6) * MEGA),
        ("GIF?blur=2", 20, source(format="GIF"), 4 * (1 + 1 + 6) * MEGA),
        ("WEBP?blur=2", 20, source(format="GIF"), 4 * (1 + 1 + 1) * MEGA),
        ("PNG?blur=2", 20, source(format="GIF"), 4 * (1 + 1 + 20) * MEGA),
        ("WEBP?blur=2&max_bytes=1000", 20, source(format="GIF"), 4 * (1 + 1 + 20) * MEGA),
        ("JPEG?blur=2&max_bytes=1000", 20, source(format="GIF"), 4 * (1 + 1 + 1) * MEGA),
        # Of a pyramid only the part is read; what is made of it counts as if it were cut out of the whole.
        ("PNG?crop=0,0,200,100&blur=2", 1, source((4000, 3000), levels=4), 4 * (200 * 100 + 2 * 12 * MEGA)),
        ("PNG?width=100", 1, source((4000, 3000), levels=4), 4 * (12 * MEGA + 2 * 12 * MEGA)),
    ],
)
def test_as_much_memory_as_is_needed_is_enough(query: str, frames: int, image: Source, bytes: int) -> None:
    limits = Limits(pixels=10**9, total_pixels=10**11, memory=bytes)
    assert refusal(query, limits, frames, image) is None
    refused = refusal(query, Limits(pixels=10**9, total_pixels=10**11, memory=bytes - 1), frames, image)
    assert refused is not None and refused.allowed.endswith(f"this needs {bytes}")
    assert refused.parameter == "width" and f"at most {bytes - 1} bytes" in refused.allowed


def test_what_changes_no_pixels_is_not_held_against_memory() -> None:
    assert refusal("PNG", Limits(memory=1)) is None
    assert refusal("WEBP?quality=80&keep=exif", Limits(memory=1)) is None
    assert refusal("PNG?ops=width:1000|flip:true", Limits(memory=1)) is not None


@pytest.mark.parametrize("query", ["PNG?blur=20", "PNG?ops=flip:true|blur:20"])
def test_as_much_work_as_it_is_reckoned_at_is_allowed(query: str) -> None:
    image = source()
    cost = rendition_cost(Facts.of(image), RenditionSpec.from_canonical(query))
    assert refusal(query, Limits(most_cost=cost)) is None
    refused = refusal(query, Limits(most_cost=cost * 0.999))
    assert refused is not None and refused.given == "20"
    assert refused.parameter == ("ops 2: blur" if "ops" in query else "blur")
    check_cost(image, RenditionSpec.from_canonical(query), 1, Limits(cost=cost), {})
    for most_cost in (0, 2 * cost):  # reckoned once or twice, it is the same
        with pytest.raises(TooCostly) as costly:
            check_cost(
                image, RenditionSpec.from_canonical(query), 1, Limits(cost=cost * 0.999, most_cost=most_cost), {}
            )
        assert costly.value.cost == pytest.approx(cost) and not costly.value.drawing


def test_a_refusal_for_work_says_how_much_it_would_be() -> None:
    refused = refusal("PNG?blur=250&zoom=4", Limits(most_cost=0.5))
    cost = rendition_cost(Facts.of(source()), RenditionSpec.from_canonical("PNG?blur=250&zoom=4"))
    assert refused is not None and "at most 0.5 seconds" in refused.allowed
    assert refused.allowed.endswith(f"about {round(cost)}")


def how(query: str, image: Source, decoder: Decoder = JPEG) -> Decoding:
    return decoding(image, RenditionSpec.from_canonical(query), decoder)


@pytest.mark.parametrize(
    ("size", "query", "shrink"),
    [
        # 1.6 times as many pixels a side as are asked for have to remain: 500 of 4000 are enough for 312.
        ((4000, 3000), "width=312", 8),
        ((4000, 3000), "width=313", 4),
        ((4000, 3000), "width=625&height=468&fit=fill", 4),  # 1000 = 1.6 * 625
        ((4000, 3000), "width=626", 2),
        ((4000, 3000), "width=1250", 2),
        ((4000, 3000), "width=1251", 1),
        ((4000, 3000), "", 1),
        ((4000, 3000), "width=200&crop=10,10,2000,1000", 1),
        ((4000, 3000), "width=200&trim", 1),
        ((4000, 3000), "width=200&kernel=nearest", 1),
        # Of a side that 8 does not divide, up to 7 pixels are left out: no more than a tenth of a pixel of the result.
        ((4001, 3000), "width=312", 8),
        ((4007, 3000), "width=57", 8),  # 57 * 7 / 4007 = 0.0996
        ((4007, 3000), "width=58", 4),  # 58 * 7 / 4007 = 0.101; 4 leaves out 3, which are 0.04
        ((3000, 4001), "height=312", 8),
    ],
)
def test_no_more_is_decoded_than_the_rendition_can_use(size: Size, query: str, shrink: int) -> None:
    assert how(f"PNG?{query}", source(size, "JPEG")).shrink == shrink


def test_what_is_turned_is_shrunk_by_its_upright_size() -> None:
    assert how("PNG?width=225&height=300&fit=fill", source((4000, 3000), "JPEG", orientation=6)).shrink == 8
    assert how("PNG?width=300&height=100&fit=fill", source((4000, 800), "JPEG", orientation=6)).shrink == 1


def test_faces_are_looked_for_in_as_many_pixels_as_the_detector_takes() -> None:
    face = RenditionSpec("PNG", width=10, height=10, gravity="face")
    for fraction in (8, 4, 2):
        side = LOOKED_AT * fraction
        assert decoding(source((side, side), "JPEG"), face, JPEG).shrink == fraction
        assert decoding(source((side - 8, side - 8), "JPEG"), face, JPEG).shrink == (fraction // 2)


def test_a_drawing_is_drawn_at_the_size_that_is_asked_for() -> None:
    drawing = source((100, 50), "SVG")
    assert how("PNG?width=700", drawing, DRAWING).draw == (700, 350)
    assert how("PNG", drawing, DRAWING).draw in (None, (100, 50))
    assert how("PNG?width=700&crop=5,5", drawing, DRAWING).draw is None


def test_hdr_with_a_gain_map_is_decoded_whole_since_the_map_is_applied_to_it() -> None:
    image = source((4000, 3000), "JPEG", gain_map=True)
    assert how("AVIF?width=200&hdr=keep", image).shrink == 1 and how("AVIF?width=200&hdr=keep", image).hdr
    assert how("AVIF?width=200", image).shrink == 8 and not how("AVIF?width=200", image).hdr
    without = source((4000, 3000), "JPEG")
    assert how("AVIF?width=200&hdr=keep", without).shrink == 8 and how("AVIF?width=200&hdr=keep", without).hdr


def test_a_gain_map_is_taken_along_where_the_rendition_keeps_it() -> None:
    image = source((4000, 3000), "JPEG", gain_map=True)
    assert how("JPEG?width=200", image).gain_map and how("JPEG", image).gain_map
    assert not how("PNG?width=200", image).gain_map and not how("JPEG?width=200&blur=2", image).gain_map
    assert not how("JPEG?width=200", source((4000, 3000), "JPEG")).gain_map


def test_metadata_are_read_where_they_are_kept() -> None:
    image = source((4000, 3000), "JPEG")
    assert how("JPEG?keep=exif,icc,xmp", image).metadata == how("JPEG?keep=exif,xmp&width=90", image).metadata
    assert how("JPEG?keep=exif,icc,xmp", image).metadata == {"exif", "xmp"}
    assert how("JPEG", image).metadata == frozenset() == how("JPEG?width=90&strip", image).metadata


def test_a_part_of_a_pyramid_is_read_from_a_level_that_is_large_enough() -> None:
    pyramid = source((8000, 6000), "TIFF", levels=5)
    for width, level in ((8000, 0), (2500, 0), (2400, 0), (600, 2), (300, 3)):
        chosen = how(f"PNG?crop=0,0,4000,3000&width={width}", pyramid).level
        assert 4000 >> chosen >= min(4000, width * 1.6) or chosen == 0
        assert chosen >= level - 1
