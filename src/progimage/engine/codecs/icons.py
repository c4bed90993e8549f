"""Icons and cursors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from PIL import Image

from progimage.engine.codecs.codec import Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Page
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame, to_pillow
from progimage.engine.geometry import Size
from progimage.engine.limits import Limits
from progimage.engine.modes import OF_8_BITS

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_ICO_SIDES = (256, 128, 64, 48, 32, 24, 16)


class _Ico(PillowCodec):
    """One image in several sizes; each is a page, the largest first."""

    def pages_of(self, image: Image.Image, limits: Limits) -> list[Page]:
        """Return the sizes as pages."""
        return [Page(*size, native=image.mode) for size in _sizes(image)]

    def seek(self, source: Source, image: Image.Image, index: int) -> None:
        """Go to one of the sizes."""
        image.size = _sizes(image)[index]  # type: ignore[misc]

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write the image in the usual sizes, up to its own."""
        whole = to_pillow(first)
        longest = max(whole.size)
        sides = [side for side in _ICO_SIDES if side < longest] + [min(longest, _ICO_SIDES[0])]
        images = {image.size: image for image in (_scaled(whole, side / longest) for side in sorted(set(sides)))}
        largest = list(images.values())[-1]
        self.write(largest, target, sizes=list(images), append_images=list(images.values()))


def _sizes(image: Image.Image) -> list[Size]:
    return sorted(image.info["sizes"], key=lambda size: size[0] * size[1], reverse=True)


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


class _Icns(PillowCodec):
    """Reads the largest of the sizes."""

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write a square icon; other images are padded with transparent pixels."""
        whole = to_pillow(first)
        side = max(whole.size)
        square = Image.new("RGBA", (side, side))
        square.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
        self.write(square, target)


CODECS = (
    PillowCodec(Format(name="CUR", extensions=("cur",), media_type="image/x-win-bitmap", description="Windows cursor")),
    _Icns(
        Format(
            name="ICNS",
            extensions=("icns",),
            media_type="image/x-icns",
            description="macOS icon",
            modes=("RGBA",),
        )
    ),
    _Ico(
        Format(
            name="ICO",
            extensions=("ico",),
            media_type="image/vnd.microsoft.icon",
            description="Windows icon",
            modes=OF_8_BITS,
            pages=True,
        )
    ),
)
