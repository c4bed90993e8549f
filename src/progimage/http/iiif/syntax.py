"""The syntax of IIIF requests (region, size, rotation, quality, format), and its translation to transformations.

Section numbers are those of the IIIF Image API 3.0; differences in 2.1 are noted.
"""

import math
import re
from dataclasses import dataclass

from progimage.engine import Format, by_extension
from progimage.engine.geometry import Box, Size
from progimage.problems import Problem

VERSIONS = ("2", "3")
FORMATS = ("jpg", "png", "tif", "gif", "webp", "jp2", "pdf", "avif")
QUALITIES = ("default", "color", "gray", "bitonal")

_NUMBER = r"(?:[0-9]{1,7}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
_WHOLE = r"[0-9]{1,7}"
_PIXELS = re.compile(rf"({_WHOLE}),({_WHOLE}),({_WHOLE}),({_WHOLE})")
_PERCENT = re.compile(rf"pct:({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})")
_WIDTH_HEIGHT = re.compile(rf"(!?)({_WHOLE}),({_WHOLE})")
_WIDTH = re.compile(rf"({_WHOLE}),")
_HEIGHT = re.compile(rf",({_WHOLE})")
_SHARE = re.compile(rf"pct:({_NUMBER})")
_ROTATION = re.compile(rf"(!?)({_NUMBER})")
_BLACK_OR_WHITE = "128"

_REGIONS = "full, square, x,y,w,h in pixels, or pct:x,y,w,h in percent, at least partly inside the image"
_SIZES = {
    "2": "full, max, w, or ,h or w,h or !w,h in pixels, or pct:n",
    "3": "max, w, or ,h or w,h or !w,h in pixels, or pct:n; with a leading ^, it can be larger than the region",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on the size of requested images (section 5.3).

    Attributes:
        side: Maximum width and height in pixels; None: unlimited.
        area: Maximum number of pixels; None: unlimited.
        max_pixels: The service's own maximum number of pixels, which `info.json` doesn't contain.
    """

    side: int | None
    area: int | None
    max_pixels: int

    @property
    def are_told(self) -> bool:
        """Whether `info.json` contains limits."""
        return bool(self.side or self.area)

    @property
    def pixels(self) -> int:
        """Maximum number of pixels of a response."""
        return min(self.max_pixels, self.area or self.max_pixels)

    def scale(self, size: Size) -> float:
        """Return the maximum factor by which a size can be scaled."""
        by_side = self.side / max(size) if self.side else math.inf
        by_area = math.sqrt(self.pixels / (size[0] * size[1]))
        return min(by_side, by_area)

    def allow(self, size: Size) -> bool:
        """Return whether a size is within the limits."""
        return max(size) <= (self.side or math.inf) and size[0] * size[1] <= self.pixels


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image request, with lengths in pixels.

    Attributes:
        version: Version of the API: 2 or 3.
        full: Size of the upright image.
        region: The requested region.
        size: The size to scale the region to.
        largest: The size of the region for `max`.
        mirrored: Whether to mirror left to right, before the rotation.
        rotation: Degrees clockwise, 0 up to but not including 360.
        quality: The requested quality; `color` is replaced by `default`, which means the same.
        extension: Extension of the format.
    """

    version: str
    full: Size
    region: Box
    size: Size
    largest: Size
    mirrored: bool
    rotation: float
    quality: str
    extension: str

    @property
    def format(self) -> Format:
        """The requested format."""
        format = by_extension(self.extension)
        assert format is not None
        return format

    @property
    def is_enlarged(self) -> bool:
        """Whether the size is larger than the region."""
        return self.size[0] > self.region.width or self.size[1] > self.region.height

    def query(self) -> list[tuple[str, str]]:
        """Return the equivalent transformations (their order is that of section 4.7, which is also ours)."""
        region, size, query = self.region, self.size, []
        part = region.width, region.height
        if part != self.full:
            query.append(("crop", f"{region.left},{region.top},{region.width},{region.height}"))
        if size != part:
            query += [("width", str(size[0])), ("height", str(size[1])), ("fit", "fill")]
            if self.is_enlarged:
                query.append(("enlarge", "true"))
        if self.mirrored:
            query.append(("flop", "true"))
        if self.rotation:
            query.append(("rotate", _plain(self.rotation)))
        if self.quality == "gray":
            query.append(("grayscale", "true"))
        elif self.quality == "bitonal":
            query.append(("threshold", _BLACK_OR_WHITE))
        return query

    def canonical(self) -> str:
        """Return the path of the canonical URI (section 4.7), relative to the image's base URI."""
        region, (width, height) = self.region, self.size
        part = region.width, region.height
        whole = part == self.full
        where = "full" if whole else f"{region.left},{region.top},{region.width},{region.height}"
        if self.version == "2":
            follows = height == max(1, round(region.height * width / region.width))
            size = "full" if self.size == part else f"{width}," if follows else f"{width},{height}"
        else:
            size = "max" if self.size == self.largest else f"{width},{height}"
            size = f"^{size}" if self.is_enlarged else size
        turned = f"{'!' * self.mirrored}{_plain(self.rotation)}"
        return f"{where}/{size}/{turned}/{self.quality}.{self.extension}"


def parse(version: str, full: Size, path: tuple[str, str, str, str], bounds: Bounds) -> ImageRequest:
    """Parse an image request.

    Args:
        version: Version of the API: 2 or 3.
        full: Size of the upright image.
        path: Region, size, rotation, and quality with the format, as in the URI.
        bounds: Limits on the size of the result.

    Raises:
        Problem: 400, a segment is invalid.
    """
    region = _region(path[0], full)
    part = region.width, region.height
    size, largest = _size(version, path[1], part, bounds)
    turned = _ROTATION.fullmatch(path[2])
    if not turned or float(turned[2]) > 360:
        raise _problem("rotation", path[2], "degrees from 0 to 360, with a leading ! to mirror the image first")
    quality, _, extension = path[3].rpartition(".")
    if quality not in QUALITIES:
        raise _problem("quality", quality, list(QUALITIES))
    if extension not in FORMATS:
        raise _problem("format", extension, list(FORMATS))
    quality = "default" if quality == "color" else quality
    mirrored, rotation = bool(turned[1]), float(turned[2]) % 360
    return ImageRequest(version, full, region, size, largest, mirrored, rotation, quality, extension)


def _region(text: str, full: Size) -> Box:
    """Return the region of the image (section 4.1)."""
    width, height = full
    if text == "full":
        return Box(0, 0, width, height)
    if text == "square":
        side = min(full)
        return Box((width - side) // 2, (height - side) // 2, side, side)
    pixels, percent = _PIXELS.fullmatch(text), _PERCENT.fullmatch(text)
    if pixels:
        left, top, across, down = map(int, pixels.groups())
    elif percent:
        shares = [float(share) / 100 for share in percent.groups()]
        left, top = round(width * shares[0]), round(height * shares[1])
        across, down = round(width * (shares[0] + shares[2])) - left, round(height * (shares[1] + shares[3])) - top
        if shares[2] and shares[3]:
            across, down = max(1, across), max(1, down)
    else:
        raise _problem("region", text, _REGIONS)
    # Anything beyond the edges is cut off.
    across, down = min(across, width - left), min(down, height - top)
    if across <= 0 or down <= 0:
        raise _problem("region", text, f"{_REGIONS}; the image has {width}×{height} pixels")
    return Box(left, top, across, down)


def _size(version: str, text: str, part: Size, bounds: Bounds) -> tuple[Size, Size]:
    """Return the size to scale a region to, and its size for `max` (section 4.2)."""
    allowed = _SIZES[version]
    larger = version == "2"  # version 2 has no sign for it: `sizeAboveFull`
    asked = text
    if version == "3" and text.startswith("^"):
        larger, asked = True, text[1:]
    largest = _scaled(part, min(1.0, bounds.scale(part)), bounds)
    if asked == "max" or (asked == "full" and version == "2"):
        if larger and version == "3" and bounds.are_told:
            largest = _scaled(part, bounds.scale(part), bounds)
        return largest, largest
    size = _pixels(asked, part, bounds, larger=larger and version == "3")
    if size is None or min(size) < 1:
        raise _problem("size", text, allowed)
    if not larger and (size[0] > part[0] or size[1] > part[1]):
        raise _problem("size", text, f"{allowed}; the region has {part[0]}×{part[1]} pixels")
    if not bounds.allow(size):
        max_pixels = [f"{bounds.side} pixels per side"] if bounds.side else []
        max_pixels.append(f"{bounds.pixels} pixels in total")
        raise _problem("size", text, f"{allowed}; at most {' and '.join(max_pixels)}")
    return size, largest


def _pixels(text: str, part: Size, bounds: Bounds, *, larger: bool) -> Size | None:
    width, height = part
    if match := _WIDTH.fullmatch(text):
        across = int(match[1])
        return across, max(1, round(height * across / width))
    if match := _HEIGHT.fullmatch(text):
        down = int(match[1])
        return max(1, round(width * down / height)), down
    if match := _SHARE.fullmatch(text):
        share = float(match[1]) / 100
        return round(width * share), round(height * share)
    match = _WIDTH_HEIGHT.fullmatch(text)
    if match is None:
        return None
    box = int(match[2]), int(match[3])
    if not match[1] or min(box) < 1:
        return box
    # The largest size that fits; it is never larger than the region unless enlarging was requested.
    scale = min(box[0] / width, box[1] / height, bounds.scale(part), math.inf if larger else 1.0)
    return _scaled(part, scale, bounds)


def _scaled(size: Size, scale: float, bounds: Bounds) -> Size:
    # Rounded down, to stay within the limits.
    width, height = (max(1, math.floor(side * scale + 1e-6)) for side in size)
    if bounds.allow((width, height)):
        return width, height
    # A line of pixels can't get thinner, only shorter.
    longest = min(bounds.pixels, bounds.side or bounds.pixels)
    return min(width, longest), min(height, longest)


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _problem(parameter: str, given: str, allowed: str | list[str]) -> Problem:
    detail = f"Invalid {parameter} in an IIIF request."
    return Problem(400, "invalid-parameter", detail, parameter=parameter, given=given[:200], allowed=allowed)
