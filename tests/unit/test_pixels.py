"""What transformations do to pixels, held against references that are worked out otherwise."""

import io
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest
import pyvips
from docs.gallery import GALLERY, SHOWN, extension
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from progimage.engine import FORMATS, InvalidParameter, Limits, RenditionSpec, by_extension, inspect, render
from progimage.engine.codecs.codec import Decoding
from progimage.engine.cost_limits import decoding
from progimage.engine.files import InputFile
from progimage.engine.quality import similarity
from progimage.engine.source import open_source
from tests import pictures
from tests.costs import OPERATIONS
from tests.specs import REFERENCE

PHOTO = GALLERY / "photograph.jpg"


@pytest.fixture
def rendered(tmp_path: Path):
    def make(
        source: bytes | Path, query: str, format: str = "PNG", images: dict[str, Path] | None = None
    ) -> Image.Image:
        if isinstance(source, bytes):
            (tmp_path / "source").write_bytes(source)
            source = tmp_path / "source"
        spec = RenditionSpec.parse(format, parse_qsl(query, keep_blank_values=True))
        target = tmp_path / "target"
        render(source, spec, target, Limits(), images)
        made = Image.open(io.BytesIO(target.read_bytes()))
        made.load()
        return made

    return make


def array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=float)


def far(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size and one.mode == other.mode
    return float(np.abs(array(one) - array(other)).mean())


def _on_grey(picture: Image.Image) -> Image.Image:
    grey = Image.new("RGBA", picture.size, (128, 128, 128, 255))
    return Image.alpha_composite(grey, picture.convert("RGBA"))


# Golden pictures: those of the gallery, which people have looked at.

REFERENCES = {
    "logo": ("00000000-0000-4000-8000-000000000001", GALLERY / "logo.svg"),
    "mask": ("00000000-0000-4000-8000-000000000002", GALLERY / "mask.svg"),
}


@pytest.mark.parametrize(("name", "query"), [entry for entries in SHOWN.values() for entry in entries])
def test_every_operation_looks_as_in_the_gallery(name: str, query: str, tmp_path: Path) -> None:
    names = {key: reference for key, (reference, _) in REFERENCES.items()}
    format = by_extension(extension(name))
    assert format
    spec = RenditionSpec.parse(format.name, parse_qsl(query.format(**names), keep_blank_values=True))
    target = tmp_path / "made"
    render(PHOTO, spec, target, Limits(), dict(REFERENCES.values()))
    made = pyvips.Image.new_from_file(str(target)).colourspace("srgb")
    golden = pyvips.Image.new_from_file(str(GALLERY / f"{name}.{extension(name)}")).colourspace("srgb")
    assert (made.width, made.height, made.bands) == (golden.width, golden.height, golden.bands)
    for one, other in zip(made.bandsplit(), golden.bandsplit(), strict=True):
        assert similarity(one, other) > 0.97


def test_similarity_sees_what_eyes_see() -> None:
    picture = pyvips.Image.new_from_file(str(PHOTO)).colourspace("b-w")
    assert similarity(picture, picture) == pytest.approx(1)
    slight, strong = picture.gaussblur(1), picture.gaussblur(4)
    assert 1 > similarity(picture, slight) > 0.8 > similarity(picture, strong)


# Resampling.


@pytest.mark.parametrize("size", [(100, 75), (37, 120), (220, 145)])
def test_downscaling_agrees_with_pillows(rendered, size: tuple[int, int]) -> None:
    data = pictures.saved(Image.open(PHOTO), "PNG")
    made = rendered(data, f"width={size[0]}&height={size[1]}&fit=fill")
    wanted = Image.open(PHOTO).resize(size, Image.Resampling.LANCZOS)
    assert far(made, wanted) < 1.2


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_nothing_is_shifted(rendered, factor: int) -> None:
    """The centre of mass stays where it was, to a small part of a pixel, for any ratio."""
    side = 168
    across, down = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    for x, y in ((40, 50), (84, 84), (121, 60)):
        blob = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * 12**2))
        made = array(rendered(pictures.saved(Image.fromarray(blob.astype("uint8")), "PNG"), f"width={side // factor}"))
        grid = (np.arange(side // factor) + 0.5) * factor
        assert abs((made.sum(0) * grid).sum() / made.sum() - x) < 0.15
        assert abs((made.sum(1) * grid).sum() / made.sum() - y) < 0.15


@pytest.mark.parametrize("size", [(1600, 1200), (1601, 1203), (1607, 1199)])
@pytest.mark.parametrize("width", [50, 100, 180, 390])
def test_shrinking_while_decoding_agrees_with_decoding_all(tmp_path: Path, size: tuple[int, int], width: int) -> None:
    photo = Image.open(PHOTO).resize(size, Image.Resampling.BICUBIC)
    source, target = tmp_path / "a.jpg", tmp_path / "b.png"
    source.write_bytes(pictures.saved(photo, "JPEG", quality=95, subsampling=0))
    spec = RenditionSpec("PNG", width=width)
    opened = open_source(InputFile(source), Limits())
    assert decoding(opened, spec, opened.codec.decoders(opened.description)[0]).shrink > 1 or width > 100
    render(source, spec, target, Limits())
    made = Image.open(target)
    assert far(made, Image.open(source).resize(made.size, Image.Resampling.LANCZOS)) < 1.5
    grey = [np.asarray(picture.convert("L"), dtype=float) for picture in (made, photo.resize(made.size))]
    assert similarity(*(pyvips.Image.new_from_array(one.tolist()) for one in grey)) > 0.98


def test_a_small_rendition_does_not_decode_all(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(pictures.saved(Image.new("RGB", (4000, 3000)), "JPEG"))
    opened = open_source(InputFile(source), Limits())
    decoder = opened.codec.decoders(opened.description)[0]
    assert decoding(opened, RenditionSpec("WEBP", width=200), decoder) == Decoding(8)
    assert decoding(opened, RenditionSpec("WEBP", width=200, trim=5), decoder) == Decoding()


def test_transparent_pixels_give_nothing_of_their_hidden_colour(rendered) -> None:
    picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    picture.paste((200, 30, 30, 255), (16, 16, 48, 48))
    for query in ("width=23", "blur=3", "rotate=30", "pixelate=7", "width=200&enlarge"):
        made = array(rendered(pictures.saved(picture, "PNG"), query))
        seen = made[made[..., 3] > 8]
        assert seen[:, 1].max() < 60, query


# Orientation.


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("query", ["", "width=32&height=32", "width=30&height=40&fit=contain&background=red",
                                   "width=40&height=20&fit=fill", "width=32&height=32&gravity=northwest",
                                   "width=20&height=40&gravity=east", "width=20&height=40&gravity=0.2,0.9",
                                   "crop=5,3,30,20", "crop=20,20&gravity=southeast", "rotate=90&flip"])  # fmt: skip
def test_every_orientation_gives_the_same_picture(rendered, orientation: int, query: str) -> None:
    upright = rendered(pictures.saved(pictures.colour(), "JPEG", quality=95, subsampling=0), query)
    assert far(rendered(pictures.oriented(orientation), query), upright) < 3


def test_orientation_can_be_left_alone(rendered) -> None:
    assert rendered(pictures.oriented(6), "").size == pictures.SIZE
    assert rendered(pictures.oriented(6), "autorotate=false").size == pictures.SIZE[::-1]


# Turns are exact.


@pytest.mark.parametrize(
    ("query", "turn"),
    [
        ("rotate=90", Image.Transpose.ROTATE_270),
        ("rotate=-90", Image.Transpose.ROTATE_90),
        ("rotate=180", Image.Transpose.ROTATE_180),
        ("flip", Image.Transpose.FLIP_TOP_BOTTOM),
        ("flop", Image.Transpose.FLIP_LEFT_RIGHT),
        ("flip&flop", Image.Transpose.ROTATE_180),
    ],
)
def test_turns_are_exact(rendered, query: str, turn: Image.Transpose) -> None:
    data = pictures.saved(pictures.colour(), "PNG")
    assert rendered(data, query).tobytes() == pictures.colour().transpose(turn).tobytes()


def test_turning_by_degrees_and_back_keeps_the_middle(rendered) -> None:
    data = pictures.saved(Image.open(PHOTO), "PNG")
    made = rendered(data, "ops=rotate:20|rotate:-20|crop:160,120")
    original = rendered(data, "crop=160,120")
    assert far(made.convert("RGB"), original) < 8


# Tone, effects, frame: against Pillow or the formula.


def test_tones_follow_their_formulas(rendered) -> None:
    picture = Image.open(PHOTO)
    data, samples = pictures.saved(picture, "PNG"), array(picture) / 255
    saturated = np.array([[0.213, 0.715, 0.072]] * 3)
    wanted = {
        "brightness=1.4": samples * 1.4,
        "contrast=1.7": (samples - 0.5) * 1.7 + 0.5,
        "gamma=2": samples**0.5,
        "negate": 1 - samples,
        "saturation=0": samples @ saturated.T,
        "sepia": samples @ np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]).T,
        "hue=360": samples,
    }
    for query, expected in wanted.items():
        assert np.abs(array(rendered(data, query)) - np.clip(expected, 0, 1) * 255).max() <= 1, query


def test_effects_agree_with_pillows(rendered) -> None:
    picture = Image.open(PHOTO)
    data = pictures.saved(picture, "PNG")
    inner = (30, 30, 400, 270)
    blurred = rendered(data, "blur=4").crop(inner)
    assert far(blurred, picture.filter(ImageFilter.GaussianBlur(4)).crop(inner)) < 1.5
    median = rendered(data, "median=5").crop(inner)
    assert far(median, picture.filter(ImageFilter.MedianFilter(5)).crop(inner)) < 0.5
    pixelated = rendered(data, "pixelate=10")
    assert far(pixelated.crop((0, 0, 450, 300)), picture.crop((0, 0, 450, 300)).reduce(10).resize((450, 300), 0)) < 1
    threshold = rendered(data, "threshold=120").convert("L")
    assert set(threshold.getdata()) == {0, 255}
    assert far(rendered(data, "normalize"), ImageOps.autocontrast(picture)) < 40
    assert rendered(data, "grayscale").mode == "L"
    assert ImageChops.difference(rendered(data, "sharpen=2"), picture).getbbox()


def test_frames_and_masks(rendered, tmp_path: Path) -> None:
    data = pictures.saved(pictures.colour((60, 40)), "PNG")
    extended = rendered(data, "extend=1,2,3,4&background=red")
    assert extended.size == (66, 44) and extended.getpixel((0, 0)) == (255, 0, 0)
    assert extended.crop((4, 1, 64, 41)).tobytes() == pictures.colour((60, 40)).tobytes()
    assert rendered(data, "extend=5").getpixel((0, 0))[3] == 0
    assert min(rendered(data, "extend=16", "JPEG").getpixel((0, 0))) >= 253
    bordered = rendered(data, "border=2&border_color=00f&dpr=3")
    assert bordered.size == (72, 52) and bordered.getpixel((5, 5)) == (0, 0, 255)
    circle = rendered(data, "width=40&height=40&radius=max")
    assert circle.getpixel((0, 0))[3] == 0 and circle.getpixel((20, 20))[3] == 255
    opaque = (array(circle)[..., 3] / 255).sum()
    assert opaque == pytest.approx(np.pi * 20**2, rel=0.01)
    mask = tmp_path / "mask.png"
    Image.linear_gradient("L").save(mask)
    masked = array(rendered(data, f"mask={REFERENCE}", images={REFERENCE: mask}))[..., 3]
    assert masked[0].max() < 8 and masked[-1].min() > 247 and np.all(np.diff(masked[:, 0]) >= 0)


def test_a_watermark_is_where_it_should_be(rendered, tmp_path: Path) -> None:
    mark = tmp_path / "mark.png"
    Image.new("RGB", (10, 6), (255, 0, 0)).save(mark)
    data = pictures.saved(Image.new("RGB", (100, 80), (0, 0, 0)), "PNG")

    def box(query: str) -> tuple[int, int, int, int]:
        return rendered(data, f"watermark={REFERENCE}&{query}", images={REFERENCE: mark}).getbbox()

    assert box("") == (90, 74, 100, 80)
    assert box("watermark_gravity=northwest&watermark_offset=3,4") == (3, 4, 13, 10)
    assert box("watermark_gravity=southeast&watermark_offset=3,4") == (87, 70, 97, 76)
    assert box("watermark_gravity=centre&watermark_offset=10%25,0") == (55, 37, 65, 43)
    assert box("watermark_scale=0.5&watermark_gravity=west") == (0, 25, 50, 55)
    assert box("watermark_gravity=northwest&watermark_offset=-4,-2") == (0, 0, 6, 4)
    half = rendered(data, f"watermark={REFERENCE}&watermark_opacity=0.5", images={REFERENCE: mark})
    assert half.getpixel((95, 77))[0] in (127, 128)
    tiled = rendered(data, f"watermark={REFERENCE}&watermark_tile", images={REFERENCE: mark})
    assert tiled.getcolors() == [(8000, (255, 0, 0))]


@pytest.mark.parametrize(
    "text",
    ["Hello", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "வணக்கம்", "你好", "こんにちは", "안녕", "Ελλάδα", "Привет", "<b>&amp;"],
)
def test_texts_of_every_script_have_their_glyphs(rendered, text: str) -> None:
    data = pictures.saved(Image.new("L", (300, 100)), "PNG")
    made = rendered(data, f"text={text.replace('&', '%26')}&text_size=40&text_gravity=centre")
    missing = rendered(data, "text=%F3%B0%80%80&text_size=40&text_gravity=centre")  # for private use: no font has it
    assert made.getbbox() and made.tobytes() != missing.tobytes()
    left, top, right, bottom = made.getbbox()
    assert abs((left + right) / 2 - 150) <= 2 and abs((top + bottom) / 2 - 50) <= 2


def test_right_to_left_is_set_as_such(rendered) -> None:
    """In a line of both, the first Hebrew word stands at the right."""
    data = pictures.saved(Image.new("L", (300, 60)), "PNG")
    one, both = (rendered(data, f"text={text}&text_size=30&text_gravity=east") for text in ("אבג", "אבג ww"))
    right = (240, 0, 300, 60)
    assert far(one.crop(right), both.crop(right)) < 8


# Colour, depth, animation.


def test_painted_colours_are_those_that_were_asked_for_in_any_space(rendered, tmp_path: Path) -> None:
    """Stored red is green in this space, so painted green is stored as red."""
    made = rendered(pictures.with_swapped_profile("PNG"), "extend=5&background=00ff00")
    assert made.info.get("icc_profile")
    assert np.abs(array(made.convert("RGB"))[0, 0] - (255, 0, 0)).max() <= 2
    srgb = rendered(pictures.with_swapped_profile("PNG"), "extend=5&background=00ff00&profile=srgb")
    assert not srgb.info.get("icc_profile")
    assert np.abs(array(srgb.convert("RGB"))[0, 0] - (0, 255, 0)).max() <= 2
    assert np.abs(array(srgb.convert("RGB"))[20, 20] - (0, 255, 0)).max() <= 3


def test_display_p3(rendered) -> None:
    data = pictures.saved(Image.new("RGB", (9, 9), (255, 0, 0)), "PNG")
    made = rendered(data, "profile=p3")
    assert b"P3" in made.info["icc_profile"].replace(b"\0", b"")
    red, green, blue = made.getpixel((4, 4))
    assert (red, green, blue) == pytest.approx((234, 51, 35), abs=3)  # sRGB's red in Display P3


@pytest.mark.parametrize("query", ["width=30", "blur=2", "rotate=30", "brightness=1.1", "radius=5", "extend=3",
                                   "text=a", "tint=teal", "normalize", "background=fffc", "sharpen"])  # fmt: skip
def test_16_bits_stay_16_bits(tmp_path: Path, query: str) -> None:
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(pictures.BY_MODE["RGBA;16"]())
    render(source, RenditionSpec.from_canonical(f"PNG?{query}"), target, Limits())
    made = pyvips.Image.new_from_file(str(target))
    assert made.format == "ushort" and made.interpretation == "rgb16"
    assert len(np.unique(made.numpy() % 257)) > 20  # values that 8 bits can't hold
    render(source, RenditionSpec.from_canonical(f"PNG?depth=8&{query}"), target, Limits())
    assert pyvips.Image.new_from_file(str(target)).format == "uchar"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize(
    "query", ["width=20", "rotate=90", "rotate=20", "blur=2", "crop=30,30&gravity=smart", "text=a", "sepia&radius=max",
              "ops=width:30|border:2", "width=30&height=60&fit=contain"],
)  # fmt: skip
def test_animations_stay_animations(rendered, format: str, query: str) -> None:
    source = pictures.animation("WEBP" if format == "AVIF" else format, lossless=True)
    made = rendered(source, query, format)
    assert made.n_frames == 4
    durations = []
    for index in range(4):
        made.seek(index)
        made.load()
        durations.append(round(made.info["duration"]))
    assert durations == [100, 150, 200, 250]
    still = rendered(source, f"{query}&frame=2", "PNG")
    made.seek(1)
    assert still.size == made.size
    if format in ("PNG", "WEBP"):
        assert pictures.difference(_on_grey(still), _on_grey(made)) < (12 if format == "WEBP" else 4)


def test_trimming(rendered) -> None:
    inner = pictures.colour((40, 30))
    for background, mode in (((250, 250, 250), "RGB"), ((0, 0, 0, 0), "RGBA")):
        outer = Image.new(mode, (90, 70), background)
        outer.paste(inner, (20, 25))
        assert rendered(pictures.saved(outer, "PNG"), "trim").size == (40, 30)
    assert rendered(pictures.saved(Image.new("RGB", (9, 9), "red"), "PNG"), "trim").size == (9, 9)


def test_drawings_are_drawn_at_the_size_that_is_asked_for(rendered) -> None:
    large = rendered(pictures.SVG, "width=640")
    assert large.size == (640, 480)
    edge = [large.getpixel((x, 200))[1] for x in range(340, 360)]
    assert sum(10 < value < 245 for value in edge) <= 2  # a sharp edge, not an enlarged one
    assert rendered(pictures.SVG, "dpi=144").size == (96, 72)


def test_emoji_in_a_text_are_drawn_in_its_colour(rendered) -> None:
    grey = pictures.saved(Image.new("RGB", (90, 60), (90, 90, 90)), "PNG")
    colours = rendered(grey, "text=😀&text_size=40&text_color=blue").convert("RGB").getcolors(5000)
    assert sum(count for count, colour in colours if colour == (0, 0, 255)) > 100


# The cost is bounded before the work begins.


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("width=60000&height=60000&enlarge", "width"),
        ("width=60000&height=60000&fit=contain", "width"),
        ("zoom=100&width=60000&height=40000&fit=contain", "zoom"),
        ("extend=10000&dpr=10", "extend"),
        ("border=10000", "border"),
        ("ops=width:9000;height:9000;enlarge;fit:fill|rotate:45", "ops 2: rotate"),
        ("text=aaaaaaaa&text_size=2000&dpr=10", "text_size"),
    ],
)
def test_what_would_be_too_large_is_refused(rendered, query: str, parameter: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        rendered(PHOTO, query)
    assert caught.value.parameter == parameter and "at most" in caught.value.allowed


def test_memory_is_reckoned_with(tmp_path: Path) -> None:
    spec = RenditionSpec("PNG", width=5000, height=5000, enlarge=True)
    with pytest.raises(InvalidParameter, match="memory"):
        render(PHOTO, spec, tmp_path / "x", Limits(memory=100_000_000))
    render(PHOTO, RenditionSpec("PNG", width=500), tmp_path / "x", Limits(memory=100_000_000))


# Output.


@pytest.mark.parametrize(
    "format", [name for name, row in FORMATS.items() if "quality" in row.options and name != "PDF"]
)
def test_quality_and_largest_size(tmp_path: Path, format: str) -> None:
    sizes = {}
    for query in ("quality=20", "quality=50", "quality=90", "quality=auto", "max_bytes=9000", ""):
        target = tmp_path / "x"
        render(PHOTO, RenditionSpec.from_canonical(f"{format}?{query}"), target, Limits())
        sizes[query] = target.stat().st_size
    assert sizes["quality=20"] < sizes["quality=50"] < sizes["quality=90"]
    assert sizes["quality=20"] < sizes["quality=auto"] < sizes["quality=90"] * 1.5
    assert 6000 < sizes["max_bytes=9000"] <= 9000
    with pytest.raises(InvalidParameter, match="max_bytes"):
        render(PHOTO, RenditionSpec(format, max_bytes=100), tmp_path / "x", Limits())


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIC", "JXL", "PNG"])
def test_lossless_is_exact(rendered, format: str) -> None:
    made = rendered(pictures.saved(pictures.colour(), "PNG"), "lossless", format)
    assert made.convert("RGB").tobytes() == pictures.colour().tobytes()


@pytest.mark.parametrize("format", [name for name, row in FORMATS.items() if "effort" in row.options])
def test_effort(rendered, format: str) -> None:
    for effort in (1, 5, 9):
        assert far(rendered(PHOTO, f"effort={effort}&width=200", format).convert("RGB"),
                   rendered(PHOTO, "width=200", format).convert("RGB")) < 4  # fmt: skip


def test_palettes_and_progressive_and_chroma(rendered) -> None:
    for format in ("PNG", "GIF"):
        for colours in (2, 7, 100):
            assert len(rendered(PHOTO, f"palette={colours}", format).convert("RGB").getcolors()) <= colours
    made = rendered(pictures.saved(pictures.transparent(), "PNG"), "palette=8", "PNG")
    assert made.mode == "P" and len(made.convert("RGBA").getcolors()) <= 8
    assert rendered(PHOTO, "progressive", "JPEG").info.get("progressive")
    assert rendered(PHOTO, "progressive", "PNG").info.get("interlace")
    assert rendered(PHOTO, "chroma=4:4:4", "JPEG").layer[1][1:3] == (1, 1)
    assert rendered(PHOTO, "chroma=4:2:0&quality=95", "JPEG").layer[0][1:3] == (2, 2)


@pytest.mark.parametrize("format", [name for name, row in FORMATS.items() if "exif" in row.metadata])
def test_metadata_are_kept_only_if_asked_for(tmp_path: Path, format: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Testmaker", 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP", "AVIF"):
        source, target = tmp_path / "a", tmp_path / "b"
        source.write_bytes(pictures.saved(pictures.colour(), kind, exif=exif.tobytes(), xmp=xmp))
        for query, kept in (("", ()), ("keep=exif,xmp", ("exif", "xmp")), ("keep=exif", ("exif",)), ("strip", ())):
            render(source, RenditionSpec.from_canonical(f"{format}?width=20&{query}"), target, Limits())
            data = target.read_bytes()
            made = Image.open(target)
            has_xmp = b"adobe:ns:meta" in data or "XML:com.adobe.xmp" in made.info  # compressed in PNG
            assert (b"Testmaker" in data) == ("exif" in kept), (kind, query)
            assert has_xmp == ("xmp" in kept), (kind, query)
            if "exif" in kept:
                assert made.getexif().get(0x0112, 1) == 1 and made.height > made.width  # turned already


def test_stripping_the_profile_keeps_the_colours(rendered) -> None:
    made = rendered(pictures.with_swapped_profile(), "strip", "JPEG")
    assert not made.info.get("icc_profile")
    assert np.abs(array(made)[20, 20] - (0, 255, 0)).max() <= 6


def test_pictures_that_look_alike_have_hashes_that_are_near(tmp_path: Path) -> None:
    def hash_of(picture: Image.Image, format: str) -> int:
        (tmp_path / "x").write_bytes(pictures.saved(picture, format))
        found = inspect(tmp_path / "x", Limits()).perceptual_hash
        assert found
        return int(found, 16)

    photo = Image.open(PHOTO)
    one, same, other = (
        hash_of(photo, "PNG"), hash_of(photo.resize((220, 150)), "JPEG"), hash_of(pictures.colour((400, 300)), "PNG")
    )  # fmt: skip
    assert (one ^ same).bit_count() <= 8 < 30 < (one ^ other).bit_count()


# Alpha


@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize(
    "query",
    [
        *OPERATIONS, "rotate=37", "width=33", "width=300&enlarge=true", "fit=contain&width=90&height=90",
        "gravity=smart&width=40&height=40&fit=cover", "gravity=entropy&width=40&height=40&fit=cover",
        "crop=30,30&gravity=smart", "extend=10&extend_mode=mirror",
    ],
)  # fmt: skip
def test_nothing_shows_of_a_colour_that_is_hidden(rendered, query: str, deep: bool) -> None:
    made = []
    for hidden in ((0, 255, 0), (255, 0, 255)):
        pixels = disc_of_noise(hidden).astype("uint16" if deep else "uint8") * (257 if deep else 1)
        image = pyvips.Image.new_from_array(pixels, interpretation="rgb16" if deep else "srgb")
        premultiplied = array(rendered(image.pngsave_buffer(), f"{query}&depth=8").convert("RGBA"))
        premultiplied[..., :3] *= premultiplied[..., 3:] / 255
        made.append(premultiplied)
    assert np.abs(made[0] - made[1]).max() <= 1


def disc_of_noise(around: tuple[int, int, int]) -> np.ndarray:
    """Return a disc with a soft edge, and a colour around it that is hidden."""
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3))
    y, x = np.mgrid[:60, :80]
    alpha = np.clip((25 - np.hypot(x - 40, y - 30)) * 100, 0, 255).astype(int)
    return np.dstack([np.where(alpha[..., None] > 0, noise, around), alpha])


@pytest.mark.parametrize("query", ["median=9", "sharpen=2", "blur=3", "pixelate=10", "rotate=15", "width=35"])
def test_the_edge_of_an_even_colour_stays_of_that_colour(rendered, query: str) -> None:
    alpha = Image.new("L", (320, 240))
    ImageDraw.Draw(alpha).ellipse((60, 40, 260, 200), fill=255)
    disc = Image.new("RGBA", (80, 60), (0, 255, 0, 0))
    disc.paste((255, 0, 0), mask=(alpha := alpha.resize((80, 60))))
    red = Image.new("RGBA", disc.size, (255, 0, 0, 255))
    disc = Image.composite(red, disc, alpha.point(lambda value: 255 * (value > 0)))
    disc.putalpha(alpha)
    made = array(rendered(pictures.saved(disc, "PNG"), query).convert("RGBA"))
    assert np.abs(made[made[..., 3] > 8][:, :3] - (255, 0, 0)).max() <= 2
