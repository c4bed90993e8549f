"""The styles of drawings: what CSS says reaches whichever renderer draws, and hostile sheets come to an end."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from progimage.engine import CorruptImage, LimitExceeded, Limits, RenditionSpec, inspect, render
from progimage.engine.codecs.svg import cascade
from progimage.engine.codecs.svg.document import parse, written
from progimage.engine.codecs.svg.text import needs_pango

SIZE = 40
RED, LIME, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
HEBREW = '<text x="99" y="99">שלום</text>'  # which has librsvg draw


def svg(content: str, attributes: str = "") -> bytes:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIZE}" height="{SIZE}" {attributes}>{content}</svg>'.encode()
    )


def box(attributes: str = "") -> str:
    return f'<rect width="{SIZE}" height="{SIZE}" {attributes}/>'


@pytest.fixture
def middle(tmp_path: Path) -> Callable[[bytes], tuple[int, ...]]:
    """Returns the colour in the middle of a drawing, over white."""

    def of(document: bytes) -> tuple[int, ...]:
        (tmp_path / "source").write_bytes(document)
        render(tmp_path / "source", RenditionSpec.parse("PNG", []), tmp_path / "target", Limits())
        picture = Image.open(tmp_path / "target").convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        return white.convert("RGB").getpixel((SIZE // 2, SIZE // 2))  # type: ignore[return-value]

    return of


@pytest.fixture
def warnings(tmp_path: Path) -> Callable[[bytes], tuple[str, ...]]:
    """Returns what is said of a drawing."""

    def of(document: bytes) -> tuple[str, ...]:
        (tmp_path / "source").write_bytes(document)
        return inspect(tmp_path / "source", Limits()).warnings

    return of


@pytest.mark.parametrize("beside", ["", HEBREW], ids=["resvg", "librsvg"])
@pytest.mark.parametrize(("content", "colour"), [
    (box('style="fill:#FF0000;fill:color(display-p3 0 0 1)"'), BLUE),
    (box('fill="blue" style="fill:light-dark(rgb(255, 0, 0), rgb(0, 255, 0))"'), RED),
    (box('fill="red" style="fill:oklch(0.7 0.1 20 / nonsense)"'), RED),
    ("<style>:root{--c:lime}rect{fill:var(--c)}</style>" + box(), LIME),
    (box('style="fill:var(--missing, red)"'), RED),
    (box('style="fill:rgb(0 0 255 / 50%)"'), (127, 127, 255)),
    (box('style="fill:#00f8;fill-opacity:.5"'), (187, 187, 255)),
    ("<style>rect:not(.a):last-of-type{fill:red}</style>" + box(), RED),
    ("<style>@media print{rect{fill:red}}@media screen{rect{fill:lime}}</style>" + box(), LIME),
    ("<style>rect{fill:red!important}#b{fill:lime}</style>" + box('id="b" style="fill:blue"'), RED),
    ('<rect style="width:100%;height:calc(10px + 50%);x:0px" fill="red"/>', RED),
    ('<rect width="9" height="9" fill="red" style="transform:translate(15px,15px)"/>', RED),
    ('<rect width="9" height="9" x="15" y="1" fill="red" style="transform-origin:50% 50%;transform:rotate(.5turn)"/>',
     (255, 255, 255)),
    ('<switch>' + box('systemLanguage="de" fill="red"') + box('systemLanguage="en" fill="lime"') + box() + "</switch>",
     LIME),
    ("<switch><foreignObject><p/></foreignObject>" + box('fill="blue"') + "</switch>", BLUE),
])  # fmt: skip
def test_styles_are_worked_out_for_either_renderer(middle, content: str, beside: str, colour: tuple[int, ...]) -> None:
    found = middle(svg(content + beside))
    assert max(abs(one - other) for one, other in zip(found, colour, strict=True)) <= 2


@pytest.mark.parametrize(("css", "size"), [
    ("svg{width:80px;height:1in}", (80, 96)),
    ("svg{font-size:10px;width:5em;height:5rem}", (50, 80)),
    ("@media print{svg{width:9px}}", (SIZE, SIZE)),
])  # fmt: skip
def test_a_style_sheet_may_give_the_size(tmp_path: Path, css: str, size: tuple[int, int]) -> None:
    (tmp_path / "source").write_bytes(svg(f"<style>{css}</style>"))
    found = inspect(tmp_path / "source", Limits())
    assert (found.width, found.height) == size


def test_em_heeds_the_font_size_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(
        b'<svg xmlns="http://www.w3.org/2000/svg" width="10em" height="5em" font-size="20"/>'
    )
    assert inspect(tmp_path / "source", Limits()).width == 200


@pytest.mark.parametrize("box", ["", 'viewBox="0 0 9 9"', 'viewBox="0 0 10 90"'])
@pytest.mark.parametrize("beside", ["", HEBREW], ids=["resvg", "librsvg"])
def test_the_background_of_the_root_is_painted(tmp_path: Path, middle, box: str, beside: str) -> None:
    assert middle(svg(beside, f'{box} style="background:lime"')) == LIME
    assert Image.open(tmp_path / "target").convert("RGBA").getpixel((0, 0)) == (*LIME, 255)


def test_no_style_sheet_is_left_for_the_renderer() -> None:
    root = parse(svg("<g><style>rect{fill:red}</style>" + box('style="fill:lime;-x-unknown:1"') + "</g>"))
    cascade.apply(root, (SIZE, SIZE))
    assert "style" not in written(root)


def test_what_is_not_drawn_is_said(warnings) -> None:
    assert warnings(svg(box())) == ()
    for content, word in (
        ("<foreignObject><p/></foreignObject>", "foreignObject"),
        ("<animate/>", "animat"),
        ("<style>@keyframes a{}</style>", "animat"),
        ("<script/>", "Scripts"),
        ("<style>@font-face{src:url(data:,)}</style>", "@font-face"),
        (box('style="clip-path:circle(9px)"'), "circle()"),
        ('<image href="https://example.com/a.png"/>', "are ignored: 1"),
        ("<text>👍🏽</text>", "without colours"),
    ):
        said = warnings(svg(content))
        assert len(said) == 1
        assert word in said[0]
    assert warnings(svg('<a href="https://example.com"><text>a</text></a>')) == ()


@pytest.mark.parametrize("content", [
    '<path id="p" d="M0 20H40" fill="none"/><text font-size="30"><textPath href="#p">██שלום</textPath></text>',
    '<text font-size="30" x="0 15 30" y="30 30 30">███ש</text>',
    '<text font-size="9" y="30" textLength="40" lengthAdjust="spacingAndGlyphs">█ש█</text>',
])  # fmt: skip
def test_what_librsvg_cannot_lay_out_is_for_resvg(content: str) -> None:
    assert not needs_pango(parse(svg(content)))
    assert needs_pango(parse(svg("<text>שלום</text>")))


def test_rules_times_elements_are_bounded() -> None:
    sheet = "".join(f".a{number}{{fill:red}}" for number in range(5000))
    with pytest.raises(LimitExceeded, match="selectors"):
        cascade.apply(parse(svg(f"<style>{sheet}</style>" + box() * 5000)), (SIZE, SIZE))


def test_rules_in_rules_are_bounded() -> None:
    sheet = ".a{" + "&amp; &amp;{" * 25 + "fill:red" + "}" * 26
    with pytest.raises(LimitExceeded, match="nested selector"):
        cascade.apply(parse(svg(f"<style>{sheet}</style>" + box())), (SIZE, SIZE))


@pytest.mark.parametrize("style", ["fill:" + "light-dark(" * 5000, "fill:" + "var(--x," * 5000])
def test_values_in_values_are_bounded(style: str) -> None:
    with pytest.raises(CorruptImage, match="nested"):
        cascade.apply(parse(svg(box(f'style="{style}"'))), (SIZE, SIZE))


@pytest.mark.parametrize("css", [
    ":root{--a0:1 1 1 1;" + "".join(f"--a{n}:{f'var(--a{n - 1}) ' * 10};" for n in range(1, 20)) +
    "}rect{fill:var(--a19)}",
    ":root{--a:var(--b);--b:var(--a)}rect{fill:var(--a)}",
    ":not(" * 300 + "a" + ")" * 300 + "{fill:red}",
    ".a ~ .b{fill:red}" * 10,
])  # fmt: skip
def test_hostile_sheets_end_soon(css: str) -> None:
    began = time.process_time()
    cascade.apply(parse(svg(f"<style>{css}</style>" + box() * 1000)), (SIZE, SIZE))
    assert time.process_time() - began < 2
