"""Drawings: their size by themselves, what they are drawn at, and how they may be written down."""

import base64
import gzip
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image

from progimage.engine import CorruptImage, LimitExceeded, Limits, NotAnImage, RenditionSpec, inspect, render
from progimage.engine.codecs.svg.document import begins_as_svg, inflated, parse
from progimage.engine.codecs.svg.text import needs_pango

XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
RED = '<rect width="100%" height="100%" fill="red"/>'


def svg(attributes: str, content: str = RED) -> bytes:
    return f"<svg {XMLNS} {attributes}>{content}</svg>".encode()


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., Image.Image]:
    """Draws a document as PNG."""

    def draw(document: bytes, **asked: str) -> Image.Image:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(document)
        render(source, RenditionSpec.parse("PNG", list(asked.items())), target, Limits())
        return Image.open(io.BytesIO(target.read_bytes()))

    return draw


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="40" height="30"', (40, 30)),
        ('width="210mm" height="297mm" viewBox="0 0 210 297"', (794, 1123)),
        ('width="2in" height="2.54cm"', (192, 96)),
        ('width="72pt" height="6pc"', (96, 96)),
        ('width="101.6q" height="10em"', (96, 160)),
        ('width="40"', (40, 150)),
        ('width="40" viewBox="0 0 20 10"', (40, 20)),
        ('height="40" viewBox="0 0 20 10"', (80, 40)),
        ('width="100%" height="100%" viewBox="0 0 24 16"', (24, 16)),
        ('viewBox="-5,-5 24 16"', (24, 16)),
        ("", (300, 150)),
        ('style="width:50px; height:1in"', (50, 96)),
        ('width="0.4" height="0.2"', (1, 1)),
        ('width="10.5" height="10.4"', (11, 10)),
        ('width="-1" height="5" viewBox="0 0 2 1"', (10, 5)),
        ('viewBox="0 0 355572 355572"', (4096, 4096)),
    ],
)
def test_a_drawing_has_the_size_that_it_gives_itself(drawn, attributes: str, size: tuple[int, int]) -> None:
    assert drawn(svg(attributes)).size == size


def test_dpi_counts_once(drawn) -> None:
    a4 = svg('width="210mm" height="297mm" viewBox="0 0 210 297"')
    assert drawn(a4, dpi="150").size == (1240, 1754)
    assert drawn(a4, dpi="72").size == (595, 842)
    assert drawn(a4, dpi="150", width="300").size == (300, 424)


@pytest.mark.parametrize("asked", [{"width": "100"}, {"height": "101"}, {"width": "77", "height": "13", "fit": "fill"}])
@pytest.mark.parametrize("attributes", [
    'width="300" height="200" viewBox="0 0 300 200"', 'width="300" height="200"', 'width="317.3" height="211.7"',
    'viewBox="0 0 3 2"', 'width="300" height="100" viewBox="0 0 100 100" preserveAspectRatio="xMidYMid slice"',
])  # fmt: skip
def test_what_fills_a_drawing_fills_its_rendition(drawn, attributes: str, asked: dict[str, str]) -> None:
    pixels = numpy.asarray(drawn(svg(attributes), **asked).convert("RGBA"))
    assert (pixels == (255, 0, 0, 255)).all()


def test_the_part_that_is_drawn_is_kept_when_the_ratio_differs(drawn) -> None:
    pixels = drawn(svg('width="200" height="100" viewBox="0 0 50 50"'), width="50").convert("RGBA")
    assert pixels.size == (50, 25)
    assert [pixels.getpixel((x, 12))[3] for x in (0, 11, 13, 36, 38, 49)] == [0, 0, 255, 255, 0, 0]


def test_limits_hold_for_the_size_that_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    file.write_bytes(svg('viewBox="0 0 355572 355572"'))
    assert inspect(file, Limits()).width == 4096
    file.write_bytes(svg('width="20000" height="20000"'))
    with pytest.raises(LimitExceeded):
        inspect(file, Limits())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "iso-8859-1", "windows-1252"])
def test_encodings(drawn, encoding: str) -> None:
    name = encoding.removesuffix("-sig").removesuffix("-be")
    text = f'<?xml version="1.0" encoding="{name}"?>\n' + svg('width="9" height="7"', f"{RED}<!-- é -->").decode()
    document = text.encode(encoding)
    if encoding == "utf-16-be":
        document = b"\xfe\xff" + document
    assert drawn(document).size == (9, 7)
    assert drawn(gzip.compress(document)).size == (9, 7)


def test_other_markup_is_no_drawing(tmp_path: Path) -> None:
    assert not begins_as_svg(b"<html><body>svg</body></html>")
    assert not begins_as_svg(b"plain text with <svg> in it")
    (tmp_path / "a").write_bytes(gzip.compress(b"just text"))
    with pytest.raises(NotAnImage):
        inspect(tmp_path / "a", Limits())


def test_a_long_comment_may_come_first(drawn) -> None:
    comment = b'<?xml version="1.0"?>\n<!-- ' + b"x" * 100_000 + b" -->\n"
    assert drawn(comment + svg('width="9" height="7"')).size == (9, 7)
    assert not begins_as_svg(b"<html><!-- " + b"x" * 100_000)


def test_a_compressed_drawing_is_bounded_and_whole() -> None:
    document = svg('width="9" height="9"', "<!--" + "a" * 10_000_000 + "-->")
    with pytest.raises(LimitExceeded):
        inflated(gzip.compress(document), maximum=1_000_000)
    with pytest.raises(CorruptImage, match="is truncated"):
        inflated(gzip.compress(document)[:-9])
    with pytest.raises(CorruptImage, match="compression"):
        inflated(b"\x1f\x8b" + zlib.compress(document))


def test_what_entities_make_is_bounded() -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    document = f'<!DOCTYPE svg [<!ENTITY a0 "aaaaaaaaaa">{laughs}]>'.encode() + svg("", "<text>&a9;</text>")
    with pytest.raises((CorruptImage, LimitExceeded)):
        parse(document)


def test_depth_is_bounded() -> None:
    parse(svg("", "<g>" * 399 + "</g>" * 399))
    with pytest.raises(LimitExceeded, match="levels of nested elements"):
        parse(svg("", "<g>" * 400 + "</g>" * 400))


@pytest.mark.parametrize("element", ["image", "feImage", "use"])
@pytest.mark.parametrize("name", ["href", "xlink:href"])
@pytest.mark.parametrize("text", ["plain", "שלום"])  # each is drawn by another library
def test_nothing_outside_of_the_document_is_loaded(drawn, tmp_path: Path, element: str, name: str, text: str) -> None:
    Image.new("RGB", (8, 8), "lime").save(tmp_path / "lime.png")
    green = svg('width="8" height="8"').replace(b"red", b"lime").replace(b"<rect ", b'<rect id="a" ')
    (tmp_path / "lime.svg").write_bytes(green)
    nested = svg('width="8" height="8"', f'<image width="8" height="8" href="{tmp_path}/lime.png"/>')
    inside = f"data:image/svg+xml;base64,{base64.b64encode(nested).decode()}"
    for target in (f"{tmp_path}/lime.png", f"file://{tmp_path}/lime.png", f"{tmp_path}/lime.svg#a", inside):
        content = f'<{element} width="8" height="8" xmlns:xlink="http://www.w3.org/1999/xlink" {name}="{target}"/>'
        if element == "feImage":
            content = f'<filter id="f">{content}</filter><rect width="8" height="8" filter="url(#f)"/>'
        content += f'<text x="99">{text}</text>'
        pixels = drawn(svg('width="8" height="8"', content)).convert("RGBA")
        assert (0, 255, 0) not in {colour[:3] for _, colour in pixels.getcolors()}


def test_data_in_the_document_is_drawn(drawn) -> None:
    png = io.BytesIO()
    Image.new("RGB", (2, 2), "lime").save(png, "PNG")
    data = base64.b64encode(png.getvalue()).decode()
    content = f'<image width="8" height="8" href="data:image/png;base64,{data}"/>'
    assert drawn(svg('width="8" height="8"', content)).convert("RGB").getpixel((4, 4)) == (0, 255, 0)


@pytest.mark.parametrize("format", ["AVIF", "BMP", "JPEG"])
@pytest.mark.parametrize("beside", ["", "<text>שלום</text>"], ids=["resvg", "librsvg"])
def test_pictures_in_a_drawing_are_shown_as_browsers_do(drawn, format: str, beside: str) -> None:
    picture, target = Image.new("RGB", (32, 16), "red"), io.BytesIO()
    picture.paste("blue", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise, so that what is left comes to be above
    picture.save(target, format, **({} if format == "BMP" else {"exif": exif}))
    if format == "BMP":
        target = io.BytesIO()
        picture.transpose(Image.Transpose.ROTATE_270).save(target, format)
    data = base64.b64encode(target.getvalue()).decode()
    content = f'<image width="16" height="32" href="data:image/{format.lower()};base64,{data}"/>{beside}'
    found = drawn(svg('width="16" height="32"', content)).convert("RGB")
    for place, colour in (((8, 8), (0, 0, 255)), ((8, 24), (255, 0, 0))):
        assert max(abs(one - other) for one, other in zip(found.getpixel(place), colour, strict=True)) < 40


@pytest.mark.parametrize("text", ["Straße", "Ελληνικά", "Київ", "日本語", "→ ★ 5 €", "👍", "❤️"])
def test_texts_that_are_set_letter_by_letter(text: str) -> None:
    assert not needs_pango(parse(svg("", f"<text>{text}</text>")))


@pytest.mark.parametrize("text", ["العربية", "שלום", "हिन्दी", "ខ្មែរ", "བོད", "🇫🇷", "👍🏽", "👩‍👧", "1️⃣"])
def test_texts_that_are_shaped(text: str) -> None:
    assert needs_pango(parse(svg("", f"<text>plain <tspan>{text}</tspan></text>")))


def test_groups_in_groups_are_drawn(drawn) -> None:
    content = '<g opacity=".999">' * 398 + RED + "</g>" * 398
    style = "<style>.a g rect{fill:lime}</style>"
    assert drawn(svg('width="9" height="9"', style + content)).convert("RGBA").getpixel((4, 4))[0] > 0


def test_references_upon_references_do_not_overflow_the_stack(drawn) -> None:
    chain = "".join(
        f'<pattern id="p{n}" width="2" height="2" patternUnits="userSpaceOnUse">'
        f'<rect width="5" height="5" fill="url(#p{n + 1})"/></pattern>'
        for n in range(900)
    )
    assert drawn(svg('width="5" height="5"', f'{chain}<rect width="5" height="5" fill="url(#p0)"/>')).size == (5, 5)


def test_a_text_of_many_parts_takes_no_longer_than_it_is_long(drawn) -> None:
    for content in ("日b😀" * 1000, "<tspan>abc</tspan>" * 1000):
        began = time.process_time()
        drawn(svg('width="100" height="100"', f'<text y="50">{content}</text>'))
        assert time.process_time() - began < 2
