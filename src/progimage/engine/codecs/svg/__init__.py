"""SVG drawings, read-only.

resvg draws them, since it is closer to browsers than librsvg, and completely memory-safe. But it separates letters that
must be shaped together, so drawings with text in such scripts are left to librsvg, which uses Pango.
"""

import threading
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

import pyvips
import resvg_py

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, ReadOnly, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.svg import cascade
from progimage.engine.codecs.svg.document import begins_as_svg, inflated, is_gzip, parse, read, written
from progimage.engine.codecs.svg.embedded import make_readable
from progimage.engine.codecs.svg.lacking import lacking
from progimage.engine.codecs.svg.size import CSS_DPI, fill, pixel_size, viewport
from progimage.engine.codecs.svg.switch import choose
from progimage.engine.codecs.svg.text import colour_emoji, name_generic_fonts, needs_pango
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, say
from progimage.engine.files import InputFile
from progimage.engine.fonts import FAMILIES, font_files, load_fonts
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits

_HEAD = 64 * 1024
_STACK = 256 * 1024 * 1024
"""Stack size for resvg, which recurses into chains of references; 8 MiB suffice for about 200 levels."""


class _Svg(ReadOnly):
    """SVG, drawn by resvg or librsvg."""

    format = Format(
        name="SVG",
        extensions=("svg",),
        media_type="image/svg+xml",
        description="Scalable Vector Graphics",
        vector=True,
    )

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether the file is markup with an SVG element near its beginning."""
        return begins_as_svg(head)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the size of the drawing; see `Codec`."""
        root = read(bytes(file.data))
        warnings = tuple(lacking(root))
        cascade.apply(root, viewport(root), deep=False)
        width, height = pixel_size(root, dpi)
        limits.check(width, height)
        return Description(format=self.format, pages=(Page(width, height),), mode="RGBA", warnings=warnings)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return resvg, then librsvg for drawings that resvg can't draw."""
        return (Decoder(_with(_drawn_with_resvg), draws=True), Decoder(_with(_drawn_with_pango), lazy=True, draws=True))


class _Svgz(_Svg):
    """Compressed SVG."""

    format = Format(
        name="SVGZ",
        extensions=("svgz",),
        media_type="image/svg+xml",
        content_encoding="gzip",
        description="Scalable Vector Graphics, compressed",
        vector=True,
    )

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether the file is compressed markup with an SVG element near its beginning."""
        return is_gzip(head) and begins_as_svg(inflated(head, _HEAD, whole=False))


def _with(draw: Callable[[Element], pyvips.Image]) -> Callable[[Source, int, int, Decoding], Iterator[Frame]]:
    def frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        def drawn(page: int) -> pyvips.Image:
            root = parse(bytes(source.file.data))
            cascade.apply(root, viewport(root))
            choose(root)
            make_readable(root)
            name_generic_fonts(root)
            return draw(fill(root, how.draw or source.size))

        return vips.still_frames(source, first, last, drawn)

    return frames


def _drawn_with_pango(root: Element) -> pyvips.Image:
    load_fonts()
    # Loaded from a buffer, so that the document has no base URL, and no external references are loaded.
    return pyvips.Image.svgload_buffer(written(root).encode(), dpi=CSS_DPI)


def _drawn_with_resvg(root: Element) -> pyvips.Image:
    if needs_pango(root):
        raise CorruptImage("The drawing has text with markup for Pango.")
    colour_emoji(root)
    drawing = _Drawing(written(root))
    usual = threading.stack_size(_STACK)
    try:
        drawing.start()
    except RuntimeError as error:
        raise MemoryError(str(error)) from None
    finally:
        threading.stack_size(usual)
    drawing.join()
    return pyvips.Image.pngload_buffer(drawing.result())


class _Drawing(threading.Thread):
    """Draws in a thread with a large enough stack."""

    def __init__(self, svg: str) -> None:
        super().__init__(daemon=True)
        self._svg, self._png = svg, b""
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._png = resvg_py.svg_to_bytes(
                svg_string=self._svg,
                dpi=CSS_DPI,
                skip_system_fonts=True,
                font_files=list(map(str, font_files())),
                font_family=FAMILIES["serif"],  # the default family, as in browsers
                serif_family=FAMILIES["serif"],
                sans_serif_family=FAMILIES["sans"],
                cursive_family=FAMILIES["sans"],
                fantasy_family=FAMILIES["sans"],
                monospace_family=FAMILIES["mono"],
                languages=["en"],
            )
        except BaseException as error:  # a Rust panic isn't a subclass of Exception
            self._error = error

    def result(self) -> bytes:
        if self._error is not None:
            raise CorruptImage(f"The SVG can't be drawn: {say(Exception(self._error))}.") from self._error
        return bytes(self._png)


CODECS = (_Svg(), _Svgz())
