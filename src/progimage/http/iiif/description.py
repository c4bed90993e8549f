"""The image information document, `info.json` (section 5 of the IIIF Image API)."""

from typing import Any

from progimage.engine.geometry import Size
from progimage.engine.pyramid import TILE
from progimage.http.iiif.syntax import FORMATS, QUALITIES, Bounds

CONTEXTS = {version: f"http://iiif.io/api/image/{version}/context.json" for version in ("2", "3")}
PROFILES = {version: f"http://iiif.io/api/image/{version}/level2.json" for version in ("2", "3")}
_PROTOCOL = "http://iiif.io/api/image"
_LEVEL_2_FORMATS = ("jpg", "png")
_SMALLEST = 100
"""Length of the longer side, in pixels, down to which sizes are halved."""

# Features beyond level 2, by their names in each version.
_FEATURES_3 = ("canonicalLinkHeader", "mirroring", "profileLinkHeader", "rotationArbitrary", "sizeUpscaling")
_FEATURES_2 = (
    "baseUriRedirect", "canonicalLinkHeader", "cors", "jsonldMediaType", "mirroring", "profileLinkHeader",
    "regionByPct", "regionByPx", "regionSquare", "rotationArbitrary", "rotationBy90s", "sizeAboveFull",
    "sizeByConfinedWh", "sizeByDistortedWh", "sizeByH", "sizeByPct", "sizeByW", "sizeByWh",
)  # fmt: skip


def describe(version: str, id: str, full: Size, bounds: Bounds) -> dict[str, Any]:
    """Return the image information document.

    Args:
        version: Version of the API: 2 or 3.
        id: URI of the image.
        full: Width and height of the upright image, in pixels.
        bounds: Limits on the size of renditions.
    """
    common = {"protocol": _PROTOCOL, "width": full[0], "height": full[1]}
    pieces = {"sizes": _sizes(full, bounds), "tiles": [{"width": TILE, "scaleFactors": _factors(full)}]}
    limits = _limits(bounds)
    if version == "2":
        supported = {
            "formats": list(FORMATS),
            "qualities": list(QUALITIES),
            "supports": list(_FEATURES_2),
            **limits,
        }
        return {"@context": CONTEXTS["2"], "@id": id, **common, **pieces, "profile": [PROFILES["2"], supported]}
    return {
        "@context": CONTEXTS["3"],
        "id": id,
        "type": "ImageService3",
        **common,
        "profile": "level2",
        **limits,
        **pieces,
        "preferredFormats": ["avif", "webp", "jpg"],
        "extraFormats": [one for one in FORMATS if one not in _LEVEL_2_FORMATS],
        "extraQualities": [one for one in QUALITIES if one != "default"],
        "extraFeatures": list(_FEATURES_3),
    }


def _limits(bounds: Bounds) -> dict[str, int]:
    told = {"maxWidth": bounds.side, "maxHeight": bounds.side, "maxArea": bounds.area}
    return {name: value for name, value in told.items() if value}


def _sizes(full: Size, bounds: Bounds) -> list[dict[str, int]]:
    sizes, factor = [], 1
    while factor == 1 or max(full) / factor >= _SMALLEST:
        size = max(1, round(full[0] / factor)), max(1, round(full[1] / factor))
        if bounds.allow(size):
            sizes.append({"width": size[0], "height": size[1]})
        factor *= 2
    return sizes[::-1]


def _factors(full: Size) -> list[int]:
    factors = [1]
    while max(full) > TILE * factors[-1]:
        factors.append(factors[-1] * 2)
    return factors
