"""Choosing a format by what the client accepts, what the image is, and what the operator prefers."""

from collections.abc import Sequence

from progimage.engine import FORMATS, Format, ImageInfo, RenditionSpec
from progimage.engine.spec import may_be_transparent


def suitable_format(spec: RenditionSpec, info: ImageInfo, accept: str, preferred: Sequence[str]) -> tuple[str, bool]:
    """Choose a format.

    Args:
        spec: What is asked for, but for the format.
        info: What the image is like.
        accept: The request's Accept header.
        preferred: Names of formats, the best first; each is taken only if the client names its media type, since
            `image/*` and `*/*` are said by clients that can't show them, too.

    Returns:
        The name of the format, and whether it is to be written losslessly, as line art is best.
    """
    accepted = accepted_types(accept)
    animated = info.animated and spec.page is None
    transparent = may_be_transparent(spec, info.alpha)
    for format in (FORMATS[name] for name in preferred):
        if format.media_type in accepted and _suits(format, animated, transparent, info.line_art):
            return format.name, info.line_art and format.lossless
    if animated:
        return "GIF", False
    return ("PNG" if transparent or info.line_art else "JPEG"), False


def _suits(format: Format, animated: bool, transparent: bool, line_art: bool) -> bool:
    if animated and not format.writes_animations:
        return False
    if line_art and not format.lossless_is_small:
        return False
    return format.alpha or not transparent


def accepted_types(accept: str) -> set[str]:
    """Return the media types that an Accept header names and does not refuse with `q=0` (RFC 9110, section 12.5.1)."""
    accepted = set()
    for entry in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        if not any(parameter.replace(" ", "").rstrip("0") in ("q=", "q=0.") for parameter in parameters):
            accepted.add(media_type)
    return accepted
