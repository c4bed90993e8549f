"""Choosing a format by what the client accepts, what the image is, and what the operator prefers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from progimage.engine import FORMATS, Format, ImageInfo, RenditionSpec
from progimage.engine.geometry import sizes_on_the_way
from progimage.engine.spec import may_be_transparent

_LAST = "PNG"
"""What is taken where nothing else is left: it holds every kind of picture, of any size."""
_USUAL_DPI = RenditionSpec(_LAST).dpi


@dataclass(frozen=True, slots=True)
class _Picture:
    """What a format has to hold.

    Attributes:
        animated: Several frames.
        transparent: Some alpha.
        largest_side: In pixels, once all is done that is asked for.
        deep: 16 bits a channel, since they are asked for: the mode that has them; empty: they aren't.
        lossless: It is to keep every pixel.
        hdr: HDR, since it is asked for.
    """

    animated: bool
    transparent: bool
    largest_side: int
    deep: str
    lossless: bool
    hdr: bool

    def fits(self, format: Format) -> bool:
        """Return whether a format holds it."""
        return (
            (format.writes_animations or not self.animated)
            and (format.alpha or not self.transparent)
            and (not format.max_side or self.largest_side <= format.max_side)
            and (not self.deep or (self.deep in format.modes and max(format.depths) == 16))
            and (not self.lossless or format.lossless)
            and (not self.lossless or not self.animated or format.lossless_animations)
            and (not self.hdr or format.cicp)
        )


def suitable_format(spec: RenditionSpec, info: ImageInfo, accept: str, preferred: Sequence[str]) -> tuple[str, bool]:
    """Choose a format: the first that holds the picture of those that the client accepts, or else one that all show.

    Args:
        spec: What is asked for, but for the format.
        info: What the image is like.
        accept: The request's Accept header.
        preferred: Names of formats, the best first; each is taken only if the client names its media type, since
            `image/*` and `*/*` are said by clients that can't show them, too.

    Returns:
        The name of the format, and whether it is to be written losslessly, as line art is best.

    Raises:
        InvalidParameter: What is asked for can't be done with this image.
    """
    accepted = accepted_types(accept)
    picture = _picture(spec, info)
    for format in (FORMATS[name] for name in preferred):
        small = format.lossless_is_small or not info.line_art
        if format.media_type in accepted and small and picture.fits(format):
            return format.name, info.line_art and format.lossless
    return next((name for name in _shown_by_all(info, picture) if picture.fits(FORMATS[name])), _LAST), False


def _shown_by_all(info: ImageInfo, picture: _Picture) -> Iterator[str]:
    if picture.animated:
        yield "GIF"
    elif not info.line_art:
        yield "JPEG"


def _picture(spec: RenditionSpec, info: ImageInfo) -> _Picture:
    animated = info.animated and spec.page is None
    return _Picture(
        animated=animated,
        transparent=may_be_transparent(spec, info.alpha),
        largest_side=_largest_side(spec, info),
        deep=("L16" if info.mode.startswith(("1", "L")) else "RGB16") if spec.depth == "16" and not animated else "",
        lossless=spec.lossless,
        hdr=spec.hdr == "keep" and (info.hdr or info.gain_map) and not animated,
    )


def _largest_side(spec: RenditionSpec, info: ImageInfo) -> int:
    """Return the longer side of a rendition, in pixels; `trim` counts as cutting nothing off."""
    vector = FORMATS[info.format].vector
    if info.page_sizes and spec.page and spec.page <= len(info.page_sizes):
        size = info.page_sizes[spec.page - 1]
    else:
        size = info.upright if spec.autorotate else (info.width, info.height)
    if vector:
        size = math.ceil(size[0] * spec.dpi / _USUAL_DPI), math.ceil(size[1] * spec.dpi / _USUAL_DPI)
    for number, operations in enumerate(spec.stages):
        *_, (_, size) = sizes_on_the_way(size, operations, vector=vector and not number)
    return max(size)


def accepted_types(accept: str) -> set[str]:
    """Return the media types that an Accept header names and does not refuse with `q=0` (RFC 9110, section 12.5.1)."""
    accepted = set()
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if not any(parameter.replace(" ", "").rstrip("0") in ("q=", "q=0.") for parameter in parameters):
            accepted.add(media_type)
    return accepted
