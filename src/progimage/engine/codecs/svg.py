"""SVG: drawings, which are read only."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyvips

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.description import Description, Page
from progimage.engine.errors import CannotRepresent, CorruptImage, say
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.metadata import Kept

if TYPE_CHECKING:
    from progimage.engine.plan import Plan


class _Svg:
    """Drawn by libvips with librsvg."""

    format = Format(
        name="SVG",
        extensions=("svg",),
        media_type="image/svg+xml",
        description="Scalable Vector Graphics",
        vector=True,
    )

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether it is markup with an SVG element near its beginning."""
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return text.startswith(b"<") and b"<svg" in text

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read its size; see `Codec`."""
        try:
            image = _drawn(file, dpi)
        except pyvips.Error as error:
            raise CorruptImage(f"The SVG can't be read: {say(error)}.") from error
        limits.check(image.width, image.height)
        return Description(format=self.format, pages=(Page(image.width, image.height),), mode="RGBA")

    def exif(self, file: InputFile) -> None:
        """Return None: a drawing has none."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return librsvg."""
        return (Decoder(_frames, lazy=True, draws=True),)

    def stripped(self, source: Source, kept: Kept) -> None:
        """Return None: drawings are not written; see `Codec`."""

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Raise, since the format has no modes to be written with."""
        raise CannotRepresent("No drawings are written here.")


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    return vips.still_frames(source, first, last, lambda page: _drawn(source.file, source.dpi, how.draw))


def _drawn(file: InputFile, dpi: float, scale: float = 1) -> pyvips.Image:
    # From a buffer: so the document has no address, and nothing that it refers to outside of itself is loaded.
    return pyvips.Image.svgload_buffer(bytes(file.data), dpi=dpi, scale=scale)


CODECS = (_Svg(),)
