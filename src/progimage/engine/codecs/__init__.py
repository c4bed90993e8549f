"""The formats: one module for each, or for a family, which says everything about it.

`codec.Codec` is what a module has to have for each of its formats, in a tuple `CODECS`. Other packages add formats with
an entry point of the group `progimage.codecs` that names such a module: see docs/adding-a-format.md.
"""

from importlib.metadata import entry_points

from progimage.engine.codecs import (
    avif,
    bitmaps,
    bmp,
    documents,
    exr,
    gif,
    heic,
    icons,
    jpeg,
    jpeg2000,
    jpeg_samples,
    jpegxr,
    jxl,
    netpbm,
    pcx,
    png,
    psd,
    radiance,
    raster,
    raw,
    scientific,
    svg,
    textures,
    tga,
    tiff,
    unix,
    webp,
)
from progimage.engine.codecs.codec import Codec
from progimage.engine.codecs.format import Format

_MODULES = (
    avif, bitmaps, bmp, documents, exr, gif, heic, icons, jpeg, jpeg2000, jpeg_samples, jpegxr, jxl, netpbm, pcx, png,
    psd, radiance, raster, raw, scientific, svg, textures, tga, tiff, unix, webp,
)  # fmt: skip
_ENTRY_POINTS = entry_points(group="progimage.codecs")


def _collected() -> dict[str, Codec]:
    own: list[Codec] = [codec for module in _MODULES for codec in module.CODECS]
    added: list[Codec] = [codec for point in _ENTRY_POINTS for codec in point.load().CODECS]
    codecs: dict[str, Codec] = {}
    extensions: set[str] = set()
    for codec in [*own, *added]:
        format = codec.format
        if format.name in codecs or extensions & set(format.extensions):
            raise ImportError(f"There are two codecs for {format.name} or one of its extensions.")
        codecs[format.name] = codec
        extensions |= set(format.extensions)
    return dict(sorted(codecs.items()))


CODECS: dict[str, Codec] = _collected()
"""All codecs, by the names of their formats."""
FORMATS: dict[str, Format] = {name: codec.format for name, codec in CODECS.items()}
"""All formats, by their names."""
ADDED = tuple(f"{point.dist.name} {point.dist.version}" for point in _ENTRY_POINTS if point.dist)
"""The packages that have added formats, with their versions."""
_BY_EXTENSION = {extension: format for format in FORMATS.values() for extension in format.extensions}


def by_extension(extension: str) -> Format | None:
    """Return the format that a file name extension (without the dot, in any case) stands for, if one does."""
    return _BY_EXTENSION.get(extension.lower())
