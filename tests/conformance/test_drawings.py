"""Drawings have the size, the edges and the letters that Chromium gives them, with the same fonts."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from progimage.engine.fonts import font_files
from tests.browser.conftest import OPTIONS
from tests.conformance.complaints import Complaints
from tests.integration.server import Server
from tests.pictures import open_bytes
from tests.programs import needs

_XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
_CELL = 400, 60
_ALIKE = 0.9
"""Two rasterizers smooth edges differently; boxes in place of letters are below that."""
TEXTS = {
    "Latin": "Straße façade Łódź", "Greek": "Ελληνικά", "Cyrillic": "Українська", "Hebrew": "עברית שלום",
    "Arabic": "العربية سلام", "Devanagari": "हिन्दी क्षत्रिय", "Bengali": "বাংলা ক্ষ", "Gujarati": "ગુજરાતી",
    "Gurmukhi": "ਗੁਰਮੁਖੀ", "Tamil": "தமிழ் கொ", "Telugu": "తెలుగు", "Kannada": "ಕನ್ನಡ", "Malayalam": "മലയാളം",
    "Sinhala": "සිංහල", "Thai": "ภาษาไทย", "Lao": "ພາສາລາວ", "Khmer": "ភាសាខ្មែរ", "Burmese": "မြန်မာ",
    "Tibetan": "བོད་ཡིག", "Ethiopic": "አማርኛ", "Armenian": "Հայերեն", "Georgian": "ქართული", "Chinese": "漢字",
    "Japanese": "ひらがな", "Korean": "한국어", "emoji": "😀🎉🚀", "serif": "serif|serif", "mono": "mono|monospace",
}  # fmt: skip


_DRAWN_ALIKE = 0.98
"""Shapes have no hinting or weights that could differ."""
_CUBE = '<rect x="20" y="10" width="40" height="30" fill="teal"/>'
_BOXES = (
    '<rect class="a" width="100" height="60"/><rect class="b" x="120" width="100" height="60"/>'
    '<rect class="c" id="c" data-kind="last one" x="240" width="100" height="60"/>'
)


def _filled(value: str, rest: str = "") -> str:
    return f'<rect width="400" height="60" fill="gold" style="fill:{value};{rest}"/>'


def _moved(style: str) -> str:
    return _CUBE.replace("<rect", f'<rect style="{style}"')


def _sheet(css: str) -> str:
    return f"<style>{css}</style>{_BOXES}"


STYLES = {
    "a colour for screens with more": _filled("#FF0000;fill:color(display-p3 1 0 0)"),
    "display-p3": _filled("color(display-p3 0.3 0.7 0.4)"),
    "a98, rec2020, prophoto": '<style>rect{width:90px;height:60px}</style><rect fill="color(a98-rgb .3 .6 .4)"/>'
    '<rect x="100" fill="color(rec2020 .3 .6 .4)"/><rect x="200" fill="color(prophoto-rgb .3 .6 .4)"/>',
    "srgb-linear, xyz": _filled("color(srgb-linear .2 .5 .1)") + '<rect width="90" height="60" fill="color(xyz '
    '.2 .3 .1)"/>',
    "lab, lch": _filled("lab(60% 40 -20)") + '<rect width="90" height="60" fill="lch(60% 40 200)"/>',
    "oklab, oklch": _filled("oklab(.7 .1 -.1)") + '<rect width="90" height="60" fill="oklch(0.7 0.15 150)"/>',
    "light and dark": _filled("light-dark(rgb(108, 142, 191), rgb(92, 121, 3))"),
    "rgb without commas": _filled("rgb(255 0 0 / 50%)"),
    "rgba with percent": _filled("rgba(255,0,0,50%)"),
    "hsl with degrees": _filled("hsl(200deg 50% 40%)"),
    "hsl beyond 100 %": _filled("hsl(120, 200%, 25%)"),
    "hwb": _filled("hwb(190 20% 30%)"),
    "rebeccapurple": _filled("rebeccapurple"),
    "four digits": _filled("#f008"),
    "translucent twice": _filled("rgb(0 0 255 / .5)", "fill-opacity:.5"),
    "translucent above": '<g style="fill-opacity:.4">' + _filled("#00f8") + "</g>",
    "translucent stops": '<linearGradient id="g"><stop style="stop-color:rgb(255 0 0 / .2)"/><stop offset="1" '
    'style="stop-color:oklch(.5 .2 260);stop-opacity:50%"/></linearGradient>' + _filled("url(#g)"),
    "flood": '<filter id="f"><feFlood style="flood-color:rgb(0 128 0 / 50%)"/></filter>' + _filled("red",
    "filter:url(#f)"),
    "current colour": '<g style="color:hwb(120 0% 40%)">' + _filled("currentColor") + "</g>",
    "an invalid colour": _filled("oklch(0.7 0.1 20 / nonsense)"),
    "an invalid attribute": '<g fill="navy"><rect width="400" height="60" fill="nonsense()"/></g>',
    "a paint that is not there": _filled("url(#missing) oklch(.6 .1 30)"),
    "a variable": "<style>:root{--c:#c00} rect{fill:var(--c)}</style>" + _CUBE,
    "a variable that is not there": _filled("var(--x, rgb(0 90 0))"),
    "a variable without anything": '<g fill="navy">' + _filled("var(--x)") + "</g>",
    "variables of variables": _sheet(":root{--a:var(--b,red);--b:var(--c);--c:hsl(30 90% 50%)} .a{fill:var(--a)}"),
    "variables in a circle": _sheet(":root{--a:var(--b);--b:var(--a)} rect{fill:var(--a,lime)}"),
    "an inherited variable": _sheet("svg{--w:6px} rect{fill:none;stroke:var(--k,red);stroke-width:var(--w)} "
    ".b{--k:blue}"),
    "a part of a value": _sheet(":root{--r:200} rect{fill:rgb(var(--r) 40 var(--b,90))}"),
    "rotate": _moved("transform:rotate(20deg)"),
    "rotate in turns": _moved("transform:rotate(.1turn)"),
    "translate": _moved("transform:translate(50px,10px)"),
    "translate by percent": _moved("transform:translate(50%,20%)"),
    "translate without units": _moved("transform:translate(50,20)"),
    "one axis": _moved("transform:translateX(30px) scaleY(.5) skewX(10deg)"),
    "in space": _moved("transform:translate3d(30px,10px,0) rotateZ(5deg) scale3d(.5,.5,1)"),
    "matrix": _moved("transform:matrix(1,.2,0,1,50,-10)"),
    "an origin": _moved("transform-origin:30px 20px;transform:rotate(20deg)"),
    "an origin in words": _moved("transform-origin:center;transform:rotate(9deg)"),
    "an origin in the shape": _moved("transform-box:fill-box;transform-origin:center;transform:rotate(20deg)"),
    "an origin of an attribute": _moved("transform-origin:40px 25px").replace("<rect", '<rect transform="rotate(20)"'),
    "each its own": _moved("translate:40px 5px;rotate:10deg;scale:1.5 .5"),
    "a sheet against an attribute": "<style>rect{transform:none}</style>" + _CUBE.replace("<rect", '<rect '
    'transform="scale(3)"'),
    "circle": '<circle style="cx:50px;cy:30px;r:25px" fill="teal"/>',
    "ellipse": '<ellipse style="cx:25%;cy:50%;rx:80px;ry:20px" fill="teal"/>',
    "rect": '<rect style="x:10px;y:10px;width:60px;height:40px;rx:10px" fill="teal"/>',
    "calculated": '<rect style="x:10px;y:calc(2px * 4);width:calc(50% - 10px);height:40px" fill="teal"/>',
    "path": """<path style="d:path('M10 10h50v50z')" fill="teal"/>""",
    "in ems": '<g font-size="10"><rect style="width:20em;height:3em;x:1rem" fill="teal"/></g>',
    "selectors of place": _sheet(":first-of-type{fill:red} :last-child{fill:blue} .a~.b{fill:lime}"),
    "nth": _sheet(":nth-child(2n+1){fill:gold} rect:nth-of-type(2){fill:navy} .a + .b{stroke:red;stroke-width:9}"),
    "not, is, where": _sheet("rect:not(.a){fill:red} :is(.a,.b){stroke:blue;stroke-width:8} :where(#c){fill:lime}"),
    "attributes": _sheet('[data-kind~="last"]{fill:red} rect[x="120"]{fill:lime} [class^=a]{fill:blue}'),
    "specificity": _sheet("#c{fill:red} .c{fill:lime} rect.a{fill:gold} .a{fill:navy} rect{fill:gray}"),
    "important": _sheet(".a{fill:red!important} #c,.a{fill:lime} .b{fill:blue}").replace("<rect", '<rect '
    'style="fill:gray"'),
    "media": _sheet("@media screen{.a{fill:red}} @media print{.a{fill:lime}} @media "
    "(prefers-color-scheme:dark){.b{fill:red}}"),
    "media by width": _sheet("@media (min-width:300px){.a{fill:red}} @media (max-width:99px){.b{fill:red}} "
    "@media not all{.c{fill:red}}"),
    "layers": _sheet(".a{fill:red} @layer x,y; @layer y{.a,.b{fill:lime}} @layer x{.b,#c{fill:blue}}"),
    "nested": _sheet(".a{fill:red;&amp;:hover{fill:lime}} svg{.b{fill:blue}} .c{&amp;#c{fill:gold}}"),
    "supports": _sheet("@supports (fill:red){.a{fill:orange}} @supports (foo:bar){.b{fill:red}}"),
    "what is wrong is left out": _sheet(".a{fill:red;stroke red;fill:12px} .b::{fill:red} .c{fill:lime} .a, "
    ":foo{fill:blue}"),
    "imports and comments": _sheet("@charset 'utf-8';@import url(x.css);/*.a{}*/&lt;!-- "
    "--&gt;.a{fill:red}@font-face{}.b{fill:lime}"),
    "keywords": '<g style="fill:red;opacity:.5;stroke:blue">' + _filled("inherit;stroke:initial;opacity:unset",
    "stroke-width:9")
    + "</g>",
    "dashes and caps": '<path d="M20 30H380" style="stroke:teal;stroke-width:12px;stroke-dasharray:30px '
    '20px;stroke-linecap:round"/>',
    "blending": _filled("gold") + '<rect width="200" height="60" '
    'style="fill:teal;mix-blend-mode:multiply;opacity:80%"/>',
    "shadow": _moved("filter:drop-shadow(4px 4px 2px rgb(0 0 0 / 60%)) hue-rotate(90deg)"),
    "hidden": _sheet(".a{display:none} .b{visibility:hidden}"),
    "language": '<switch><rect systemLanguage="de" width="400" height="60" fill="red"/><rect '
    'systemLanguage="en-US" width="400" '
    'height="60" fill="green"/><rect width="400" height="60" fill="blue"/></switch><rect systemLanguage="fr" '
    'width="90" height="9"/>',
    "background": '<svg width="200" height="60" style="background:red"><rect width="50" height="20" '
    'fill="teal"/></svg>',
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A drawing whose size or edges are judged.

    Attributes:
        name: What it is about.
        attributes: Of its root.
    """

    name: str
    attributes: str

    def __str__(self) -> str:
        return self.name

    @property
    def document(self) -> str:
        return f'<svg {_XMLNS} {self.attributes}><rect x="-50%" y="-50%" width="300%" height="300%" fill="red"/></svg>'


SIZES = (
    Drawing("pixels", 'width="33" height="21"'),
    Drawing("millimetres", 'width="210mm" height="297mm" viewBox="0 0 210 297"'),
    Drawing("inches", 'width="1.5in" height="2in"'),
    Drawing("points and picas", 'width="30pt" height="4pc"'),
    Drawing("quarters", 'width="200Q" height="2cm"'),
    Drawing("em", 'width="5em" height="3rem"'),
    Drawing("one side", 'width="90" viewBox="0 0 30 20"'),
    Drawing("none", ""),
)
EDGES = (
    Drawing("3:2", 'width="300" height="200" viewBox="0 0 300 200"'),
    Drawing("no box", 'width="300" height="200"'),
    Drawing("another ratio", 'width="300" height="100" viewBox="0 0 100 100" preserveAspectRatio="xMidYMid slice"'),
    Drawing("fractions", 'width="99.7" height="66.1"'),
)


def _text(said: str) -> str:
    text, _, family = said.partition("|")
    return (
        f'<svg {_XMLNS} width="{_CELL[0]}" height="{_CELL[1]}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="10" y="42" font-size="32" font-family="{family or "sans-serif"}">{text}</text></svg>'
    )


def _styled(content: str) -> str:
    return f'<svg {_XMLNS} width="{_CELL[0]}" height="{_CELL[1]}" style="background:#fff">{content}</svg>'


def _images(documents: Mapping[str, str], size: str = "") -> str:
    def image(name: str) -> str:
        data = base64.b64encode(documents[name].encode()).decode()
        return f'<img id="{escape(name)}" style="display:block;{size}" src="data:image/svg+xml;base64,{data}">'

    return f"<!doctype html><meta charset=utf-8><style>body{{margin:0}}</style>{''.join(map(image, documents))}"


def _chromium(folder: Path, page: str, *options: str) -> bytes:
    """Have Chromium look at a page, with the fonts of the service and no others."""
    chromium = needs("chromium")
    folders = "".join(f"<dir>{one}</dir>" for one in sorted({str(file.parent) for file in font_files()}))
    generic = {"sans-serif": "Noto Sans", "serif": "Noto Serif", "monospace": "Roboto Mono", "emoji": "Twemoji Mozilla"}
    aliases = "".join(
        f'<alias binding="same"><family>{name}</family><prefer><family>{family}</family></prefer></alias>'
        for name, family in generic.items()
    )
    no_outlines = (
        "<selectfont><rejectfont><pattern><patelt name='family'><string>Noto Emoji</string></patelt>"
        "</pattern></rejectfont></selectfont>"
    )
    (folder / "fonts.conf").write_text(
        f"<fontconfig>{folders}<cachedir>{folder}</cachedir>{no_outlines}{aliases}</fontconfig>"
    )
    (folder / "page.html").write_text(page)
    done = subprocess.run(
        [chromium, "--headless", *OPTIONS, "--hide-scrollbars", "--force-device-scale-factor=1", *options,
         (folder / "page.html").as_uri()],
        env=os.environ | {"FONTCONFIG_FILE": str(folder / "fonts.conf")}, capture_output=True, timeout=120, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def _similarity(one: NDArray[numpy.float64], other: NDArray[numpy.float64]) -> float:
    """SSIM (Wang et al., 2004), by squares of 8 pixels."""

    def mean(values: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        sums: NDArray[numpy.float64] = numpy.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        means: NDArray[numpy.float64] = (sums[8:, 8:] - sums[:-8, 8:] - sums[8:, :-8] + sums[:-8, :-8]) / 64
        return means

    a, b = mean(one), mean(other)
    varies, too, together = mean(one**2) - a**2, mean(other**2) - b**2, mean(one * other) - a * b
    return float(((2 * a * b + 6.5) * (2 * together + 58.5) / ((a**2 + b**2 + 6.5) * (varies + too + 58.5))).mean())


def _values(band: Image.Image) -> NDArray[numpy.float64]:
    return numpy.asarray(band, numpy.float64)


def _grey(picture: Image.Image) -> NDArray[numpy.float64]:
    return numpy.asarray(picture.convert("RGB").convert("L"), numpy.float64)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """What Chromium takes the drawings' sizes for, in pixels of its layout."""
    script = (
        "<script>onload = () => document.body.textContent = JSON.stringify(Object.fromEntries("
        "[...document.images].map(image => [image.id, [image.naturalWidth, image.naturalHeight]])))</script>"
    )
    page = _images({drawing.name: drawing.document for drawing in SIZES}) + script
    told = _chromium(tmp_path_factory.mktemp("sizes"), page, "--dump-dom").decode()
    found: dict[str, list[int]] = json.loads(re.search(r'\{".*\}', told)[0])  # type: ignore[index]
    return found


def _pictures(folder: Path, documents: Mapping[str, str]) -> dict[str, Image.Image]:
    """Chromium's pictures of drawings, each as large as a cell."""
    file = folder / "page.png"
    size = f"--window-size={_CELL[0]},{_CELL[1] * len(documents) + 200}"
    _chromium(folder, _images(documents), size, f"--screenshot={file}")
    whole = Image.open(file).convert("RGB")
    return {
        name: whole.crop((0, _CELL[1] * index, _CELL[0], _CELL[1] * (index + 1)))
        for index, name in enumerate(documents)
    }


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image.Image]:
    """Chromium's pictures of the texts."""
    return _pictures(tmp_path_factory.mktemp("texts"), {name: _text(said) for name, said in TEXTS.items()})


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image.Image]:
    """Chromium's pictures of what CSS styles."""
    return _pictures(tmp_path_factory.mktemp("styles"), {name: _styled(content) for name, content in STYLES.items()})


@pytest.mark.parametrize("drawing", SIZES, ids=str)
def test_size(server: Server, cell: Callable[[str, str], None], sizes: dict[str, list[int]], drawing: Drawing) -> None:
    cell("SVG", "size")
    picture = open_bytes(server.get(f"{server.put(drawing.document.encode())}.png").content)
    assert list(picture.size) == sizes[drawing.name], "another size than in Chromium"


@pytest.mark.parametrize("drawing", EDGES, ids=str)
def test_edges(server: Server, cell: Callable[[str, str], None], drawing: Drawing) -> None:
    cell("SVG", "edges")
    reference = server.put(drawing.document.encode())
    with Complaints() as complaints:
        for query in ("width=100", "height=101", "width=33", "width=301", "dpi=150", "width=50&height=50&fit=cover"):
            pixels = numpy.asarray(open_bytes(server.get(f"{reference}.png?{query}").content).convert("RGBA"))
            if not (pixels == (255, 0, 0, 255)).all():
                complaints.add("a fringe", query)


@pytest.mark.parametrize("name", TEXTS)
def test_text(server: Server, cell: Callable[[str, str], None], texts: dict[str, Image.Image], name: str) -> None:
    cell("SVG", "text")
    drawn = open_bytes(server.get(f"{server.put(_text(TEXTS[name]).encode())}.png").content)
    found = _similarity(_grey(drawn), _grey(texts[name]))
    assert found > _ALIKE, f"{name} has an SSIM of {found:.2f}"


@pytest.mark.parametrize("name", STYLES)
def test_style(server: Server, cell: Callable[[str, str], None], styles: dict[str, Image.Image], name: str) -> None:
    cell("SVG", "styles")
    drawn = open_bytes(server.get(f"{server.put(_styled(STYLES[name]).encode())}.png").content).convert("RGB")
    found = min(_similarity(*map(_values, pair)) for pair in zip(drawn.split(), styles[name].split(), strict=True))
    assert found > _DRAWN_ALIKE, f"{name} has an SSIM of {found:.3f}"


def test_judge_tells_styles_apart(styles: dict[str, Image.Image]) -> None:
    blank = numpy.full(_CELL[::-1], 255.0)
    for name, picture in styles.items():
        assert min(_similarity(_values(band), blank) for band in picture.split()) < _DRAWN_ALIKE, (
            f"{name} shows nothing"
        )


def test_judge_tells_letters_from_boxes(texts: dict[str, Image.Image]) -> None:
    boxes = Image.new("L", _CELL, 255)
    for left in range(10, 150, 24):
        ImageDraw.Draw(boxes).rectangle((left, 18, left + 16, 42), outline=0, width=2)
    assert max(_similarity(_grey(picture), _grey(boxes)) for picture in texts.values()) < _ALIKE
    for one, other in (("Khmer", "Lao"), ("Bengali", "Gurmukhi"), ("Armenian", "Georgian"), ("Chinese", "Japanese")):
        assert _similarity(_grey(texts[one]), _grey(texts[other])) < _ALIKE
