"""Content negotiation for `auto`: a format from what the caller accepts, the image, and the operator's preference."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from progimage.engine import FORMATS, Format, ImageInfo, RenditionSpec
from progimage.engine.geometry import sizes_on_the_way
from progimage.engine.spec import may_be_transparent

_LAST = "PNG"
"""The last resort: it holds every kind of image, of any size."""
_USUAL_DPI = RenditionSpec(_LAST).dpi


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a format has to hold.

    Attributes:
        animated: Several frames.
        transparent: An alpha channel that is used.
        largest_side: The longer side of the rendition, in pixels.
        deep: Mode with 16 bits per channel, if they are asked for; else empty.
        lossless: Every pixel is to be kept.
        hdr: HDR is asked for, and there is some.
    """

    animated: bool
    transparent: bool
    largest_side: int
    deep: str
    lossless: bool
    hdr: bool

    def fits(self, format: Format) -> bool:
        """Return whether a format holds all of it."""
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
    """Choose the first preferred format that the caller accepts and that holds the rendition, or one that all show.

    Args:
        spec: What is asked for, apart from the format.
        info: Description of the image.
        accept: Value of the request's `Accept` header.
        preferred: Names of formats, the best first. The caller has to name a format's media type: `image/*` and
            `*/*` are also sent by browsers that don't show it.

    Returns:
        Name of the format, and whether to write it losslessly, as is best for line art.

    Raises:
        InvalidParameter: A parameter doesn't fit this image.
    """
    accepted = accepted_types(accept)
    needs = _needs(spec, info)
    for format in (FORMATS[name] for name in preferred):
        small = format.lossless_is_small or not info.line_art
        if format.media_type in accepted and small and needs.fits(format):
            return format.name, info.line_art and format.lossless
    return next((name for name in _shown_by_all(info, needs) if needs.fits(FORMATS[name])), _LAST), False


def _shown_by_all(info: ImageInfo, needs: _Needs) -> Iterator[str]:
    if needs.animated:
        yield "GIF"
    elif not info.line_art:
        yield "JPEG"


def _needs(spec: RenditionSpec, info: ImageInfo) -> _Needs:
    animated = info.animated and spec.page is None
    return _Needs(
        animated=animated,
        transparent=may_be_transparent(spec, info.alpha),
        largest_side=_largest_side(spec, info),
        deep=("L16" if info.mode.startswith(("1", "L")) else "RGB16") if spec.depth == "16" and not animated else "",
        lossless=spec.lossless,
        hdr=spec.hdr == "keep" and (info.hdr or info.gain_map) and not animated,
    )


def _largest_side(spec: RenditionSpec, info: ImageInfo) -> int:
    """Return the longer side of a rendition, in pixels, as if `trim` cut nothing off."""
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
    """Return the media types that an Accept header names without `q=0` (RFC 9110, section 12.5.1).

    >>> accepted_types("image/webp, image/gif;q=0")
    {'image/webp'}
    """
    accepted = set()
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if not any(parameter.replace(" ", "").rstrip("0") in ("q=", "q=0.") for parameter in parameters):
            accepted.add(media_type)
    return accepted
